//! Ownership and time, controlled by a test.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use weir_data_service::{
    clock::{LeaseClock, WallClock},
    ownership::{NotOwner, Ownership, Tenure},
};
use weir_proto::id::ScopeId;
use weir_runtime::clock::BootInstant;

/// 2026-03-01T00:00Z in microseconds: in the middle of a bucket.
pub(crate) const START_US: u64 = 1_772_323_200_000_000;

/// A clock that runs with tokio's, which tests pause; its wall time can be set apart.
#[derive(Debug)]
pub(crate) struct TestClock {
    origin: Instant,
    skew_us: AtomicI64,
    slept_ns: AtomicU64,
}

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { origin: Instant::now(), skew_us: AtomicI64::new(0), slept_ns: AtomicU64::new(0) })
    }

    /// Another node's clock: the same time, off by `skew_us`.
    pub(crate) fn skewed(&self, skew_us: i64) -> Arc<Self> {
        let slept_ns = AtomicU64::new(self.slept_ns.load(SeqCst));
        Arc::new(Self { origin: self.origin, skew_us: AtomicI64::new(skew_us), slept_ns })
    }

    /// Sets the wall clock to this much more than the true time.
    pub(crate) fn set_skew(&self, skew_us: i64) {
        self.skew_us.store(skew_us, SeqCst);
    }

    /// The machine slept: the boot clock counts it, tokio's does not.
    pub(crate) fn sleep_through(&self, time: Duration) {
        self.slept_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap(), SeqCst);
    }
}

impl WallClock for TestClock {
    fn wall_us(&self) -> u64 {
        let slept_us = self.slept_ns.load(SeqCst) / 1_000;
        let now = START_US + u64::try_from(self.origin.elapsed().as_micros()).unwrap() + slept_us;
        now.checked_add_signed(self.skew_us.load(SeqCst)).unwrap()
    }
}

impl LeaseClock for TestClock {
    fn boot(&self) -> BootInstant {
        let awake_ns = u64::try_from(self.origin.elapsed().as_nanos()).unwrap();
        BootInstant::from_ns(1_000_000_000 + awake_ns + self.slept_ns.load(SeqCst))
    }
}

/// A tenure without an end.
pub(crate) fn forever(epoch: u64, worker: u16) -> Tenure {
    Tenure { mint_until_us: u64::MAX, mint_above_us: 0, epoch, reign: 1, worker }
}

/// Ownership that a test gives and takes.
#[derive(Debug)]
pub(crate) struct FakeOwnership {
    tenure: Mutex<Result<Tenure, NotOwner>>,
    worker: u16,
    tenures: watch::Sender<u64>,
    /// Times that the tenure was asked for.
    asked: AtomicU64,
    /// It is lost when it was asked for so often.
    lost_at: AtomicU64,
}

impl FakeOwnership {
    pub(crate) fn new(worker: u16) -> Arc<Self> {
        let tenure = Ok(forever(1, worker));
        Arc::new(Self {
            tenure: Mutex::new(tenure),
            worker,
            tenures: watch::Sender::new(1),
            asked: AtomicU64::new(0),
            lost_at: AtomicU64::new(u64::MAX),
        })
    }

    /// How often the tenure was asked for so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(SeqCst)
    }

    /// Nothing is owned once the tenure was asked for this often more.
    pub(crate) fn lose_after(&self, questions: u64) {
        self.lost_at.store(self.asked() + questions, SeqCst);
    }

    /// From now on nothing is owned.
    pub(crate) fn lose(&self) {
        *self.tenure.lock().unwrap() = Err(NotOwner::Elsewhere);
    }

    /// From now on everything is owned under this epoch.
    pub(crate) fn gain(&self, epoch: u64) {
        self.set(forever(epoch, self.worker));
    }

    /// As [`Self::gain`], after another owner.
    pub(crate) fn gain_after_another(&self, epoch: u64) {
        self.set(Tenure { reign: epoch, ..forever(epoch, self.worker) });
    }

    pub(crate) fn set(&self, tenure: Tenure) {
        self.lost_at.store(u64::MAX, SeqCst);
        *self.tenure.lock().unwrap() = Ok(tenure);
        self.tenures.send_if_modified(|epoch| std::mem::replace(epoch, tenure.epoch) != tenure.epoch);
    }
}

impl Ownership for FakeOwnership {
    fn tenure(&self, _: Option<ScopeId>) -> Result<Tenure, NotOwner> {
        if self.asked.fetch_add(1, SeqCst) >= self.lost_at.load(SeqCst) {
            return Err(NotOwner::Elsewhere);
        }
        self.tenure.lock().unwrap().clone()
    }

    fn node(&self) -> &str {
        "fake"
    }

    fn tenures(&self) -> watch::Receiver<u64> {
        self.tenures.subscribe()
    }
}
