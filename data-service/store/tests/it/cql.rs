//! Tests of the CQL store alone: the schema, the columns, and a database that does not answer.
//!
//! The server is the one that `WEIR_TEST_CQL` names. Each test makes a keyspace of its own and drops it.

mod keyspace;
mod outage;
mod proxy;
mod rows;
mod schema;

use crate::conformance;

use self::keyspace::with_store;

#[tokio::test(flavor = "multi_thread")]
async fn the_cql_store_conforms() {
    with_store("conforms", |store, _| async move { conformance::run(store).await }).await;
}
