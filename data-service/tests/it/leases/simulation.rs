//! Hazard 41 as a simulation: three machines, six processes, and every id that they mint.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use weir_data_service::{
    clock::{Clock, WallClock},
    ownership::mint::Minter,
    ownership::{Ownership, Tenure},
};
use weir_proto::id::unix_ms;

use super::{Process, colliding};
use crate::{
    fake_store::{Dice, FakeStore},
    ownership::TestClock,
};
/// What one process of the simulation minted under one tenure.
#[derive(Debug)]
struct Minted {
    holder: String,
    tenure: Tenure,
    ids: Vec<u64>,
}

/// One process of the simulation: it mints while it may, is stopped, its clock is set; then it is killed or
/// ends in order.
async fn live(process: Process, dice: &Dice, minted: &Mutex<Vec<Minted>>) {
    let ms = |below: u64| Duration::from_millis(dice.roll(below));
    let skew = || i64::try_from(dice.roll(800_001)).unwrap() - 400_000;
    let (leased, keeping) = process.start().await;
    let minter = Minter::new(0);
    let killed_at = Instant::now() + Duration::from_secs(3) + ms(120_000);
    while Instant::now() < killed_at {
        sleep(ms(400)).await;
        if dice.roll(20) == 0 {
            process.clock.set_skew(skew());
        }
        // The slots go on being renewed and the worker number does not, until perhaps another has it.
        if dice.roll(100) == 0 {
            process.store.refuse_lease(&format!("worker/{}", leased.worker()));
        } else if dice.roll(400) == 0 {
            process.store.refuse_lease("");
        }
        let Ok(tenure) = leased.tenure(None) else { continue };
        let mut now_us = process.clock.wall_us();
        // Stopped with its tenure in hand, before or after it looked at the clock.
        if dice.roll(15) == 0 {
            let stopped = if dice.roll(4) == 0 { ms(80_000) } else { ms(8_000) };
            process.store.stop_for(stopped);
            sleep(stopped).await;
            if dice.roll(2) == 0 {
                now_us = process.clock.wall_us();
            }
        }
        let mut ids = Vec::new();
        for _ in 0..dice.roll(40) {
            let count = if dice.roll(10) == 0 { 1 + dice.roll(300_000) } else { 1 };
            let Ok(first) = minter.reserve(now_us, None, tenure, count) else { break };
            // Of a long row both ends.
            ids.extend([first.get()]);
            ids.extend((count > 1).then(|| Minter::nth(first, count - 1)));
        }
        if !ids.is_empty() {
            minted.lock().unwrap().push(Minted { holder: leased.node().to_owned(), tenure, ids });
        }
    }
    if dice.roll(4) == 0 {
        process.stop.cancel();
        drop(keeping.await);
    } else {
        process.store.kill();
        keeping.abort();
    }
}

async fn simulate(seed: u64) -> Vec<Minted> {
    let clock = TestClock::new();
    let base = FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, seed);
    let (dice, minted, next) = (Dice::new(seed), Mutex::default(), AtomicU64::new(0));
    let machine = async || {
        for _ in 0..6 {
            let name = colliding(next.fetch_add(1, SeqCst));
            let skew = i64::try_from(dice.roll(800_001)).unwrap() - 400_000;
            let process = Process::new(base.fork(), clock.skewed(skew), &name);
            process.store.slow(Duration::from_millis(1 + dice.roll(200)));
            live(process, &dice, &minted).await;
            sleep(Duration::from_millis(dice.roll(20_000))).await;
        }
    };
    tokio::join!(machine(), machine(), machine());
    minted.into_inner().unwrap()
}

/// Hazard 41, with kills, stops, worker numbers that are not renewed, clocks that are off by up to 400 ms and
/// set, and names that all select the same worker number.
#[test]
pub(crate) fn no_id_is_minted_twice_whoever_dies_or_sleeps() {
    let (mut total, mut taken_over, mut reused) = (0, 0, 0);
    for seed in 0..100 {
        let minted = crate::history::paused(simulate(seed));
        let mut seen: HashMap<u64, &str> = HashMap::new();
        let mut workers: BTreeMap<u16, BTreeMap<&str, (u64, u64)>> = BTreeMap::new();
        let mut reigns: BTreeMap<(&str, u64), (u64, u64)> = BTreeMap::new();
        for Minted { holder, tenure, ids } in &minted {
            for id in ids {
                if let Some(other) = seen.insert(*id, holder) {
                    panic!("seed {seed}: {id} was minted by {holder} and {other}");
                }
                let at_us = unix_ms(*id) * 1_000;
                assert!(at_us + 1_000 <= tenure.mint_until_us, "seed {seed}: {id} above {tenure:?}");
                assert!(at_us >= tenure.mint_above_us, "seed {seed}: {id} below {tenure:?}");
                let of_worker = workers.entry(tenure.worker).or_default();
                let (from, to) = of_worker.entry(holder).or_insert((at_us, at_us));
                (*from, *to) = ((*from).min(at_us), (*to).max(at_us));
            }
            let (above, until) = reigns.entry((holder, tenure.reign)).or_insert((u64::MAX, 0));
            (*above, *until) = (tenure.mint_above_us.min(*above), tenure.mint_until_us.max(*until));
            total += ids.len();
        }
        // A number goes to another only long after its last id: the lease's end and ten leases more, less
        // than what clocks run ahead.
        for (worker, holders) in &workers {
            let mut spans: Vec<(u64, u64)> = holders.values().copied().collect();
            spans.sort_unstable();
            for pair in spans.windows(2) {
                assert!(pair[0].1 + 45_000_000 < pair[1].0, "seed {seed}: worker {worker}: {holders:?}");
                reused += 1;
            }
        }
        // Who took the slots over from one that did not give them up mints above all that it could mint.
        for ((holder, reign), (above, _)) in reigns.iter().filter(|(_, (above, _))| *above > 0) {
            let (_, before) = minted
                .iter()
                .filter(|of| (of.holder.as_str(), of.tenure.reign) != (holder, *reign))
                .filter(|of| of.tenure.mint_until_us <= *above)
                .map(|of| (of.tenure.mint_until_us, of.ids.iter().max()))
                .max()
                .unwrap_or_default();
            let first = minted
                .iter()
                .filter(|of| (of.holder.as_str(), of.tenure.reign) == (*holder, *reign))
                .flat_map(|of| &of.ids)
                .min();
            assert!(before < first, "seed {seed}: {holder} began at or below its predecessor's {before:?}");
            taken_over += 1;
        }
    }
    println!("{total} ids, {taken_over} slots taken over, {reused} worker numbers used again");
    assert!(total > 100_000 && taken_over > 100 && reused > 20, "{total} {taken_over} {reused}");
}
