//! A limit is set and lifted while its channel is hot: how soon does it act, and does the change itself admit
//! any request?
//!
//! Goals (G10, one process): at most 10 ms at the 99th percentile from the operator's call to the first reply
//! that shows it; no requests admitted beyond the new quota.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use weir_data_client::{CallOptions, DataClient, DataError};
use weir_proto::{
    admin::{Limit, LimitKind, ListLimitChangesRequest, SetLimitRequest, UnsetLimitRequest},
    data::ListMessagesRequest,
};
use weir_report::{Goal, Report};

use crate::{
    arrival,
    place::Place,
    recorder::{Failure, Recorder},
    target::Target,
};

/// How the scenario is run.
#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// The store: `embedded` or `cql://127.0.0.1:PORT/keyspace`; the keyspace is made with one copy.
    #[arg(long, default_value = "embedded")]
    store: String,
    /// Rounds.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Changes of a round, each set and lifted.
    #[arg(long, default_value_t = 100)]
    changes: u32,
    /// Requests a second on the hot channel beside the callers that watch it.
    #[arg(long, default_value_t = 1_000.0)]
    hot_rate: f64,
    /// Reads a second of a quiet channel.
    #[arg(long, default_value_t = 100.0)]
    quiet_rate: f64,
}

/// The limit that is set: one request every ten seconds.
const RATE: f64 = 0.1;
/// Its burst: one request at once.
const BURST: u64 = 1;
/// Time for which a limit stays in force, and then stays lifted.
const HOLD: Duration = Duration::from_millis(30);
/// Longest wait until a change shows.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages of each channel.
const MESSAGES: u64 = 100;
/// Callers that read the hot channel, one request after another.
const WATCHERS: usize = 2;

/// The watchers' last observation: when a reply came, and when its request had been sent.
#[derive(Debug, Clone, Copy)]
struct Sight {
    admitted: bool,
    replied: Instant,
}

/// Requests that were admitted although they were sent while the limit was certainly in force.
#[derive(Debug, Default)]
struct Admitted {
    /// True if the limit is certainly in force: the call that set it has returned, and the call that lifts it
    /// was not sent.
    in_force: AtomicBool,
    /// Number of the change that is in force.
    change: AtomicU64,
    count: AtomicU64,
}

/// Runs the scenario and writes its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!(options.rounds > 0 && options.changes > 0, "counts must be above 0");
    let target = Target::start(&options.store, None).await?;
    let (hot, quiet) = fill(&target.data).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let admitted = Arc::new(Admitted::default());
    let (show, sights) = watch::channel(Sight { admitted: true, replied: Instant::now() });
    let show = Arc::new(show);
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        let (stop, show, admitted) = (Arc::clone(&stop), Arc::clone(&show), Arc::clone(&admitted));
        // The watchers have connections of their own, so that they do not wait behind the stream's requests.
        let data = target.another_client()()?;
        watchers.spawn(watch_channel(data, hot, stop, show, admitted));
    }
    // The changes end long before this, and the streams are stopped then.
    let longest = Duration::from_secs(3_600);
    let quiet_seen = Arc::new(Recorder::default());
    let stream = |rate, channel, recorder: &Arc<Recorder>| {
        let (data, recorder) = (target.data.clone(), Arc::clone(recorder));
        tokio::spawn(async move {
            let request = |_| {
                let data = data.clone();
                async move { Ok(read(&data, channel).await?) as Result<(), Failure> }
            };
            arrival::run(rate, longest, recorder, request).await;
        })
    };
    let streams = [
        stream(options.hot_rate, hot, &Arc::new(Recorder::default())),
        stream(options.quiet_rate, quiet, &quiet_seen),
    ];
    let measured = measure(&options, &target.admin, hot, sights, &admitted).await;
    for stream in &streams {
        stream.abort();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(watcher) = watchers.join_next().await {
        watcher??;
    }
    let (set, lifted) = measured?;
    let recorded = history(&target.admin, hot).await?;
    let expected = 2 * u64::from(options.rounds) * u64::from(options.changes);
    ensure!(
        recorded >= expected.min(1_000),
        "limits history knows {recorded} changes of {expected}, of which it shows 1,000"
    );

    let mut report = Report::new("limit-change", "From an operator's call to the first reply that shows it");
    report.setting("store", options.store.split(':').next().unwrap_or(""));
    report.setting("rounds", options.rounds);
    report.setting("changes", options.changes);
    report.setting("hot_per_s", options.hot_rate);
    let halves =
        |rounds: &[Vec<f64>], quantile: f64| rounds.iter().map(|round| at(round, quantile)).collect();
    report.series("set, median of a round", "ms", halves(&set, 0.5));
    report.series("lifted, median of a round", "ms", halves(&lifted, 0.5));
    report.figure("set, p99 of a round", "ms", halves(&set, 0.99), Goal::AtMost(10.0));
    report.figure("lifted, p99 of a round", "ms", halves(&lifted, 0.99), Goal::AtMost(10.0));
    // A round has a small number of changes, each with its burst.
    let changes = f64::from(options.rounds * options.changes);
    let beyond = admitted.count.load(Ordering::Relaxed) as f64 - changes * BURST as f64;
    report.figure("admitted beyond the quota", "requests", vec![beyond.max(0.0)], Goal::AtMost(0.0));
    let quiet = quiet_seen.numbers();
    report.figure("quiet channel's refusals", "requests", vec![quiet.refused as f64], Goal::AtMost(0.0));
    report.note(format!(
        "quiet channel meanwhile: {} answers, p99 {:.2} ms, {} failures; limits history shows {recorded} of {expected} changes",
        quiet.answered,
        quiet.p99_us as f64 / 1_000.0,
        quiet.failed
    ));
    report.finish()
}

/// Sets and lifts the limit, round after round. Returns the milliseconds until each change showed.
async fn measure(
    options: &Options,
    admin: &DataClient,
    hot: u64,
    mut sights: watch::Receiver<Sight>,
    admitted: &Admitted,
) -> Result<(Vec<Vec<f64>>, Vec<Vec<f64>>)> {
    let scope = format!("channel/{hot}");
    let calls = CallOptions::default();
    let (mut set, mut lifted) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let (mut down, mut up) = (Vec::new(), Vec::new());
        for change in 0..options.changes {
            let limit = Limit {
                scope: scope.clone(),
                kind: LimitKind::Requests.into(),
                rate: RATE,
                burst: BURST,
                set_by: "loadtest".into(),
                reason: "measured".into(),
                ..Limit::default()
            };
            let began = Instant::now();
            let request = SetLimitRequest { limit: Some(limit) };
            let call = async {
                admin.set_limit(&request, &calls).await?;
                admitted.change.store(u64::from(round * options.changes + change) + 1, Ordering::SeqCst);
                admitted.in_force.store(true, Ordering::SeqCst);
                anyhow::Ok(())
            };
            let (called, seen) = tokio::join!(call, shown(&mut sights, false, began));
            called?;
            down.push(seen?);
            sleep(HOLD).await;
            admitted.in_force.store(false, Ordering::SeqCst);
            let began = Instant::now();
            let request = UnsetLimitRequest {
                scope: scope.clone(),
                kind: LimitKind::Requests.into(),
                who: "loadtest".into(),
            };
            let call = admin.unset_limit(&request, &calls);
            let (called, seen) = tokio::join!(call, shown(&mut sights, true, began));
            called?;
            up.push(seen?);
            sleep(HOLD).await;
        }
        eprintln!(
            "round {}: p99 {:.2} ms to set, {:.2} ms to lift",
            round + 1,
            at(&down, 0.99),
            at(&up, 0.99)
        );
        set.push(down);
        lifted.push(up);
    }
    Ok((set, lifted))
}

/// Milliseconds from `began` to the first later reply that was `admitted`, or refused if that is false.
async fn shown(sights: &mut watch::Receiver<Sight>, admitted: bool, began: Instant) -> Result<f64> {
    let wanted = |sight: &Sight| sight.admitted == admitted && sight.replied > began;
    let sight = timeout(PATIENCE, sights.wait_for(wanted)).await.context("the change does not show")??;
    Ok((sight.replied - began).as_secs_f64() * 1_000.0)
}

/// The figure below which a share `quantile` of the figures lies.
fn at(figures: &[f64], quantile: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    // The index is below the length, a small number.
    let index = (sorted.len().saturating_sub(1) as f64 * quantile).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

async fn read(data: &DataClient, channel_id: u64) -> Result<(), DataError> {
    let request = ListMessagesRequest { channel_id, limit: 10, ..ListMessagesRequest::default() };
    data.list_messages(&request, &CallOptions::within(Duration::from_secs(2))).await.map(drop)
}

/// Asks for the newest page, one request after another, and publishes each reply.
async fn watch_channel(
    data: DataClient,
    hot: u64,
    stop: Arc<AtomicBool>,
    show: Arc<watch::Sender<Sight>>,
    admitted: Arc<Admitted>,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let sent_in_force = admitted.in_force.load(Ordering::SeqCst);
        let change = admitted.change.load(Ordering::SeqCst);
        let outcome = read(&data, hot).await;
        let is_admitted = match outcome {
            Ok(()) => true,
            Err(DataError::Refused { retry_after, ref limit, .. }) => {
                ensure!(
                    !retry_after.is_zero() && !limit.is_empty(),
                    "a refusal without its reason or its end"
                );
                false
            }
            Err(error) => return Err(error.into()),
        };
        let replied = Instant::now();
        // If the same change is still in force, the whole request lay within it.
        let in_force = sent_in_force
            && admitted.in_force.load(Ordering::SeqCst)
            && change == admitted.change.load(Ordering::SeqCst);
        if is_admitted && in_force {
            admitted.count.fetch_add(1, Ordering::SeqCst);
        }
        show.send_replace(Sight { admitted: is_admitted, replied });
    }
    Ok(())
}

async fn history(admin: &DataClient, hot: u64) -> Result<u64> {
    let request = ListLimitChangesRequest { limit: 1_000, scope: format!("channel/{hot}") };
    let changes = admin.list_limit_changes(&request, &CallOptions::default()).await?.message.changes;
    let complete = changes.iter().all(|change| change.who == "loadtest" && change.at_ms > 0);
    ensure!(complete, "a change on record lacks who or when");
    ensure!(changes.is_sorted_by(|newer, older| newer.at_ms >= older.at_ms), "changes are newest first");
    Ok(changes.len() as u64)
}

/// Creates a hot and a quiet channel with messages.
async fn fill(data: &DataClient) -> Result<(u64, u64)> {
    let place = Place::new(data, 2).await?;
    let [hot, quiet] = place.channels[..] else { anyhow::bail!("two channels were asked for") };
    for number in 0..MESSAGES {
        for channel_id in [hot, quiet] {
            place.say(data, channel_id, format!("message {number}")).await?;
        }
    }
    Ok((hot, quiet))
}
