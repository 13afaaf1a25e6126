//! Flights and their waiters: leaders that leave, reads that fail, deadlines that differ.

use std::{
    cmp::Ordering,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::task::JoinHandle;
use weir_protect::{
    Dependence, Generation, Nanos, Priority, ReadError, ReadRequest, Reply,
    flight::{Entered, FlightTable, Want},
};

use crate::fake::{Bed, Broken, LATEST, MS, Page, Rows, Step, Verdict, must, pause, settle};

type Answer = Result<Reply<Rows>, ReadError<Broken>>;

pub(crate) fn spawn(bed: &Bed, request: ReadRequest<u64, Page>) -> JoinHandle<Answer> {
    let bed = bed.clone();
    tokio::spawn(async move { bed.layer.read(request).await })
}

/// When a leader leaves, and how its followers come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving {
    /// Another page of the partition has its only place for 100 ms.
    pub(crate) occupied: bool,
    /// Followers come before the leader is gone, or after.
    pub(crate) followers_first: bool,
}

impl Leaving {
    pub(crate) const ALL: [Self; 4] = [
        Self { occupied: false, followers_first: true },
        Self { occupied: false, followers_first: false },
        Self { occupied: true, followers_first: true },
        Self { occupied: true, followers_first: false },
    ];
}

/// Hazard 9 and goal G3: the leader is dropped at each of its await points, that is, after `n` polls, for
/// every `n` until it has its answer. Followers get the first read's answer, in time.
pub(crate) async fn leader_dropped(leaving: Leaving) -> Verdict {
    let Leaving { occupied, followers_first } = leaving;
    for polls in 0.. {
        let bed = Bed::with(|config| config.partition_concurrency = std::num::NonZeroU32::new(1));
        let occupant = occupied.then(|| spawn(&bed, bed.request(Page::latest(3))));
        settle().await;
        let begun = tokio::time::Instant::now();
        let followers = || (0..5).map(|_| spawn(&bed, bed.request(LATEST))).collect::<Vec<_>>();
        let mut leader = Box::pin(bed.layer.read(bed.request(LATEST)));
        let answer = poll_times(leader.as_mut(), polls).await;
        let mut others = if followers_first { followers() } else { Vec::new() };
        settle().await;
        drop(leader);
        settle().await;
        if !followers_first {
            others = followers();
        }
        for follower in others {
            let answer = follower.await.unwrap();
            must(answer.is_ok(), || format!("the leader left after {polls} polls: {answer:?}, {leaving:?}"))?;
        }
        let (elapsed, starts) = (begun.elapsed(), bed.store.starts());
        if let Some(occupant) = occupant {
            occupant.await.unwrap().unwrap();
        }
        let read = 100 * MS * (1 + u32::from(occupied));
        must(elapsed <= read + 10 * MS, || {
            format!("left after {polls} polls: followers waited {elapsed:?}")
        })?;
        let expected = 1 + usize::from(occupied);
        must(starts == expected, || format!("left after {polls} polls: {starts} reads, {leaving:?}"))?;
        if let Some(answer) = answer {
            must(polls > 1, || "a leader that never waited says nothing".to_owned())?;
            return must(answer.is_ok(), || format!("the leader was told {answer:?}"));
        }
    }
    Ok(())
}

/// Polls `future` so many times, each time when it is woken, and no more; its output if it came.
async fn poll_times<F: Future>(mut future: Pin<&mut F>, times: usize) -> Option<F::Output> {
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Hazard 10: the last waiter leaves, then another comes, while the read is in the store.
pub(crate) async fn last_waiter_leaves_and_another_comes() -> Verdict {
    let bed = Bed::new();
    let first = spawn(&bed, bed.request(LATEST));
    settle().await;
    first.abort();
    settle().await;
    pause(10 * MS).await;
    let second = bed.layer.read(bed.request(LATEST)).await;
    must(second.is_ok(), || format!("{second:?}"))?;
    must(bed.store.starts() == 1, || format!("{} reads of one generation", bed.store.starts()))
}

/// Hazards 11 and 14: the read panics under many waiters; each is told so, and the next call leads at once.
pub(crate) async fn read_panics() -> Verdict {
    let bed = Bed::new();
    bed.store.script([Step::Panic(10 * MS)]);
    let waiters: Vec<_> = (0..20).map(|_| spawn(&bed, bed.request(LATEST))).collect();
    for waiter in waiters {
        let answer = waiter.await.unwrap();
        must(matches!(answer, Err(ReadError::Panicked)), || format!("a waiter was told {answer:?}"))?;
    }
    must(bed.store.starts() == 1, || format!("{} reads after one was lost", bed.store.starts()))?;
    let begun = tokio::time::Instant::now();
    let next = bed.layer.read(bed.request(LATEST)).await;
    must(next.is_ok(), || format!("the key is wedged: {next:?}"))?;
    must(begun.elapsed() <= 110 * MS, || format!("the next call waited {:?}", begun.elapsed()))?;
    must(bed.layer.flights() == 0 && bed.layer.partition_load(&1) == (0, 0), || "something leaked".to_owned())
}

/// Hazard 13: the leader's deadline is short, a follower's is long, and the flight waits for a place
/// meanwhile, or is in the store already.
pub(crate) async fn deadlines_differ(short: Duration, long: Duration, occupied: bool) -> Verdict {
    let bed = Bed::with(|config| {
        config.partition_concurrency = std::num::NonZeroU32::new(1);
        config.queue_wait_max = Duration::from_secs(60);
    });
    // Another page of the partition has its only place for 100 ms.
    let occupant = occupied.then(|| spawn(&bed, bed.request(Page::latest(3))));
    settle().await;
    let within = |wait: Duration| {
        let mut request = bed.request(LATEST);
        request.deadline = bed.now().after(wait);
        request
    };
    let leader = spawn(&bed, within(short));
    settle().await;
    let follower = spawn(&bed, within(long));
    if let Some(occupant) = occupant {
        occupant.await.unwrap().unwrap();
    }
    let (leader, follower) = (leader.await.unwrap(), follower.await.unwrap());
    let answered = 100 * MS * (1 + u32::from(occupied));
    for (who, wait, answer) in [("leader", short, leader), ("follower", long, follower)] {
        let told = || format!("{who} of {wait:?} was told {answer:?} ({short:?}, {long:?}, {occupied})");
        match wait.cmp(&answered) {
            Ordering::Less => {
                must(matches!(answer, Err(ReadError::DeadlineExceeded { .. })), || {
                    format!("late {}", told())
                })?;
            }
            // At the very moment either answer will do.
            Ordering::Equal => {}
            Ordering::Greater => must(answer.is_ok(), || format!("patient {}", told()))?,
        }
    }
    Ok(())
}

/// Hazard 15: whoever is woken with an error asks again in that very moment, and must not join the failed
/// flight.
pub(crate) async fn error_is_joined_late() -> Verdict {
    type Table = FlightTable<u64, u64, Result<u64, Broken>>;
    type Asked = Entered<u64, u64, Result<u64, Broken>, ()>;
    struct AskAgain {
        table: Arc<Table>,
        joined: AtomicUsize,
        leads: Mutex<Vec<Asked>>,
    }
    fn ask(table: &Arc<Table>) -> Asked {
        let want = Want {
            dependence: Dependence::Append,
            floor: None,
            deadline: Nanos::NEVER,
            priority: Priority::Interactive,
        };
        table.enter(&1, &1, &[], &want, Generation::default, || None)
    }
    impl Wake for AskAgain {
        fn wake(self: Arc<Self>) {
            match ask(&self.table) {
                Entered::Joined(_) => _ = self.joined.fetch_add(1, SeqCst),
                other => self.leads.lock().unwrap().push(other),
            }
        }
    }
    let table = Table::new(10, |_| Err(Broken));
    let Entered::Led(lead, mut waiter) = ask(&table) else { return Err("nobody leads".to_owned()) };
    let again = AskAgain { table: Arc::clone(&table), joined: AtomicUsize::new(0), leads: Mutex::default() };
    let again = Arc::new(again);
    let waker = Waker::from(Arc::clone(&again));
    let polled = std::pin::Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker));
    must(polled.is_pending(), || "a result before its time".to_owned())?;
    lead.finish(Err(Broken));
    must(again.joined.load(SeqCst) == 0, || "a call after the failure joined it".to_owned())?;
    let led = again.leads.lock().unwrap().len();
    must(led == 1, || format!("{led} new leads"))
}

/// Hazard 16: a store that always fails, and a thousand waiters.
pub(crate) async fn failing_store() -> Verdict {
    let bed = Bed::new();
    bed.store.usual(Step::Fail(10 * MS));
    let begun = tokio::time::Instant::now();
    let waiters: Vec<_> = (0..1_000).map(|_| spawn(&bed, bed.request(LATEST))).collect();
    for waiter in waiters {
        let answer = waiter.await.unwrap();
        must(matches!(answer, Err(ReadError::Store(Broken))), || format!("a waiter was told {answer:?}"))?;
    }
    must(bed.store.starts() <= 2, || format!("{} reads of a failing store", bed.store.starts()))?;
    must(begun.elapsed() <= 20 * MS, || format!("the last waiter waited {:?}", begun.elapsed()))
}

/// Hazard 30: an important caller joins an unimportant one's flight before it goes to the store.
pub(crate) async fn important_follower() -> Verdict {
    let bed = Bed::with(|config| config.partition_concurrency = std::num::NonZeroU32::new(1));
    let occupant = spawn(&bed, bed.request(Page::latest(3)));
    settle().await;
    let mut batch = bed.request(LATEST);
    batch.page.priority = Priority::Batch;
    let leader = spawn(&bed, batch);
    settle().await;
    let follower = spawn(&bed, bed.request(LATEST));
    for read in [occupant, leader, follower] {
        read.await.unwrap().unwrap();
    }
    let contexts = bed.store.contexts();
    must(contexts.len() == 2, || format!("{} reads", contexts.len()))?;
    must(contexts[1].priority == Priority::Interactive, || format!("read with {:?}", contexts[1].priority))
}
