//! The faults that the mutation check puts back into permissions, one at a time.
//!
//! They exist only in builds with the feature `faults`, which the api's tests enable; elsewhere [`armed`] is a constant `false`, and every
//! faulty branch is compiled away.

/// One known mistake of permission checks, named for what the code would do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seeded {
    /// A member acts on roles and members above it.
    PositionsNotCompared,
    /// The owner is kicked like anybody.
    OwnerNotSpared,
    /// An administrator is held back by overwrites.
    AdministratorHeldBack,
    /// What an overwrite denies counts as allowed.
    DenialTakenForGrant,
    /// An overwrite is known by its id alone, whatever its type.
    TypeNotInKey,
    /// Taking a denial back is not looked at.
    UndenyNotJudged,
    /// MANAGE_ROLES in a channel is given by whoever has it.
    RolesGivenByHolders,
    /// Whoever may create channels may create them with any overwrites.
    BeginningNotJudged,
    /// A role is given permissions that its maker does not have.
    RolesExceedTheirMaker,
}

impl Seeded {
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
    /// Of the thread, so that tests that run beside each other do not share one: each serves on its own thread.
    static ARMED: std::cell::Cell<Option<Seeded>> = const { std::cell::Cell::new(None) };
}

/// Puts a fault back for everything that runs on this thread from now on.
#[cfg(feature = "faults")]
pub fn arm(fault: Seeded) {
    ARMED.set(Some(fault));
}

/// True if the fault was put back on this thread.
#[cfg(feature = "faults")]
#[must_use]
pub fn armed(fault: Seeded) -> bool {
    ARMED.get() == Some(fault)
}

/// Never.
#[cfg(not(feature = "faults"))]
#[must_use]
pub const fn armed(_: Seeded) -> bool {
    false
}
