//! Places in the store: never too many out, and all of them back.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use weir_protect::{
    concurrency::{ConcurrencyGate, Permit},
    fault::Faults,
};

use super::flights::spawn;
use crate::fake::{Bed, MS, Page, Step, Verdict, must, pause, settle};

/// Hazard 27: threads race for the last place.
pub(crate) async fn too_many_places(faults: Faults) -> Verdict {
    const LIMIT: u32 = 2;
    let gate = Arc::new(ConcurrencyGate::with_faults(1, 100, faults));
    let (worst, threads) = (Arc::new(AtomicU32::new(0)), 4);
    let barrier = Arc::new(Barrier::new(threads));
    let race = || {
        let (gate, worst, barrier) = (Arc::clone(&gate), Arc::clone(&worst), Arc::clone(&barrier));
        std::thread::spawn(move || {
            for _ in 0..2_000 {
                barrier.wait();
                let turn = gate.acquire(1_u64, LIMIT);
                worst.fetch_max(gate.in_flight(&1), SeqCst);
                barrier.wait();
                drop(turn);
            }
        })
    };
    let racing: Vec<_> = (0..threads).map(|_| race()).collect();
    racing.into_iter().for_each(|thread| thread.join().unwrap());
    let worst = worst.load(SeqCst);
    must(worst <= LIMIT, || format!("{worst} places of {LIMIT} were out"))?;
    must(gate.keys() == 0, || "places are missing".to_owned())
}

/// Hazard 28: turns and permits are dropped in every state, and every place comes back.
pub(crate) async fn places_come_back(faults: Faults) -> Verdict {
    let gate = Arc::new(ConcurrencyGate::<u64>::with_faults(1, 100, faults));
    let polled = |turn| async move {
        let mut turn = Box::pin(turn);
        let ready: Option<Permit<u64>> = tokio::time::timeout(MS, &mut turn).await.ok();
        (turn, ready)
    };
    // Granted at once but never polled; waiting; granted while waiting and never polled again.
    drop(gate.acquire(1, 1).unwrap());
    let (_, held) = polled(gate.acquire(1, 1).unwrap()).await;
    let (waiting, none) = polled(gate.acquire(1, 1).unwrap()).await;
    let (granted, _) = polled(gate.acquire(1, 1).unwrap()).await;
    must(held.is_some() && none.is_none(), || "the gate does not count".to_owned())?;
    drop(waiting);
    drop(held);
    drop(granted);
    must(gate.keys() == 0, || format!("{} of 1 places still out", gate.in_flight(&1)))
}

/// Hazards 27 and 28 through the layer: random ends of many reads; the gauge holds and returns to zero.
pub(crate) async fn reads_end_in_every_way(faults: Faults) -> Verdict {
    let bed = Bed::with(faults, |config| {
        config.partition_concurrency = NonZeroU32::new(3);
        config.store_timeout = 150 * MS;
    });
    let ends = [Step::Hang, Step::Fail(5 * MS), Step::Panic(5 * MS), Step::Reply(5 * MS, 5 * MS)];
    bed.store.script((0..40).map(|i| ends[i % ends.len()]));
    let mut reads = Vec::new();
    for i in 0..40 {
        let mut request = bed.request(Page::latest(100 + i));
        request.deadline = bed.now().after(u32::try_from(20 + i * 7).unwrap() * MS);
        reads.push(spawn(&bed, request));
        settle().await;
        if i % 3 == 0 {
            reads[i / 2].abort();
        }
        pause(2 * MS).await;
    }
    for read in reads {
        let _ = read.await;
    }
    pause(10_000 * MS).await;
    must(bed.store.in_flight_max() <= 3, || format!("{} reads at once", bed.store.in_flight_max()))?;
    let load = (bed.layer.partition_load(&1), bed.layer.flights(), bed.store.in_flight());
    must(load == ((0, 0), 0, 0), || format!("left over: {load:?}"))
}
