//! The follower: one task that reads the inbox and publishes each record once, in order.
//!
//! # Positions
//! - **Durable inbox** (the log of the embedded store): a record is in the log because its commit put it there, so the log is complete and its
//!   positions are the truth: every process that reads it finds the same record at the same position. A record that is there twice leaves its
//!   second position empty; a gap in a scope's chain is not possible and not looked for.
//! - **Any other inbox** (Redis Streams, memory): the bus may bring records twice and may lose some. The follower drops the first kind and
//!   fetches the second from the outbox *before* it assigns positions of its own, dense from 0, which live as long as this process. Only
//!   the ring remembers them: a session that needs older ones is invalid.
//!
//! # What is missing, what is complete, what is lost
//! Of each scope the follower knows a revision up to which it has everything (`complete_to`): that of the last record seen, or, if that is
//! younger, the one that the data service named when the guild was loaded after our interest in it was registered; older records are in
//! what sessions started from. A record at or below it is a repetition. A record promises that nothing lies between its `prev_rev` and itself;
//! so if `prev_rev` is not above what is complete, nothing is missing. Otherwise something **may** be, and the outbox is asked for what
//! lies above. Its list is **complete** when it reaches the record or its own end, even if it is empty: `prev_rev` need not be a record's
//! (a rebuilt one names where the reading began), and a create that was deleted since is not told any more. Records are **lost** only if
//! the outbox says that it no longer keeps so much, if they are too many, or if it does not answer for longer than a data service
//! takes to be replaced.
//!
//! # What the chain cannot tell
//! The newest record of a scope, lost, is noticed only when the next one comes; the data service republishes the window when it sees that the bus
//! lost data.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use weir_bus::{Inbox, InboxError, Position};
use weir_proto::{
    data::ListChangesRequest,
    event::{Record, record::Change},
};

use crate::{
    chain::{Chains, Verdict},
    entry::Publication,
    fanout::{Fanout, Lost},
    hydrate::hydrate,
    load::Loader,
    metrics::{Anomaly, Metrics},
};

/// Records read at once.
const BATCH_MAX: usize = 512;
/// Pause before an inbox that does not answer is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Longest such pause between attempts to fetch missing records.
const FETCH_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long missing records are asked for before they count as lost: a data service that was killed is replaced within a lease (10 s) and its start.
/// All other records wait meanwhile; while no data service answers there are hardly any.
const FETCH_PATIENCE: Duration = Duration::from_secs(60);
/// What a rebuilt record's reading began at was with the bus before, so that no more than the bus' own delay can be missing below it. Half of
/// the outbox's day: further back it could not be proven.
const REBUILT_LOOKBACK_US: u64 = 12 * 60 * 60 * 1_000_000;
/// Missing records that are fetched for one gap; a longer one counts as lost.
const FETCH_MAX: usize = 10_000;
/// Records in one page of the outbox.
const FETCH_PAGE: u32 = 200;

/// Why missing records could not be had.
#[derive(Debug, Clone, thiserror::Error)]
enum FetchError {
    #[error("the outbox no longer has them")]
    Truncated,
    #[error("more than {FETCH_MAX} are missing")]
    TooMany,
    #[error("the outbox's answer is no list of records")]
    Broken,
    #[error("{0}")]
    Data(#[from] weir_data_client::DataError),
}

/// Reads the inbox and publishes.
pub(crate) struct Follower {
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) metrics: Metrics,
    pub(crate) chains: Chains,
}

impl Follower {
    /// Follows from `after` until told to stop.
    pub(crate) async fn run(mut self, after: Position, stop: CancellationToken) {
        let durable = self.inbox.durable();
        let mut after = after;
        loop {
            let step = async {
                self.inbox.wait(after).await;
                self.inbox.read(after, BATCH_MAX).await
            };
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = step => read,
            };
            match read {
                Ok(batch) => {
                    if let Some((last, _)) = batch.records.last() {
                        after = *last;
                    }
                    let publish = async {
                        if durable {
                            self.publish_log(batch.records).await;
                        } else {
                            self.publish_own(batch.records).await;
                        }
                    };
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = publish => {}
                    }
                }
                Err(InboxError::Truncated { floor }) => {
                    tracing::error!(after, floor, "the inbox lost records that were not read yet");
                    self.metrics.anomaly(Anomaly::Lost);
                    after = floor;
                    self.fanout.publish_loss(if durable { floor } else { self.next() }, Lost::Anywhere);
                }
                Err(InboxError::Unavailable { reason }) => {
                    tracing::warn!(reason, "the inbox does not answer");
                    sleep(RETRY_PAUSE).await;
                }
            }
            self.metrics.queue_bytes.set(i64::try_from(self.fanout.ring.bytes().get()).unwrap_or(i64::MAX));
        }
    }

    fn next(&self) -> Position {
        self.fanout.ring.head() + 1
    }

    /// Publishes at the log's own positions.
    async fn publish_log(&mut self, records: Vec<(Position, Bytes)>) {
        let mut positions = Vec::with_capacity(records.len());
        let mut batch = Vec::with_capacity(records.len());
        for (position, bytes) in records {
            let item = match read_logged(&mut self.chains, &bytes) {
                Logged::Record(item) => {
                    batch.push(item);
                    Ok(())
                }
                Logged::Nothing => Err(Gap::Nothing),
                Logged::Undecodable => {
                    self.metrics.anomaly(Anomaly::Undecodable);
                    Err(Gap::Lost)
                }
            };
            positions.push((position, item));
        }
        hydrate(&self.loader, &mut batch).await;
        let mut batch = batch.into_iter();
        for (position, item) in positions {
            match item {
                Ok(()) => {
                    let item = batch.next().expect("one publication was made for each such position");
                    self.fanout.publish(position, item);
                }
                Err(Gap::Nothing) => self.fanout.skip(position),
                Err(Gap::Lost) => self.fanout.publish_loss(position, Lost::Anywhere),
            }
        }
    }

    /// Publishes at positions of this process, after dropping repetitions and fetching what is missing.
    async fn publish_own(&mut self, records: Vec<(Position, Bytes)>) {
        for (_, bytes) in records {
            let Ok(record) = Record::decode(bytes.clone()) else {
                self.metrics.anomaly(Anomaly::Undecodable);
                self.fanout.publish_loss(self.next(), Lost::Anywhere);
                continue;
            };
            if record.rev == 0 || record.change.is_none() {
                // Ephemeral, or of a later version: outside the chain, and nothing that this version shows.
                continue;
            }
            if let Some(Change::RecordsLost(_)) = record.change {
                tracing::error!("the data service says that records were lost: all sessions begin again");
                self.metrics.anomaly(Anomaly::Lost);
                self.fanout.publish_loss(self.next(), Lost::Anywhere);
                continue;
            }
            match self.judge(&record) {
                Verdict::Repeated => {
                    self.metrics.anomaly(Anomaly::Repeated);
                    continue;
                }
                Verdict::Missing { after_rev } => self.recover(&record, after_rev).await,
                Verdict::Next => {}
            }
            self.publish_one(record, bytes.len()).await;
        }
    }

    async fn publish_one(&mut self, record: Record, encoded_len: usize) {
        self.chains.seen(record.scope_id, record.rev);
        let mut batch = [Box::new(Publication { record, context: None, encoded_len })];
        hydrate(&self.loader, &mut batch).await;
        let [item] = batch;
        self.fanout.publish(self.next(), item);
    }

    fn judge(&self, record: &Record) -> Verdict {
        let known = Known {
            included: self.fanout.guild_rev(record.guild_id).filter(|_| record.scope_id == record.guild_id),
            interest_since_us: match record.guild_id {
                0 => self.fanout.direct_since_us(&record.recipient_ids),
                guild_id => self.fanout.interest_since_us(guild_id),
            },
        };
        judge(&self.chains, record, known)
    }

    /// Publishes the records between `after_rev` and `record`, or says that they were lost.
    async fn recover(&mut self, record: &Record, after_rev: u64) {
        let after_rev = if record.recovered {
            after_rev.max(record.prev_rev.saturating_sub(REBUILT_LOOKBACK_US))
        } else {
            after_rev
        };
        let mut pause = RETRY_PAUSE;
        let give_up = Instant::now() + FETCH_PATIENCE;
        loop {
            match self.fetch(record, after_rev).await {
                Ok(missing) => {
                    for (missing, encoded_len) in missing {
                        self.metrics.anomaly(Anomaly::Recovered);
                        self.publish_one(missing, encoded_len).await;
                    }
                    return;
                }
                Err(FetchError::Truncated | FetchError::TooMany) => break,
                Err(error @ (FetchError::Broken | FetchError::Data(_))) if Instant::now() < give_up => {
                    tracing::warn!(scope = record.scope_id, %error, "missing records could not be fetched");
                    sleep(pause).await;
                    pause = (pause * 2).min(FETCH_PAUSE_MAX);
                }
                Err(FetchError::Broken | FetchError::Data(_)) => break,
            }
        }
        tracing::error!(
            scope = record.scope_id,
            after_rev,
            "records were lost: the sessions that they were for begin again"
        );
        self.metrics.anomaly(Anomaly::Lost);
        self.fanout.publish_loss(
            self.next(),
            match record.guild_id {
                0 => Lost::InDirect(record.recipient_ids.clone()),
                guild_id => Lost::InGuild(guild_id),
            },
        );
    }

    async fn fetch(&self, before: &Record, after_rev: u64) -> Result<Vec<(Record, usize)>, FetchError> {
        let mut missing: Vec<(Record, usize)> = Vec::new();
        let mut after = after_rev;
        loop {
            let request =
                ListChangesRequest { scope_id: before.scope_id, after_rev: after, limit: FETCH_PAGE };
            let page = self.loader.data.list_changes(&request, &self.loader.options()).await?.message;
            if page.truncated {
                return Err(FetchError::Truncated);
            }
            for bytes in &page.records {
                let record = Record::decode(bytes.as_slice()).map_err(|_| FetchError::Broken)?;
                if record.rev <= after {
                    return Err(FetchError::Broken);
                }
                after = record.rev;
                if record.rev >= before.rev {
                    break;
                }
                missing.push((record, bytes.len()));
            }
            if missing.len() > FETCH_MAX {
                return Err(FetchError::TooMany);
            }
            // Everything below `before` was committed before it, so the list shows all of it that can still be told.
            if after >= before.rev || !page.more {
                return Ok(missing);
            }
            if page.records.is_empty() {
                return Err(FetchError::Broken);
            }
        }
    }
}

/// What is known of a record's guild besides the chain.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// For a record of the guild's own scope: the revision up to which the guild's state here includes its records.
    included: Option<u64>,
    /// Every record of the guild, or of the direct message, above this revision comes here, and sessions started from what is below.
    interest_since_us: Option<u64>,
}

/// What a record is, by its chain and by what is known of its guild.
fn judge(chains: &Chains, record: &Record, known: Known) -> Verdict {
    let seen = chains.last(record.scope_id).max(known.included);
    let complete_to = seen.max(known.interest_since_us);
    if complete_to.is_some_and(|rev| record.rev <= rev) {
        return Verdict::Repeated;
    }
    match (complete_to, known.interest_since_us) {
        (Some(after_rev), Some(_)) if record.prev_rev > after_rev => Verdict::Missing { after_rev },
        // Without interest in the guild only some of its records come, those that concern a user here: their chain has gaps by nature.
        (Some(_) | None, Some(_) | None) => Verdict::Next,
    }
}

/// What a position of a durable log holds.
pub(crate) enum Logged {
    /// A record to be shown.
    Record(Box<Publication>),
    /// A repetition, or a change that this version does not know.
    Nothing,
    /// Bytes that are no record.
    Undecodable,
}

enum Gap {
    Nothing,
    Lost,
}

/// Reads a position of a durable log: the same bytes and the same `chains` give the same result to whoever reads it again.
pub(crate) fn read_logged(chains: &mut Chains, bytes: &Bytes) -> Logged {
    let Ok(record) = Record::decode(bytes.clone()) else { return Logged::Undecodable };
    if record.rev == 0 || record.change.is_none() {
        return Logged::Nothing;
    }
    if chains.last(record.scope_id).is_some_and(|seen| record.rev <= seen) {
        return Logged::Nothing;
    }
    chains.seen(record.scope_id, record.rev);
    Logged::Record(Box::new(Publication { record, context: None, encoded_len: bytes.len() }))
}

/// Hands ephemeral records to sessions until told to stop. What is missed is missed.
pub(crate) async fn follow_ephemeral(
    fanout: Arc<Fanout>,
    mut records: broadcast::Receiver<Bytes>,
    stop: CancellationToken,
) {
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = records.recv() => received,
        };
        match received {
            Ok(bytes) => {
                if let Ok(record) = Record::decode(bytes.clone()) {
                    let publication = Publication { record, context: None, encoded_len: bytes.len() };
                    fanout.publish_ephemeral(Box::new(publication));
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(scope_id: u64, prev_rev: u64, rev: u64) -> Record {
        Record { scope_id, guild_id: 1, rev, prev_rev, ..Record::default() }
    }

    #[test]
    fn the_chain_the_guilds_state_and_our_interest_tell_up_to_where_everything_is_here() {
        let mut chains = Chains::new(8);
        let known = |included, interest_since_us| Known { included, interest_since_us };
        let missing = |after_rev| Verdict::Missing { after_rev };
        // A channel never seen: what is older than our interest is none of ours, and only what is younger can be missing.
        assert_eq!(judge(&chains, &record(5, 80, 90), known(None, Some(100))), Verdict::Repeated);
        assert_eq!(judge(&chains, &record(5, 90, 110), known(None, Some(100))), Verdict::Next);
        assert_eq!(judge(&chains, &record(5, 105, 110), known(None, Some(100))), missing(100));
        assert_eq!(judge(&chains, &record(5, 105, 110), known(None, None)), Verdict::Next);
        // One that was seen, with and without a time in between when nobody was interested.
        chains.seen(5, 50);
        assert_eq!(judge(&chains, &record(5, 40, 50), known(None, Some(10))), Verdict::Repeated);
        assert_eq!(judge(&chains, &record(5, 40, 50), known(None, None)), Verdict::Repeated);
        assert_eq!(judge(&chains, &record(5, 50, 60), known(None, Some(10))), Verdict::Next);
        assert_eq!(judge(&chains, &record(5, 70, 110), known(None, Some(10))), missing(50));
        assert_eq!(judge(&chains, &record(5, 70, 110), known(None, Some(100))), Verdict::Next);
        assert_eq!(judge(&chains, &record(5, 105, 110), known(None, Some(100))), missing(100));
        assert_eq!(judge(&chains, &record(5, 70, 110), known(None, None)), Verdict::Next);
        // The guild itself: its state says what is included, and includes what is older than our interest.
        assert_eq!(judge(&chains, &record(1, 40, 50), known(Some(50), Some(10))), Verdict::Repeated);
        assert_eq!(judge(&chains, &record(1, 50, 60), known(Some(50), Some(10))), Verdict::Next);
        assert_eq!(judge(&chains, &record(1, 55, 60), known(Some(50), Some(10))), missing(50));
        assert_eq!(judge(&chains, &record(1, 55, 60), known(Some(50), Some(58))), Verdict::Next);
        assert_eq!(judge(&chains, &record(1, 55, 57), known(Some(50), Some(58))), Verdict::Repeated);
    }
}
