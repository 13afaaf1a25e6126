//! Racing reads and writes with random delays, checked as a register. Goal G4 in small: no stale read.
//!
//! Over any store the layer is a regular register: acknowledged writes are seen. It is an atomic one if the
//! store's reads take effect in the order in which they are sent. Over a store that reorders them, a write
//! that is *not acknowledged yet* can be seen by one read and missed by a later one: the later read's flight
//! had replaced the first one's. Preventing that would need every write in progress to stop joins and hits,
//! which on a busy channel is always.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use weir_protect::Change;

use crate::{
    checker::{Kind, Operation, atomic, regular},
    fake::{Bed, LATEST, Seeded, pause},
};

/// Something that reads and writes one register through a cache.
pub(crate) trait Subject: Clone + Send + Sync + 'static {
    /// The value read; `None` for an error. `cached`: whether a cached answer will do, where that can be
    /// said.
    fn read(&self, cached: bool) -> impl Future<Output = Option<u64>> + Send;
    /// Returns at the acknowledgement, or when the outcome has become known otherwise; `false` if it never
    /// landed.
    fn write(&self, value: u64, random: &mut Seeded) -> impl Future<Output = bool> + Send;
}

impl Subject for Bed {
    async fn read(&self, cached: bool) -> Option<u64> {
        let mut request = self.request(LATEST);
        request.page.allow_cache = cached;
        self.layer.read(request).await.ok().map(|reply| reply.value.newest())
    }

    async fn write(&self, value: u64, random: &mut Seeded) -> bool {
        let generations = self.layer.generations();
        let pending = generations.write(&1_u64, Change::Append);
        pause(random.up_to(10)).await;
        if random.below(6) == 0 {
            // A timeout: the write lands later, or never; the owner waits until it knows.
            drop(pending);
            let _unresolved = generations.unresolved(&1_u64);
            pause(random.up_to(30)).await;
            let lands = random.below(3) > 0;
            if lands {
                self.store.append(1, value);
            }
            pause(random.up_to(30)).await;
            return lands;
        }
        self.store.append(1, value);
        pause(random.up_to(10)).await;
        pending.settle();
        true
    }
}

type History = Arc<Mutex<Vec<Operation>>>;

/// One writer, six readers, all delays from the seed.
pub(crate) async fn history_of(subject: impl Subject, seed: u64) -> Vec<Operation> {
    let (history, origin) = (History::default(), Instant::now());
    let mut tasks = Vec::new();
    for reader in 0..6 {
        let (subject, history) = (subject.clone(), Arc::clone(&history));
        tasks.push(tokio::spawn(async move {
            let mut random = Seeded(seed ^ (reader + 1));
            for _ in 0..15 {
                pause(random.up_to(20)).await;
                let begun = origin.elapsed();
                // One in four callers may leave early, which must disturb nobody.
                let patience = if random.below(4) == 0 { random.up_to(20) } else { Duration::from_secs(60) };
                let cached = random.below(4) > 0;
                let read = tokio::time::timeout(patience, subject.read(cached)).await;
                if let Ok(Some(value)) = read {
                    let ended = origin.elapsed();
                    history.lock().unwrap().push(Operation { kind: Kind::Read, value, begun, ended });
                }
            }
        }));
    }
    let mut random = Seeded(seed);
    for value in 1..=12 {
        pause(random.up_to(30)).await;
        let begun = origin.elapsed();
        let landed = subject.write(value, &mut random).await;
        let ended = if landed { origin.elapsed() } else { Duration::MAX };
        history.lock().unwrap().push(Operation { kind: Kind::Write, value, begun, ended });
    }
    for task in tasks {
        task.await.unwrap();
    }
    let history = history.lock().unwrap();
    history.clone()
}

type Check = fn(&[Operation]) -> Result<(), String>;

/// Runs `seeds` histories in virtual time, each in a runtime of its own; the first violation, with its seed.
pub(crate) fn violation<S: Subject>(
    seeds: u64,
    check: Check,
    subject: impl Fn(u64) -> S,
) -> Result<usize, String> {
    let mut operations = 0;
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let history = runtime.unwrap().block_on(async { history_of(subject(seed), seed).await });
        operations += history.len();
        check(&history).map_err(|violation| format!("seed {seed}: {violation}"))?;
    }
    Ok(operations)
}

fn layer(in_order: bool) -> impl Fn(u64) -> Bed {
    move |seed| {
        let bed = Bed::new();
        bed.store.random(seed, in_order);
        bed
    }
}

/// Histories of a test that has to find nothing: 400, or as many as `WEIR_SIM_SEEDS` says (`cargo xtask sim
/// --seeds N`).
fn seeds() -> u64 {
    std::env::var("WEIR_SIM_SEEDS").map_or(400, |count| count.parse().expect("a number of seeds"))
}

#[test]
fn raced_reads_and_writes_form_a_regular_register() {
    let operations = violation(seeds(), regular, layer(false)).unwrap();
    eprintln!("{operations} operations judged");
    assert!(operations as u64 > 50 * seeds(), "{operations} operations are too few to mean anything");
}

#[test]
fn over_a_store_that_keeps_the_order_the_register_is_atomic() {
    let operations = violation(seeds(), atomic, layer(true)).unwrap();
    eprintln!("{operations} operations judged");
    assert!(operations as u64 > 50 * seeds(), "{operations} operations are too few to mean anything");
}
