//! The checker, a pure function from what was seen to the violations in it.
//!
//! It judges only by what clients were told, so it works for any server. A message is identified by its
//! content, which is unique. A message must be seen if its request left after READY arrived. It may be seen
//! if no client was told its outcome. [`history`] checks what REST shows at the end, [`bot`] what each client
//! saw; both use what is [`known`].

mod bot;
mod history;
mod known;
#[cfg(test)]
mod tests;

use self::known::Known;
use super::{observed::Observed, violation::Violation};

/// Returns all violations, those of history first.
pub(super) fn check(observed: &Observed) -> Vec<Violation> {
    let known = Known::of(observed);
    let rejected = observed.rejections.iter().map(|what| Violation::Rejected { what: what.clone() });
    let failed = observed.failures.iter().map(|what| Violation::Failed { what: what.clone() });
    let mut violations: Vec<Violation> = rejected.chain(failed).collect();
    history::check(observed, &known, &mut violations);
    for bot in &observed.bots {
        bot::check(bot, &known, &observed.session_kills, &mut violations);
    }
    violations
}
