//! The checker: what was seen in, what must not have been seen out. Pure.
//!
//! It judges by what clients were told and nothing else, so it holds for any server. A message is known by its content, which is unique;
//! "must" begins where a request left after a READY came, and "may" is everything whose outcome nobody was told.
//! [`history`] checks what REST shows at the end, [`bot`] what each client saw, both by what is [`known`].

mod bot;
mod history;
mod known;
#[cfg(test)]
mod tests;

use self::known::Known;
use super::{observed::Observed, violation::Violation};

/// All violations, those of history first.
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
