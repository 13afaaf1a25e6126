//! One flight and its waiters: their combined requirements, and the future of the result.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    clock::Nanos,
    flight::slot::{Seat, Slot},
    generation::Dependence,
    request::Priority,
    sync::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

/// A caller's requirements on a flight.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Kinds of changes that make the answer stale for this caller.
    pub dependence: Dependence,
    /// The caller's freshness token.
    pub floor: Option<u64>,
    /// Time at which the caller stops waiting.
    pub deadline: Nanos,
    /// The caller's importance.
    pub priority: Priority,
}

/// One store read, under way or about to be.
#[derive(Debug)]
pub struct Flight<R> {
    slot: Slot<R>,
    /// Callers attached now. Raised under the shard's lock, lowered without it.
    waiters: AtomicU32,
    /// The latest deadline among all callers ever attached, in nanoseconds. Raised under the shard's lock.
    deadline: AtomicU64,
    /// The highest token among them.
    floor: AtomicU64,
    /// The highest priority among them.
    priority: AtomicU8,
}

impl<R: Clone> Flight<R> {
    pub(super) fn new(want: &Want) -> Self {
        Self {
            slot: Slot::new(),
            waiters: AtomicU32::new(0),
            deadline: AtomicU64::new(want.deadline.as_nanos()),
            floor: AtomicU64::new(want.floor.unwrap_or(0)),
            priority: AtomicU8::new(want.priority as u8),
        }
    }

    /// Callers attached now.
    #[must_use]
    pub fn waiters(&self) -> u32 {
        self.waiters.load(Ordering::Acquire)
    }

    /// The latest deadline among all callers ever attached.
    #[must_use]
    pub fn deadline(&self) -> Nanos {
        Nanos::from_nanos(self.deadline.load(Ordering::Acquire))
    }

    /// The highest freshness token among them; 0 for none.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// The highest priority among them.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::from_u8(self.priority.load(Ordering::Acquire))
    }

    /// The shared result.
    #[must_use]
    pub const fn slot(&self) -> &Slot<R> {
        &self.slot
    }

    /// Attaches a caller. Called under the shard's lock.
    pub(super) fn attach(self: &Arc<Self>, want: &Want) -> Waiter<R> {
        self.waiters.fetch_add(1, Ordering::AcqRel);
        self.deadline.fetch_max(want.deadline.as_nanos(), Ordering::AcqRel);
        self.floor.fetch_max(want.floor.unwrap_or(0), Ordering::AcqRel);
        self.priority.fetch_max(want.priority as u8, Ordering::AcqRel);
        Waiter { flight: Arc::clone(self), seat: Seat::default() }
    }

    /// True if some waiter's deadline has not passed. Decided under the shard's lock, where no caller can
    /// attach.
    pub(super) fn is_wanted(&self, now: Nanos) -> bool {
        self.waiters() > 0 && self.deadline() > now
    }
}

/// A caller attached to a flight: a future of its result. Dropping it detaches the caller and nothing else.
#[derive(Debug)]
#[must_use = "a waiter does nothing unless it is polled"]
pub struct Waiter<R: Clone> {
    flight: Arc<Flight<R>>,
    seat: Seat,
}

impl<R: Clone> Waiter<R> {
    /// The caller's flight.
    #[must_use]
    pub const fn flight(&self) -> &Arc<Flight<R>> {
        &self.flight
    }
}

impl<R: Clone> Future for Waiter<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = &mut *self;
        this.flight.slot.poll(&mut this.seat, cx)
    }
}

impl<R: Clone> Drop for Waiter<R> {
    fn drop(&mut self) {
        self.flight.slot.leave(&mut self.seat);
        self.flight.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}
