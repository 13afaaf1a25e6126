//! Injected faults that the mutation check puts into the sequencer, its ownership and its outbox, one at a
//! time.
//!
//! They exist only in builds with the feature `faults`, which this crate's own tests enable; elsewhere
//! `armed` is a constant `false`, and every faulty branch is compiled away. The protection layer has its own
//! (`weir_protect::fault`).

/// A known mistake of services that own the data they write, named for the wrong behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seeded {
    /// Hazard 42: a lease counts after its end.
    LeaseEndIgnored,
    /// Hazard 42: a lease counts from the answer, not from the request.
    LeaseCountsFromAnswer,
    /// Hazard 41: a taker does not wait for the other's lease to end.
    TakerDoesNotWait,
    /// Hazard 41: a worker number counts after its lease's end.
    WorkerLeaseIgnored,
    /// Hazard 41: a worker number is used although another process holds it.
    WorkerTakenAnyway,
    /// Hazard 41: ids and revisions are minted at and above the end of the lease.
    MintsPastLease,
    /// Rule 3: a node whose clock is off mints.
    ClockOffIgnored,
    /// Hazard 42: the lease is not checked again after a commit.
    AcknowledgesWithoutTenure,
    /// Hazard 42: a commit in doubt is repeated by a node that no longer owns the channel.
    ResendsWithoutTenure,
    /// Hazard 42: a commit in doubt is repeated although another owner came in between.
    ReignIgnored,
    /// Hazard 42: state remembered under one tenure is served under the next.
    MemoryOutlivesTenure,
    /// Hazard 42: the lease is not checked again after an answer from memory was made.
    CachedReplyUnchecked,
    /// Hazard 43: the watermark does not wait for changes under way.
    WatermarkPassesPending,
    /// Hazard 43: records that an earlier process left unpublished stay so.
    NoRecovery,
    /// Hazard 43: a loss of the bus's memory is ignored.
    LossIgnored,
    /// Hazard 43: records that the bus did not take are forgotten.
    FailedPublishForgotten,
    /// Hazard 45: a revision is the clock's, even below the last one.
    RevIsTheClock,
    /// Hazard 46: a turn runs inside the future of the caller that began it.
    TurnInCallersFuture,
    /// Hazard 46: a limit is changed inside the caller's future.
    LimitInCallersFuture,
    /// Hazard 5: rows in doubt are not written again.
    RowsDoubtForgotten,
    /// Hazards 1, 2: a commit does not bump.
    CommitDoesNotBump,
    /// Hazard 5: while a commit is in doubt, answers from before it are served.
    DoubtLeavesMemoryOn,
    /// Hazard 3: a read from before a change becomes the tail after it.
    SeedIgnoresVersion,
    /// Hazard 44: a bucket is indexed after its first message.
    BucketAfterCommit,
}

impl Seeded {
    /// Every fault.
    pub const ALL: [Self; 24] = [
        Self::LeaseEndIgnored,
        Self::LeaseCountsFromAnswer,
        Self::TakerDoesNotWait,
        Self::WorkerLeaseIgnored,
        Self::WorkerTakenAnyway,
        Self::MintsPastLease,
        Self::ClockOffIgnored,
        Self::AcknowledgesWithoutTenure,
        Self::ResendsWithoutTenure,
        Self::ReignIgnored,
        Self::MemoryOutlivesTenure,
        Self::CachedReplyUnchecked,
        Self::WatermarkPassesPending,
        Self::NoRecovery,
        Self::LossIgnored,
        Self::FailedPublishForgotten,
        Self::RevIsTheClock,
        Self::TurnInCallersFuture,
        Self::LimitInCallersFuture,
        Self::RowsDoubtForgotten,
        Self::CommitDoesNotBump,
        Self::DoubtLeavesMemoryOn,
        Self::SeedIgnoresVersion,
        Self::BucketAfterCommit,
    ];
}

#[cfg(feature = "faults")]
thread_local! {
    /// One per thread, so that concurrent tests do not share a fault: each runs its service on its own
    /// thread.
    static ARMED: std::cell::Cell<Option<Seeded>> = const { std::cell::Cell::new(None) };
}

/// Injects a fault into everything that runs on this thread from now on.
#[cfg(feature = "faults")]
pub fn arm(fault: Seeded) {
    ARMED.set(Some(fault));
}

/// True if the fault is injected on this thread.
#[cfg(feature = "faults")]
pub(crate) fn armed(fault: Seeded) -> bool {
    ARMED.get() == Some(fault)
}

/// Always false.
#[cfg(not(feature = "faults"))]
pub(crate) const fn armed(_: Seeded) -> bool {
    false
}
