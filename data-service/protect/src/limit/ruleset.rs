//! The rules in force, and the selection of the rule for a scope.

use std::{collections::HashMap, time::Duration};

use crate::{
    clock::Nanos,
    limit::{
        gcra::{self, Quota},
        quotas::{QuotaId, Quotas},
        rules::{Bound, LimitKind, RULES_MAX, Rule, RuleError, Scope, Selector},
    },
    sync::AtomicU64,
};

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) refused: AtomicU64,
    pub(super) would_refuse: AtomicU64,
}

/// A rule in force.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) rule: Rule,
    /// For a rate: its number, and the TAT of a key without a slot.
    pub(super) rate: Option<(QuotaId, Quota, Nanos)>,
    /// Time of the last change of its bound.
    set_at: Nanos,
    pub(super) counts: Counts,
}

impl Active {
    fn is_live(&self, wall_ms: u64) -> bool {
        self.rule.expires_at_ms.is_none_or(|expires| wall_ms < expires)
    }
}

/// Identity of a rule: selector, kind, and whether it is a dry run.
pub(super) type RuleKey = (Selector, LimitKind, bool);

/// The moment of a charge on both axes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Nanos,
    pub(super) wall_ms: u64,
}

/// The rule that applies to a scope, and the latest time from which it applies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applied<'a> {
    pub(super) active: &'a Active,
    pub(super) since: Nanos,
}

/// The kinds of scope that a rule for each can select.
const EACH: usize = 3;

#[derive(Debug, Default)]
pub(super) struct RuleSet {
    /// Rules of one scope.
    own: HashMap<(Scope, LimitKind, bool), Active>,
    /// Rules for each, by scope's tag, kind and run: found without a hash, because the usual charge meets no
    /// others.
    each: [[[Option<Box<Active>>; 2]; LimitKind::COUNT]; EACH],
    /// Number of rules in `own` for each tag, kind and run, so that no look-up is in vain.
    own_count: [[[usize; 2]; LimitKind::COUNT]; EACH + 1],
    /// Rules with an expiry: while zero, the wall clock is not read.
    pub(super) expiring: usize,
    pub(super) quotas: Quotas,
    /// Last removal of any rule of one scope: from then at the latest the rule for each applies.
    removed_at: Nanos,
    pub(super) version: u64,
}

impl RuleSet {
    /// The rule that applies to `scope`: its own, else the one for each.
    pub(super) fn find(
        &self,
        scope: Scope,
        kind: LimitKind,
        dry_run: bool,
        at: Moment,
    ) -> Option<Applied<'_>> {
        let (tag, run) = (scope.tag(), usize::from(dry_run));
        let has_own = self.own_count[tag][kind as usize][run] > 0;
        let own = if has_own { self.own.get(&(scope, kind, dry_run)) } else { None };
        if let Some(active) = own.filter(|a| a.is_live(at.wall_ms)) {
            return Some(Applied { active, since: active.set_at });
        }
        let active = self.each.get(tag)?[kind as usize][run].as_deref().filter(|a| a.is_live(at.wall_ms))?;
        // The scope's own rule may have ended later than this one was set: by removal, or by expiry.
        let expired = own.and_then(|own| own.rule.expires_at_ms).map_or(Nanos::ZERO, |expired_ms| {
            at.now.before(Duration::from_millis(at.wall_ms.saturating_sub(expired_ms)))
        });
        Some(Applied { active, since: active.set_at.max(self.removed_at).max(expired) })
    }

    /// Every rule, including expired ones.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Active> {
        self.own.values().chain(self.each.iter().flatten().flatten().flatten().map(Box::as_ref))
    }

    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn remove(&mut self, key: RuleKey, now: Nanos) -> Option<Active> {
        let active = self.take(key)?;
        self.removed_at = now;
        Some(active)
    }

    pub(super) fn insert(&mut self, rule: Rule, at: Moment) -> Result<(), RuleError> {
        let key = (rule.selector, rule.kind, rule.dry_run);
        let quota = match (rule.kind, rule.bound) {
            (LimitKind::Concurrency, Bound::AtOnce(_)) => None,
            (LimitKind::Requests | LimitKind::DatabaseReads | LimitKind::Writes, Bound::Rate(q)) => Some(q),
            (LimitKind::Concurrency, Bound::Rate(_)) | (_, Bound::AtOnce(_)) => {
                return Err(RuleError::BoundDoesNotSuit);
            }
        };
        if self.own.len() >= RULES_MAX && self.get(key).is_none() {
            self.prune(at);
            if self.own.len() >= RULES_MAX {
                return Err(RuleError::TooManyRules);
            }
        }
        let rate = match quota {
            None => None,
            Some(quota) => {
                let id = self.number(quota).ok_or(RuleError::TooManyQuotas)?;
                Some((id, quota, self.baseline(key, quota, at)))
            }
        };
        let old = self.take(key);
        let same = old.as_ref().filter(|old| old.rule.bound == rule.bound && old.is_live(at.wall_ms));
        let set_at = same.map_or(at.now, |old| old.set_at);
        let counts = old.map(|old| old.counts).unwrap_or_default();
        self.put(key, Active { rule, rate, set_at, counts });
        Ok(())
    }

    /// New baseline of a key without a slot, which is therefore settled under the rule that applied until
    /// now.
    fn baseline(&self, key: RuleKey, quota: Quota, at: Moment) -> Nanos {
        let before = match key.0 {
            Selector::One(scope) => self.find(scope, key.1, key.2, at).map(|applied| applied.active),
            Selector::EachKey | Selector::EachGroup | Selector::EachClass => {
                self.get(key).filter(|a| a.is_live(at.wall_ms))
            }
        };
        match before.and_then(|active| active.rate) {
            Some((_, old, baseline)) if old == quota => baseline,
            Some((_, old, baseline)) => gcra::convert(old, quota, baseline.max(at.now), at.now),
            None => Nanos::ZERO,
        }
    }

    fn number(&mut self, quota: Quota) -> Option<QuotaId> {
        if let Some(id) = self.quotas.intern(quota) {
            return Some(id);
        }
        let used: std::collections::HashSet<Quota> =
            self.iter().filter_map(|active| active.rate).map(|(_, quota, _)| quota).collect();
        self.quotas.recycle(quota, |quota| used.contains(&quota))
    }

    fn prune(&mut self, at: Moment) {
        let expired = self.own.iter().filter(|(_, active)| !active.is_live(at.wall_ms));
        let expired: Vec<RuleKey> =
            expired.map(|(&(scope, kind, dry_run), _)| (Selector::One(scope), kind, dry_run)).collect();
        for key in expired {
            self.remove(key, at.now);
        }
    }

    fn get(&self, key: RuleKey) -> Option<&Active> {
        match each(key) {
            Err(own) => self.own.get(&own),
            Ok((tag, kind, run)) => self.each[tag][kind][run].as_deref(),
        }
    }

    fn put(&mut self, key: RuleKey, active: Active) {
        self.expiring += usize::from(active.rule.expires_at_ms.is_some());
        match each(key) {
            Ok((tag, kind, run)) => self.each[tag][kind][run] = Some(Box::new(active)),
            Err(own) => {
                self.own_count[own.0.tag()][own.1 as usize][usize::from(own.2)] += 1;
                self.own.insert(own, active);
            }
        }
    }

    fn take(&mut self, key: RuleKey) -> Option<Active> {
        let active = match each(key) {
            Ok((tag, kind, run)) => *self.each[tag][kind][run].take()?,
            Err(own) => {
                let active = self.own.remove(&own)?;
                self.own_count[own.0.tag()][own.1 as usize][usize::from(own.2)] -= 1;
                active
            }
        };
        self.expiring -= usize::from(active.rule.expires_at_ms.is_some());
        Some(active)
    }
}

/// Location of this key's rule: the indices of a rule for each, or the key of a scope's own.
fn each(key: RuleKey) -> Result<(usize, usize, usize), (Scope, LimitKind, bool)> {
    let (selector, kind, dry_run) = key;
    let tag = match selector {
        Selector::One(scope) => return Err((scope, kind, dry_run)),
        Selector::EachKey => Scope::Key(0).tag(),
        Selector::EachGroup => Scope::Group(0).tag(),
        Selector::EachClass => Scope::Class(0).tag(),
    };
    Ok((tag, kind as usize, usize::from(dry_run)))
}
