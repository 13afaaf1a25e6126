//! What a data service may hold in memory: bounds to be fitted into the process's memory, and how the parts are shown.

use std::sync::{Arc, Weak};

use weir_connect::{Budget, CONNECTION_BYTES, Memory, MemoryMax, MemoryNames, ServerConfig};
use weir_runtime::memory::{Bound, Share};
use weir_store::embedded::{EmbeddedConfig, EmbeddedStore, StoreMemory};

use crate::{
    backend::{Backend, BackendConfig, StoreChoice},
    node::{DataServiceConfig, JSON_BYTES_MAX},
};

/// The names of the listener's parts.
const LISTENER: MemoryNames =
    MemoryNames { connections: "data_connections", replies: "data_replies", bodies: "data_bodies" };

/// Bounds of the listener that gateways and apis call.
#[derive(Debug, Clone, Copy)]
pub struct ListenerBounds {
    /// Most open connections. Default 1,024.
    pub connections_max: usize,
    /// Most bytes that all callers together may make it hold. Default: 64 MiB of replies and 64 MiB of request bodies.
    pub memory: MemoryMax,
}

impl Default for ListenerBounds {
    fn default() -> Self {
        Self { connections_max: ServerConfig::default().connections_max, memory: MemoryMax::default() }
    }
}

impl ListenerBounds {
    /// The same, to be fitted into the process's memory.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        let connections = Bound::Size(&mut self.connections_max);
        vec![
            Share { bound: connections, unit: CONNECTION_BYTES as u64, least: 64 },
            Share::bytes(&mut self.memory.replies),
            Share::bytes(&mut self.memory.bodies),
        ]
    }

    /// The server's configuration; what its callers hold counts in `budget`.
    #[must_use]
    pub fn server(self, budget: &Budget) -> ServerConfig {
        let memory = Memory::of(budget, LISTENER, self.connections_max, self.memory);
        ServerConfig { connections_max: self.connections_max, memory, ..ServerConfig::default() }
    }
}

impl DataServiceConfig {
    /// The bounds of its caches, to be fitted into the process's memory.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        vec![
            Share::wide(&mut self.cache_bytes),
            Share::bytes(&mut self.live.tails_bytes_max),
            Share::fixed(JSON_BYTES_MAX),
        ]
    }
}

impl BackendConfig {
    /// The bounds of what the store holds, to be fitted into the process's memory. Its write buffers cannot be cut: their sizes are kept with
    /// a store that is there already.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        match self.store {
            StoreChoice::Cql(_) => Vec::new(),
            StoreChoice::Embedded => {
                let fixed =
                    self.embedded.buffers_bytes_max() + u64::from(self.embedded.writes_waiting_bytes_max);
                vec![
                    Share::wide(&mut self.embedded.cache_bytes),
                    Share::bytes(&mut self.embedded.ring_bytes_max),
                    Share::fixed(fixed),
                ]
            }
        }
    }
}

impl Backend {
    /// Shows what the store holds, if it is in this process.
    pub fn watch_memory(&self, budget: &Budget) {
        let Some((store, config)) = self.embedded_store() else { return };
        let store = Arc::downgrade(store);
        type Figure = fn(StoreMemory) -> usize;
        let parts: [(&'static str, u64, Figure); 3] = [
            ("store_cache", config.cache_bytes, |held| held.cache),
            ("store_buffers", config.buffers_bytes_max(), |held| held.buffers),
            ("store_writes", u64::from(config.writes_waiting_bytes_max), |held| held.waiting),
        ];
        for (name, max, figure) in parts {
            let store = Weak::clone(&store);
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            // A store that is closed holds nothing.
            budget.watch(name, max, move || store.upgrade().map_or(0, |store| figure(store.memory())));
        }
    }

    fn embedded_store(&self) -> Option<(&Arc<EmbeddedStore>, &EmbeddedConfig)> {
        let store = self.embedded.as_ref()?;
        Some((store, store.config()))
    }
}
