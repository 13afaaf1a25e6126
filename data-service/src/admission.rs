//! Limits that operators tune live: stored in the database and applied in memory, with a record of every
//! change.
//!
//! The arithmetic is the protection layer's; here are names, persistence, expiry and the audit trail.
//! `enforce` turns a limit into a rule or a gate's switch.

mod enforce;
mod error;

pub use self::error::LimitError;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{OwnedMutexGuard, oneshot};
use weir_protect::{Gates, Limits};
use weir_proto::{
    admin::{Limit, LimitChange, LimitKind},
    id::ChannelId,
};
use weir_store::{Halt, SETTINGS_MAX, Setting, Store, WriteError};

use self::{
    enforce::{Force, can_refuse, name_of},
    error::invalid,
};
use crate::{clock::Clock, write::in_doubt::Pauses};

/// Kinds of rows in the store's settings.
const LIMIT: &str = "limit";
const CHANGE: &str = "limit_change";
/// Maximum stored limits; each is an operator's decision.
const LIMITS_MAX: usize = 10_000;
/// Changes kept for `limits history`; older ones are removed.
const CHANGES_MAX: usize = 9_000;
/// Changes that may wait for their removal: together with the kept ones, as many as the store reads in one
/// go.
const CHANGES_OVER_MAX: usize = 1_000;
/// Old changes are removed after the first change of a process and then after each this many.
const TRIM_EVERY: u64 = 64;

/// The limits of one node.
pub struct LimitBook {
    store: Arc<dyn Store>,
    limits: Arc<Limits>,
    gates: Arc<Gates>,
    clock: Arc<dyn Clock>,
    /// Limits in force, as operators see them.
    known: Mutex<Vec<Limit>>,
    /// Number of limits of guilds: while it is 0, no request looks up its channel's guild.
    of_guilds: AtomicU64,
    /// Changes that this process made; the count distinguishes changes of the same microsecond.
    changes: AtomicU64,
    /// Number of changes at which old records are next removed.
    trim_at: AtomicU64,
    /// Held for a whole change, from the database to memory, so that there is one at a time.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl LimitBook {
    /// Reads the limits and applies them.
    ///
    /// # Errors
    /// [`LimitError::Read`], or [`LimitError::Invalid`] for a stored limit that this version does not
    /// understand.
    pub async fn open(
        store: Arc<dyn Store>,
        limits: Arc<Limits>,
        gates: Arc<Gates>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, LimitError> {
        let book = Self {
            store,
            limits,
            gates,
            clock,
            of_guilds: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            trim_at: AtomicU64::new(1),
            changing: Arc::default(),
            known: Mutex::new(Vec::new()),
        };
        book.reload().await?;
        Ok(Arc::new(book))
    }

    /// Replaces the limits in memory by the database's: at the start, and when a tenure begins, because
    /// another owner may have changed them.
    ///
    /// # Errors
    /// As [`LimitBook::open`]; then the limits in memory stay in force.
    pub(crate) async fn reload(&self) -> Result<(), LimitError> {
        let _one = self.changing.lock().await;
        let mut known = Vec::new();
        for (_, value) in self.store.read_settings(LIMIT, LIMITS_MAX).await? {
            let limit = Limit::decode(value)
                .map_err(|error| invalid(format!("a stored limit is damaged: {error}")))?;
            Force::of(&limit)?;
            known.push(limit);
        }
        let now_ms = self.clock.wall_us() / 1_000;
        // A limit with an end comes after the one without, and so takes its place.
        known.sort_by_key(|limit| limit.expires_at_ms != 0);
        let in_force: HashMap<Place, &Limit> = known
            .iter()
            .filter(|limit| !is_over(limit, now_ms))
            .map(|limit| (place_of(limit), limit))
            .collect();
        for old in self.lock().iter().filter(|old| !in_force.contains_key(&place_of(old))) {
            Force::of(old)?.lift(&self.limits, &self.gates);
        }
        for limit in in_force.values() {
            Force::of(limit)?.apply(&self.limits, &self.gates)?;
        }
        self.replace(known);
        Ok(())
    }

    fn replace(&self, known: Vec<Limit>) {
        let of_guilds = known.iter().filter(|limit| limit.scope.starts_with("guild/")).count() as u64;
        self.of_guilds.store(of_guilds, Ordering::Release);
        *self.lock() = known;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Limit>> {
        // The list is replaced in one step, so it is consistent after any panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Vec<Limit> {
        self.lock().clone()
    }

    pub(crate) fn has_guild_limits(&self) -> bool {
        self.of_guilds.load(Ordering::Acquire) > 0
    }

    /// Limits in force, each with its number of refusals in this process.
    #[must_use]
    pub fn list(&self) -> Vec<Limit> {
        let views = self.limits.list();
        let mut known = self.known();
        for limit in &mut known {
            let name = name_of(limit);
            let view =
                views.iter().find(|view| *view.rule.name == *name && view.rule.dry_run == limit.dry_run);
            limit.refused = view.map_or(0, |view| view.refused + view.would_refuse);
        }
        known
    }

    /// Limits that name this channel.
    #[must_use]
    pub fn of_channel(&self, channel_id: ChannelId) -> Vec<Limit> {
        let own = format!("channel/{channel_id}");
        let general = |scope: &str| {
            scope == own || scope == "all" || scope.starts_with("class/") || scope == "channel/*"
        };
        self.list().into_iter().filter(|limit| general(&limit.scope)).collect()
    }

    /// Applies a limit in place of the one of the same scope and kind. It acts on the first request after
    /// this returns.
    ///
    /// A dry run stays beside the limit that refuses until it is replaced by a limit without dry run. A limit
    /// with an end overrides the one without, which acts again (within a second) after that end; a limit
    /// without an end replaces both.
    ///
    /// # Errors
    /// [`LimitError`]; then nothing changed, unless it is [`WriteError::Unknown`].
    ///
    /// # Cancel safety
    /// A caller that leaves while another change is under way changes nothing. Later the change runs in a
    /// task of its own, to its end.
    pub async fn set(self: &Arc<Self>, limit: Limit) -> Result<Limit, LimitError> {
        self.change(|book, doubt| async move { book.put(limit, doubt).await }).await
    }

    /// Removes a limit with its dry run and the one that it overrides; false if there is none.
    ///
    /// # Errors
    /// [`LimitError`]; then it is still in force, unless it is [`WriteError::Unknown`].
    ///
    /// # Cancel safety
    /// As [`LimitBook::set`].
    pub async fn unset(
        self: &Arc<Self>,
        scope: &str,
        kind: LimitKind,
        who: &str,
    ) -> Result<bool, LimitError> {
        let (scope, who) = (scope.to_owned(), who.to_owned());
        let change = |book: Arc<Self>, doubt| async move {
            book.remove("unset", &who, |limit| limit.scope == scope && limit.kind() == kind, doubt).await
        };
        self.change(change).await
    }

    /// Runs a change in a task of its own, so that a stored limit comes into force even if the caller leaves.
    /// There is one such task at a time, because it has the lock before it begins. If the change is in doubt,
    /// its caller is told at once.
    async fn change<T: Send + 'static, F: Future<Output = Result<T, LimitError>> + Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>, Doubt) -> F,
    ) -> Result<T, LimitError> {
        let one = Arc::clone(&self.changing).lock_owned().await;
        let (doubt, doubted) = oneshot::channel();
        let change = change(Arc::clone(self), Doubt::Resolve(Some(doubt)));
        let changed = tokio::spawn(async move {
            let _one: OwnedMutexGuard<()> = one;
            change.await
        });
        let unknown = |reason: String| LimitError::Store(WriteError::Unknown { reason });
        tokio::select! {
            biased;
            changed = changed => changed.unwrap_or_else(|broke| Err(unknown(broke.to_string()))),
            Ok(reason) = doubted => Err(unknown(reason)),
        }
    }

    /// [`Self::set`], called under [`Self::changing`].
    async fn put(&self, mut limit: Limit, mut doubt: Doubt) -> Result<Limit, LimitError> {
        limit.set_at_ms = self.clock.wall_us() / 1_000;
        limit.refused = 0;
        if limit.expires_at_ms != 0 && limit.expires_at_ms <= limit.set_at_ms {
            return Err(invalid("expires_at_ms lies in the past"));
        }
        if limit.burst == 0 && limit.kind() != LimitKind::GateOff {
            // The check in `rule` allows at most 10^9, so the cast keeps the value.
            limit.burst = limit.rate.ceil().clamp(1.0, 1e9) as u64;
        }
        Force::of(&limit)?;
        can_refuse(&limit)?;
        let (replaced, mut known): (Vec<Limit>, Vec<Limit>) =
            self.known().into_iter().partition(|old| replaces(&limit, old));
        if known.len() >= LIMITS_MAX {
            return Err(invalid(format!("{LIMITS_MAX} limits are in force; unset some first")));
        }
        let mut rows: Vec<Setting> =
            replaced.iter().filter(|old| !same(old, &limit)).map(|old| setting(old, None)).collect();
        rows.push(setting(&limit, Some(limit.encode_to_vec().into())));
        self.keep(rows, "set", &limit.set_by, &limit, &mut doubt).await?;
        known.push(limit.clone());
        for place in replaced.iter().chain([&limit]) {
            self.enforce(&known, place)?;
        }
        self.replace(known);
        Ok(limit)
    }

    /// Removes limits and applies those that they overrode. Called under [`Self::changing`].
    async fn remove(
        &self,
        action: &str,
        who: &str,
        which: impl Fn(&Limit) -> bool,
        mut doubt: Doubt,
    ) -> Result<bool, LimitError> {
        let gone: Vec<Limit> = self.lock().iter().filter(|limit| which(limit)).cloned().collect();
        for limit in &gone {
            self.keep(vec![setting(limit, None)], action, who, limit, &mut doubt).await?;
            let mut left = self.known();
            left.retain(|old| !same(old, limit));
            self.enforce(&left, limit)?;
            self.replace(left);
        }
        Ok(!gone.is_empty())
    }

    /// Sets the rule or gate of a limit's place according to `known`.
    fn enforce(&self, known: &[Limit], place: &Limit) -> Result<(), LimitError> {
        let now_ms = self.clock.wall_us() / 1_000;
        let here = known.iter().filter(|limit| place_of(limit) == place_of(place) && !is_over(limit, now_ms));
        match here.max_by_key(|limit| limit.expires_at_ms != 0) {
            Some(limit) => Force::of(limit)?.apply(&self.limits, &self.gates),
            None => {
                Force::of(place)?.lift(&self.limits, &self.gates);
                Ok(())
            }
        }
    }

    /// Removes expired limits and records that. (They stopped acting at their end by themselves.)
    ///
    /// # Errors
    /// [`LimitError`]; the rest is tried again at the next call.
    pub async fn expire(&self) -> Result<(), LimitError> {
        let now_ms = self.clock.wall_us() / 1_000;
        let over: Vec<Limit> = self.lock().iter().filter(|limit| is_over(limit, now_ms)).cloned().collect();
        let mut expired = Ok(());
        for over in over {
            // One limit at a time, so that no operator waits for many. A change may be in doubt for long;
            // then the next call continues.
            let Ok(_one) = self.changing.try_lock() else { break };
            // The limit is looked up again under the lock, as it may have been renewed. One that stays does
            // not keep the others listed.
            let still = |limit: &Limit| same(limit, &over) && is_over(limit, now_ms);
            let removed = self.remove("expired", "weir", still, Doubt::Leave).await;
            expired = expired.and(removed.map(drop));
        }
        expired
    }

    /// The newest `limit` changes, newest first; of one scope if it is not empty.
    ///
    /// # Errors
    /// [`LimitError::Read`]
    pub async fn history(&self, limit: usize, scope: &str) -> Result<Vec<LimitChange>, LimitError> {
        let rows = self.store.read_settings(CHANGE, CHANGES_MAX).await?;
        let changes = rows.into_iter().filter_map(|(_, value)| LimitChange::decode(value).ok());
        let of_scope = changes.filter(|change| {
            scope.is_empty() || change.limit.as_ref().is_some_and(|limit| limit.scope == scope)
        });
        Ok(of_scope.take(limit).collect())
    }

    /// Writes rows of limits and the records of their change in one step: every limit in force has its
    /// record.
    async fn keep(
        &self,
        mut rows: Vec<Setting>,
        action: &str,
        who: &str,
        changed: &Limit,
        doubt: &mut Doubt,
    ) -> Result<(), LimitError> {
        let at_us = self.clock.wall_us();
        let change = LimitChange {
            at_ms: at_us / 1_000,
            who: who.to_owned(),
            action: action.to_owned(),
            limit: Some(changed.clone()),
        };
        let number = self.changes.fetch_add(1, Ordering::Relaxed);
        // Keys sort the newest first, because operators mostly ask for the newest.
        let mut key = (u64::MAX - at_us).to_be_bytes().to_vec();
        key.extend((u64::MAX - number).to_be_bytes());
        rows.push(Setting { kind: CHANGE.to_owned(), key, value: Some(change.encode_to_vec().into()) });
        let (mut pauses, mut doubted) = (Pauses::new(), false);
        loop {
            let error = match self.store.write_settings(rows.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match (error, &mut *doubt) {
                // For a change in doubt, "not applied" concerns only this attempt: the first one may still
                // have happened.
                (WriteError::Unknown { reason }, Doubt::Resolve(tell)) => {
                    if let Some(tell) = tell.take() {
                        tracing::warn!(reason, "a limit's change is in doubt; sending it again");
                        // The caller may have left.
                        drop(tell.send(reason));
                    }
                }
                (WriteError::Halted(Halt::Lost { reason }), _) if doubted => {
                    return Err(WriteError::Unknown { reason }.into());
                }
                (WriteError::NotApplied { .. } | WriteError::Halted(_), _) if doubted => {}
                (error, _) => return Err(error.into()),
            }
            doubted = true;
            pauses.wait().await;
        }
    }

    /// Removes the records of changes beyond those kept (9,000), if there were changes since the last
    /// removal. It runs beside the changes and does not delay them, because it may read all records.
    ///
    /// # Errors
    /// [`LimitError`]; the next call with something to remove removes the rest.
    pub async fn trim(&self) -> Result<(), LimitError> {
        let changes = self.changes.load(Ordering::Relaxed);
        if changes < self.trim_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.trim_at.store(changes + TRIM_EVERY, Ordering::Relaxed);
        let rows = self.store.read_settings(CHANGE, CHANGES_MAX + CHANGES_OVER_MAX).await?;
        let old: Vec<Setting> = rows
            .into_iter()
            .skip(CHANGES_MAX)
            .map(|(key, _)| Setting { kind: CHANGE.to_owned(), key, value: None })
            .collect();
        for part in old.chunks(SETTINGS_MAX) {
            self.store.write_settings(part.to_vec()).await?;
        }
        Ok(())
    }
}

/// Handling of a change whose outcome is not known.
enum Doubt {
    /// The change is repeated until its outcome is known. The waiting caller is told at the first doubt, with
    /// the reason.
    Resolve(Option<oneshot::Sender<String>>),
    /// Somebody else repeats the change.
    Leave,
}

/// A limit's row.
fn setting(limit: &Limit, value: Option<Bytes>) -> Setting {
    Setting { kind: LIMIT.to_owned(), key: key_of(limit).into_bytes(), value }
}

/// True if two limits cannot exist side by side.
fn same(a: &Limit, b: &Limit) -> bool {
    place_of(a) == place_of(b) && (a.expires_at_ms == 0) == (b.expires_at_ms == 0)
}

/// True if setting `limit` removes `old`.
fn replaces(limit: &Limit, old: &Limit) -> bool {
    let tried = old.dry_run && !limit.dry_run;
    let whole = old.dry_run == limit.dry_run && limit.expires_at_ms == 0;
    old.scope == limit.scope && old.kind == limit.kind && (same(old, limit) || tried || whole)
}

/// Scope, kind, and whether it is a dry run: one of the limits in a place acts at a time.
type Place<'a> = (&'a str, i32, bool);

fn place_of(limit: &Limit) -> Place<'_> {
    (&limit.scope, limit.kind, limit.dry_run)
}

fn is_over(limit: &Limit, now_ms: u64) -> bool {
    limit.expires_at_ms != 0 && limit.expires_at_ms <= now_ms
}

fn key_of(limit: &Limit) -> String {
    let dry_run = if limit.dry_run { "|dry_run" } else { "" };
    let temporary = if limit.expires_at_ms == 0 { "" } else { "|temporary" };
    format!("{}|{}{dry_run}{temporary}", limit.scope, limit.kind)
}
