//! Mistakes in permission checks that the mutation check injects, one at a time.
//!
//! They exist only in builds with the feature `faults`, which the api's tests enable. In other builds
//! [`injected`] is a constant `false`, and every faulty branch is compiled away.

/// One known mistake of permission checks, named by what the code would do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InjectedFault {
    /// A member acts on roles and members above it.
    PositionsNotCompared,
    /// The owner can be kicked like any other member.
    OwnerNotSpared,
    /// Overwrites apply to an administrator.
    AdministratorHeldBack,
    /// A bit that an overwrite denies counts as allowed.
    DenialTakenForGrant,
    /// An overwrite is identified by its id alone, whatever its type.
    TypeNotInKey,
    /// Withdrawing a denial is not checked.
    UndenyNotJudged,
    /// Every member who has MANAGE_ROLES in a channel can grant it there.
    RolesGivenByHolders,
    /// Every member who may create channels may create them with any overwrites.
    BeginningNotJudged,
    /// A role can be given permissions that its creator does not have.
    RolesExceedTheirMaker,
}

impl InjectedFault {
    /// Every fault.
    pub const ALL: [Self; 9] = [
        Self::PositionsNotCompared,
        Self::OwnerNotSpared,
        Self::AdministratorHeldBack,
        Self::DenialTakenForGrant,
        Self::TypeNotInKey,
        Self::UndenyNotJudged,
        Self::RolesGivenByHolders,
        Self::BeginningNotJudged,
        Self::RolesExceedTheirMaker,
    ];
}

#[cfg(feature = "faults")]
thread_local! {
    /// The value belongs to the thread, so that concurrent tests do not share it: each test serves on a
    /// thread of its own.
    static INJECTED: std::cell::Cell<Option<InjectedFault>> = const { std::cell::Cell::new(None) };
}

/// Injects a fault for everything that runs on this thread from now on.
#[cfg(feature = "faults")]
pub fn inject(fault: InjectedFault) {
    INJECTED.set(Some(fault));
}

/// True if the fault was injected on this thread.
#[cfg(feature = "faults")]
#[must_use]
pub fn injected(fault: InjectedFault) -> bool {
    INJECTED.get() == Some(fault)
}

/// Always false.
#[cfg(not(feature = "faults"))]
#[must_use]
pub const fn injected(_: InjectedFault) -> bool {
    false
}
