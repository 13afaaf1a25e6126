//! Rules of limits: scope, kind, bound, and expiry.

use std::sync::Arc;

use crate::{limit::gcra::Quota, reason::RefusalReason};

/// Maximum rules at once: about 200 bytes each, 20 MiB. Adding one more returns a typed error.
pub const RULES_MAX: usize = 100_000;

/// Scope of a limit, whose members are counted together.
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
    /// Index of the scope's kind: 0 ..= 3.
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

/// Selects the scopes to which a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Selector {
    /// This scope; such a rule takes precedence over a rule for each.
    One(Scope),
    /// Every key that has no rule of its own, each counted alone.
    EachKey,
    /// Every group without a rule of its own.
    EachGroup,
    /// Every class without a rule of its own.
    EachClass,
}

/// Kind of events that are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Requests, including hits.
    Requests,
    /// Reads that go to the store.
    DatabaseReads,
    /// Writes.
    Writes,
    /// Reads in the store at once.
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

/// Amount that a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A rate: for every kind but [`LimitKind::Concurrency`].
    Rate(Quota),
    /// A number at once: for [`LimitKind::Concurrency`].
    AtOnce(u32),
}

/// One limit, identified by selector, kind and `dry_run`: a second rule with the same three replaces the
/// first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name in refusals.
    pub name: Arc<str>,
    /// Scopes to which it applies.
    pub selector: Selector,
    /// Kind of limited events.
    pub kind: LimitKind,
    /// Allowed amount.
    pub bound: Bound,
    /// Wall time in milliseconds from which it no longer applies; `None`: until removed.
    pub expires_at_ms: Option<u64>,
    /// True if it only counts refusals and still admits.
    pub dry_run: bool,
}

/// Reasons why a change of the rules was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A concurrency rule has no number at once, or a rate rule has no rate.
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

/// A rule and its effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// The rule.
    pub rule: Rule,
    /// Charges refused since the rule was first set.
    pub refused: u64,
    /// Charges that a dry run would have refused.
    pub would_refuse: u64,
}

/// A charge that was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admitted {
    /// The name of a dry-run rule that would have refused it.
    pub would_refuse: Option<Arc<str>>,
}
