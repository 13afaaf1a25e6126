//! Compares the embedded store with a lower bound: a raw file with group commit (append, one fdatasync for
//! all that wait, answer). Both get the same bytes from the same number of writers, in turns, so that a noisy
//! machine is noisy for both; compare within one run only.
//!
//! `cargo bench -p weir-store [-- SECONDS]`: seconds for each measurement, default 2. The directory is in
//! `TMPDIR`: set it to a real disk.

use std::{
    env,
    fs::File,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use weir_proto::{
    bucket::Bucket,
    data::Message,
    id::{ChannelId, MessageId, ScopeId},
};
use weir_store::{
    Commit, OutboxRecord, PartitionRange, RowChange, RowOrder, Store,
    embedded::{EmbeddedConfig, EmbeddedStore},
};

/// Content of a message, in bytes: with its other columns a row takes about 300.
const CONTENT_BYTES: usize = 240;
/// Id of the first message.
const BASE: u64 = 1 << 60;
/// Writers that commit at once.
const WRITERS: [u64; 3] = [1, 50, 500];
/// Rounds of each, in turns.
const ROUNDS: usize = 3;

fn channel(id: u64) -> ChannelId {
    ChannelId::try_from(id).expect("not 0")
}

/// One message, its record, and the step that commits both.
fn step(channel_id: u64, number: u64) -> Commit {
    let message = Message {
        id: BASE + number,
        channel_id,
        author_id: 1,
        content: "x".repeat(CONTENT_BYTES),
        rev: number,
        last_rev: number,
        ..Message::default()
    };
    let record = Bytes::from(prost::Message::encode_to_vec(&message));
    Commit {
        scope_id: ScopeId::Channel(channel(channel_id)),
        rev: number,
        rows: vec![RowChange::PutMessage(message)],
        records: vec![OutboxRecord { guild_id: None, rev: number, record }],
        rows_are_outbox: true,
    }
}

/// Name of the raw file's thread.
const RAW_THREAD: &str = "raw-committer";
/// Name of the store's.
const EMBEDDED_THREAD: &str = "weir-committer";

/// Seconds of processor time that threads of a name used so far, which other load on the machine does not
/// change. Linux only; elsewhere 0.
fn processor_seconds(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ticks = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        if !head.ends_with(name) {
            return None;
        }
        // Fields 14 and 15 of stat, counted from the state after the name: user and system time in ticks of
        // 10 ms.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    ticks.sum::<u64>() as f64 / 100.0
}

/// A target for commits.
#[derive(Clone)]
enum Target {
    Raw(mpsc::Sender<(Bytes, oneshot::Sender<()>)>),
    Embedded(Arc<EmbeddedStore>),
}

impl Target {
    async fn commit(&self, commit: Commit) {
        match self {
            Self::Raw(writes) => {
                // Row and record, as the store writes them, without the store's index.
                let record = &commit.records[0].record;
                let bytes = Bytes::from([record.as_ref(), record.as_ref()].concat());
                let (done, answer) = oneshot::channel();
                writes.send((bytes, done)).await.expect("the file's thread lives");
                answer.await.expect("it answers");
            }
            Self::Embedded(store) => store.commit(commit).await.expect("committed"),
        }
    }

    fn thread(&self) -> &'static str {
        match self {
            Self::Raw(_) => RAW_THREAD,
            Self::Embedded(_) => EMBEDDED_THREAD,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Raw(_) => "raw file, group commit",
            Self::Embedded(_) => "embedded store",
        }
    }
}

/// A thread that appends the waiting commits, syncs once, and answers all.
fn raw(directory: &Path) -> Target {
    let mut file = File::create(directory.join("raw")).expect("created");
    let (writes, mut receiver) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(4_096);
    let thread = thread::Builder::new().name(RAW_THREAD.to_owned());
    let started = thread.spawn(move || {
        while let Some(first) = receiver.blocking_recv() {
            let mut waiting = vec![first];
            while waiting.len() < 1_024 {
                let Ok(next) = receiver.try_recv() else { break };
                waiting.push(next);
            }
            let bytes: Vec<u8> = waiting.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
            file.write_all(&bytes).and_then(|()| file.sync_data()).expect("synced");
            for (_, done) in waiting {
                // The writer may have been stopped.
                let _ = done.send(());
            }
        }
    });
    started.expect("a thread");
    Target::Raw(writes)
}

/// Commits from `writers` tasks for a while; returns commits a second and their latencies in microseconds.
async fn commits(target: &Target, writers: u64, first: u64, seconds: Duration) -> (f64, Histogram<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (target, stop) = (target.clone(), stop.clone());
            tokio::spawn(async move {
                let mut latencies =
                    Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a minute in microseconds");
                let mut number = first;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let commit = step(1 + writer, number);
                    let sent = Instant::now();
                    target.commit(commit).await;
                    latencies.saturating_record(sent.elapsed().as_micros() as u64);
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(seconds).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a minute in microseconds");
    for task in tasks {
        all.add(task.await.expect("no panic")).expect("same digits");
    }
    (all.len() as f64 / began.elapsed().as_secs_f64(), all)
}

/// Reads pages of 50 from `readers` tasks for a while.
async fn pages(
    store: &Arc<EmbeddedStore>,
    readers: u64,
    rows: u64,
    seconds: Duration,
) -> (f64, Histogram<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let tasks: Vec<_> = (0..readers)
        .map(|reader| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut latencies =
                    Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a minute in microseconds");
                let mut before = reader;
                while !stop.load(Ordering::Relaxed) {
                    // Each step is a prime, so that pages are spread over the partition.
                    before = (before + 7_919) % rows;
                    let range = PartitionRange {
                        after: None,
                        before: MessageId::try_from(BASE + 50 + before).ok(),
                        order: RowOrder::NewestFirst,
                        limit: 50,
                    };
                    let sent = Instant::now();
                    let page = store
                        .read_partition(channel(u64::MAX >> 1), Bucket::of_raw(BASE), range)
                        .await
                        .expect("readable");
                    assert!(page.len() >= 49);
                    latencies.saturating_record(sent.elapsed().as_micros() as u64);
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(seconds).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a minute in microseconds");
    for task in tasks {
        all.add(task.await.expect("no panic")).expect("same digits");
    }
    (all.len() as f64 / began.elapsed().as_secs_f64(), all)
}

fn line(name: &str, who: &str, rate: f64, latencies: &Histogram<u64>) {
    let at = |quantile| latencies.value_at_quantile(quantile);
    eprintln!("{name:<24} {who:<14} {rate:>9.0}/s   p50 {:>6} us   p99 {:>6} us", at(0.5), at(0.99));
}

fn main() {
    // cargo passes flags of its own, so only a number counts.
    let seconds = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2);
    let seconds = Duration::from_secs(seconds);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let opened = Instant::now();
    let store = EmbeddedStore::open(EmbeddedConfig::new(directory.path().join("store"))).expect("opens");
    eprintln!("opened an empty store in {:?}", opened.elapsed());
    runtime.block_on(async {
        let targets = [raw(directory.path()), Target::Embedded(store.clone())];
        let mut first = 0;
        for writers in WRITERS {
            for _ in 0..ROUNDS {
                for target in &targets {
                    let batches = store.batches();
                    let used = processor_seconds(target.thread());
                    let (rate, latencies) = commits(target, writers, first, seconds).await;
                    let used = (processor_seconds(target.thread()) - used) * 1e6 / latencies.len() as f64;
                    line(target.name(), &format!("{writers} writers"), rate, &latencies);
                    let batches = match target {
                        Target::Embedded(_) => {
                            format!(
                                "{:.1} commits in a batch",
                                latencies.len() as f64 / (store.batches() - batches).max(1) as f64
                            )
                        }
                        Target::Raw(_) => String::new(),
                    };
                    eprintln!(
                        "{:<24} {used:.1} us of processor in the writing thread for each; {batches}",
                        ""
                    );
                    first += 10_000_000;
                }
            }
        }
        let rows = 100_000;
        for chunk in 0..rows / 1_000 {
            let message = |n| step(u64::MAX >> 1, chunk * 1_000 + n).rows;
            store.put_rows((1..=1_000).flat_map(message).collect(), 1).await.expect("loaded");
        }
        for readers in [1, 16] {
            let (rate, latencies) = pages(&store, readers, rows - 50, seconds).await;
            line("pages of 50", &format!("{readers} readers"), rate, &latencies);
        }
        let closed = Instant::now();
        store.close().await;
        eprintln!("closed in {:?}", closed.elapsed());
    });
    drop(store);
    let tree = std::fs::read_dir(directory.path().join("store/lsm")).into_iter().flatten().flatten();
    let journals = tree.filter(|file| file.path().extension().is_some_and(|extension| extension == "jnl"));
    let bytes: u64 = journals.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    let opened = Instant::now();
    EmbeddedStore::open(EmbeddedConfig::new(directory.path().join("store"))).expect("opens");
    eprintln!("opened again in {:?}, with {} MiB of journals", opened.elapsed(), bytes >> 20);
}
