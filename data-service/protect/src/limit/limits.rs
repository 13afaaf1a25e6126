//! The limits in force: rules that change live, and the one step that charges all of a request's scopes.

use std::{
    collections::HashSet,
    fmt,
    hash::BuildHasher,
    ops::{Deref, DerefMut},
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    clock::{Clock, Nanos},
    error::Refusal,
    limit::{
        gcra,
        rules::{Admitted, Bound, LimitKind, Rule, RuleError, RuleView, Scope, Selector},
        ruleset::{Active, Applied, Moment, RuleKey, RuleSet},
        table::{CELLS_MAX, Cell, LimitTable},
    },
    reason::RefusalReason,
    sync::{Ordering, RandomState, RwLock},
};

/// The limits in force and their state.
///
/// A change holds a write lock that charges hold for reading: it acts on the first charge after it returns,
/// and no charge sees half of it.
pub struct Limits {
    rules: RwLock<RuleSet>,
    table: LimitTable,
    clock: Arc<dyn Clock>,
    secret: Secret,
}

impl Limits {
    /// Creates limits without rules, with a table of `slots` slots of 16 bytes.
    pub fn new(slots: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            rules: RwLock::new(RuleSet::default()),
            table: LimitTable::new(slots),
            clock,
            secret: Secret::new(),
        }
    }

    /// Applies `rule` in place of the rule of the same selector, kind and run.
    ///
    /// # Errors
    /// [`RuleError`]; then nothing has changed.
    pub fn set(&self, rule: Rule) -> Result<(), RuleError> {
        let at = self.moment();
        self.write().insert(rule, at)
    }

    /// Removes a rule; `false` if there is none.
    pub fn remove(&self, selector: Selector, kind: LimitKind, dry_run: bool) -> bool {
        let now = self.clock.now();
        self.write().remove((selector, kind, dry_run), now).is_some()
    }

    /// Replaces all rules by `rules`. Versions rise: a set that arrives late is refused.
    ///
    /// # Errors
    /// [`RuleError::Outdated`], with nothing changed; any other error leaves the rules before the faulty one
    /// in force and the version as it was.
    pub fn install(&self, version: u64, rules: Vec<Rule>) -> Result<(), RuleError> {
        let at = self.moment();
        let mut set = self.write();
        if version <= set.version {
            return Err(RuleError::Outdated { in_force: set.version });
        }
        let name = |rule: &Rule| (rule.selector, rule.kind, rule.dry_run);
        let kept: HashSet<RuleKey> = rules.iter().map(name).collect();
        for rule in rules {
            set.insert(rule, at)?;
        }
        let gone: Vec<RuleKey> = set.iter().map(|active| name(&active.rule)).collect();
        for key in gone.into_iter().filter(|key| !kept.contains(key)) {
            set.remove(key, at.now);
        }
        set.version = version;
        Ok(())
    }

    /// The rules in force, including expired ones that are not removed yet.
    #[must_use]
    pub fn list(&self) -> Vec<RuleView> {
        let set = self.read();
        let view = |active: &Active| RuleView {
            rule: active.rule.clone(),
            refused: active.counts.refused.load(Ordering::Relaxed),
            would_refuse: active.counts.would_refuse.load(Ordering::Relaxed),
        };
        set.iter().map(view).collect()
    }

    /// Charges one cell of `kind` to every scope, or to none: one step, so that a refused scope costs the
    /// others nothing.
    ///
    /// # Errors
    /// The refusal with the longest wait, so that a retry after it meets none of the limits that refused.
    pub fn charge(&self, scopes: &[Scope], kind: LimitKind, now: Nanos) -> Result<Admitted, Refusal> {
        self.charge_many(scopes, kind, 1, now)
    }

    /// The same for `amount` cells at once: all of them to every scope, or none to any.
    ///
    /// # Errors
    /// As [`Limits::charge`]; [`RefusalReason::BeyondBurst`] without a wait if a limit's burst is below
    /// `amount`, so that the same charge can never be made.
    pub fn charge_many(
        &self,
        scopes: &[Scope],
        kind: LimitKind,
        amount: u32,
        now: Nanos,
    ) -> Result<Admitted, Refusal> {
        let set = self.read();
        let at = Moment { now, wall_ms: self.wall_ms(&set) };
        let mut cells = [None; CELLS_MAX];
        let mut rules = [None; CELLS_MAX];
        let mut len = 0;
        for (scope, dry_run) in scopes.iter().flat_map(|&scope| [(scope, false), (scope, true)]) {
            let Some(Applied { active, since }) = set.find(scope, kind, dry_run, at) else { continue };
            let (Some((quota_id, quota, baseline)), true) = (active.rate, len < CELLS_MAX) else { continue };
            let hash = self.secret.hash(scope, kind, dry_run);
            cells[len] = Some(Cell { hash, quota, quota_id, baseline, since, enforced: !dry_run });
            rules[len] = Some((scope, active));
            len += 1;
        }
        if len == 0 {
            return Ok(Admitted::default());
        }
        let decision = self.table.charge(&cells[..len], amount, now, &set.quotas);
        if let Some((scope, active)) = decision.never_fits.and_then(|i| rules[i]) {
            active.counts.refused.fetch_add(1, Ordering::Relaxed);
            let (reason, limit) = (RefusalReason::BeyondBurst, Arc::clone(&active.rule.name));
            return Err(Refusal { reason, scope: Some(scope), limit, retry_after: Duration::ZERO });
        }
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

    /// The refusal that [`Limits::charge`] would return now; nothing is charged or counted.
    #[must_use]
    pub fn peek(&self, scopes: &[Scope], kind: LimitKind, now: Nanos) -> Option<Refusal> {
        let set = self.read();
        let at = Moment { now, wall_ms: self.wall_ms(&set) };
        let refusals = scopes.iter().filter_map(|&scope| {
            let Applied { active, since } = set.find(scope, kind, false, at)?;
            let (quota_id, quota, baseline) = active.rate?;
            let hash = self.secret.hash(scope, kind, false);
            let cell = Cell { hash, quota, quota_id, baseline, since, enforced: true };
            let retry_after = self.table.peek(&cell, now, &set.quotas)?;
            let limit = Arc::clone(&active.rule.name);
            Some(Refusal { reason: kind.reason(), scope: Some(scope), limit, retry_after })
        });
        refusals.max_by_key(|refusal| refusal.retry_after)
    }

    /// Maximum reads of `scope` in the store at once, and the name of the rule with this bound.
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

    /// Bytes of the table, which never change. Rules add about 200 bytes each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), wall_ms: self.clock.wall_ms() }
    }

    /// Wall time if some rule expires; otherwise it is not read.
    fn wall_ms(&self, set: &RuleSet) -> u64 {
        if set.expiring > 0 { self.clock.wall_ms() } else { 0 }
    }

    // A panic under either lock leaves whole rules behind: see `crate::sync::lock`.
    fn read(&self) -> impl Deref<Target = RuleSet> + '_ {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> impl DerefMut<Target = RuleSet> + '_ {
        self.rules.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("rules", &self.read().len()).field("bytes", &self.bytes()).finish()
    }
}

/// Two words that only this process knows.
#[derive(Debug)]
struct Secret(u64, u64);

impl Secret {
    fn new() -> Self {
        let random = RandomState::new();
        // The word is odd, so that the multiplication loses nothing.
        Self(random.hash_one(0_u8), random.hash_one(1_u8) | 1)
    }

    /// The hash of a limited scope: two folded multiplications, as in wyhash. SipHash would take a third of a
    /// check's time; the secret words keep an attacker from choosing keys that meet in one set.
    fn hash(&self, scope: Scope, kind: LimitKind, dry_run: bool) -> u64 {
        let tag = scope.tag() << 3 | (kind as usize) << 1 | usize::from(dry_run);
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            #[expect(clippy::cast_possible_truncation, reason = "both halves are kept, folded")]
            let folded = (product >> 64) as u64 ^ product as u64;
            folded
        };
        let tagged = self.1.wrapping_mul(2 * tag as u64 + 1);
        fold(fold(scope.id() ^ self.0, tagged) ^ self.1, self.0 | 1)
    }
}
