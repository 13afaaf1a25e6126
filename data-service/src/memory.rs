//! Memory of a data service: bounds that are fitted into the process's memory, and gauges of the parts.

use std::sync::{Arc, Weak};

use weir_connect::{Budget, CONNECTION_BYTES, Memory, MemoryMax, MemoryNames, ServerConfig};
use weir_runtime::memory::{Bound, Share};
use weir_store::embedded::{EmbeddedConfig, EmbeddedStore, StoreMemory};

use crate::{
    backend::{Backend, BackendConfig, StoreChoice},
    node::DataServiceConfig,
};

/// Names of the listener's parts.
const LISTENER: MemoryNames =
    MemoryNames { connections: "data_connections", replies: "data_replies", bodies: "data_bodies" };

/// Bounds of the listener that gateways and apis call.
#[derive(Debug, Clone, Copy)]
pub struct ListenerBounds {
    /// Maximum open connections. Default 1,024.
    pub connections_max: usize,
    /// Maximum bytes held for all callers together. Default: 64 MiB of replies and 64 MiB of request bodies.
    pub memory: MemoryMax,
}

impl Default for ListenerBounds {
    fn default() -> Self {
        Self { connections_max: ServerConfig::default().connections_max, memory: MemoryMax::default() }
    }
}

impl ListenerBounds {
    /// The bounds as shares, to be fitted into the process's memory.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        let connections = Bound::Size(&mut self.connections_max);
        vec![
            Share { bound: connections, unit: CONNECTION_BYTES as u64, least: 64 },
            Share::bytes(&mut self.memory.replies),
            Share::bytes(&mut self.memory.bodies),
        ]
    }

    /// The server's configuration; memory held for its callers counts in `budget`.
    #[must_use]
    pub fn server(self, budget: &Budget) -> ServerConfig {
        let memory = Memory::of(budget, LISTENER, self.connections_max, self.memory);
        ServerConfig { connections_max: self.connections_max, memory, ..ServerConfig::default() }
    }
}

impl DataServiceConfig {
    /// The bounds of the caches, to be fitted into the process's memory.
    pub fn shares(&mut self) -> Vec<Share<'_>> {
        vec![
            Share::wide(&mut self.cache_bytes),
            Share::bytes(&mut self.live.tails_bytes_max),
            Share::wide(&mut self.json_bytes),
        ]
    }
}

impl BackendConfig {
    /// The bounds of the store's memory, to be fitted into the process's memory. The write buffers cannot be
    /// cut: an existing store keeps their sizes.
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
    /// Shows the store's memory, if the store is in this process.
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
            // A closed store holds no memory.
            budget.watch(name, max, move || store.upgrade().map_or(0, |store| figure(store.memory())));
        }
    }

    fn embedded_store(&self) -> Option<(&Arc<EmbeddedStore>, &EmbeddedConfig)> {
        let store = self.embedded.as_ref()?;
        Some((store, store.config()))
    }
}
