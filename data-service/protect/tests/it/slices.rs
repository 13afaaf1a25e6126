//! Hazard 32: a page cut from a wider one equals the page that the store would have returned.

use proptest::test_runner::{Config, TestRunner};
use weir_protect::Outcome;

use crate::{
    fake::{Bed, Page, Seeded, Verdict, must, page_of, settle},
    scenario::flights::spawn,
};

fn any_page(random: &mut Seeded) -> Page {
    let limit = [2, 3, 7, 10, 25, 50][usize::try_from(random.below(6)).unwrap()];
    if random.below(2) == 0 { Page::latest(limit) } else { Page::before(random.below(80), limit) }
}

/// Appends, deletions and pairs of overlapping reads at random; each read is compared with the log.
pub(crate) async fn subsumed_pages_equal_direct_reads(seed: u64) -> Verdict {
    let (bed, mut random) = (Bed::new(), Seeded(seed));
    let mut subsumed = 0;
    for step in 1..200 {
        match random.below(4) {
            0 => bed.acknowledged(1, step),
            1 if random.below(3) == 0 => {
                bed.store.delete(1, random.below(step));
                bed.layer.generations().bump_mutate(&1_u64);
            }
            _ => {
                // The first is in the air when the second arrives, so that it can be cut from it or from the
                // cache.
                let pages = [any_page(&mut random), any_page(&mut random)];
                let first = spawn(&bed, bed.request(pages[0]));
                settle().await;
                let second = spawn(&bed, bed.request(pages[1]));
                for (read, page) in [(first, pages[0]), (second, pages[1])] {
                    let reply = read.await.unwrap().map_err(|e| format!("seed {seed}: {e}"))?;
                    subsumed += u32::from(reply.outcome() == Outcome::Subsumed);
                    let expected = page_of(&bed.store.log(1), page);
                    must(reply.value == expected, || {
                        format!(
                            "seed {seed}, step {step}, {page:?}: {:?} {:?} is not {expected:?}",
                            reply.outcome(),
                            reply.value
                        )
                    })?;
                }
            }
        }
    }
    must(subsumed > 0, || format!("seed {seed}: nothing was subsumed, so nothing was tested"))
}

#[test]
fn hazard_32_subsumed_pages_equal_direct_reads() {
    let mut runner = TestRunner::new(Config { cases: 20, failure_persistence: None, ..Config::default() });
    let seeds = proptest::num::u64::ANY;
    runner
        .run(&seeds, |seed| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let verdict = runtime.unwrap().block_on(subsumed_pages_equal_direct_reads(seed));
            verdict.map_err(proptest::test_runner::TestCaseError::fail)
        })
        .unwrap();
}
