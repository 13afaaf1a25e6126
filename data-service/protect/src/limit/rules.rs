//! What a rule says: whom it counts together, what it limits, how much, and until when.

use std::sync::Arc;

use crate::{limit::gcra::Quota, reason::RefusalReason};

/// Most rules at once: about 200 bytes each, 20 MiB. A refusal to add one more is typed.
pub const RULES_MAX: usize = 100_000;

/// Whom a limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One key (a channel).
    Key(u64),
    /// One group of keys (a guild).
    Group(u64),
    /// One class of callers.
    Class(u8),
    /// Everyone.
    All,
}

impl Scope {
    /// Which kind of scope this is: 0 ..= 3.
    pub(crate) const fn tag(self) -> usize {
        match self {
            Self::Key(_) => 0,
            Self::Group(_) => 1,
            Self::Class(_) => 2,
            Self::All => 3,
        }
    }

    pub(super) const fn id(self) -> u64 {
        match self {
            Self::Key(id) | Self::Group(id) => id,
            Self::Class(class) => class as u64,
            Self::All => 0,
        }
    }
}

/// To which scopes a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Selector {
    /// This one, in preference to a rule for each.
    One(Scope),
    /// Every key that has no rule of its own, each counted alone.
    EachKey,
    /// Every group that has none.
    EachGroup,
    /// Every class that has none.
    EachClass,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Requests, hits included.
    Requests,
    /// Reads that go to the store.
    DatabaseReads,
    /// Writes.
    Writes,
    /// Reads that are in the store at once.
    Concurrency,
}

impl LimitKind {
    pub(super) const COUNT: usize = 4;

    pub(super) const fn reason(self) -> RefusalReason {
        match self {
            Self::Requests => RefusalReason::RequestLimit,
            Self::DatabaseReads => RefusalReason::DatabaseReadLimit,
            Self::Writes => RefusalReason::WriteLimit,
            Self::Concurrency => RefusalReason::ConcurrencyWait,
        }
    }
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A rate: for every kind but [`LimitKind::Concurrency`].
    Rate(Quota),
    /// A number at once: for [`LimitKind::Concurrency`].
    AtOnce(u32),
}

/// One limit. Selector, kind and `dry_run` together name it: a second rule of the same three replaces the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What refusals call it.
    pub name: Arc<str>,
    /// To whom it applies.
    pub selector: Selector,
    /// What it limits.
    pub kind: LimitKind,
    /// How much.
    pub bound: Bound,
    /// Wall time in milliseconds from which it no longer applies; `None`: until removed.
    pub expires_at_ms: Option<u64>,
    /// Counts what it would refuse, and admits it.
    pub dry_run: bool,
}

/// A change of the rules that was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A concurrency rule without a number at once, or a rate rule without a rate.
    #[error("the bound does not suit the kind")]
    BoundDoesNotSuit,
    /// [`RULES_MAX`] rules are in force.
    #[error("100,000 rules are in force")]
    TooManyRules,
    /// 65,535 distinct quotas are in force.
    #[error("65,535 distinct quotas are in force")]
    TooManyQuotas,
    /// A set of rules of this version or a later one is already in force.
    #[error("rules of version {in_force} are in force")]
    Outdated {
        /// The version in force.
        in_force: u64,
    },
}

/// A rule and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// The rule.
    pub rule: Rule,
    /// Charges that it refused since it was first set.
    pub refused: u64,
    /// Charges that it would have refused in a dry run.
    pub would_refuse: u64,
}

/// A charge that was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admitted {
    /// The name of a dry-run rule that would have refused it.
    pub would_refuse: Option<Arc<str>>,
}
