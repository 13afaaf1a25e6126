//! A store in memory that does what a test's script says: it delays, hangs, fails, forgets answers, and counts everything.
//!
//! Rows obey the store's rules (the higher revision wins, a removal holds against what is not above it), so a repeated or late write shows
//! exactly what a database would show.
//!
//! Length: it implements the whole Store trait over one scripted state; in two files the script and its effects would lie apart.

mod rows;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::watch, time::sleep};
use weir_data_service::clock::Clock;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
};
use weir_store::{
    Commit, Lease, LeaseAnswer, OutboxRecord, PartitionRange, ReadError, RowChange, RowOrder, Store,
    StoreCounters, WriteError,
};

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
    slowness: Mutex<Option<Slowness>>,
    /// Every commit that arrived, repetitions included, in order of arrival.
    seen: Mutex<Vec<Seen>>,
    /// Breaches of what the sequencer owes the store; checked by [`FakeStore::assert_sound`].
    breaches: Mutex<Vec<String>>,
    in_flight: Mutex<std::collections::HashMap<u64, usize>>,
    pub(crate) reads_hang: AtomicBool,
    pub(crate) reads_fail: AtomicUsize,
    pub(crate) settings_fail: AtomicUsize,
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
    /// Noting a scope active takes this long.
    noting_takes: Mutex<Duration>,
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
            slowness: Mutex::default(),
            seen: Mutex::default(),
            breaches: Mutex::default(),
            in_flight: Mutex::default(),
            reads_hang: AtomicBool::new(false),
            reads_fail: AtomicUsize::new(0),
            settings_fail: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
            partition_reads: AtomicU64::new(0),
            index_reads: AtomicU64::new(0),
            point_reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            hold: watch::Sender::new(false),
            answers_take: Mutex::default(),
            leases_take: Mutex::default(),
            noting_takes: Mutex::default(),
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
        self.seen().into_iter().filter(|seen| seen.commit.scope_id == scope_id).collect()
    }

    /// Calls that read, all kinds.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(SeqCst)
    }

    /// Calls that read history: the index of buckets, rows, single messages. What a node reads for itself when it starts is not among them.
    pub(crate) fn history_reads(&self) -> u64 {
        self.index_reads() + self.partition_reads() + self.point_reads.load(SeqCst)
    }

    pub(crate) fn partition_reads(&self) -> u64 {
        self.partition_reads.load(SeqCst)
    }

    pub(crate) fn index_reads(&self) -> u64 {
        self.index_reads.load(SeqCst)
    }

    /// Panics if the sequencer broke what it owes a store: one commit in flight, batches within bounds, revisions that rise.
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

    pub(crate) fn answers_take(&self, time: Duration) {
        *self.answers_take.lock().unwrap() = time;
    }

    pub(crate) fn leases_take(&self, time: Duration) {
        *self.leases_take.lock().unwrap() = time;
    }

    pub(crate) fn noting_takes(&self, time: Duration) {
        *self.noting_takes.lock().unwrap() = time;
    }

    async fn dawdle(&self) {
        if self.dead.load(SeqCst) {
            std::future::pending::<()>().await;
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

#[async_trait]
impl Store for FakeStore {
    async fn read_buckets(
        &self,
        channel_id: u64,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Result<Vec<Bucket>, ReadError> {
        self.index_reads.fetch_add(1, SeqCst);
        self.read(|rows| rows.read_buckets(channel_id, from, to, order, limit)).await
    }

    async fn add_bucket(&self, channel_id: u64, bucket: Bucket) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        self.dawdle().await;
        self.rows().buckets.insert((channel_id, bucket.0));
        Ok(())
    }

    async fn read_partition(
        &self,
        channel_id: u64,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Result<Vec<Message>, ReadError> {
        self.partition_reads.fetch_add(1, SeqCst);
        self.read(|rows| rows.read_partition(channel_id, bucket, range)).await
    }

    async fn read_message(&self, channel_id: u64, message_id: u64) -> Result<Option<Message>, ReadError> {
        self.point_reads.fetch_add(1, SeqCst);
        self.read(|rows| rows.read_message(channel_id, message_id)).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Applied);
        self.arrive(&commit, fate);
        let scope_id = commit.scope_id;
        let mut held = self.hold.subscribe();
        // The store outlives the subscription.
        let _ = held.wait_for(|held| !held).await;
        self.dawdle().await;
        let lost = || Err(WriteError::Unknown { reason: "the answer is lost, as scripted".into() });
        let answer = match fate {
            Fate::Applied => {
                self.rows().commit(&commit);
                Ok(())
            }
            Fate::Slow(after) => {
                sleep(after).await;
                self.rows().commit(&commit);
                Ok(())
            }
            Fate::NotApplied => Err(WriteError::NotApplied { reason: "as scripted".into() }),
            Fate::UnknownApplied => {
                self.rows().commit(&commit);
                lost()
            }
            Fate::UnknownNotApplied => lost(),
            Fate::UnknownLater(after) => {
                let rows = Arc::clone(&self.rows);
                tokio::spawn(async move {
                    sleep(after).await;
                    rows.lock().unwrap().commit(&commit);
                });
                lost()
            }
            Fate::Hang => std::future::pending().await,
        };
        self.dawdle().await;
        *self.in_flight.lock().unwrap().entry(scope_id).or_default() -= 1;
        answer
    }

    async fn put_rows(&self, rows: Vec<RowChange>, rev: u64) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        self.dawdle().await;
        let mut all = self.rows();
        for row in &rows {
            all.apply(row, rev, true);
        }
        Ok(())
    }

    async fn read_changes(
        &self,
        scope_id: u64,
        after_rev: u64,
        limit: usize,
    ) -> Result<Vec<OutboxRecord>, ReadError> {
        self.read(|rows| rows.read_changes(scope_id, after_rev, limit)).await
    }

    async fn note_active(&self, scope_id: u64, is_channel: bool) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        let takes = *self.noting_takes.lock().unwrap();
        sleep(takes).await;
        self.dawdle().await;
        self.rows().active.insert(scope_id, is_channel);
        Ok(())
    }

    async fn read_active(&self, limit: usize) -> Result<Vec<(u64, bool)>, ReadError> {
        self.read(|rows| rows.active.iter().take(limit).map(|(id, kind)| (*id, *kind)).collect()).await
    }

    async fn read_users(&self, ids: &[u64]) -> Result<Vec<User>, ReadError> {
        self.read(|rows| ids.iter().filter_map(|id| rows.users.get(id).cloned()).collect()).await
    }

    async fn read_token(&self, hash: [u8; 32]) -> Result<Option<u64>, ReadError> {
        self.read(|rows| rows.tokens.get(&hash).copied()).await
    }

    async fn read_guild(&self, guild_id: u64) -> Result<Option<(Guild, Vec<Role>, Vec<Channel>)>, ReadError> {
        self.read(|rows| rows.read_guild(guild_id)).await
    }

    async fn read_channel(&self, channel_id: u64) -> Result<Option<Channel>, ReadError> {
        self.read(|rows| rows.channels.get(&channel_id).cloned()).await
    }

    async fn read_member(&self, guild_id: u64, user_id: u64) -> Result<Option<Member>, ReadError> {
        self.read(|rows| rows.members.get(&(guild_id, user_id)).cloned()).await
    }

    async fn read_members(&self, guild_id: u64, after: u64, limit: usize) -> Result<Vec<Member>, ReadError> {
        self.read(|rows| {
            let above = rows.members.range((guild_id, after + 1)..=(guild_id, u64::MAX));
            above.take(limit).map(|(_, row)| row.clone()).collect()
        })
        .await
    }

    async fn count_members(&self, guild_id: u64) -> Result<u32, ReadError> {
        self.read(|rows| rows.members.range((guild_id, 0)..=(guild_id, u64::MAX)).count() as u32).await
    }

    async fn read_user_guilds(&self, user_id: u64, after: u64, limit: usize) -> Result<Vec<u64>, ReadError> {
        self.read(|rows| {
            let mut guilds: Vec<u64> =
                rows.members.keys().filter(|key| key.1 == user_id).map(|key| key.0).collect();
            guilds.retain(|id| *id > after);
            guilds.truncate(limit);
            guilds
        })
        .await
    }

    async fn read_settings(&self, kind: &str, limit: usize) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        self.read(|rows| {
            let of_kind = rows.settings.iter().filter(|((of, _), _)| of == kind);
            of_kind.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect()
        })
        .await
    }

    async fn read_setting(&self, kind: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.read(|rows| rows.settings.get(&(kind.to_owned(), key.to_vec())).cloned()).await
    }

    async fn write_setting(&self, kind: &str, key: &[u8], value: Option<Bytes>) -> Result<(), WriteError> {
        self.writes.fetch_add(1, SeqCst);
        self.dawdle().await;
        if self.settings_fail.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(WriteError::NotApplied { reason: "as scripted".into() });
        }
        let key = (kind.to_owned(), key.to_vec());
        let mut rows = self.rows();
        match value {
            Some(value) => rows.settings.insert(key, value),
            None => rows.settings.remove(&key),
        };
        Ok(())
    }

    async fn take_lease(&self, wanted: Lease, expected: Option<Lease>) -> Result<LeaseAnswer, WriteError> {
        self.writes.fetch_add(1, SeqCst);
        self.dawdle().await;
        let answer = self.rows().take_lease(wanted, expected);
        let takes = *self.leases_take.lock().unwrap();
        sleep(takes).await;
        self.dawdle().await;
        Ok(answer)
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), WriteError> {
        let mut rows = self.rows();
        if rows.leases.get(name).is_some_and(|lease| lease.holder == holder) {
            rows.leases.remove(name);
        }
        Ok(())
    }

    async fn clock_us(&self) -> Result<u64, ReadError> {
        Ok(self.clock.wall_us() + self.clock_off_us.load(SeqCst))
    }

    async fn ready(&self, _: Duration) -> Result<(), ReadError> {
        Ok(())
    }

    fn counters(&self) -> StoreCounters {
        StoreCounters { reads: self.reads(), writes: self.writes.load(SeqCst) }
    }
}
