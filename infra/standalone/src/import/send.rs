//! Sends a job: its names, then its batches, a few calls at a time, then its end.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use weir_data_client::{CallOptions, DataClient, DataError, Replied};
use weir_proto::{
    admin::{BeginImportRequest, BeginImportResponse, FinishImportRequest, WriteImportRequest},
    id::Snowflake,
};
use weir_runtime::launch;

use super::{
    ImportError,
    convert::{Batch, Converted, Placed, convert},
    progress::Progress,
    scan::Scan,
};

/// Most authors of one call; the contract's bound.
const AUTHORS_PART_MAX: usize = 5_000;
/// Most bytes of author names in one call. With all channel names (50 KB) the call stays below the admin
/// listener's 256 KiB.
const AUTHORS_PART_BYTES_MAX: usize = 128 * 1024;
/// Batches that wait to be sent. The next one is filled while others are under way.
const BATCHES_WAITING_MAX: usize = 1;
/// Calls under way at once. The service writes the calls of one channel in one step while it syncs the calls
/// before, so a few suffice. Each holds a batch in memory, and a killed job repeats as many calls.
const CALLS_AT_ONCE: usize = 16;
/// Time limit of one call. A batch is some thousand rows, which a healthy store syncs in milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call is repeated before the import gives up. A restart of the service takes less.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a call may go unanswered before the operator is told of the wait.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// First pause between two attempts; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The result of an import.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The job's guild.
    pub(crate) guild_id: u64,
    /// Channel ids, by the channel's number in the file.
    pub(crate) channel_ids: Vec<u64>,
    /// Number of lines that were durable before this run.
    pub(crate) continued_after: u64,
    /// Counts of the second pass.
    pub(crate) converted: Converted,
}

/// Sends what was scanned. `stop` ends it after the call under way.
///
/// # Errors
/// [`ImportError`]. Lines that were written stay, and the same job continues after them.
///
/// # Cancel safety
/// Dropping the future is like a crash: the job continues after its last durable batch.
pub(crate) async fn send(
    client: &DataClient,
    scan: Arc<Scan>,
    guild_name: String,
    progress: &mut Progress,
    stop: &CancellationToken,
) -> Result<Imported, ImportError> {
    let calls = Calls {
        durable: AtomicU64::new(0),
        stop,
        progress: Mutex::new(progress),
        told: AtomicBool::new(false),
    };
    let begun = begin(client, &scan, guild_name, &calls).await?;
    let asked = scan.channels.all().len();
    if begun.channel_ids.len() != asked {
        return Err(ImportError::Answer { answered: begun.channel_ids.len(), asked });
    }
    let mut imported = Imported {
        guild_id: begun.guild_id,
        channel_ids: begun.channel_ids.clone(),
        continued_after: begun.lines_done,
        converted: Converted::default(),
    };
    let author_id_base =
        Snowflake::try_from(begun.author_id_base).map_err(|_| ImportError::Answer { answered: 0, asked })?;
    // A finished job has nothing left to write; its second pass only counts.
    let lines_done = if begun.finished { scan.lines } else { begun.lines_done };
    let placed = Placed { channel_ids: begun.channel_ids, author_id_base, lines_done };
    let (give, mut batches) = mpsc::channel::<Batch>(BATCHES_WAITING_MAX);
    let (tell, converted) = oneshot::channel();
    // The reader has a thread of its own. It mostly waits for the sender, which would keep a thread of the
    // runtime's pool from other work.
    let reader = std::thread::Builder::new().name("weir-import".to_owned()).spawn({
        let scan = scan.clone();
        move || {
            // Once the sender has failed, nobody receives batches or the result. The reader then stops.
            let _ = tell.send(convert(&scan, &placed, |batch| give.blocking_send(batch).is_ok()));
        }
    });
    reader.map_err(ImportError::Thread)?;
    // Lines of calls that were answered, with all lines before them. Each call reports this number as
    // durable.
    calls.durable.store(imported.continued_after, Ordering::Relaxed);
    calls.progress(|progress| progress.written(imported.continued_after, scan.lines));
    let write = async |batches: Vec<Vec<u8>>| {
        let lines_done = calls.durable.load(Ordering::Relaxed);
        let request = WriteImportRequest { job: scan.job.to_vec(), batches, lines_done };
        calls.patiently(async || client.write_import(&request, &options()).await).await
    };
    let given = stream::unfold(&mut batches, async |batches| Some((batches.recv().await?, batches)));
    let write = &write;
    let writes = given.map(|batch: Batch| async move {
        let lines_done = batch.lines_done;
        write(batch.requests).await.map(|_| lines_done)
    });
    // Answers are handled in the order of the file, whichever arrives first.
    let mut answers = std::pin::pin!(writes.buffered(CALLS_AT_ONCE));
    while let Some(lines_done) = answers.next().await {
        let lines_done = lines_done?;
        calls.durable.store(lines_done, Ordering::Relaxed);
        calls.progress(|progress| progress.written(lines_done, scan.lines));
    }
    imported.converted = converted.await.map_err(|_panicked| ImportError::Reader)??;
    if begun.finished {
        return Ok(imported);
    }
    // No later call reports the lines of the last calls, so an empty one does.
    write(Vec::new()).await?;
    let request = FinishImportRequest { job: scan.job.to_vec() };
    calls.patiently(async || client.finish_import(&request, &options()).await).await?;
    Ok(imported)
}

/// Announces the job's names, with the authors in parts.
async fn begin(
    client: &DataClient,
    scan: &Scan,
    guild_name: String,
    calls: &Calls<'_>,
) -> Result<BeginImportResponse, ImportError> {
    let authors = scan.authors.all();
    let mut answer = BeginImportResponse::default();
    for part in parts(authors) {
        let request = BeginImportRequest {
            job: scan.job.to_vec(),
            guild_name: guild_name.clone(),
            channel_names: scan.channels.all().to_vec(),
            author_names: authors[part.clone()].to_vec(),
            first_author: part.start as u64,
            authors_total: authors.len() as u64,
        };
        answer = calls.patiently(async || client.begin_import(&request, &options()).await).await?;
    }
    Ok(answer)
}

/// Divides the authors into parts that fit into one call.
fn parts(authors: &[String]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (index, name) in authors.iter().enumerate() {
        if index - start == AUTHORS_PART_MAX || bytes + name.len() > AUTHORS_PART_BYTES_MAX {
            parts.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += name.len();
    }
    parts.push(start..authors.len());
    parts
}

fn options() -> CallOptions {
    CallOptions::within(CALL_TIMEOUT)
}

/// State that the calls of a job share.
struct Calls<'a> {
    /// Number of lines that are durable.
    durable: AtomicU64,
    /// Ends the job.
    stop: &'a CancellationToken,
    progress: Mutex<&'a mut Progress>,
    /// True if a wait was reported, which is done once for all waiting calls.
    told: AtomicBool,
}

impl Calls<'_> {
    fn progress(&self, tell: impl FnOnce(&mut Progress)) {
        tell(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Repeats a call until it is answered, for at most [`PATIENCE`]. Every call of a job may be repeated,
    /// even if its outcome is not known.
    async fn patiently<T>(
        &self,
        call: impl AsyncFn() -> Result<Replied<T>, DataError>,
    ) -> Result<T, ImportError> {
        let started = Instant::now();
        let mut last: Option<DataError> = None;
        let mut pause = PAUSE_FIRST;
        loop {
            if self.stop.is_cancelled() {
                return Err(ImportError::Interrupted { lines_done: self.durable.load(Ordering::Relaxed) });
            }
            let source = match self.told_if_slow(call(), started, last.as_ref()).await {
                Ok(replied) => {
                    if self.told.swap(false, Ordering::Relaxed) {
                        self.progress(|progress| progress.say("the service answers again"));
                    }
                    return Ok(replied.message);
                }
                Err(source) => source,
            };
            let wait = match &source {
                DataError::Refused { retry_after, .. } => pause.max(*retry_after),
                DataError::OutcomeUnknown { .. }
                | DataError::DeadlineExceeded
                | DataError::Unavailable { .. } => pause,
                DataError::NotFound { .. } | DataError::Invalid { .. } | DataError::Failed { .. } => {
                    let lines_done = self.durable.load(Ordering::Relaxed);
                    return Err(ImportError::Send { lines_done, source });
                }
            };
            let waited = started.elapsed();
            if waited + wait > PATIENCE {
                let lines_done = self.durable.load(Ordering::Relaxed);
                return Err(ImportError::Stuck { lines_done, waited_s: waited.as_secs(), source });
            }
            tracing::debug!(error = %source, "an import call is repeated");
            let resting = async {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.stop.cancelled() => {}
                }
            };
            self.told_if_slow(resting, started, Some(&source)).await;
            last = Some(source);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits for `wait`. [`TELL_AFTER`] after `started` it tells the operator what it waits for, and until
    /// when.
    async fn told_if_slow<T>(
        &self,
        wait: impl Future<Output = T>,
        started: Instant,
        last: Option<&DataError>,
    ) -> T {
        let mut wait = std::pin::pin!(wait);
        if !self.told.load(Ordering::Relaxed) {
            tokio::select! {
                done = &mut wait => return done,
                () = tokio::time::sleep_until(started + TELL_AFTER) => {}
            }
            if !self.told.swap(true, Ordering::Relaxed) {
                let text = waiting(last);
                self.progress(|progress| progress.say(&text));
            }
        }
        wait.await
    }
}

/// Says that the import waits, why, and for how long.
fn waiting(last: Option<&DataError>) -> String {
    let patience = PATIENCE.as_secs();
    match last {
        Some(error) => format!("waiting for the service, at most {patience} s: {}", launch::chain(error)),
        None => format!("waiting for the service, at most {patience} s: it has not answered yet"),
    }
}

#[cfg(test)]
mod tests;
