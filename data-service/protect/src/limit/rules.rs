//! Which limit applies to whom, changed live, and the one step that charges all of a request's scopes.

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    clock::{Clock, Nanos},
    error::{Refusal, RefusalReason},
    fault::Faults,
    limit::{
        gcra::{self, Quota},
        quotas::{QuotaId, Quotas},
        table::{CELLS_MAX, Cell, LimitTable},
    },
    sync::{AtomicU64, Ordering, RandomState, RwLock},
};

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
    const fn tag(self) -> usize {
        match self {
            Self::Key(_) => 0,
            Self::Group(_) => 1,
            Self::Class(_) => 2,
            Self::All => 3,
        }
    }

    const fn id(self) -> u64 {
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

impl Selector {
    const fn tag(self) -> usize {
        match self {
            Self::One(scope) => scope.tag(),
            Self::EachKey => 0,
            Self::EachGroup => 1,
            Self::EachClass => 2,
        }
    }
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
    const COUNT: usize = 4;

    const fn reason(self) -> RefusalReason {
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

#[derive(Debug, Default)]
struct Counts {
    refused: AtomicU64,
    would_refuse: AtomicU64,
}

#[derive(Debug)]
struct Active {
    rule: Rule,
    /// Of a rate: its number, and the TAT of a key without a slot.
    rate: Option<(QuotaId, Quota, Nanos)>,
    /// When its bound was last changed.
    set_at: Nanos,
    counts: Counts,
}

impl Active {
    fn is_live(&self, wall_ms: u64) -> bool {
        self.rule.expires_at_ms.is_none_or(|expires| wall_ms < expires)
    }
}

type RuleKey = (Selector, LimitKind, bool);

#[derive(Debug, Default)]
struct RuleSet {
    rules: HashMap<RuleKey, Active>,
    /// Rules for each tag, kind and run, so that the usual charge looks up nothing in vain.
    counts: [[[Tally; 2]; LimitKind::COUNT]; 4],
    /// Rules with an expiry: while zero, the wall clock is not read.
    expiring: usize,
    quotas: Quotas,
    /// When a rule of one scope was last removed, whichever: from then at the latest the rule for each applies.
    removed_at: Nanos,
    version: u64,
}

/// The moment of a charge on both axes.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Nanos,
    wall_ms: u64,
}

/// The rule that applies to a scope, and since when at the latest.
#[derive(Debug, Clone, Copy)]
struct Applied<'a> {
    active: &'a Active,
    since: Nanos,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    one: usize,
    each: usize,
}

impl RuleSet {
    /// The rule that applies to `scope`: its own, else the one for each.
    fn find(&self, scope: Scope, kind: LimitKind, dry_run: bool, at: Moment) -> Option<Applied<'_>> {
        let tally = self.counts[scope.tag()][kind as usize][usize::from(dry_run)];
        let rule = |selector| self.rules.get(&(selector, kind, dry_run));
        let own = if tally.one > 0 { rule(Selector::One(scope)) } else { None };
        if let Some(active) = own.filter(|a| a.is_live(at.wall_ms)) {
            return Some(Applied { active, since: active.set_at });
        }
        let each = match scope {
            _ if tally.each == 0 => return None,
            Scope::Key(_) => Selector::EachKey,
            Scope::Group(_) => Selector::EachGroup,
            Scope::Class(_) => Selector::EachClass,
            Scope::All => return None,
        };
        let active = rule(each).filter(|a| a.is_live(at.wall_ms))?;
        // The scope's own rule may have given way later than this one was set: by removal, or by expiry.
        let expired = own.and_then(|own| own.rule.expires_at_ms).map_or(Nanos::ZERO, |expired_ms| {
            at.now.before(Duration::from_millis(at.wall_ms.saturating_sub(expired_ms)))
        });
        Some(Applied { active, since: active.set_at.max(self.removed_at).max(expired) })
    }

    fn tally(&mut self, key: &RuleKey, expiring: bool, by: isize) {
        let tally = &mut self.counts[key.0.tag()][key.1 as usize][usize::from(key.2)];
        let count = if matches!(key.0, Selector::One(_)) { &mut tally.one } else { &mut tally.each };
        *count = count.saturating_add_signed(by);
        if expiring {
            self.expiring = self.expiring.saturating_add_signed(by);
        }
    }

    fn remove(&mut self, key: &RuleKey, now: Nanos) -> Option<Active> {
        let active = self.rules.remove(key)?;
        self.removed_at = now;
        self.tally(key, active.rule.expires_at_ms.is_some(), -1);
        Some(active)
    }

    fn insert(&mut self, rule: Rule, at: Moment) -> Result<(), RuleError> {
        let key = (rule.selector, rule.kind, rule.dry_run);
        let quota = match (rule.kind, rule.bound) {
            (LimitKind::Concurrency, Bound::AtOnce(_)) => None,
            (LimitKind::Requests | LimitKind::DatabaseReads | LimitKind::Writes, Bound::Rate(q)) => Some(q),
            (LimitKind::Concurrency, Bound::Rate(_)) | (_, Bound::AtOnce(_)) => {
                return Err(RuleError::BoundDoesNotSuit);
            }
        };
        if !self.rules.contains_key(&key) && self.rules.len() >= RULES_MAX {
            self.prune(at);
            if self.rules.len() >= RULES_MAX {
                return Err(RuleError::TooManyRules);
            }
        }
        let rate = match quota {
            None => None,
            Some(quota) => {
                let id = self.number(quota).ok_or(RuleError::TooManyQuotas)?;
                Some((id, quota, self.baseline(&key, quota, at)))
            }
        };
        let old = self.rules.remove(&key);
        if let Some(old) = &old {
            self.tally(&key, old.rule.expires_at_ms.is_some(), -1);
        }
        self.tally(&key, rule.expires_at_ms.is_some(), 1);
        let same = old.as_ref().is_some_and(|old| old.rule.bound == rule.bound && old.is_live(at.wall_ms));
        let set_at = old.as_ref().filter(|_| same).map_or(at.now, |old| old.set_at);
        let counts = old.map(|old| old.counts).unwrap_or_default();
        self.rules.insert(key, Active { rule, rate, set_at, counts });
        Ok(())
    }

    /// What becomes of a key that has no slot, and so is settled under the rule that applied until now.
    fn baseline(&self, key: &RuleKey, quota: Quota, at: Moment) -> Nanos {
        let before = match key.0 {
            Selector::One(scope) => self.find(scope, key.1, key.2, at).map(|applied| applied.active),
            Selector::EachKey | Selector::EachGroup | Selector::EachClass => {
                self.rules.get(key).filter(|a| a.is_live(at.wall_ms))
            }
        };
        match before.and_then(|active| active.rate) {
            Some((_, old, baseline)) if old == quota => baseline,
            Some((_, old, baseline)) => gcra::convert(old, quota, baseline.max(at.now), at.now),
            None => Nanos::ZERO,
        }
    }

    fn number(&mut self, quota: Quota) -> Option<QuotaId> {
        self.quotas.intern(quota).or_else(|| {
            let used = |q| self.rules.values().any(|a| a.rate.is_some_and(|(_, quota, _)| quota == q));
            self.quotas.recycle(quota, used)
        })
    }

    fn prune(&mut self, at: Moment) {
        let expired = self.rules.iter().filter(|(_, a)| !a.is_live(at.wall_ms)).map(|(key, _)| *key);
        for key in expired.collect::<Vec<_>>() {
            self.remove(&key, at.now);
        }
    }
}

/// The limits in force and their state.
///
/// A change is made under a write lock that charges hold for reading: it acts on the first charge after it returns,
/// and no charge sees half of it.
pub struct Limits {
    rules: RwLock<RuleSet>,
    table: LimitTable,
    clock: Arc<dyn Clock>,
    hasher: RandomState,
}

impl Limits {
    /// No rules, and a table of `slots` slots of 16 bytes.
    pub fn new(slots: usize, clock: Arc<dyn Clock>) -> Self {
        Self::with_faults(slots, clock, Faults::none())
    }

    /// The same for the mutation check, committing `faults`.
    pub fn with_faults(slots: usize, clock: Arc<dyn Clock>, faults: Faults) -> Self {
        Self {
            rules: RwLock::new(RuleSet::default()),
            table: LimitTable::with_faults(slots, faults),
            clock,
            hasher: RandomState::new(),
        }
    }

    /// Puts `rule` into force, in place of the rule of the same selector, kind and run.
    ///
    /// # Errors
    /// [`RuleError`]; then nothing has changed.
    pub fn set(&self, rule: Rule) -> Result<(), RuleError> {
        let at = self.moment();
        self.write().insert(rule, at)
    }

    /// Takes a rule out of force; `false` if there is none.
    pub fn remove(&self, selector: Selector, kind: LimitKind, dry_run: bool) -> bool {
        let now = self.clock.now();
        self.write().remove(&(selector, kind, dry_run), now).is_some()
    }

    /// Puts exactly `rules` into force. Versions rise: one that arrives late is refused.
    ///
    /// # Errors
    /// [`RuleError::Outdated`], with nothing changed; any other error leaves the rules before the faulty one in force
    /// and the version as it was.
    pub fn install(&self, version: u64, rules: Vec<Rule>) -> Result<(), RuleError> {
        let at = self.moment();
        let mut set = self.write();
        if version <= set.version {
            return Err(RuleError::Outdated { in_force: set.version });
        }
        let kept: Vec<RuleKey> = rules.iter().map(|r| (r.selector, r.kind, r.dry_run)).collect();
        for rule in rules {
            set.insert(rule, at)?;
        }
        let kept: std::collections::HashSet<RuleKey> = kept.into_iter().collect();
        let gone: Vec<RuleKey> = set.rules.keys().filter(|key| !kept.contains(key)).copied().collect();
        for key in gone {
            set.remove(&key, at.now);
        }
        set.version = version;
        Ok(())
    }

    /// The rules in force, those that have expired but not been removed included.
    #[must_use]
    pub fn list(&self) -> Vec<RuleView> {
        let set = self.read();
        let view = |active: &Active| RuleView {
            rule: active.rule.clone(),
            refused: active.counts.refused.load(Ordering::Relaxed),
            would_refuse: active.counts.would_refuse.load(Ordering::Relaxed),
        };
        set.rules.values().map(view).collect()
    }

    /// Charges one cell of `kind` to every scope, or to none: one step, so that a refused scope costs the others
    /// nothing.
    ///
    /// # Errors
    /// The refusal with the longest wait, so that a retry after it meets none of the limits that refused.
    pub fn charge(&self, scopes: &[Scope], kind: LimitKind, now: Nanos) -> Result<Admitted, Refusal> {
        let set = self.read();
        let at = Moment { now, wall_ms: self.wall_ms(&set) };
        let mut cells = [Cell::NOTHING; CELLS_MAX];
        let mut rules = [None; CELLS_MAX];
        let mut len = 0;
        for &scope in scopes {
            for dry_run in [false, true] {
                let Some(Applied { active, since }) = set.find(scope, kind, dry_run, at) else { continue };
                let Some((quota_id, quota, baseline)) = active.rate else { continue };
                if len == CELLS_MAX {
                    continue;
                }
                let hash = self.hash(scope, kind, dry_run);
                cells[len] = Cell { hash, quota, quota_id, baseline, since, enforced: !dry_run };
                rules[len] = Some((scope, active));
                len += 1;
            }
        }
        if len == 0 {
            return Ok(Admitted::default());
        }
        let decision = self.table.charge(&cells[..len], now, &set.quotas);
        if let Some((scope, active)) = decision.refused.and_then(|(i, _)| rules[i]) {
            active.counts.refused.fetch_add(1, Ordering::Relaxed);
            let retry_after = decision.refused.map_or(gcra::BLOCKED_RETRY, |(_, wait)| wait);
            let limit = Arc::clone(&active.rule.name);
            return Err(Refusal { reason: kind.reason(), scope: Some(scope), limit, retry_after });
        }
        let would_refuse = decision.would_refuse.and_then(|i| rules[i]).map(|(_, active)| {
            active.counts.would_refuse.fetch_add(1, Ordering::Relaxed);
            Arc::clone(&active.rule.name)
        });
        Ok(Admitted { would_refuse })
    }

    /// How many reads of `scope` may be in the store at once, and the name of the rule that says so.
    #[must_use]
    pub fn at_once(&self, scope: Scope) -> Option<(u32, Arc<str>)> {
        let set = self.read();
        let at = Moment { now: self.clock.now(), wall_ms: self.wall_ms(&set) };
        let rule = &set.find(scope, LimitKind::Concurrency, false, at)?.active.rule;
        match rule.bound {
            Bound::AtOnce(limit) => Some((limit, Arc::clone(&rule.name))),
            Bound::Rate(_) => None,
        }
    }

    /// Bytes of the table, held for ever. Rules come on top, about 200 bytes each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), wall_ms: self.clock.wall_ms() }
    }

    /// Wall time if some rule expires; while none does it is not read.
    fn wall_ms(&self, set: &RuleSet) -> u64 {
        if set.expiring > 0 { self.clock.wall_ms() } else { 0 }
    }

    fn hash(&self, scope: Scope, kind: LimitKind, dry_run: bool) -> u64 {
        let tag = scope.tag() << 3 | (kind as usize) << 1 | usize::from(dry_run);
        self.hasher.hash_one((scope.id(), tag))
    }

    // A panic under either lock leaves whole rules behind: see `crate::sync::lock`.
    fn read(&self) -> impl std::ops::Deref<Target = RuleSet> + '_ {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> impl std::ops::DerefMut<Target = RuleSet> + '_ {
        self.rules.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("rules", &self.read().rules.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}
