//! A keyspace for each test.

use std::{env, sync::Arc, time::Duration};

use scylla::client::{session::Session, session_builder::SessionBuilder};
use weir_store::cql::{CqlConfig, CqlStore, Replication, schema};

/// The server's address. Where none is configured, the test says so and gets `None`; in CI it must be there.
pub(super) fn server() -> Option<String> {
    match env::var("WEIR_TEST_CQL") {
        Ok(server) => Some(server),
        Err(_) if env::var_os("CI").is_some() => panic!("CI must set WEIR_TEST_CQL"),
        Err(_) => {
            eprintln!("skipped: WEIR_TEST_CQL is not set");
            None
        }
    }
}

/// The configuration for a keyspace that no other test uses. Its timeouts are long, because a developer's
/// node serves several test runs at once.
fn config(server: &str, test: &str) -> CqlConfig {
    let mut config =
        CqlConfig::new(vec![server.to_owned()], format!("weir_test_{}_{test}", std::process::id()));
    config.replication = Replication::Simple { factor: 1 };
    config.connect_timeout = Duration::from_secs(60);
    config.read_timeout = Duration::from_secs(30);
    config.write_timeout = Duration::from_secs(30);
    config.lease_timeout = Duration::from_secs(30);
    config
}

/// A session of the test's own, to look at the tables directly.
pub(super) async fn session(config: &CqlConfig) -> Session {
    SessionBuilder::new().known_nodes(&config.nodes).build().await.expect("the server is there")
}

/// Runs a test in a keyspace of its own, which it may create, and drops the keyspace even if the test fails.
pub(super) async fn with_keyspace<F>(test: &str, body: impl FnOnce(CqlConfig) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(server) = server() else { return };
    let config = config(&server, test);
    let outcome = tokio::spawn(body(config.clone())).await;
    let drop = format!("DROP KEYSPACE IF EXISTS {}", config.keyspace);
    session(&config).await.query_unpaged(drop, ()).await.expect("dropped");
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Runs a test on a store with the whole schema.
pub(super) async fn with_store<F>(
    test: &str,
    body: impl FnOnce(Arc<CqlStore>, CqlConfig) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    with_keyspace(test, |config| async move {
        schema::apply(&config).await.expect("applied");
        let store = CqlStore::connect(config.clone()).await.expect("connects");
        body(store, config).await;
    })
    .await;
}
