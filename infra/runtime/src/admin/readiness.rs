//! Whether a process can do its work, combined from what its components report.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// The readiness of a process: ready when every registered component is. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    // By component name, so there are as many entries as components in the program. `None` means ready.
    reasons: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// Why a process is not ready, for one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// The component.
    pub check: &'static str,
    /// The reason that it reports.
    pub reason: String,
}

impl Readiness {
    /// A readiness without components, which is ready.
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// Adds a component, which is not ready until it reports that it is. Its handle may be kept or dropped:
    /// the last report stands.
    ///
    /// # Panics
    /// If the name is taken: a mistake in the program.
    pub fn register(&self, check: &'static str) -> Check {
        let before = self.lock().insert(check, Some("starting".to_owned()));
        assert!(before.is_none(), "readiness check {check} is registered twice");
        Check { check, readiness: self.clone() }
    }

    /// Every component that is not ready, by name; empty when the process is ready.
    pub fn reasons(&self) -> Vec<NotReady> {
        let reasons = self.lock();
        let missing = reasons.iter().filter_map(|(check, reason)| Some((*check, reason.clone()?)));
        missing.map(|(check, reason)| NotReady { check, reason }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        // Recovers a poisoned lock: each change is one insertion, so no panic can leave half of one.
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A component's handle, by which it reports whether it is ready.
#[derive(Clone, Debug)]
pub struct Check {
    check: &'static str,
    readiness: Readiness,
}

impl Check {
    /// The component can do its work.
    pub fn ready(&self) {
        self.readiness.lock().insert(self.check, None);
    }

    /// The component cannot do its work, because of `reason`.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.readiness.lock().insert(self.check, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_component_is() {
        let readiness = Readiness::new();
        assert_eq!(readiness.reasons(), []);
        let store = readiness.register("store");
        let bus = readiness.register("bus");
        assert_eq!(readiness.reasons().len(), 2);
        store.ready();
        bus.not_ready("connection refused");
        let reason = NotReady { check: "bus", reason: "connection refused".to_owned() };
        assert_eq!(readiness.reasons(), [reason]);
        bus.ready();
        assert_eq!(readiness.clone().reasons(), []);
        store.not_ready("poisoned by an I/O error");
        drop(store);
        assert_eq!(readiness.reasons().len(), 1);
    }
}
