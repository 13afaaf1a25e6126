//! Counts bytes that are held: a gauge that many share, and the share of each, which is given back when it is
//! dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A count of bytes that clones share, such as those of all live entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByteGauge(Arc<AtomicUsize>);

impl ByteGauge {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A share of [`ByteGauge`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Weight {
    total: ByteGauge,
    own: AtomicUsize,
}

impl Weight {
    pub(crate) fn new(total: &ByteGauge, bytes: usize) -> Self {
        total.add(bytes);
        Self { total: total.clone(), own: AtomicUsize::new(bytes) }
    }

    pub(crate) fn get(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    pub(crate) fn grow(&self, bytes: usize) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.total.add(bytes);
    }

    /// Replaces the weight by `bytes`.
    pub(crate) fn set(&self, bytes: usize) {
        self.total.add(bytes);
        self.total.sub(self.own.swap(bytes, Ordering::Relaxed));
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.total.sub(*self.own.get_mut());
    }
}
