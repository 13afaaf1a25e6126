//! Rule 3 and hazard 41: ownership by leases, two processes on one database.

mod simulation;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use weir_data_client::DataError;
use weir_data_service::{
    clock::{Clock, WallClock},
    ownership::{
        NotOwner, Ownership,
        leased::{LEASE, Leased, MARGIN, RENEW_EVERY, TakeError},
    },
};
use weir_proto::{data::GetGuildRequest, id::unix_ms};
use weir_store::Store;

use crate::{
    fake_store::FakeStore,
    node::{At, Talk, World, options, small},
    ownership::TestClock,
};

/// One process's hold on the database.
struct Process {
    store: Arc<FakeStore>,
    clock: Arc<TestClock>,
    name: String,
    stop: CancellationToken,
}

impl Process {
    fn new(store: Arc<FakeStore>, clock: Arc<TestClock>, name: &str) -> Self {
        Self { store, clock, name: name.to_owned(), stop: CancellationToken::new() }
    }

    /// Takes a worker number, and asks for the slots without waiting for them.
    async fn start(&self) -> (Arc<Leased>, JoinHandle<()>) {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        Leased::start(store, clock, self.name.clone(), self.stop.clone()).await.unwrap()
    }

    async fn take(&self) -> Result<(Arc<Leased>, JoinHandle<()>), TakeError> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Leased::take(Arc::clone(&self.store) as Arc<dyn Store>, clock, self.name.clone(), self.stop.clone())
            .await
    }
}

fn two() -> (Process, Process) {
    let clock = TestClock::new();
    let store = FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, 1);
    let other = store.fork();
    (Process::new(store, clock.skewed(0), "first"), Process::new(other, clock.skewed(0), "second"))
}

#[tokio::test(start_paused = true)]
async fn exactly_one_of_two_holds_the_slots() {
    let (first, second) = two();
    let (held, _renewing) = first.take().await.unwrap();
    assert!(held.tenure(None).is_ok());
    let waiting = timeout(Duration::from_secs(600), second.take()).await;
    assert!(waiting.is_err(), "a lease that is renewed is never taken");
    assert!(held.tenure(None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_taken_over_only_after_it_stood_still() {
    let (first, second) = two();
    let (held, renewing) = first.take().await.unwrap();
    sleep(Duration::from_millis(2_500)).await;
    let killed_at = Instant::now();
    let last = held.tenure(None).unwrap();
    // Killed: nothing of it happens any more, and it believes in its lease until the end.
    first.store.kill();
    let taker = tokio::spawn(async move {
        let taken = second.take().await.unwrap();
        (Instant::now(), taken, second)
    });
    let mut believed_until = killed_at;
    while held.tenure(None).is_ok() {
        believed_until = Instant::now();
        sleep(Duration::from_millis(10)).await;
    }
    let (taken_at, (successor, _), second) = taker.await.unwrap();
    assert!(taken_at > believed_until, "never two at once");
    let without = taken_at - killed_at;
    assert!(without <= LEASE + Duration::from_secs(1), "{without:?} without an owner");
    println!("a killed owner's channels had no owner for {without:?}");
    let tenure = successor.tenure(None).unwrap();
    assert!(tenure.mint_above_us >= last.mint_until_us, "the successor mints above what the first could");
    assert!(tenure.mint_until_us > second.clock.wall_us() && tenure.mint_until_us > tenure.mint_above_us);
    assert_ne!(held.worker(), successor.worker());
    renewing.abort();
}

#[tokio::test(start_paused = true)]
async fn an_orderly_stop_hands_over_at_once() {
    let (first, second) = two();
    let (held, renewing) = first.take().await.unwrap();
    let waiting =
        tokio::spawn(async move { second.take().await.map(|(leased, _)| (Instant::now(), leased)) });
    sleep(Duration::from_secs(2)).await;
    let stopped = Instant::now();
    first.stop.cancel();
    renewing.await.unwrap();
    assert_eq!(held.tenure(None), Err(NotOwner::Elsewhere));
    let (taken_at, _) = waiting.await.unwrap().unwrap();
    assert!(taken_at - stopped <= Duration::from_millis(300), "{:?}", taken_at - stopped);
}

/// What a session was told is settled lies below all that the next owner writes, however the two clocks
/// differ.
#[tokio::test(start_paused = true)]
async fn a_successor_writes_above_what_was_told_before_an_orderly_stop() {
    let world = World::new(31);
    let first = Process::new(Arc::clone(&world.store), world.clock.skewed(400_000), "first");
    let (held, renewing) = first.take().await.unwrap();
    let node = world.node_as(small(), held as _, Arc::clone(&first.clock) as _).await;
    let place = node.place().await;
    sleep(Duration::from_secs(5)).await;
    let request = GetGuildRequest { guild_id: place.guild, ..GetGuildRequest::default() };
    let told_us = node.client.get_guild(&request, &options()).await.unwrap().message.as_of_us;
    node.close().await;
    first.stop.cancel();
    renewing.await.unwrap();

    let second = Process::new(world.store.fork(), world.clock.skewed(-400_000), "second");
    let stopped = Instant::now();
    let (held, _renewing) = second.take().await.unwrap();
    assert!(stopped.elapsed() < Duration::from_millis(10), "nobody is waited for");
    let node = world.node_as(small(), held as _, Arc::clone(&second.clock) as _).await;
    let row = loop {
        match Talk(&node.client, place).create("after").await {
            Ok(row) => break row,
            Err(error) => assert!(matches!(error, DataError::Refused { .. }), "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert!(row.rev > told_us && unix_ms(row.id) * 1_000 >= told_us / 1_000 * 1_000, "{row:?} {told_us}");
    assert!(stopped.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_its_lease_ends() {
    let (first, _) = two();
    let (held, _renewing) = first.take().await.unwrap();
    let mint_until_us = held.tenure(None).unwrap().mint_until_us;
    first.store.kill();
    sleep(LEASE - MARGIN - Duration::from_millis(1)).await;
    assert!(held.tenure(None).is_ok());
    sleep(Duration::from_millis(2)).await;
    assert_eq!(held.tenure(None), Err(NotOwner::Elsewhere));
    assert!(first.clock.wall_us() < mint_until_us);
}

/// Hazard 42: the process slept (or was stopped) with its lease in hand.
#[tokio::test(start_paused = true)]
async fn a_process_that_wakes_after_its_lease_refuses() {
    let (first, _) = two();
    let (held, _renewing) = first.take().await.unwrap();
    let before = held.tenure(None).unwrap();
    first.clock.sleep_through(LEASE);
    assert_eq!(held.tenure(None), Err(NotOwner::Elsewhere), "at once, not at the next renewal");
    // The machine's clocks run apart by the sleep only in this test; the database slept along.
    first.store.clock_off_us.store(u64::try_from(LEASE.as_micros()).unwrap(), SeqCst);
    sleep(RENEW_EVERY * 2).await;
    let after = held.tenure(None).unwrap();
    assert!(after.epoch > before.epoch, "nobody took it, and still it is another tenure");
}

/// The pause may lie between asking for the renewal and its answer.
#[tokio::test(start_paused = true)]
async fn a_pause_in_the_middle_of_a_renewal_ends_the_tenure() {
    let (first, _) = two();
    let (held, _renewing) = first.take().await.unwrap();
    let before = held.tenure(None).unwrap();
    first.store.leases_take(Duration::from_millis(500));
    // Into the renewal: it is sent after one second and answered half a second later.
    sleep(RENEW_EVERY + Duration::from_millis(250)).await;
    first.clock.sleep_through(LEASE * 10);
    first.store.clock_off_us.store(u64::try_from((LEASE * 10).as_micros()).unwrap(), SeqCst);
    sleep(Duration::from_millis(300)).await;
    // The answer says "held", but it counts from before the pause.
    assert_eq!(held.tenure(None), Err(NotOwner::Elsewhere));
    sleep(RENEW_EVERY * 3).await;
    assert!(held.tenure(None).unwrap().epoch > before.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_does_not_mint() {
    for (off_us, minted) in [(400_000_i64, true), (-400_000, true), (600_000, false), (-600_000, false)] {
        let clock = TestClock::new();
        let store = FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, 1);
        let process = Process::new(store, clock.skewed(off_us), "off");
        let (held, _renewing) = process.take().await.unwrap();
        let tenure = held.tenure(None);
        assert_eq!(tenure.is_ok(), minted, "{off_us} us off: {tenure:?}");
        if !minted {
            assert!(matches!(tenure, Err(NotOwner::Clock { off_ms: 590..=610 })), "{tenure:?}");
            process.clock.set_skew(0);
            sleep(RENEW_EVERY * 2).await;
            assert!(held.tenure(None).is_ok(), "put right, it mints again");
        }
    }
}

/// The `index`th of a row of names that all select the same worker number first: "Aa" and "BB" weigh the same
/// in its hash.
fn colliding(index: u64) -> String {
    (0..8).rev().map(|bit| if index >> bit & 1 == 0 { "Aa" } else { "BB" }).collect()
}

#[tokio::test(start_paused = true)]
async fn colliding_names_select_one_number() {
    let mut selected = BTreeSet::new();
    for name in (0..32).map(colliding) {
        let clock = TestClock::new();
        let store = FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, 1);
        let (leased, keeping) = Process::new(store, clock, &name).start().await;
        selected.insert(leased.worker());
        keeping.abort();
    }
    assert_eq!(selected.len(), 1, "the tests of worker numbers prove nothing with other names");
}

#[tokio::test(start_paused = true)]
async fn worker_numbers_differ() {
    let clock = TestClock::new();
    let store = FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, 1);
    let mut processes = Vec::new();
    for name in (0..8).map(colliding) {
        processes.push(Process::new(store.fork(), clock.skewed(0), &name).start().await);
    }
    sleep(RENEW_EVERY * 3).await;
    let workers: BTreeSet<u16> = processes.iter().map(|(leased, _)| leased.worker()).collect();
    assert_eq!(workers.len(), 8, "numbers are shared: {workers:?}");
    for (leased, keeping) in processes {
        let row = format!("worker/{}", leased.worker());
        assert_eq!(store.rows().leases[&row].holder, leased.node(), "it renews the number that it uses");
        keeping.abort();
    }
}

/// Ten leases after its end, and not before.
#[tokio::test(start_paused = true)]
async fn a_worker_number_long_ended_is_taken_again() {
    for (after_s, taken) in [(10, false), (40, false), (54, false), (56, true), (120, true)] {
        let clock = TestClock::new();
        let store = FakeStore::new(Arc::clone(&clock) as Arc<dyn Clock>, 1);
        let first = Process::new(store.fork(), clock.skewed(0), &colliding(0));
        let (held, keeping) = first.start().await;
        keeping.abort();
        first.store.kill();
        // Its lease ends after five seconds.
        sleep(Duration::from_secs(after_s)).await;
        let (other, keeping) = Process::new(store.fork(), clock.skewed(0), &colliding(1)).start().await;
        assert_eq!(other.worker() == held.worker(), taken, "after {after_s} s");
        keeping.abort();
    }
}

/// The whole service on leases: the first is killed, the second goes on where it was.
#[tokio::test(start_paused = true)]
async fn a_successor_goes_on_where_the_killed_owner_was() {
    let mut world = World::new(1);
    let first = Process::new(Arc::clone(&world.store), world.clock.skewed(200_000), "first");
    let (held, _renewing) = first.take().await.unwrap();
    let node = world.node_as(small(), held, Arc::clone(&first.clock) as _).await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let mut acknowledged = Vec::new();
    for index in 0..50 {
        acknowledged.push(talk.create(&format!("m{index}")).await.unwrap());
    }
    let edited = talk.edit(acknowledged[7].id, "edited").await.unwrap();
    world.crash();
    let second = Process::new(Arc::clone(&world.store), world.clock.skewed(-200_000), "second");
    let (successor, _renewing) = second.take().await.unwrap();
    let node = world.node_as(small(), successor, Arc::clone(&second.clock) as _).await;
    let talk = Talk(&node.client, place);
    let page = talk.list(At::Latest, 100).await.unwrap();
    assert_eq!(page.len(), 50);
    assert_eq!(page[42].content, "edited");
    let next = talk.create("next").await.unwrap();
    assert!(next.id > acknowledged[49].id && next.rev > edited.last_rev);
    let again = talk.edit(acknowledged[7].id, "again").await.unwrap();
    assert!(again.last_rev > next.rev);
    sleep(Duration::from_secs(2)).await;
    let told: std::collections::BTreeSet<u64> =
        world.bus.of(place.channel).iter().map(|record| record.rev).collect();
    for rev in acknowledged.iter().map(|row| row.rev).chain([edited.last_rev, next.rev, again.last_rev]) {
        assert!(told.contains(&rev));
    }
}

/// Two services on one database: the first one's lease goes to the second, which gives it up again, in order
/// or by dying.
async fn there_and_back(killed: bool) {
    let world = World::new(2);
    let first = Process::new(Arc::clone(&world.store), world.clock.skewed(100_000), "first");
    let (held, _renewing) = first.take().await.unwrap();
    let node = world.node_as(small(), Arc::clone(&held) as _, Arc::clone(&first.clock) as _).await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let mut told = vec![talk.create("by the first").await.unwrap()];
    let before = held.tenure(None).unwrap();
    assert_eq!(talk.list(At::Latest, 50).await.unwrap().len(), 1);
    // As if it were paused: its renewal is in the database and the answer is long in coming.
    first.store.leases_take(Duration::from_secs(20));
    let other = World {
        clock: Arc::clone(&world.clock),
        store: world.store.fork(),
        bus: world.bus.fork(),
        ownership: Arc::clone(&world.ownership),
    };
    let second = Process::new(Arc::clone(&other.store), world.clock.skewed(-100_000), "second");
    let (successor, renewing) = second.take().await.unwrap();
    assert_eq!(held.tenure(None), Err(NotOwner::Elsewhere));
    let elsewhere = other.node_as(small(), Arc::clone(&successor) as _, Arc::clone(&second.clock) as _).await;
    let there = Talk(&elsewhere.client, place);
    told.push(there.create("by the second").await.unwrap());
    let edited = there.edit(told[0].id, "edited by the second").await.unwrap();
    elsewhere.service.paths().limits.set(channel_limit(place.channel)).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    first.store.leases_take(Duration::ZERO);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(held.tenure(None), Err(NotOwner::Elsewhere), "its successor is there");
    assert_eq!(held.held_by().as_deref(), Some("second"));
    assert!(talk.create("refused").await.is_err());
    // What it leaves is in the database, and not on the bus.
    other.bus.down(true);
    told.push(there.create("left").await.unwrap());
    let left_at = Instant::now();
    if killed {
        other.store.kill();
        other.bus.kill();
        renewing.abort();
    } else {
        elsewhere.close().await;
        second.stop.cancel();
        renewing.await.unwrap();
    }
    timeout(LEASE * 3, async {
        while held.tenure(None).is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it asks for the slots again");
    assert_eq!(left_at.elapsed() > LEASE, killed, "a lease is waited out, one that was given up is not");
    let now = held.tenure(None).unwrap();
    assert!(now.epoch > before.epoch && now.reign > before.reign);
    if killed {
        let mut ends = told.iter().map(|row| row.rev);
        assert!(ends.all(|rev| rev < now.mint_above_us), "it mints above what the second could");
    }
    told.push(talk.create("by the first again").await.unwrap());
    let again = talk.edit(told[0].id, "edited by the first").await.unwrap();
    assert!(again.last_rev > edited.last_rev);
    assert!(told.is_sorted_by(|one, next| one.id < next.id && one.rev < next.rev), "{told:?}");
    assert_eq!(
        talk.contents(At::Latest, 50).await,
        ["by the first again", "left", "by the second", "edited by the first"]
    );
    assert_eq!(node.service.paths().limits.list().len(), 1, "the second's limits are in force");
    sleep(Duration::from_secs(2)).await;
    let published: std::collections::BTreeSet<u64> =
        world.bus.of(place.channel).iter().map(|record| record.rev).collect();
    for rev in told.iter().map(|row| row.rev).chain([edited.last_rev, again.last_rev]) {
        assert!(published.contains(&rev), "what the second left is published too");
    }
}

fn channel_limit(channel_id: u64) -> weir_proto::admin::Limit {
    weir_proto::admin::Limit {
        scope: format!("channel/{channel_id}"),
        kind: weir_proto::admin::LimitKind::Requests.into(),
        rate: 1_000.0,
        ..weir_proto::admin::Limit::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_owner_serves_again_after_its_successor_stopped() {
    there_and_back(false).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_owner_serves_again_after_its_successor_was_killed() {
    there_and_back(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_number_that_went_to_another_is_not_used_again() {
    let world = World::new(3);
    let first = Process::new(Arc::clone(&world.store), world.clock.skewed(0), "first");
    let (held, renewing) = first.take().await.unwrap();
    let node = world.node_as(small(), Arc::clone(&held) as _, Arc::clone(&first.clock) as _).await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let one = talk.create("one").await.unwrap();
    let name = format!("worker/{}", held.worker());
    let gone = held.worker();
    world.store.rows().leases.get_mut(&name).unwrap().holder = "another".into();
    sleep(RENEW_EVERY * 2).await;
    assert_ne!(held.worker(), gone);
    assert_eq!(held.tenure(None).unwrap().worker, held.worker());
    let two = talk.create("two").await.unwrap();
    assert!(two.id > one.id);
    let worker = |id: u64| weir_proto::id::Snowflake::try_from(id).unwrap().worker();
    assert_eq!((worker(one.id), worker(two.id)), (gone, held.worker()));
    // Its row stays when it stops: the next holder of the number waits until its ids are old.
    first.stop.cancel();
    renewing.await.unwrap();
    assert_eq!(world.store.rows().leases["slots/all"].holder, "", "given up");
    assert!(world.store.rows().leases.contains_key(&format!("worker/{}", held.worker())));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_minted_while_the_worker_numbers_lease_is_not_known_to_run() {
    let (first, _) = two();
    let (held, _renewing) = first.take().await.unwrap();
    let name = format!("worker/{}", held.worker());
    first.store.refuse_lease(&name);
    sleep(LEASE * 2).await;
    assert_eq!(held.tenure(None), Err(NotOwner::Worker), "the slots are held and the number is not");
    first.store.refuse_lease("");
    sleep(RENEW_EVERY * 2).await;
    assert_eq!(held.tenure(None).map(|tenure| tenure.worker), Ok(held.worker()));
}
