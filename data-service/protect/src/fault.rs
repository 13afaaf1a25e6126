//! Faults that the mutation check injects, one at a time.
//!
//! A fault exists only in builds with the feature `faults`, which this crate's own tests enable; elsewhere
//! [`Faults::armed`] is a constant `false` and every faulty branch is compiled away.

/// A known mistake of coalescing caches and limiters, named for the wrong behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Hazard 1: a read joins a flight that began before the last acknowledged write.
    JoinAnyGeneration,
    /// Hazard 1: a page that reached the end when its flight began is joined as one that did not.
    JoinByCallersDependence,
    /// Hazards 2, 3: a hit does not compare the entry's stamp with the current generation, and a fill puts
    /// any value that it read.
    HitIgnoresStamp,
    /// Hazard 4: the stamp is compared before the fill, and the hit trusts that.
    CheckThenInsert,
    /// Hazards 2, 4: a fill is stamped with the generation at its end instead of its beginning.
    StampAtEnd,
    /// Hazard 5: an unresolved write leaves hits allowed.
    HitWhileUnresolved,
    /// Hazard 5: after an unresolved write, values that were read before it landed are still current.
    ResolvedWithoutBump,
    /// Hazard 6: the end of an unresolved write is not recorded.
    UnresolvedForEver,
    /// Hazard 7: a hit does not compare its floor with the caller's.
    IgnoreFloorOnHit,
    /// Hazard 7: a join does not compare the flight's floor with the caller's.
    IgnoreFloorOnJoin,
    /// Hazard 7: one replica's answer is said to contain everything that was resolved.
    FloorWithoutQuorum,
    /// Hazard 8: "not found" is taken for an answer that no append can make stale. The tests' store injects
    /// it, because only a store's value knows whether anything was found.
    AbsenceDependsOnMutation,
    /// Hazard 9: the read runs inside its first caller's future instead of a task of its own.
    LeadInline,
    /// Hazard 10: the last waiter to leave removes the flight, though it goes on.
    LastWaiterRemoves,
    /// Hazard 11: followers of a lost leader each start a read.
    FollowersRetry,
    /// Hazard 13: a flight ends at its leader's deadline, not at the latest of its waiters'.
    LeaderDeadline,
    /// Hazard 13: the store's time is the one that the leader is willing to wait.
    StoreDeadlineIsLeaders,
    /// Hazard 14: a panic publishes nothing.
    PanicPublishesNothing,
    /// Hazard 15: the entry is removed after its result is published.
    RemoveAfterPublish,
    /// Hazard 16: each waiter of a failed flight reads again, one after another.
    RetryInTurn,
    /// Hazard 22: a caller gets a stale answer although its token is newer.
    StaleIgnoresFloor,
    /// Hazard 24: check and commit of a charge are two critical sections.
    ChargeInTwoSteps,
    /// Rule 13: a refused scope leaves the others charged.
    ChargeSurvivesRefusal,
    /// Hazard 25: a changed quota starts with a full burst.
    QuotaChangeRefills,
    /// Hazard 25: the same for keys without a slot in the table.
    QuotaChangeRefillsUnseen,
    /// Hazard 25: a slot keeps the quota under which it was created.
    QuotaChangeIgnored,
    /// Hazard 26: a clock that stepped back blocks for as long as the step.
    StepBackBlocks,
    /// Hazard 26: a clock that stepped back grants a fresh burst.
    StepBackRefills,
    /// Hazard 27: the in-flight count is compared, then raised, in two critical sections.
    ConcurrencyCheckThenAdd,
    /// Hazard 28: a permit granted to a caller that has left is lost.
    PermitLeaks,
    /// Hazard 28: the places of a read that the store did not answer in time are lost.
    PermitLeaksOnTimeout,
    /// Hazard 28: the places of a read that panicked are lost.
    PermitLeaksOnPanic,
    /// Hazard 30: a flight keeps its leader's priority.
    LeaderPriority,
    /// Rule 13: a full table forgets a debt instead of passing it on.
    EvictionForgives,
    /// Hazard 32: a wider page is returned uncut.
    SubsumeUncut,
    /// Hazard 46: a write whose caller left between commit and bump never bumps.
    DroppedWriteSkipsBump,
}

impl Fault {
    /// All faults, for a test that must not forget one.
    pub const ALL: [Self; 36] = [
        Self::JoinAnyGeneration,
        Self::JoinByCallersDependence,
        Self::HitIgnoresStamp,
        Self::CheckThenInsert,
        Self::StampAtEnd,
        Self::HitWhileUnresolved,
        Self::ResolvedWithoutBump,
        Self::UnresolvedForEver,
        Self::IgnoreFloorOnHit,
        Self::IgnoreFloorOnJoin,
        Self::FloorWithoutQuorum,
        Self::AbsenceDependsOnMutation,
        Self::LeadInline,
        Self::LastWaiterRemoves,
        Self::FollowersRetry,
        Self::LeaderDeadline,
        Self::StoreDeadlineIsLeaders,
        Self::PanicPublishesNothing,
        Self::RemoveAfterPublish,
        Self::RetryInTurn,
        Self::StaleIgnoresFloor,
        Self::ChargeInTwoSteps,
        Self::ChargeSurvivesRefusal,
        Self::QuotaChangeRefills,
        Self::QuotaChangeRefillsUnseen,
        Self::QuotaChangeIgnored,
        Self::StepBackBlocks,
        Self::StepBackRefills,
        Self::ConcurrencyCheckThenAdd,
        Self::PermitLeaks,
        Self::PermitLeaksOnTimeout,
        Self::PermitLeaksOnPanic,
        Self::LeaderPriority,
        Self::EvictionForgives,
        Self::SubsumeUncut,
        Self::DroppedWriteSkipsBump,
    ];
}

/// The active faults: none, except in a test build that injected one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    #[cfg(feature = "faults")]
    fault: Option<Fault>,
}

impl Faults {
    /// No fault.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            #[cfg(feature = "faults")]
            fault: None,
        }
    }

    /// Exactly one fault.
    #[cfg(feature = "faults")]
    #[must_use]
    pub const fn one(fault: Fault) -> Self {
        Self { fault: Some(fault) }
    }

    /// True if `fault` is injected.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn armed(self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// True if `fault` is injected: never in this build.
    #[cfg(not(feature = "faults"))]
    #[must_use]
    #[inline(always)]
    pub const fn armed(self, _: Fault) -> bool {
        false
    }
}
