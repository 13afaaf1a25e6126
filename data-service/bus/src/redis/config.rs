//! Redis's address, and the bounds of the bus on it.

use std::time::Duration;

use deadpool_redis::{
    Manager, Pool, Runtime,
    redis::{AsyncConnectionConfig, Client},
};

/// Where Redis is and what the bus may use of it.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// Put in front of every key, so that one Redis can serve several deployments.
    pub prefix: String,
    /// Longest wait for Redis. It applies to connecting, to a connection of the pool, to an answer, and to a
    /// whole publication.
    pub timeout: Duration,
    /// Connections of the pool. More than a few only queue, because Redis has one thread.
    pub connections: usize,
    /// Entries that an inbox keeps in Redis: at 1 KiB each, 64 MiB for each gateway. A gateway that falls
    /// further behind is cut off.
    pub inbox_records_max: usize,
    /// Lifetime of a gateway's keys without renewal. It is longer than a restart of Redis, so that a short
    /// outage costs nothing.
    pub gateway_life: Duration,
    /// How often a gateway renews its keys, and the longest time in which it notices that Redis forgot it.
    pub renew_every: Duration,
    /// Span of records that publishers publish again after a loss. A gateway that was away for longer cuts
    /// its readers off.
    pub recovered_window: Duration,
    /// Most records that a gateway holds in memory for its sessions.
    pub ring_records_max: usize,
    /// Most bytes of these records.
    pub ring_bytes_max: usize,
    /// First pause before connecting again. It doubles up to `backoff_max`.
    pub backoff_min: Duration,
    /// Longest pause before connecting again.
    pub backoff_max: Duration,
}

impl RedisConfig {
    /// Defaults for a Redis in the same datacentre.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "weir:".to_owned(),
            timeout: Duration::from_secs(1),
            connections: 4,
            inbox_records_max: 65_536,
            gateway_life: Duration::from_secs(15),
            renew_every: Duration::from_secs(1),
            recovered_window: Duration::from_secs(60),
            ring_records_max: 65_536,
            ring_bytes_max: 128 * 1024 * 1024,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }

    /// A driver for the url.
    pub(super) fn client(&self) -> Result<Client, RedisError> {
        Client::open(self.url.as_str()).map_err(|error| RedisError::Url { reason: error.to_string() })
    }

    /// Timeouts of a connection whose commands may take `longest`.
    pub(super) fn connection(&self, longest: Duration) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(longest))
    }

    /// A pool of connections for commands that answer at once.
    pub(super) fn pool(&self) -> Result<Pool, RedisError> {
        let url = |reason: String| RedisError::Url { reason };
        let manager = Manager::new_with_config(self.url.as_str(), self.connection(self.timeout));
        let manager = manager.map_err(|error| url(error.to_string()))?;
        Pool::builder(manager)
            .max_size(self.connections.max(1))
            .wait_timeout(Some(self.timeout))
            .create_timeout(Some(self.timeout))
            .recycle_timeout(Some(self.timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| url(error.to_string()))
    }

    /// Lifetime of a gateway's keys in whole seconds, as Redis counts; at least one.
    pub(super) fn gateway_life_seconds(&self) -> u64 {
        self.gateway_life.as_secs().max(1)
    }
}

/// Why the bus cannot be set up. A Redis that does not answer is no such error: it may answer later.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisError {
    /// The url cannot be used.
    #[error("the url of Redis cannot be used: {reason}")]
    Url {
        /// What is wrong with the url, without its password.
        reason: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {reason}")]
    Random {
        /// What the operating system said.
        reason: String,
    },
}

/// 128 random bits in hexadecimal, for a gateway's id or an epoch.
pub(super) fn random_word() -> Result<String, RedisError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| RedisError::Random { reason: error.to_string() })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
