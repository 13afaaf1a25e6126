//! The service over a real Cassandra at the address in `WEIR_TEST_CQL`, in a keyspace of its own that is
//! dropped afterwards. There is one test for everything, because the schema takes most of its time.

use std::{env, future::Future, sync::Arc, time::Duration};

use futures_util::future::join_all;
use scylla::{client::session_builder::SessionBuilder, statement::unprepared::Statement};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_bus::EventBus;
use weir_data_service::{
    clock::{Clock, SystemClock},
    node::Parts,
    ownership::{Ownership, leased::Leased},
};
use weir_proto::data::CreateMessageRequest;
use weir_runtime::{Readiness, Registry};
use weir_store::{
    Store,
    cql::{CqlConfig, CqlStore, Replication, schema},
};

use crate::{
    fake_bus::FakeBus,
    node::{At, Node, Talk, create_in, options, small},
};

/// Runs a test in a keyspace of its own. Patient: a developer's node serves several test runs at once.
async fn with_keyspace<F: Future<Output = ()> + Send + 'static>(
    test: &str,
    body: impl FnOnce(CqlConfig) -> F,
) {
    let Ok(server) = env::var("WEIR_TEST_CQL") else {
        assert!(env::var_os("CI").is_none(), "CI must set WEIR_TEST_CQL");
        eprintln!("skipped: WEIR_TEST_CQL is not set");
        return;
    };
    let keyspace = format!("weir_service_{}_{test}", std::process::id());
    let mut config = CqlConfig::new(vec![server], keyspace);
    config.replication = Replication::Simple { factor: 1 };
    config.connect_timeout = Duration::from_secs(60);
    config.read_timeout = Duration::from_secs(30);
    config.write_timeout = Duration::from_secs(30);
    config.lease_timeout = Duration::from_secs(30);
    schema::apply(&config).await.expect("applied");
    let outcome = tokio::spawn(body(config.clone())).await;
    let session =
        SessionBuilder::new().known_nodes(&config.nodes).build().await.expect("the server is there");
    let mut drop = Statement::new(format!("DROP KEYSPACE IF EXISTS {}", config.keyspace));
    // The server writes a snapshot of every table first.
    drop.set_request_timeout(Some(Duration::from_secs(180)));
    session.query_unpaged(drop, ()).await.expect("dropped");
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// A process: its connection, its lease, its service.
struct Process {
    store: Arc<CqlStore>,
    node: Node,
    /// Ends the leases in good order.
    stop: CancellationToken,
    renewing: tokio::task::JoinHandle<()>,
}

impl Process {
    async fn close(self) {
        self.node.close().await;
        self.stop.cancel();
        self.renewing.await.expect("the leases are given up");
    }
}

async fn start(config: &CqlConfig, name: &str, bus: &Arc<FakeBus>) -> Process {
    let store = CqlStore::connect(config.clone()).await.expect("connects");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let stop = CancellationToken::new();
    let taken = Leased::take(Arc::clone(&shared), Arc::clone(&clock), name.to_owned(), stop.clone());
    let (leased, renewing) = taken.await.expect("leases");
    let parts = Parts {
        store: shared,
        bus: Arc::clone(bus) as Arc<dyn EventBus>,
        ownership: leased as Arc<dyn Ownership>,
        clock,
        mint_above_us: 0,
        registry: Registry::new(),
        readiness: Readiness::default(),
    };
    let mut config = small();
    config.store_timeout = Duration::from_secs(30);
    Process { store, node: Node::open(config, parts).await, stop, renewing }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_over_cassandra() {
    with_keyspace("all", |config| async move {
        let process = start(&config, "methods", &FakeBus::new()).await;
        crate::methods::work(&process.node.client).await;
        creates_that_wait_share_a_commit_and_pages_hold(&process).await;
        process.close().await;
        a_successor_of_a_killed_process_has_all_that_was_acknowledged(&config).await;
    })
    .await;
}

async fn a_successor_of_a_killed_process_has_all_that_was_acknowledged(config: &CqlConfig) {
    let bus = FakeBus::new();
    let first = start(config, "first", &bus).await;
    let place = first.node.place().await;
    let talk = Talk(&first.node.client, place);
    let mut acknowledged = Vec::new();
    for index in 0..5 {
        acknowledged.push(talk.create(&format!("m{index}")).await.unwrap());
    }
    let keyed = {
        let mut request = create_in(place, "keyed");
        request.message.as_mut().unwrap().nonce = "n".into();
        request
    };
    let create = |node: &Node, request: CreateMessageRequest| {
        let client = node.client.clone();
        async move { client.create_message(&request, &options()).await.unwrap().message }
    };
    // From here on nothing of it reaches the bus; then it is gone, lease in hand.
    bus.kill();
    let made = create(&first.node, keyed.clone()).await.message.unwrap();
    let edited = talk.edit(acknowledged[1].id, "edited").await.unwrap();
    let removed = talk.delete(acknowledged[2].id).await.unwrap();
    first.renewing.abort();
    let killed = Instant::now();

    let bus = bus.fork();
    let second = start(config, "second", &bus).await;
    eprintln!("without an owner for {:?} after a kill", killed.elapsed());
    let talk = Talk(&second.node.client, place);
    assert_eq!(talk.contents(At::Latest, 50).await, ["keyed", "m4", "m3", "edited", "m0"]);
    let again = create(&second.node, keyed).await;
    assert!(again.deduplicated && again.message.unwrap().id == made.id);
    let next = talk.create("next").await.unwrap();
    assert!(next.id > made.id && next.rev > removed);
    assert_eq!(talk.edit(acknowledged[1].id, "again").await.unwrap().content, "again");
    assert_eq!(talk.get(acknowledged[1].id).await.unwrap().unwrap().content, "again");
    let deadline = Instant::now() + Duration::from_secs(30);
    let wanted = [made.rev, edited.last_rev, removed, next.rev];
    while !wanted.iter().all(|rev| bus.of(place.channel).iter().any(|record| record.rev == *rev)) {
        assert!(Instant::now() < deadline, "what the first left unpublished is published by the second");
        tokio::task::yield_now().await;
    }
    second.close().await;
}

async fn creates_that_wait_share_a_commit_and_pages_hold(process: &Process) {
    let place = process.node.place().await;
    let talk = Talk(&process.node.client, place);
    talk.create("warm").await.unwrap();
    let before = process.store.counters().writes;
    let made = join_all((0..400).map(|_| talk.create("m"))).await;
    assert!(made.iter().all(Result::is_ok));
    let writes = process.store.counters().writes - before;
    eprintln!("400 creates at once in one channel: {writes} writes");
    assert!(writes < 80, "{writes}");
    let mut ids: Vec<u64> = made.into_iter().map(|row| row.unwrap().id).collect();
    ids.sort_unstable();
    // A process that remembers nothing of it reads the same from the database.
    process.node.service.gates().set(weir_protect::Gate::Cache, false);
    for (at, expected) in [
        (At::Latest, ids.iter().rev().take(100).copied().collect::<Vec<u64>>()),
        (At::Before(ids[200]), ids[150..200].iter().rev().copied().collect()),
        (At::After(ids[200]), ids[201..251].iter().rev().copied().collect()),
        (At::Around(ids[200]), ids[175..=225].iter().rev().copied().collect()),
    ] {
        let limit = if at == At::Latest { 100 } else { 50 };
        let page = talk.list(at, limit).await.unwrap();
        assert!(page.iter().map(|row| row.id).eq(expected), "{at:?}");
    }
    talk.list(At::Before(u64::MAX - 1), 5).await.expect("any number may be asked for");
    process.node.service.gates().set(weir_protect::Gate::Cache, true);
}
