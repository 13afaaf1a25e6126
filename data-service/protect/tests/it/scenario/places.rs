//! Places in the store: there are never too many out, and all of them return.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use weir_protect::{
    Bound, LimitKind, ReadRequest, Rule, Scope, Scopes, Selector,
    concurrency::{ConcurrencyGate, Permit},
};

use super::flights::spawn;
use crate::fake::{Bed, LATEST, MS, Page, Step, Verdict, must, pause, settle};

/// Hazard 27: threads race for the last place.
pub(crate) async fn too_many_places() -> Verdict {
    const LIMIT: u32 = 2;
    let gate = Arc::new(ConcurrencyGate::new(100));
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
pub(crate) async fn places_come_back() -> Verdict {
    let gate = Arc::new(ConcurrencyGate::<u64>::new(100));
    let polled = |turn| async move {
        let mut turn = Box::pin(turn);
        let ready: Option<Permit<u64>> = tokio::time::timeout(MS, &mut turn).await.ok();
        (turn, ready)
    };
    // Granted at once but never polled.
    drop(gate.acquire(1, 1).unwrap());
    must(gate.keys() == 0, || "a place that was given at once did not come back".to_owned())?;
    // Waiting; polled to the end.
    let (_, held) = polled(gate.acquire(1, 1).unwrap()).await;
    let (waiting, none) = polled(gate.acquire(1, 1).unwrap()).await;
    must(held.is_some() && none.is_none(), || "the gate does not count".to_owned())?;
    drop(waiting);
    drop(held);
    must(gate.keys() == 0, || format!("{} of 1 places still out", gate.in_flight(&1)))
}

/// Hazard 28: a caller that waited is given the place, and leaves before it is polled again.
pub(crate) async fn place_given_to_one_who_leaves() -> Verdict {
    let gate = Arc::new(ConcurrencyGate::<u64>::new(100));
    let held = gate.acquire(1, 1).unwrap().await;
    let mut waiting = Box::pin(gate.acquire(1, 1).unwrap());
    let early = tokio::time::timeout(MS, &mut waiting).await;
    must(early.is_err(), || "the gate does not count".to_owned())?;
    drop(held);
    must(gate.in_flight(&1) == 1, || "the place was not handed on".to_owned())?;
    drop(waiting);
    must(gate.keys() == 0, || "a place that was handed on did not come back".to_owned())
}

/// Hazard 28: a read ends as `step` says, and its places, of the partition and of the scopes, are free at
/// once.
pub(crate) async fn places_come_back_after(step: Step) -> Verdict {
    let bed = bounded();
    bed.store.script([step]);
    let ended = bed.layer.read(scoped(&bed, LATEST)).await;
    settle().await;
    must(left(&bed) == IDLE, || format!("still out after {ended:?}: {:?}", left(&bed)))
}

/// Hazards 27 and 28 through the layer: reads end in every way while others leave or wait, some of them with
/// the place of their partition in hand for one of their scope. The gauges hold, and return to zero.
pub(crate) async fn reads_end_in_every_way() -> Verdict {
    let bed = bounded();
    let ends = [Step::Hang, Step::Fail(5 * MS), Step::Panic(5 * MS), Step::Reply(5 * MS, 5 * MS)];
    bed.store.script((0..40).map(|i| ends[i % ends.len()]));
    let (mut reads, mut half_way) = (Vec::new(), false);
    for i in 0..40 {
        let mut request = scoped(&bed, Page::latest(100 + i));
        request.deadline = bed.now().after(u32::try_from(20 + i * 7).unwrap() * MS);
        reads.push(spawn(&bed, request));
        settle().await;
        let ((partition, _), [(key, waiting), (group, _)], ..) = left(&bed);
        must(partition <= 3 && key <= 2 && group <= 3, || format!("too many out: {:?}", left(&bed)))?;
        half_way |= partition > key && waiting > 0;
        if i % 3 == 0 {
            reads[i / 2].abort();
        }
        pause(2 * MS).await;
    }
    for read in reads {
        let _ = read.await;
    }
    pause(10_000 * MS).await;
    must(left(&bed) == IDLE, || format!("left over: {:?}", left(&bed)))?;
    must(half_way, || "nobody waited for a scope with a partition's place in hand".to_owned())?;
    must(bed.store.starts() >= 2 * ends.len(), || format!("only {} reads", bed.store.starts()))?;
    must(bed.store.in_flight_max() <= 2, || format!("{} reads at once", bed.store.in_flight_max()))
}

const SCOPES: [Scope; 2] = [Scope::Key(1), Scope::Group(9)];

/// Three places for the partition, two for the key's scope, three for the group's; the store has 150 ms.
fn bounded() -> Bed {
    let bed = Bed::with(|config| {
        config.partition_concurrency = NonZeroU32::new(3);
        config.store_timeout = 150 * MS;
    });
    for (selector, at_once) in [(Selector::EachKey, 2), (Selector::EachGroup, 3)] {
        let (name, kind, bound) = ("places".into(), LimitKind::Concurrency, Bound::AtOnce(at_once));
        let rule = Rule { name, selector, kind, bound, expires_at_ms: None, dry_run: false };
        bed.layer.limits().set(rule).unwrap();
    }
    bed
}

fn scoped(bed: &Bed, page: Page) -> ReadRequest<u64, Page> {
    ReadRequest { scopes: Scopes::new(&SCOPES), ..bed.request(page) }
}

/// Places out and callers that wait: of the partition, of each scope; flights; reads in the store.
type Left = ((u32, usize), [(u32, usize); 2], usize, usize);

const IDLE: Left = ((0, 0), [(0, 0); 2], 0, 0);

fn left(bed: &Bed) -> Left {
    let scopes = SCOPES.map(|scope| bed.layer.scope_load(scope));
    (bed.layer.partition_load(&1), scopes, bed.layer.flights(), bed.store.in_flight())
}
