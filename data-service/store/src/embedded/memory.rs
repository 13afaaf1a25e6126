//! What the embedded store holds in memory, by kind, for whoever adds up what a process may hold.

use super::{EmbeddedConfig, EmbeddedStore};

/// Buffers of a keyspace that fjall fills before it halts writers.
const BUFFERS: u64 = 5;
/// What a buffer takes, in hundredths of the bytes that fjall counts in it: its nodes and the allocator's share come on top. 123 were measured
/// for rows of 100 characters, 109 for such of 600.
const BUFFER_PERCENT: u64 = 125;

/// Bytes held now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreMemory {
    /// Cached blocks; bounded by [`EmbeddedConfig::cache_bytes`].
    pub cache: usize,
    /// Rows that are not written out as tables yet; bounded by [`EmbeddedConfig::buffers_bytes_max`].
    pub buffers: usize,
    /// Writes that wait for the committer; bounded by [`EmbeddedConfig::writes_waiting_bytes_max`].
    pub waiting: usize,
}

impl EmbeddedConfig {
    /// The most bytes of rows that are not written out yet.
    #[must_use]
    pub fn buffers_bytes_max(&self) -> u64 {
        taken(BUFFERS * (self.messages_buffer_bytes + self.log_buffer_bytes + 2 * self.small_buffer_bytes))
    }
}

/// Bytes that buffers take in which fjall counts so many.
fn taken(counted: u64) -> u64 {
    counted.saturating_mul(BUFFER_PERCENT) / 100
}

impl EmbeddedStore {
    /// The bounds that it was opened with.
    #[must_use]
    pub fn config(&self) -> &EmbeddedConfig {
        &self.config
    }

    /// What it holds now. Quick: it reads counters.
    #[must_use]
    pub fn memory(&self) -> StoreMemory {
        let db = self.readers.database();
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let places = self.config.writes_waiting_bytes_max as usize;
        StoreMemory {
            cache: size(db.cache_size()),
            buffers: size(taken(db.write_buffer_size())),
            waiting: places.saturating_sub(self.places.available_permits()),
        }
    }
}
