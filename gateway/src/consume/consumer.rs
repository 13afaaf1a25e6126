//! The consumer: one task that reads the inbox and publishes each record once, in order.
//!
//! # Positions
//! - **Durable inbox** (the log of the embedded store): a record's commit puts it into the log, so the log is
//!   complete and its positions are final. Every process that reads it finds the same record at the same
//!   position. If a record is in the log twice, its second position stays empty. A scope cannot have gaps
//!   there, so the consumer does not look for them.
//! - **Any other inbox** (Redis Streams, memory): the bus may deliver records twice and may lose some. The
//!   consumer drops repetitions and fetches lost records from the outbox *before* it assigns positions of its
//!   own, which rise by one from 1 and live as long as this process. Only the ring remembers them, so a
//!   session that needs older ones is invalid. A record has no position until it is published, so a record
//!   that waits for the outbox holds up only its own guild (`holdback`), and is completed beside this task
//!   (`recover`).
//!
//! # What is complete, missing and lost
//! For each scope the consumer knows the revision `complete_to`, up to which it has everything. That is the
//! revision of the last record seen, or the one that the data service named when the guild was loaded,
//! whichever is greater. The guild is loaded after our interest in it is registered, so older records are
//! part of what sessions started from.
//!
//! A record at or below `complete_to` is a **repetition**. A record promises that nothing lies between its
//! `prev_rev` and its `rev`. So if `prev_rev` is not above `complete_to`, nothing is missing. Otherwise
//! something **may** be missing, and the outbox is asked for the records above `complete_to`.
//!
//! The answer of the outbox is **complete** when it reaches the record or its own end, even if it is empty.
//! `prev_rev` need not be the revision of a record: a rebuilt record names the revision where reading began,
//! and a message that was deleted since has no record of its creation any more.
//!
//! Records are **lost** only if the outbox says that it no longer keeps them, if they are too many, or if it
//! does not answer for longer than a data service takes to be replaced.
//!
//! # What a gap cannot show
//! If the newest record of a scope is lost, this is noticed only when the next one comes. The data service
//! covers this case: it publishes its last records again when it sees that the bus lost data.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use weir_bus::{Inbox, InboxError, Position};
use weir_proto::{
    event::{Record, record::Change},
    id::GuildId,
};

use super::{
    enrich::{enrich, is_missing_context},
    gap::{Continuity, GapDetector},
    holdback::{GivenUp, HoldBack, Next, queue_of},
    recover::{Completed, Completions, Incomplete},
};
use crate::{
    data::calls::DataCalls,
    fanout::{Fanout, LossScope, entry::Publication},
    metrics::{Anomaly, GatewayMetrics},
};

/// Records read at once.
const BATCH_MAX: usize = 512;
/// Pause before an inbox that did not answer is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Reads the inbox and publishes its records.
pub(crate) struct Consumer {
    inbox: Arc<dyn Inbox>,
    fanout: Arc<Fanout>,
    calls: Arc<DataCalls>,
    metrics: GatewayMetrics,
    gaps: GapDetector,
    held: HoldBack,
    completions: Completions,
}

impl Consumer {
    /// A consumer of `inbox` that publishes to `fanout`; its hold-back queues take at most `held_bytes_max`
    /// bytes.
    pub(crate) fn new(
        inbox: Arc<dyn Inbox>,
        fanout: Arc<Fanout>,
        calls: Arc<DataCalls>,
        metrics: GatewayMetrics,
        gaps: GapDetector,
        held_bytes_max: usize,
    ) -> Self {
        let (held, completions) = (HoldBack::new(held_bytes_max), Completions::default());
        Self { inbox, fanout, calls, metrics, gaps, held, completions }
    }

    /// The gauge of the bytes of remembered scopes.
    pub(crate) fn scopes(&self) -> &crate::limits::weight::ByteGauge {
        self.gaps.bytes()
    }

    /// The gauge of the bytes in the hold-back queues.
    pub(crate) fn held_back(&self) -> &crate::limits::weight::ByteGauge {
        self.held.bytes()
    }

    /// Consumes the records after position `after` until `stop`.
    pub(crate) async fn run(mut self, after: Position, stop: CancellationToken) {
        let durable = self.inbox.durable();
        let mut after = after;
        loop {
            let read = async {
                self.inbox.wait(after).await;
                let read = self.inbox.read(after, BATCH_MAX).await;
                if let Err(InboxError::Unavailable { reason }) = &read {
                    tracing::warn!(reason, "the inbox does not answer");
                    sleep(RETRY_PAUSE).await;
                }
                read
            };
            // A read that is dropped changes nothing and is repeated.
            let read = tokio::select! {
                () = stop.cancelled() => return,
                Some(completed) = self.completions.next(&self.calls) => {
                    self.publish_completed(completed);
                    continue;
                }
                read = read, if self.held.has_room() => read,
            };
            match read {
                Ok(batch) => {
                    if let Some((last, _)) = batch.records.last() {
                        after = *last;
                    }
                    if durable {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = self.publish_log(batch.records) => {}
                        }
                    } else {
                        self.publish_own(batch.records);
                    }
                }
                Err(InboxError::Truncated { floor }) => {
                    tracing::error!(after, floor, "the inbox lost records that were not read yet");
                    self.metrics.anomaly(Anomaly::Lost);
                    after = floor;
                    self.fanout.publish_loss(if durable { floor } else { self.next() }, LossScope::Anywhere);
                }
                Err(InboxError::Unavailable { .. }) => {}
            }
            self.metrics.queue_bytes.set(i64::try_from(self.fanout.ring.bytes().get()).unwrap_or(i64::MAX));
        }
    }

    fn next(&self) -> Position {
        self.fanout.ring.head() + 1
    }

    /// Publishes records at the log's own positions.
    async fn publish_log(&mut self, records: Vec<(Position, Bytes)>) {
        let mut positions = Vec::with_capacity(records.len());
        let mut batch = Vec::with_capacity(records.len());
        for (position, bytes) in records {
            let item = match read_logged(&mut self.gaps, &bytes) {
                Logged::Record(item) => {
                    batch.push(item);
                    Ok(())
                }
                Logged::Nothing => Err(NoRecord::Nothing),
                Logged::Undecodable => {
                    self.metrics.anomaly(Anomaly::Undecodable);
                    Err(NoRecord::Lost)
                }
            };
            positions.push((position, item));
        }
        enrich(&self.calls, &mut batch).await;
        let mut batch = batch.into_iter();
        for (position, item) in positions {
            match item {
                Ok(()) => {
                    let item = batch.next().expect("one publication was made for each such position");
                    self.fanout.publish(position, item);
                }
                Err(NoRecord::Nothing) => self.fanout.skip(position),
                Err(NoRecord::Lost) => self.fanout.publish_loss(position, LossScope::Anywhere),
            }
        }
    }

    /// Publishes records at positions of this process, after dropping repetitions. A record that must be
    /// completed first is set aside, and later records of its guild wait behind it.
    fn publish_own(&mut self, records: Vec<(Position, Bytes)>) {
        for (_, bytes) in records {
            let Ok(record) = Record::decode(bytes.clone()) else {
                self.metrics.anomaly(Anomaly::Undecodable);
                self.fanout.publish_loss(self.next(), LossScope::Anywhere);
                continue;
            };
            if record.rev == 0 || record.change.is_none() {
                // The record is ephemeral, or of a kind that this version does not know: it is in no
                // sequence, and there is nothing to show.
                continue;
            }
            if let Some(Change::RecordsLost(_)) = record.change {
                tracing::error!("the data service says that records were lost: all sessions begin again");
                self.metrics.anomaly(Anomaly::Lost);
                self.fanout.publish_loss(self.next(), LossScope::Anywhere);
                continue;
            }
            let queue = queue_of(&record);
            if self.held.is_open(queue) {
                self.held.hold(queue, record, bytes.len());
            } else {
                self.publish_or_complete(queue, record, bytes.len());
            }
        }
    }

    /// Publishes a record that waits for no other, drops it if it is a repetition, or sets it aside to be
    /// completed.
    fn publish_or_complete(&mut self, queue: u64, record: Record, encoded_len: usize) -> Placed {
        let missing_after = match self.continuity_of(&record) {
            Continuity::Repeated => {
                self.metrics.anomaly(Anomaly::Repeated);
                return Placed::Done;
            }
            Continuity::Missing { after_rev } => Some(after_rev),
            Continuity::Next if is_missing_context(&record) => None,
            Continuity::Next => {
                self.publish_next(Box::new(Publication { record, context: None, encoded_len }));
                return Placed::Done;
            }
        };
        self.held.open(queue, encoded_len);
        let incomplete = Incomplete::new(queue, record, encoded_len, missing_after);
        self.completions.begin(&self.calls, incomplete);
        Placed::SetAside
    }

    /// Publishes the records that were missing before a completed one, then that record, then those that
    /// waited behind it.
    fn publish_completed(&mut self, completed: Completed) {
        let Completed { queue, missing, publication } = completed;
        self.held.completed(queue, publication.encoded_len);
        match missing {
            Some(missing) => {
                for missing in missing {
                    self.metrics.anomaly(Anomaly::Recovered);
                    self.publish_next(missing);
                }
            }
            None => self.publish_loss_of(&publication.record),
        }
        self.publish_next(publication);
        while let Some(next) = self.held.next(queue) {
            match next {
                Next::Record(record, encoded_len) => {
                    if self.publish_or_complete(queue, *record, encoded_len) == Placed::SetAside {
                        return;
                    }
                }
                Next::GivenUp(GivenUp { record, last_revs }) => {
                    tracing::error!(
                        queue,
                        "too many records waited for missing ones: the sessions that they were for begin again"
                    );
                    // The loss is reported once, so the next record of each scope must not cause another
                    // fetch.
                    last_revs.into_iter().for_each(|(scope, rev)| self.gaps.seen(scope, rev));
                    self.publish_loss_of(&record);
                }
            }
        }
    }

    fn publish_next(&mut self, publication: Box<Publication>) {
        self.gaps.seen(publication.record.scope_id, publication.record.rev);
        self.fanout.publish(self.next(), publication);
    }

    /// Reports that records of this record's guild or direct message were lost.
    fn publish_loss_of(&self, record: &Record) {
        self.metrics.anomaly(Anomaly::Lost);
        let lost = match GuildId::try_from(record.guild_id) {
            Ok(guild_id) => LossScope::InGuild(guild_id),
            Err(_) => LossScope::InDirect(record.recipient_ids.clone()),
        };
        self.fanout.publish_loss(self.next(), lost);
    }

    fn continuity_of(&self, record: &Record) -> Continuity {
        let guild_id = GuildId::try_from(record.guild_id).ok();
        let own = guild_id.filter(|guild_id| record.scope_id == guild_id.get());
        let coverage = Coverage {
            included: own.and_then(|guild_id| self.fanout.guild_rev(guild_id)),
            interest_since_us: match guild_id {
                Some(guild_id) => self.fanout.interest_since_us(guild_id),
                None => self.fanout.direct_since_us(&record.recipient_ids),
            },
        };
        continuity(&self.gaps, record, coverage)
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    /// It was published, or was a repetition.
    Done,
    /// It is being completed, and later records of its queue wait.
    SetAside,
}

/// What is known of the completeness of a record's guild, besides the revisions seen in its scope.
#[derive(Debug, Clone, Copy)]
struct Coverage {
    /// For a record of the guild's own scope: the revision up to which the guild's state here includes its
    /// records.
    included: Option<u64>,
    /// Every record of the guild, or of the direct message, above this revision comes here. Everything below
    /// is part of what sessions started from.
    interest_since_us: Option<u64>,
}

/// Whether a record is the next one, a repetition, or may have missing records before it.
fn continuity(gaps: &GapDetector, record: &Record, coverage: Coverage) -> Continuity {
    let seen = gaps.last(record.scope_id).max(coverage.included);
    let complete_to = seen.max(coverage.interest_since_us);
    if complete_to.is_some_and(|rev| record.rev <= rev) {
        return Continuity::Repeated;
    }
    match (complete_to, coverage.interest_since_us) {
        (Some(after_rev), Some(_)) if record.prev_rev > after_rev => Continuity::Missing { after_rev },
        // Without interest in the guild, only the records that concern a user here come, so gaps between them
        // are normal.
        (Some(_) | None, Some(_) | None) => Continuity::Next,
    }
}

/// What a position of a durable log holds.
pub(crate) enum Logged {
    /// A record to be published.
    Record(Box<Publication>),
    /// A repetition, or a change that this version does not know.
    Nothing,
    /// Bytes that cannot be decoded.
    Undecodable,
}

enum NoRecord {
    Nothing,
    Lost,
}

/// Decodes what a position of a durable log holds. Another reader that starts with the same `gaps` gets the
/// same result for the same bytes.
pub(crate) fn read_logged(gaps: &mut GapDetector, bytes: &Bytes) -> Logged {
    let Ok(record) = Record::decode(bytes.clone()) else { return Logged::Undecodable };
    if record.rev == 0 || record.change.is_none() {
        return Logged::Nothing;
    }
    if gaps.last(record.scope_id).is_some_and(|seen| record.rev <= seen) {
        return Logged::Nothing;
    }
    gaps.seen(record.scope_id, record.rev);
    Logged::Record(Box::new(Publication { record, context: None, encoded_len: bytes.len() }))
}

/// Hands ephemeral records to sessions until `stop`. Records that were missed are not fetched.
pub(crate) async fn consume_ephemeral(
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
    fn what_was_seen_the_guilds_state_and_our_interest_say_up_to_where_everything_is_here() {
        let mut gaps = GapDetector::new(8);
        let covered = |included, interest_since_us| Coverage { included, interest_since_us };
        let missing = |after_rev| Continuity::Missing { after_rev };
        // A channel that was never seen: what is older than our interest does not concern us, and only
        // younger records can be missing.
        assert_eq!(continuity(&gaps, &record(5, 80, 90), covered(None, Some(100))), Continuity::Repeated);
        assert_eq!(continuity(&gaps, &record(5, 90, 110), covered(None, Some(100))), Continuity::Next);
        assert_eq!(continuity(&gaps, &record(5, 105, 110), covered(None, Some(100))), missing(100));
        assert_eq!(continuity(&gaps, &record(5, 105, 110), covered(None, None)), Continuity::Next);
        // A channel that was seen, with and without a time in between when there was no interest.
        gaps.seen(5, 50);
        assert_eq!(continuity(&gaps, &record(5, 40, 50), covered(None, Some(10))), Continuity::Repeated);
        assert_eq!(continuity(&gaps, &record(5, 40, 50), covered(None, None)), Continuity::Repeated);
        assert_eq!(continuity(&gaps, &record(5, 50, 60), covered(None, Some(10))), Continuity::Next);
        assert_eq!(continuity(&gaps, &record(5, 70, 110), covered(None, Some(10))), missing(50));
        assert_eq!(continuity(&gaps, &record(5, 70, 110), covered(None, Some(100))), Continuity::Next);
        assert_eq!(continuity(&gaps, &record(5, 105, 110), covered(None, Some(100))), missing(100));
        assert_eq!(continuity(&gaps, &record(5, 70, 110), covered(None, None)), Continuity::Next);
        // The guild itself: its state says what is included, and that may be more than what is older than our
        // interest.
        assert_eq!(continuity(&gaps, &record(1, 40, 50), covered(Some(50), Some(10))), Continuity::Repeated);
        assert_eq!(continuity(&gaps, &record(1, 50, 60), covered(Some(50), Some(10))), Continuity::Next);
        assert_eq!(continuity(&gaps, &record(1, 55, 60), covered(Some(50), Some(10))), missing(50));
        assert_eq!(continuity(&gaps, &record(1, 55, 60), covered(Some(50), Some(58))), Continuity::Next);
        assert_eq!(continuity(&gaps, &record(1, 55, 57), covered(Some(50), Some(58))), Continuity::Repeated);
    }
}
