//! A database that does not answer: every call ends in time, and a write's outcome is reported as known only
//! if it is.

use std::time::{Duration, Instant};

use weir_store::{
    Lease, LeaseAnswer, ReadError, Store, WriteError,
    cql::{ConnectError, CqlConfig, CqlStore, schema},
};

use super::{
    keyspace::{server, with_keyspace},
    proxy::{Mode, Proxy},
};
use crate::fixture::{as_id, creates, message, newest, next_id, page, soon};

/// Timeouts of the store behind the proxy.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Time that a busy machine adds to them.
const SLACK: Duration = Duration::from_secs(3);

/// Runs a test on a store behind a proxy.
async fn behind_proxy<F>(test: &str, body: impl FnOnce(CqlStoreBehind) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(server) = server() else { return };
    with_keyspace(test, |config| async move {
        schema::apply(&config).await.expect("applied");
        let proxy = Proxy::start(server).await;
        let mut through = config;
        through.nodes = vec![proxy.address()];
        through.read_timeout = TIMEOUT;
        through.write_timeout = TIMEOUT;
        through.lease_timeout = TIMEOUT;
        let store = CqlStore::connect(through).await.expect("connects");
        body(CqlStoreBehind { store, proxy }).await;
    })
    .await;
}

/// A store and the proxy before its database.
struct CqlStoreBehind {
    store: std::sync::Arc<CqlStore>,
    proxy: Proxy,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_times_out_reads_and_leaves_writes_unknown() {
    behind_proxy("frozen", |CqlStoreBehind { store, proxy }| async move {
        let (channel, id) = (next_id(), next_id());
        let commit = creates(channel, &[message(channel, id, "written while frozen")]);
        proxy.set(Mode::HoldAnswers);
        let began = Instant::now();
        let read = store.read_message(as_id(channel), as_id(id)).await;
        assert!(matches!(read, Err(ReadError::Timeout)), "{read:?}");
        let written = store.commit(commit.clone()).await;
        assert!(matches!(written, Err(WriteError::Unknown { .. })), "{written:?}");
        let ready = store.ready(Duration::from_millis(100)).await;
        assert!(matches!(ready, Err(ReadError::Timeout)), "{ready:?}");
        assert!(began.elapsed() < 2 * TIMEOUT + SLACK, "{:?}", began.elapsed());

        proxy.set(Mode::Pass);
        // The write is repeated with the same revisions until its outcome is known; then the row is there
        // once.
        soon("the write is known", async { while store.commit(commit.clone()).await.is_err() {} }).await;
        soon("readable again", async {
            while store.read_message(as_id(channel), as_id(id)).await.is_err() {}
        })
        .await;
        assert_eq!(page(&*store, channel, id, newest(10)).await, [id]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_leaves_the_write_unknown_and_no_connection_means_not_applied() {
    behind_proxy("broken", |CqlStoreBehind { store, proxy }| async move {
        let (channel, id) = (next_id(), next_id());
        let commit = creates(channel, &[message(channel, id, "")]);
        proxy.set(Mode::HoldAnswers);
        let sent = tokio::spawn({
            let (store, commit) = (store.clone(), commit.clone());
            async move { store.commit(commit).await }
        });
        let before = store.counters().writes;
        soon("the write is sent", async {
            while store.counters().writes == before && !sent.is_finished() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        proxy.set(Mode::Cut);
        let outcome = sent.await.expect("no panic");
        assert!(matches!(outcome, Err(WriteError::Unknown { .. })), "{outcome:?}");
        // Once the driver knows that all its connections are gone, it sends nothing any more.
        soon("no connection is left", async {
            while !matches!(store.commit(commit.clone()).await, Err(WriteError::NotApplied { .. })) {}
        })
        .await;
        let read = store.read_message(as_id(channel), as_id(id)).await;
        assert!(read.is_err(), "{read:?}");

        proxy.set(Mode::Pass);
        soon("the write is known", async { while store.commit(commit.clone()).await.is_err() {} }).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_answer_was_lost_is_looked_up() {
    behind_proxy("lease", |CqlStoreBehind { store, proxy }| async move {
        let lease =
            |holder: &str| Lease { name: "l".to_owned(), holder: holder.to_owned(), mint_until_us: 7 };
        proxy.set(Mode::HoldAnswers);
        let began = Instant::now();
        assert!(store.take_lease(lease("one"), None).await.is_err());
        assert!(began.elapsed() < 4 * TIMEOUT + SLACK, "{:?}", began.elapsed());
        proxy.set(Mode::Pass);
        let held = async |holder: &'static str| {
            soon("an answer", async {
                loop {
                    if let Ok(answer) = store.take_lease(lease(holder), None).await {
                        return answer;
                    }
                }
            })
            .await
        };
        assert!(matches!(held("one").await, LeaseAnswer::Held | LeaseAnswer::Renewed));
        assert_eq!(held("two").await, LeaseAnswer::HeldBy(lease("one")));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut config = CqlConfig::new(vec![silent.local_addr().expect("bound").to_string()], "weir");
    config.connect_timeout = TIMEOUT;
    let began = Instant::now();
    let refused = CqlStore::connect(config.clone()).await;
    assert!(matches!(refused, Err(ConnectError::Timeout(_) | ConnectError::Unreachable(_))), "{refused:?}");
    assert!(schema::apply(&config).await.is_err());
    assert!(began.elapsed() < 2 * TIMEOUT + SLACK, "{:?}", began.elapsed());
}
