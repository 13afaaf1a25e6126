//! A store in memory that follows a test's script: it delays, hangs, fails, loses answers, and counts every
//! call.
//!
//! Rows obey the store's rules (the higher revision wins, a removal overrides every row that is not above
//! it), so a repeated or late write has exactly a database's effect.
//!
//! Length: it implements the whole Store trait over one scripted state; in two files the script and its
//! effects would lie apart.

mod calls;
mod rows;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use weir_data_service::clock::Clock;
use weir_proto::{bucket::Bucket, id::ScopeId};
use weir_store::{Commit, ReadError, RowChange, WriteError};

pub(crate) use self::rows::Rows;

/// What one commit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is applied and says so.
    Applied,
    /// It is not applied and says so.
    NotApplied,
    /// It is applied; the answer is lost.
    UnknownApplied,
    /// It is not applied and never will be; the answer is lost.
    UnknownNotApplied,
    /// The answer is lost, and it is applied this much later.
    UnknownLater(Duration),
    /// It is applied after this.
    Slow(Duration),
    /// Nobody ever answers; it is not applied.
    Hang,
    /// It is applied, and the driver panics.
    Panic,
}

/// One commit as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) commit: Commit,
    pub(crate) fate: Fate,
}

/// Pseudo-random numbers of a seed (splitmix64): the same in every run.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03))
    }

    /// A number below `below`, which is at least 1.
    pub(crate) fn roll(&self, below: u64) -> u64 {
        let state = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, SeqCst).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// Random delays: how long before a call looks at the rows, and how long after.
#[derive(Debug, Clone, Copy)]
struct Slowness {
    max: Duration,
}

/// The scripted store.
pub(crate) struct FakeStore {
    rows: Arc<Mutex<Rows>>,
    clock: Arc<dyn Clock>,
    dice: Dice,
    fates: Mutex<VecDeque<Fate>>,
    /// As [`FakeStore::fates`], of writes that pass no turn.
    row_fates: Mutex<VecDeque<Fate>>,
    /// As [`FakeStore::fates`], of settings.
    setting_fates: Mutex<VecDeque<Fate>>,
    slowness: Mutex<Option<Slowness>>,
    /// Every commit that arrived, repetitions included, in order of arrival.
    seen: Mutex<Vec<Seen>>,
    /// Breaches of what the sequencer owes the store; checked by [`FakeStore::assert_sound`].
    breaches: Mutex<Vec<String>>,
    in_flight: Mutex<std::collections::HashMap<ScopeId, usize>>,
    pub(crate) reads_hang: AtomicBool,
    /// Scopes whose changes cannot be read above a revision: too few of their replicas answer, or a row is
    /// damaged.
    pub(crate) unreadable: Mutex<std::collections::HashMap<u64, u64>>,
    pub(crate) reads_fail: AtomicUsize,
    pub(crate) settings_fail: AtomicUsize,
    /// The same of writes that remove a setting.
    pub(crate) removals_fail: AtomicUsize,
    reads: AtomicU64,
    partition_reads: AtomicU64,
    index_reads: AtomicU64,
    point_reads: AtomicU64,
    writes: AtomicU64,
    hold: watch::Sender<bool>,
    /// A read answers this long after it looked.
    answers_take: Mutex<Duration>,
    /// A lease's transaction takes this long.
    leases_take: Mutex<Duration>,
    /// The lease with this name can be neither taken nor renewed.
    lease_refused: Mutex<String>,
    /// Noting a scope active takes this long.
    noting_takes: Mutex<Duration>,
    /// The process that uses this handle does not run before this.
    stopped_until: Mutex<Option<Instant>>,
    /// The process that uses this handle was killed: nothing it asks for happens any more.
    dead: AtomicBool,
    /// Added to the clock of [`Store::clock_us`].
    pub(crate) clock_off_us: AtomicU64,
}

impl FakeStore {
    pub(crate) fn new(clock: Arc<dyn Clock>, seed: u64) -> Arc<Self> {
        Self::over(Arc::default(), clock, seed)
    }

    /// Another process's handle of the same database, without this one's script.
    pub(crate) fn fork(&self) -> Arc<Self> {
        Self::over(Arc::clone(&self.rows), Arc::clone(&self.clock), self.dice.roll(u64::MAX))
    }

    fn over(rows: Arc<Mutex<Rows>>, clock: Arc<dyn Clock>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rows,
            clock,
            dice: Dice::new(seed),
            fates: Mutex::default(),
            row_fates: Mutex::default(),
            setting_fates: Mutex::default(),
            slowness: Mutex::default(),
            seen: Mutex::default(),
            breaches: Mutex::default(),
            in_flight: Mutex::default(),
            reads_hang: AtomicBool::new(false),
            unreadable: Mutex::default(),
            reads_fail: AtomicUsize::new(0),
            settings_fail: AtomicUsize::new(0),
            removals_fail: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
            partition_reads: AtomicU64::new(0),
            index_reads: AtomicU64::new(0),
            point_reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            hold: watch::Sender::new(false),
            answers_take: Mutex::default(),
            leases_take: Mutex::default(),
            lease_refused: Mutex::default(),
            noting_takes: Mutex::default(),
            stopped_until: Mutex::default(),
            dead: AtomicBool::new(false),
            clock_off_us: AtomicU64::new(0),
        })
    }

    /// The rows, behind the service's back.
    pub(crate) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    /// The next commits have these fates, in order; those after them are applied.
    pub(crate) fn script(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().unwrap().extend(fates);
    }

    /// As [`FakeStore::script`], of the next writes that pass no turn.
    pub(crate) fn script_rows(&self, fates: impl IntoIterator<Item = Fate>) {
        self.row_fates.lock().unwrap().extend(fates);
    }

    /// How many of the scripted writes that pass no turn did not come yet.
    pub(crate) fn row_fates_left(&self) -> usize {
        self.row_fates.lock().unwrap().len()
    }

    /// As [`FakeStore::script`], of the next writes of settings.
    pub(crate) fn script_settings(&self, fates: impl IntoIterator<Item = Fate>) {
        self.setting_fates.lock().unwrap().extend(fates);
    }

    /// From now on each call takes a random time up to `max` before and again after it takes effect.
    pub(crate) fn slow(&self, max: Duration) {
        *self.slowness.lock().unwrap() = (max > Duration::ZERO).then_some(Slowness { max });
    }

    /// Commits wait until they are let go.
    pub(crate) fn hold_commits(&self, held: bool) {
        self.hold.send_replace(held);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Commits of one scope, repetitions included.
    pub(crate) fn seen_of(&self, scope_id: u64) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.commit.scope_id.get() == scope_id).collect()
    }

    /// Calls that read, all kinds.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(SeqCst)
    }

    /// Calls that read history: the index of buckets, rows, single messages. What a node reads for itself
    /// when it starts is not among them.
    pub(crate) fn history_reads(&self) -> u64 {
        self.index_reads() + self.partition_reads() + self.point_reads.load(SeqCst)
    }

    pub(crate) fn partition_reads(&self) -> u64 {
        self.partition_reads.load(SeqCst)
    }

    pub(crate) fn index_reads(&self) -> u64 {
        self.index_reads.load(SeqCst)
    }

    /// Panics if the sequencer broke what it owes a store: one commit in flight, batches within bounds,
    /// revisions that rise.
    pub(crate) fn assert_sound(&self) {
        let breaches = self.breaches.lock().unwrap();
        assert!(breaches.is_empty(), "{breaches:#?}");
    }

    fn breach(&self, what: String) {
        self.breaches.lock().unwrap().push(what);
    }

    /// Kills the process behind this handle.
    pub(crate) fn kill(&self) {
        self.dead.store(true, SeqCst);
    }

    /// Stops the process behind this handle for a while: it asks for nothing and hears no answer. (What was
    /// asked for goes on.)
    pub(crate) fn stop_for(&self, time: Duration) {
        *self.stopped_until.lock().unwrap() = Some(Instant::now() + time);
    }

    pub(crate) fn answers_take(&self, time: Duration) {
        *self.answers_take.lock().unwrap() = time;
    }

    pub(crate) fn leases_take(&self, time: Duration) {
        *self.leases_take.lock().unwrap() = time;
    }

    /// From now on this one cannot be taken or renewed (none, if empty).
    pub(crate) fn refuse_lease(&self, name: &str) {
        name.clone_into(&mut self.lease_refused.lock().unwrap());
    }

    pub(crate) fn noting_takes(&self, time: Duration) {
        *self.noting_takes.lock().unwrap() = time;
    }

    async fn dawdle(&self) {
        if self.dead.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let stopped_until = *self.stopped_until.lock().unwrap();
        if let Some(until) = stopped_until {
            sleep_until(until).await;
        }
        let slowness = *self.slowness.lock().unwrap();
        if let Some(Slowness { max }) = slowness {
            let us = self.dice.roll(u64::try_from(max.as_micros()).unwrap() + 1);
            sleep(Duration::from_micros(us)).await;
        }
    }

    async fn read<T>(&self, look: impl FnOnce(&Rows) -> T + Send) -> Result<T, ReadError> {
        self.reads.fetch_add(1, SeqCst);
        if self.reads_hang.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        self.dawdle().await;
        let fails = self.reads_fail.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let found = look(&self.rows());
        let answers_take = *self.answers_take.lock().unwrap();
        if answers_take > Duration::ZERO {
            sleep(answers_take).await;
        }
        self.dawdle().await;
        if fails { Err(ReadError::Unavailable { reason: "as scripted".into() }) } else { Ok(found) }
    }

    /// What `fate` makes of a write, with time on both sides of its effect.
    async fn write(
        &self,
        fate: Fate,
        apply: impl FnOnce(&mut Rows) + Send + 'static,
    ) -> Result<(), WriteError> {
        self.dawdle().await;
        let lost = || Err(WriteError::Unknown { reason: "the answer is lost, as scripted".into() });
        let answer = match fate {
            Fate::Applied => {
                apply(&mut self.rows());
                Ok(())
            }
            Fate::Slow(after) => {
                sleep(after).await;
                apply(&mut self.rows());
                Ok(())
            }
            Fate::NotApplied => Err(WriteError::NotApplied { reason: "as scripted".into() }),
            Fate::UnknownApplied => {
                apply(&mut self.rows());
                lost()
            }
            Fate::UnknownNotApplied => lost(),
            Fate::UnknownLater(after) => {
                let rows = Arc::clone(&self.rows);
                tokio::spawn(async move {
                    sleep(after).await;
                    apply(&mut rows.lock().unwrap());
                });
                lost()
            }
            Fate::Hang => std::future::pending().await,
            Fate::Panic => {
                apply(&mut self.rows());
                panic!("as scripted");
            }
        };
        // The answer is on its way: what it acknowledges has happened, and nobody knows it yet.
        self.dawdle().await;
        answer
    }

    /// What the real stores refuse, and what only the sequencer can get wrong.
    fn check(&self, commit: &Commit) {
        let scope = commit.scope_id;
        if !commit.records.is_sorted_by(|one, next| one.rev < next.rev) {
            self.breach(format!("{scope}: records do not rise"));
        }
        if commit.records.last().is_none_or(|last| last.rev != commit.rev) {
            self.breach(format!("{scope}: the commit's rev is not its last record's"));
        }
        if !commit.rows_are_outbox {
            return;
        }
        let mut buckets = std::collections::BTreeSet::new();
        let (mut bytes, mut last) = (0, 0);
        for row in &commit.rows {
            let RowChange::PutMessage(row) = row else {
                self.breach(format!("{scope}: a batch of creates has another change"));
                continue;
            };
            buckets.insert(Bucket::of_raw(row.id));
            bytes += row.content.len() + row.embeds_json.len();
            if row.id <= last || row.rev != row.last_rev {
                self.breach(format!(
                    "{scope}: ids of a batch do not rise, or a create carries two revisions"
                ));
            }
            last = row.id;
        }
        if buckets.len() != 1 {
            self.breach(format!("{scope}: a batch crosses buckets: {buckets:?}"));
        }
        if commit.rows.len() > 1 && bytes > 64 << 10 {
            self.breach(format!("{scope}: a batch of {} rows has {bytes} bytes", commit.rows.len()));
        }
    }

    /// Arrival of a commit: it must be alone, and new or a repetition of the last one.
    fn arrive(&self, commit: &Commit, fate: Fate) {
        self.check(commit);
        let mut seen = self.seen.lock().unwrap();
        let last = seen.iter().rev().find(|seen| seen.commit.scope_id == commit.scope_id);
        if let Some(last) = last {
            let doubtful = !matches!(last.fate, Fate::Applied | Fate::NotApplied | Fate::Slow(_));
            if doubtful && last.commit != *commit && last.fate != Fate::Hang {
                self.breach(format!("{}: written while an outcome was not known", commit.scope_id));
            }
        }
        seen.push(Seen { commit: commit.clone(), fate });
        let mut in_flight = self.in_flight.lock().unwrap();
        let count = in_flight.entry(commit.scope_id).or_default();
        *count += 1;
        if *count > 1 {
            self.breach(format!("{}: {count} commits in flight", commit.scope_id));
        }
    }
}
