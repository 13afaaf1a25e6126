//! Completes a record that cannot be published as it came, because the records before it are missing or
//! because it carries no context.
//!
//! Completing a record waits for the data service, as nothing else that the consumer does. So it runs beside
//! the consumer, for a few guilds at once; a guild whose record cannot be completed holds up only itself
//! (`holdback`).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use prost::Message as _;
use tokio::time::{Instant, sleep};
use weir_proto::event::Record;

use super::enrich::enrich;
use crate::{data::calls::DataCalls, fanout::entry::Publication};

/// Completions under way at once; more wait for one of them. Each may hold [`FETCH_MAX`] records.
const AT_ONCE: usize = 16;
/// First pause before missing records are asked for again.
const FETCH_PAUSE: Duration = Duration::from_millis(200);
/// Longest such pause.
const FETCH_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long missing records are asked for before they count as lost. A data service that was killed is
/// replaced after a lease (5 s) and its start. The other records of the guild wait meanwhile.
const FETCH_PATIENCE: Duration = Duration::from_secs(60);
/// How far below `prev_rev` of a rebuilt record missing records are looked for, in microseconds. The revision
/// where its reading began was on the bus before, so only what the bus delays can be missing below it. This
/// is half of the day that the outbox keeps: further back nothing could be proven.
const REBUILT_LOOKBACK_US: u64 = 12 * 60 * 60 * 1_000_000;
/// Missing records that are fetched for one gap; a longer gap counts as lost.
const FETCH_MAX: usize = 10_000;
/// Records in one page of the outbox.
const FETCH_PAGE: u32 = 200;

/// Why missing records could not be fetched.
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

/// A record that waits for its completion.
#[derive(Debug)]
pub(crate) struct Incomplete {
    /// The hold-back queue of the record.
    pub(crate) queue: u64,
    pub(crate) record: Record,
    /// Size on the bus, bytes.
    pub(crate) encoded_len: usize,
    /// Records of its scope above this revision and below the record's own may be missing; `None` if only its
    /// context is missing.
    pub(crate) missing_after: Option<u64>,
    /// After this time missing records count as lost.
    give_up: Instant,
}

impl Incomplete {
    pub(crate) fn new(queue: u64, record: Record, encoded_len: usize, missing_after: Option<u64>) -> Self {
        Self { queue, record, encoded_len, missing_after, give_up: Instant::now() + FETCH_PATIENCE }
    }
}

/// A completed record.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) queue: u64,
    /// The records that were missing, in order; `None` if they are lost.
    #[expect(clippy::vec_box, reason = "each goes into the ring as it is, boxed")]
    pub(crate) missing: Option<Vec<Box<Publication>>>,
    /// The record itself.
    pub(crate) publication: Box<Publication>,
}

/// The completions under way, and those that wait for their place.
#[derive(Default)]
pub(crate) struct Completions {
    waiting: VecDeque<Incomplete>,
    running: FuturesUnordered<BoxFuture<'static, Completed>>,
}

impl Completions {
    /// Begins to complete a record, or lets it wait for a place.
    pub(crate) fn begin(&mut self, calls: &Arc<DataCalls>, incomplete: Incomplete) {
        self.waiting.push_back(incomplete);
        self.fill(calls);
    }

    /// The next completed record; `None` if nothing is under way.
    ///
    /// # Cancel safety
    /// Safe: completions under way continue.
    pub(crate) async fn next(&mut self, calls: &Arc<DataCalls>) -> Option<Completed> {
        let completed = self.running.next().await;
        self.fill(calls);
        completed
    }

    fn fill(&mut self, calls: &Arc<DataCalls>) {
        while self.running.len() < AT_ONCE
            && let Some(incomplete) = self.waiting.pop_front()
        {
            self.running.push(Box::pin(complete(calls.clone(), incomplete)));
        }
    }
}

async fn complete(calls: Arc<DataCalls>, incomplete: Incomplete) -> Completed {
    let missing = match incomplete.missing_after {
        Some(after_rev) => fetch_patiently(&calls, &incomplete, after_rev).await,
        None => Some(Vec::new()),
    };
    let Incomplete { queue, record, encoded_len, .. } = incomplete;
    let lost = missing.is_none();
    let mut batch = missing.unwrap_or_default();
    batch.push((record, encoded_len));
    let publication = |(record, encoded_len)| Box::new(Publication { record, context: None, encoded_len });
    let mut batch: Vec<Box<Publication>> = batch.into_iter().map(publication).collect();
    enrich(&calls, &mut batch).await;
    let publication = batch.pop().expect("the record was put there just above");
    Completed { queue, missing: (!lost).then_some(batch), publication }
}

/// The records between `after_rev` and the incomplete one; `None` if they are lost.
async fn fetch_patiently(
    calls: &DataCalls,
    incomplete: &Incomplete,
    after_rev: u64,
) -> Option<Vec<(Record, usize)>> {
    let record = &incomplete.record;
    let after_rev = if record.recovered {
        after_rev.max(record.prev_rev.saturating_sub(REBUILT_LOOKBACK_US))
    } else {
        after_rev
    };
    let mut pause = FETCH_PAUSE;
    loop {
        match fetch(calls, record, after_rev).await {
            Ok(missing) => return Some(missing),
            Err(error @ (FetchError::Broken | FetchError::Data(_)))
                if Instant::now() < incomplete.give_up =>
            {
                tracing::warn!(scope = record.scope_id, %error, "missing records could not be fetched");
                sleep(pause).await;
                pause = (pause * 2).min(FETCH_PAUSE_MAX);
            }
            Err(error) => {
                tracing::error!(
                    scope = record.scope_id,
                    after_rev,
                    %error,
                    "records were lost: the sessions that they were for begin again"
                );
                return None;
            }
        }
    }
}

async fn fetch(
    calls: &DataCalls,
    before: &Record,
    after_rev: u64,
) -> Result<Vec<(Record, usize)>, FetchError> {
    let mut missing: Vec<(Record, usize)> = Vec::new();
    let mut after = after_rev;
    loop {
        let page = calls.changes(before.scope_id, after, FETCH_PAGE).await?;
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
        // Everything below `before` was committed before it, so the list holds all records that still exist.
        if after >= before.rev || !page.more {
            return Ok(missing);
        }
        if page.records.is_empty() {
            return Err(FetchError::Broken);
        }
    }
}
