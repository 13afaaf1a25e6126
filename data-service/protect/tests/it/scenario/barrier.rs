//! Writes against flights and cache: what a read may return after an acknowledged write.

use std::time::Duration;

use weir_protect::{Change, Outcome, Stamped, fault::Faults};

use crate::fake::{Bed, LATEST, MS, Page, Step, Verdict, must, pause, settle};

/// Hazards 1 and 8: a slow read begins, a write is acknowledged, another read begins.
pub(crate) async fn read_after_write_joins_an_older_flight(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    // Looks at once, before the write, and answers long after it. The value it saw is "not found".
    bed.store.script([Step::Reply(Duration::ZERO, 100 * MS)]);
    let older = tokio::spawn({
        let bed = bed.clone();
        async move { bed.layer.read(bed.request(LATEST)).await }
    });
    pause(10 * MS).await;
    bed.acknowledged(1, 7);
    let newer = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(newer.value.newest() == 7, || format!("read {} after 7 was acknowledged", newer.value.newest()))?;
    let older = older.await.unwrap().unwrap();
    must(older.value.newest() == 0, || "the older read was restarted".to_owned())
}

/// Hazard 1: a page that reached the end when its flight began lies below the end when the next caller asks for it.
pub(crate) async fn tail_overtakes_a_page(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    bed.acknowledged(1, 5);
    bed.store.script([Step::Reply(Duration::ZERO, 100 * MS)]);
    let page = Page::before(8, 5);
    let older = bed.request(page);
    let older = tokio::spawn({
        let bed = bed.clone();
        async move { bed.layer.read(older).await }
    });
    pause(10 * MS).await;
    bed.acknowledged(1, 7);
    bed.acknowledged(1, 9);
    let newer = bed.layer.read(bed.request(page)).await.unwrap();
    older.await.unwrap().unwrap();
    must(*newer.value.0 == [7, 5], || format!("joined a read that missed 7: {:?}", newer.value))
}

/// Hazard 2: an older flight ends after the write's bump, and its page must not outlive it.
pub(crate) async fn older_flight_fills_after_the_bump(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    bed.store.script([Step::Reply(Duration::ZERO, 100 * MS)]);
    let older = tokio::spawn({
        let bed = bed.clone();
        async move { bed.layer.read(bed.request(LATEST)).await }
    });
    pause(10 * MS).await;
    bed.acknowledged(1, 7);
    older.await.unwrap().unwrap();
    pause(Duration::from_secs(3600)).await;
    let later = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(later.value.newest() == 7, || format!("an hour later: {}", later.value.newest()))
}

/// Hazard 3: the writer puts its own page into the cache during a flight, whose older page then replaces it.
pub(crate) async fn write_through_is_overwritten(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    bed.store.script([Step::Reply(Duration::ZERO, 100 * MS)]);
    let older = tokio::spawn({
        let bed = bed.clone();
        async move { bed.layer.read(bed.request(LATEST)).await }
    });
    pause(10 * MS).await;
    bed.acknowledged(1, 7);
    let generation = bed.layer.generations().snapshot(&1_u64);
    let value = crate::fake::page_of(&bed.store.log(1), LATEST);
    let dependence = weir_protect::Dependence::Append;
    let entry = Stamped { value, generation, dependence, floor: 7, read_at: bed.now() };
    weir_protect::PageCache::put(&*bed.cache, &1, &LATEST, entry);
    older.await.unwrap().unwrap();
    let later = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(later.value.newest() == 7, || format!("after write-through: {}", later.value.newest()))
}

/// Hazard 5: a write times out and lands later; nothing is served from the cache in between.
pub(crate) async fn late_write_and_the_cache(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    bed.layer.generations().mark_unresolved(&1_u64);
    let first = bed.layer.read(bed.request(LATEST)).await.unwrap();
    let second = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(first.value.newest() == 0, || "a row from nowhere".to_owned())?;
    must(second.outcome() != Outcome::Hit, || "a hit while a write is unresolved".to_owned())?;
    bed.store.append(1, 7);
    let landed = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(landed.value.newest() == 7, || "the cache hides a write that has landed".to_owned())?;
    bed.layer.generations().mark_resolved(&1_u64);
    let resolved = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(resolved.value.newest() == 7, || "a page of the window is served after it".to_owned())
}

/// Hazard 6: however a write ends, the cache works again afterwards.
pub(crate) async fn cache_works_after_any_write(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    let generations = bed.layer.generations();
    // Failed before the commit; committed; timed out and never landed; timed out and landed.
    generations.write(&1_u64, Change::Append).settle();
    bed.acknowledged(1, 1);
    drop(generations.unresolved(&1_u64));
    {
        let _unresolved = generations.unresolved(&1_u64);
        bed.store.append(1, 2);
    }
    let first = bed.layer.read(bed.request(LATEST)).await.unwrap();
    let second = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(first.value.newest() == 2, || "the last write is missing".to_owned())?;
    must(second.outcome() == Outcome::Hit, || format!("not cached any more: {:?}", second.outcome()))
}

/// Hazards 7 and 19: a replica lags and nobody here heard of the write; a caller holds its token.
pub(crate) async fn token_read_below_its_floor(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    bed.acknowledged(1, 3);
    bed.layer.read(bed.request(LATEST)).await.unwrap();
    // Written through another node: no bump here, and one replica has not got it yet.
    bed.store.append(1, 5);
    bed.store.lag(1);
    let mut request = bed.request(LATEST);
    let lagging = bed.layer.read(request.clone()).await.unwrap();
    must(lagging.outcome() == Outcome::Hit, || "the page should be cached".to_owned())?;
    request.floor = Some(5);
    let cached = bed.layer.read(request.clone()).await.unwrap();
    must(cached.value.newest() == 5, || format!("token 5 answered with {}", cached.value.newest()))?;
    // A flight below the token, in the air: not to be joined either.
    let mut tokenless = bed.request(LATEST);
    tokenless.allow_cache = false;
    let below = tokio::spawn({
        let bed = bed.clone();
        async move { bed.layer.read(tokenless).await }
    });
    settle().await;
    request.allow_cache = false;
    let joined = bed.layer.read(request).await.unwrap();
    below.await.unwrap().unwrap();
    must(joined.value.newest() == 5, || format!("token 5 joined {}", joined.value.newest()))
}

/// Hazard 22: a caller accepts stale answers, but holds a token.
pub(crate) async fn stale_answer_to_a_token_holder(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    bed.acknowledged(1, 3);
    bed.layer.read(bed.request(LATEST)).await.unwrap();
    bed.acknowledged(1, 5);
    bed.store.usual(Step::Fail(MS));
    let mut request = bed.request(LATEST);
    request.stale_max = Some(Duration::from_secs(3600));
    let stale = bed.layer.read(request.clone()).await;
    must(stale.is_ok_and(|r| r.outcome() == Outcome::Stale && r.value.newest() == 3), || {
        "a caller without a token should get the stale page".to_owned()
    })?;
    request.floor = Some(5);
    let held = bed.layer.read(request).await;
    must(held.is_err(), || "the token lost against max staleness".to_owned())
}

/// Hazard 46, the reading side: a writer's future is dropped at every point of its path.
pub(crate) async fn writer_dropped_between_commit_and_bump(faults: Faults) -> Verdict {
    for patience in [5_u32, 15, 25] {
        let bed = Bed::new(faults);
        bed.layer.read(bed.request(LATEST)).await.unwrap();
        let write = async {
            let pending = bed.layer.generations().write(&1_u64, Change::Append);
            pause(10 * MS).await;
            bed.store.append(1, 7);
            pause(10 * MS).await;
            pending.settle();
        };
        let _ = tokio::time::timeout(patience * MS, write).await;
        let read = bed.layer.read(bed.request(LATEST)).await.unwrap();
        let expected = crate::fake::page_of(&bed.store.log(1), LATEST);
        must(read.value == expected, || format!("left after {patience} ms: {:?}", read.value))?;
    }
    Ok(())
}

/// Rule 6: appends do not disturb pages below the tail, mutations do.
pub(crate) async fn pages_below_the_tail(faults: Faults) -> Verdict {
    let bed = Bed::new(faults);
    for row in 1..=5 {
        bed.acknowledged(1, row);
    }
    let below = Page::before(4, 2);
    bed.layer.read(bed.request(below)).await.unwrap();
    bed.acknowledged(1, 6);
    let still = bed.layer.read(bed.request(below)).await.unwrap();
    must(still.outcome() == Outcome::Hit, || "an append evicted an old page".to_owned())?;
    bed.store.delete(1, 3);
    bed.layer.generations().bump_mutate(&1_u64);
    let changed = bed.layer.read(bed.request(below)).await.unwrap();
    must(*changed.value.0 == [2, 1], || format!("after the deletion: {:?}", changed.value))
}
