//! Configuration of the layer: each number with its unit, its bound and its origin.

use std::{num::NonZeroU32, time::Duration};

use crate::generation::CELLS_DEFAULT;

/// Bounds and timeouts of one [`crate::stack::Protect`].
#[derive(Debug, Clone)]
pub struct ProtectConfig {
    /// Longest time that a read stays in the store. A flight and its permits stay as long as the read, or
    /// until this time passes; callers' deadlines do not shorten it, because a database query cannot be taken
    /// back.
    ///
    /// Set it to the driver's own request timeout. Default 2 s: a guess, to be measured.
    pub store_timeout: Duration,
    /// Maximum age of an entry for a hit. Default 60 s: it bounds the cost of a lost invalidation.
    pub cache_age_max: Duration,
    /// Cells of the generation array, 8 bytes each, rounded up to a power of two; see [`CELLS_DEFAULT`].
    pub generation_cells: usize,
    /// Maximum flights under way at once, each with its task (about 2 KiB plus the store's future). Default
    /// 65,536.
    pub flights_max: usize,
    /// Slots of the limiter's table, 16 bytes each, rounded up; see [`crate::limit::table`]. Default 2^16: 1
    /// MiB.
    pub limit_slots: usize,
    /// Maximum reads of one partition in the store at once. `None`: no bound. Default 8: enough to hide
    /// latency, few enough that one hot partition cannot occupy a replica; a guess, to be measured.
    pub partition_concurrency: Option<NonZeroU32>,
    /// Maximum flights that wait for a place in one partition. Default 256.
    pub queue_len_max: usize,
    /// Longest wait for a place. Default 1 s. A flight also stops waiting when its last waiter's deadline
    /// passes.
    pub queue_wait_max: Duration,
}

impl Default for ProtectConfig {
    fn default() -> Self {
        Self {
            store_timeout: Duration::from_secs(2),
            cache_age_max: Duration::from_secs(60),
            generation_cells: CELLS_DEFAULT,
            flights_max: 65_536,
            limit_slots: 1 << 16,
            partition_concurrency: NonZeroU32::new(8),
            queue_len_max: 256,
            queue_wait_max: Duration::from_secs(1),
        }
    }
}
