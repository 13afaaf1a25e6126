//! Freshness tokens over three replicas: the answers allowed for a caller with a known revision.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use weir_protect::{Outcome, ReadRequest};

use super::flights::spawn;
use crate::fake::{Bed, LATEST, MS, Page, Seeded, Step, Verdict, but, must, pause, settle};

fn token(bed: &Bed, floor: u64) -> ReadRequest<u64, Page> {
    but(bed.request(LATEST), |page| page.floor = Some(floor))
}

fn past_the_cache(request: ReadRequest<u64, Page>) -> ReadRequest<u64, Page> {
    but(request, |page| page.allow_cache = false)
}

/// A look at the log at once, and a slow answer: so that a write can come between.
const EARLY: [Step; 1] = [Step::Reply(Duration::ZERO, Duration::from_millis(100))];

/// Hazards 7 and 19: a page is cached, nobody here hears of a later write; a caller holds its token.
pub(crate) async fn token_hits_an_older_page() -> Verdict {
    let bed = Bed::new();
    bed.acknowledged(1, 3);
    bed.layer.read(token(&bed, 3)).await.unwrap();
    let reached = bed.layer.read(token(&bed, 3)).await.unwrap();
    must(reached.outcome() == Outcome::Hit, || "a page of floor 3 is no hit for token 3".to_owned())?;
    // Written through another node: no bump here, and the replica that is asked has not got it.
    bed.store.append_at(&[1, 2], 1, 5);
    let lagging = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(lagging.outcome() == Outcome::Hit, || "the page should be cached".to_owned())?;
    let cached = bed.layer.read(token(&bed, 5)).await.unwrap();
    must(cached.value.newest() == 5, || format!("token 5 hit a page that ends at {}", cached.value.newest()))
}

/// Hazard 7: the same of a read that is in the air.
pub(crate) async fn token_joins_an_older_flight() -> Verdict {
    let bed = Bed::new();
    bed.acknowledged(1, 3);
    bed.store.script(EARLY);
    let below = spawn(&bed, token(&bed, 3));
    settle().await;
    let reached = spawn(&bed, token(&bed, 3));
    settle().await;
    must(bed.store.starts() == 1, || "token 3 did not join a flight of floor 3".to_owned())?;
    pause(10 * MS).await;
    bed.store.append_at(&[1, 2], 1, 5);
    let joined = bed.layer.read(token(&bed, 5)).await.unwrap();
    for read in [below, reached] {
        read.await.unwrap().unwrap();
    }
    must(joined.value.newest() == 5, || format!("token 5 joined a read of {}", joined.value.newest()))
}

/// Hazard 7: 3 is acknowledged by two replicas and resolved here; the third lags and is asked by a caller
/// without a token, so its page must not be said to contain 3.
pub(crate) async fn lagging_page_is_hit() -> Verdict {
    let bed = Bed::new();
    acknowledged_by_two(&bed);
    let lagging = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(lagging.value.newest() == 0, || "the replica should lag".to_owned())?;
    let again = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(again.outcome() == Outcome::Hit, || "the page should be cached".to_owned())?;
    // Nor may it be given as a stale answer.
    bed.store.script([Step::Fail(MS)]);
    let stale = but(token(&bed, 3), |page| page.stale_max = Some(Duration::from_secs(60)));
    let stale = bed.layer.read(stale).await;
    must(stale.is_err(), || format!("token 3 was given a lagging replica's page: {stale:?}"))?;
    let held = bed.layer.read(token(&bed, 3)).await.unwrap();
    must(held.value.newest() == 3, || format!("token 3 was answered with {}", held.value.newest()))?;
    must(held.explain.floor == 3, || format!("a read of a quorum has the floor {}", held.explain.floor))
}

/// Hazard 7: the same of a read that is in the air.
pub(crate) async fn lagging_flight_is_joined() -> Verdict {
    let bed = Bed::new();
    acknowledged_by_two(&bed);
    let lagging = spawn(&bed, past_the_cache(bed.request(LATEST)));
    settle().await;
    let held = bed.layer.read(past_the_cache(token(&bed, 3))).await.unwrap();
    must(lagging.await.unwrap().unwrap().value.newest() == 0, || "the replica should lag".to_owned())?;
    must(held.value.newest() == 3, || format!("token 3 joined a lagging replica's read: {held:?}"))
}

/// The other way round, a token that comes while the flight still waits for its place makes it a read of a
/// quorum, for all who share it.
pub(crate) async fn token_joins_a_waiting_flight() -> Verdict {
    let bed = Bed::with(|config| config.partition_concurrency = std::num::NonZeroU32::new(1));
    acknowledged_by_two(&bed);
    let occupant = spawn(&bed, bed.request(Page::latest(3)));
    settle().await;
    let tokenless = spawn(&bed, bed.request(LATEST));
    settle().await;
    let held = spawn(&bed, token(&bed, 3));
    occupant.await.unwrap().unwrap();
    for read in [tokenless, held] {
        let read = read.await.unwrap().unwrap();
        must((read.value.newest(), read.explain.floor) == (3, 3), || {
            format!("shared with a token: {read:?}")
        })?;
    }
    must(bed.store.starts() == 2, || format!("{} reads", bed.store.starts()))
}

/// Hazard 7: writes by two replicas of three, whichever, some through another node, of which nobody here
/// hears; reads that ask any replica, some with the newest token there is. Whoever holds one is never
/// answered with less.
pub(crate) async fn tokens_over_lagging_replicas(seeds: u64) -> Verdict {
    for seed in 0..seeds {
        let bed = Bed::new();
        bed.store.random(seed, false);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut readers = Vec::new();
        for reader in 0..5 {
            let (bed, acknowledged, mut random) =
                (bed.clone(), Arc::clone(&acknowledged), Seeded(seed ^ (reader + 1)));
            readers.push(tokio::spawn(async move {
                for _ in 0..20 {
                    pause(random.up_to(20)).await;
                    bed.store.ask(usize::try_from(random.below(3)).unwrap());
                    let floor = acknowledged.load(SeqCst);
                    let mut request =
                        if random.below(2) == 0 { token(&bed, floor) } else { bed.request(LATEST) };
                    request.page.allow_cache = random.below(4) > 0;
                    let held = request.page.floor.unwrap_or(0);
                    // One read in sixteen fails.
                    let Ok(read) = bed.layer.read(request).await else { continue };
                    let (newest, outcome) = (read.value.newest(), read.outcome());
                    must(newest >= held, || format!("token {held} was answered with {newest}: {outcome:?}"))?;
                }
                Ok(())
            }));
        }
        let mut random = Seeded(seed);
        for row in 1..=12 {
            pause(random.up_to(30)).await;
            let lags = usize::try_from(random.below(3)).unwrap();
            bed.store.append_at(&[(lags + 1) % 3, (lags + 2) % 3], 1, row);
            if random.below(3) > 0 {
                bed.store.resolve(1, row);
                bed.layer.generations().bump_append(&1_u64);
            }
            acknowledged.store(row, SeqCst);
        }
        for reader in readers {
            reader.await.unwrap().map_err(|violation: String| format!("seed {seed}: {violation}"))?;
        }
    }
    Ok(())
}

fn acknowledged_by_two(bed: &Bed) {
    bed.store.append_at(&[1, 2], 1, 3);
    bed.store.resolve(1, 3);
    bed.layer.generations().bump_append(&1_u64);
}
