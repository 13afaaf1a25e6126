//! Locks and atomics: `std` in every build, loom's models under `--cfg weir_loom`.
//!
//! The cores of this crate import them from here, so that all interleavings of the shipped code itself are
//! explored.

#[cfg(weir_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(weir_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// The tables' hasher: keyed with a secret of the process, so that nobody can choose colliding keys.
#[cfg(not(weir_loom))]
pub(crate) use std::hash::RandomState;
/// The tables' hasher in a model, which must take the same path in each execution.
#[cfg(weir_loom)]
pub(crate) type RandomState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// Locks `mutex` whether or not an earlier holder panicked.
///
/// Every critical section of this crate leaves its data consistent at each point where foreign code (a key's
/// `Hash` or `Eq`) could panic, so a poisoned lock carries no information: refusing it would wedge the key
/// for good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
