//! Writes against flights and cache: the values that a read may return after an acknowledged write.

use std::time::Duration;

use weir_protect::{Change, Outcome, Stamped};

use super::flights::spawn;
use crate::fake::{Bed, LATEST, MS, Page, Rows, Step, Verdict, must, page_of, pause};

/// Hazards 1 and 8: a slow read begins, a write is acknowledged, another read begins.
pub(crate) async fn read_after_write_joins_an_older_flight() -> Verdict {
    let bed = Bed::new();
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

/// Hazard 1: a page that reached the end when its flight began lies below the end when the next caller asks
/// for it.
pub(crate) async fn tail_overtakes_a_page() -> Verdict {
    let bed = Bed::new();
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
pub(crate) async fn older_flight_fills_after_the_bump() -> Verdict {
    let bed = Bed::new();
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
pub(crate) async fn write_through_is_overwritten() -> Verdict {
    let bed = Bed::new();
    bed.store.script([Step::Reply(Duration::ZERO, 100 * MS)]);
    let older = tokio::spawn({
        let bed = bed.clone();
        async move { bed.layer.read(bed.request(LATEST)).await }
    });
    pause(10 * MS).await;
    bed.acknowledged(1, 7);
    let generation = bed.layer.generations().snapshot(&1_u64);
    let value = page_of(&bed.store.log(1), LATEST);
    let dependence = weir_protect::Dependence::Append;
    let entry = Stamped { value, generation, dependence, floor: 7, read_at: bed.now() };
    weir_protect::PageCache::put(&*bed.cache, &1, &LATEST, entry);
    older.await.unwrap().unwrap();
    let later = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(later.value.newest() == 7, || format!("after write-through: {}", later.value.newest()))
}

/// Hazard 5: a write times out and lands later; nothing is served from the cache in between.
pub(crate) async fn late_write_and_the_cache() -> Verdict {
    let bed = Bed::new();
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

/// Hazard 5: a read is sent while a write is unresolved, looks before it lands and answers after it is
/// resolved.
pub(crate) async fn page_of_the_window_outlives_it() -> Verdict {
    let bed = Bed::new();
    bed.store.script([Step::Reply(Duration::ZERO, 100 * MS)]);
    let unresolved = bed.layer.generations().unresolved(&1_u64);
    let older = spawn(&bed, bed.request(LATEST));
    pause(10 * MS).await;
    bed.store.append(1, 7);
    drop(unresolved);
    let older = older.await.unwrap().unwrap();
    must(older.value.newest() == 0, || "the older read was restarted".to_owned())?;
    let later = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(later.value.newest() == 7, || format!("{} outlived the window", later.value.newest()))
}

/// Hazard 4, as far as it needs no race: what was in order when the page was put is not when it is asked for.
pub(crate) async fn page_outlives_a_write() -> Verdict {
    let bed = Bed::new();
    bed.layer.read(bed.request(LATEST)).await.unwrap();
    let cached = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(cached.outcome() == Outcome::Hit, || "the page should be cached".to_owned())?;
    bed.acknowledged(1, 7);
    let later = bed.layer.read(bed.request(LATEST)).await.unwrap();
    must(later.value.newest() == 7, || format!("hit a page of before the write: {}", later.value.newest()))
}

/// How a write can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// An error before the commit.
    Failed,
    /// Committed, and its writer says so.
    Settled,
    /// Committed, and its writer left before it said so.
    Dropped,
    /// Timed out, and never landed.
    Lost,
    /// Timed out, and landed.
    Late,
}

impl Ending {
    pub(crate) const ALL: [Self; 5] = [Self::Failed, Self::Settled, Self::Dropped, Self::Lost, Self::Late];
}

/// Hazard 6: however writes end, in whatever order, nothing read afterwards is old, and the cache works
/// again. Of a write that timed out, `true` says that its owner learns the outcome only after all the others.
pub(crate) async fn cache_works_after(endings: &[(Ending, bool)]) -> Verdict {
    let bed = Bed::new();
    let generations = bed.layer.generations();
    let read = || bed.layer.read(bed.request(LATEST));
    let current = |read: &Rows| {
        let expected = page_of(&bed.store.log(1), LATEST);
        must(*read == expected, || format!("read {read:?} instead of {expected:?} after {endings:?}"))
    };
    let mut open = Vec::new();
    for (row, &(ending, long)) in (1..).zip(endings) {
        // In the cache before the write, if no write is unresolved, and so for the write to make stale.
        current(&read().await.unwrap().value)?;
        let timed_out = matches!(ending, Ending::Lost | Ending::Late).then(|| generations.unresolved(&1_u64));
        let pending = timed_out.is_none().then(|| generations.write(&1_u64, Change::Append));
        if timed_out.is_some() {
            current(&read().await.unwrap().value)?;
        }
        if !matches!(ending, Ending::Failed | Ending::Lost) {
            bed.store.append(1, row);
        }
        match pending {
            Some(pending) if ending == Ending::Settled => pending.settle(),
            left => drop(left),
        }
        open.extend(timed_out.filter(|_| long));
        current(&read().await.unwrap().value)?;
        if open.is_empty() {
            let again = read().await.unwrap();
            must(again.outcome() == Outcome::Hit, || format!("not cached any more after {endings:?}"))?;
        }
    }
    drop(open);
    let (first, second) = (read().await.unwrap(), read().await.unwrap());
    current(&first.value)?;
    current(&second.value)?;
    must(second.outcome() == Outcome::Hit, || format!("not cached any more after {endings:?}"))
}

/// Hazard 22: a caller accepts stale answers, but holds a token.
pub(crate) async fn stale_answer_to_a_token_holder() -> Verdict {
    let bed = Bed::new();
    bed.acknowledged(1, 3);
    bed.layer.read(bed.request(LATEST)).await.unwrap();
    bed.acknowledged(1, 5);
    bed.store.usual(Step::Fail(MS));
    let mut request = bed.request(LATEST);
    request.page.stale_max = Some(Duration::from_secs(3600));
    let stale = bed.layer.read(request.clone()).await;
    must(stale.is_ok_and(|r| r.outcome() == Outcome::Stale && r.value.newest() == 3), || {
        "a caller without a token should get the stale page".to_owned()
    })?;
    request.page.floor = Some(5);
    let held = bed.layer.read(request).await;
    must(held.is_err(), || "the token lost against max staleness".to_owned())
}

/// Hazard 46, the reading side: a writer's future is dropped at every point of its path.
pub(crate) async fn writer_dropped_between_commit_and_bump() -> Verdict {
    for patience in [5_u32, 15, 25] {
        let bed = Bed::new();
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
        let expected = page_of(&bed.store.log(1), LATEST);
        must(read.value == expected, || format!("left after {patience} ms: {:?}", read.value))?;
    }
    Ok(())
}

/// Rule 6: appends do not disturb pages below the tail, mutations do.
pub(crate) async fn pages_below_the_tail() -> Verdict {
    let bed = Bed::new();
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
