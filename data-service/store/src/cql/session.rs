//! Opens a session with every policy of the driver stated.

use std::sync::Arc;

use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    errors::NewSessionError,
    policies::{load_balancing::DefaultPolicy, retry::FallthroughRetryPolicy},
    statement::{Consistency, SerialConsistency},
};

use super::{CqlConfig, config::Linearizable};

/// The consistency level at which lightweight transactions agree.
pub(super) fn serial(config: &CqlConfig) -> SerialConsistency {
    match config.linearizable {
        Linearizable::Local => SerialConsistency::LocalSerial,
        Linearizable::Global => SerialConsistency::Serial,
    }
}

/// The consistency level at which a read sees every decided transaction.
pub(super) fn serial_read(config: &CqlConfig) -> Consistency {
    match config.linearizable {
        Linearizable::Local => Consistency::LocalSerial,
        Linearizable::Global => Consistency::Serial,
    }
}

/// Connects to the cluster; the caller bounds the time.
pub(super) async fn open(config: &CqlConfig) -> Result<Session, NewSessionError> {
    let mut balancing = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &config.datacenter {
        balancing = balancing.prefer_datacenter(datacenter.clone()).permit_dc_failover(false);
    }
    let longest =
        config.read_timeout.max(config.write_timeout).max(config.lease_timeout).max(config.schema_timeout);
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(serial(config)))
        // Each statement has a timeout of its own; this one only catches calls without one, such as schema
        // changes.
        .request_timeout(Some(longest))
        // A write that the driver repeated could no longer be reported as not applied. Reads are repeated
        // where they are counted.
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        // A second copy of a slow read goes to the same hot partition and makes it slower.
        .speculative_execution_policy(None)
        .load_balancing_policy(balancing.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.connect_timeout)
        .hostname_resolution_timeout(Some(config.connect_timeout))
        .keepalive_interval(config.keepalive_interval)
        .keepalive_timeout(config.keepalive_timeout)
        .schema_agreement_timeout(config.schema_timeout)
        // Routing needs the tables' names and replication, not their columns.
        .keyspaces_to_fetch([config.keyspace.clone()])
        .fetch_full_schema_metadata(false);
    if let Some(credentials) = &config.credentials {
        builder = builder.user(&credentials.user, &credentials.password);
    }
    builder.build().await
}
