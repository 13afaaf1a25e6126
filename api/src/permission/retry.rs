//! Decides a change anew when the rows that decided it have changed meanwhile.

use weir_discord::error::ApiError;

use crate::answer::error::Refused;

/// How often a change is decided before the caller is told to come back. Each time another caller's change
/// came first. The number is a choice, above the number of people who press the same button at once.
const ATTEMPTS_MAX: u32 = 10;

/// Runs `attempt`, which reads, judges and asks for a change. Runs it again while the data service refuses
/// the change because a row of its read set has changed.
///
/// # Errors
/// Those of `attempt`; [`ApiError::Contended`] if another change came first every time.
pub(crate) async fn retry_on_conflict<T, F>(attempt: impl Fn() -> F) -> Result<T, Refused>
where
    F: Future<Output = Result<T, Refused>>,
{
    for _ in 1..ATTEMPTS_MAX {
        match attempt().await {
            Err(refused) if refused.is(&ApiError::Contended) => {}
            outcome => return outcome,
        }
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_change_that_others_always_overtake_is_given_up() {
        let attempts = Cell::new(0);
        let succeeds_after = |until: u32| {
            let attempts = &attempts;
            move || {
                attempts.set(attempts.get() + 1);
                let succeeds = attempts.get() > until;
                async move { if succeeds { Ok(()) } else { Err(Refused::from(ApiError::Contended)) } }
            }
        };
        assert_eq!(retry_on_conflict(succeeds_after(ATTEMPTS_MAX - 1)).await, Ok(()));
        attempts.set(0);
        assert_eq!(retry_on_conflict(succeeds_after(u32::MAX)).await, Err(ApiError::Contended.into()));
        assert_eq!(attempts.get(), ATTEMPTS_MAX);
        let refused =
            retry_on_conflict(|| async { Err::<(), _>(Refused::from(ApiError::UnknownRole)) }).await;
        assert_eq!(refused, Err(ApiError::UnknownRole.into()), "only a conflict is decided anew");
    }
}
