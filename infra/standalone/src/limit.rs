//! How operators write limits: scopes, kinds, rates, durations and times of day.

pub(crate) mod rate;
pub(crate) mod scope;
pub(crate) mod until;

/// Text in the wrong form. The message of each variant says what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrammarError {
    /// The text is not a scope.
    #[error(
        "{text:?} is no scope: write channel/ID, channel/*, guild/ID, guild/*, class/reads, class/writes, all, or gate/NAME"
    )]
    Scope {
        /// The text as written.
        text: String,
    },
    /// The id cannot exist.
    #[error("{text:?} names nothing: ids are whole numbers from 1 on, * is all of them")]
    Id {
        /// The text as written.
        text: String,
    },
    /// The text is not a kind.
    #[error("{text:?} is no kind: write requests, database-reads, writes, concurrency, or off for a gate")]
    Kind {
        /// The text as written.
        text: String,
    },
    /// The text is not a gate.
    #[error("{text:?} is no gate: write gate/ and one of {}", scope::GATES.join(", "))]
    Gate {
        /// The text as written.
        text: String,
    },
    /// A gate's switch and a limit are mixed up.
    #[error(
        "{scope} and {kind} do not go together: gates are switched off (gate/cache off), everything else is limited"
    )]
    Mixed {
        /// The scope.
        scope: String,
        /// The kind.
        kind: &'static str,
    },
    /// The text is not a rate.
    #[error("{text:?} is no rate: write a number and a unit of time, such as 50/s, 0.5/s, 3000/m or 100/h")]
    Rate {
        /// The text as written.
        text: String,
    },
    /// The service cannot keep this rate.
    #[error(
        "{text:?} is out of range: a rate is 0/s, which refuses everything, or from 0.001/s to 10000000/s"
    )]
    RateRange {
        /// The text as written.
        text: String,
    },
    /// The text is not a number of reads at once.
    #[error("{text:?} is no concurrency: write a whole number of at least 1, such as 8")]
    Concurrency {
        /// The text as written.
        text: String,
    },
    /// The text is not a duration.
    #[error("{text:?} is no duration: write numbers and units, such as 30s, 10m, 1h30m or 2d")]
    Duration {
        /// The text as written.
        text: String,
    },
    /// The text is not a time.
    #[error(
        "{text:?} is no time: write 18:00, today or tomorrow, or an instant such as 2026-01-31T18:00:00Z"
    )]
    Until {
        /// The text as written.
        text: String,
    },
    /// The time is in the past.
    #[error("{text} is over")]
    Past {
        /// The text as written.
        text: String,
    },
}
