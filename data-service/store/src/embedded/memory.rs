//! The memory that the embedded store holds, by kind, for the process's memory budget.

use super::{EmbeddedConfig, EmbeddedStore};

/// Buffers of a keyspace that fjall fills before it halts writers.
const BUFFERS: u64 = 5;
/// Memory of a buffer, in percent of the bytes that fjall counts in it: its nodes and the allocator's
/// overhead are not counted. 123 were measured for rows of 100 characters, 109 for rows of 600.
const BUFFER_PERCENT: u64 = 125;

/// Bytes that the store holds now.
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
    /// Most bytes of rows that are not written out yet.
    #[must_use]
    pub fn buffers_bytes_max(&self) -> u64 {
        taken(BUFFERS * (self.messages_buffer_bytes + self.log_buffer_bytes + 2 * self.small_buffer_bytes))
    }
}

/// Bytes of memory of buffers in which fjall counts `counted` bytes.
fn taken(counted: u64) -> u64 {
    counted.saturating_mul(BUFFER_PERCENT) / 100
}

impl EmbeddedStore {
    /// The bounds that the store was opened with.
    #[must_use]
    pub fn config(&self) -> &EmbeddedConfig {
        &self.config
    }

    /// The bytes that the store holds now. It only reads counters, so it is quick.
    #[must_use]
    pub fn memory(&self) -> StoreMemory {
        let db = self.readers.database();
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let bytes_max = self.config.writes_waiting_bytes_max as usize;
        StoreMemory {
            cache: size(db.cache_size()),
            buffers: size(taken(db.write_buffer_size())),
            waiting: bytes_max.saturating_sub(self.waiting_bytes.available_permits()),
        }
    }
}
