//! Ownership: the right to change a channel or guild, and the time up to which ids may be minted.
//!
//! One node owns all scopes: [`WholeStore`] where the lock on the store's files already proves it,
//! [`leased::Leased`] where a database is shared.

pub mod clock_skew;
pub mod leased;
pub mod mint;

use std::sync::Arc;

use tokio::sync::watch;
use weir_proto::id::ScopeId;

/// Ownership term: proof that this node owns a scope now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// Ids and revisions must lie below: microseconds since 1970-01-01T00:00Z.
    pub mint_until_us: u64,
    /// Ids and revisions must lie above: the end of the last owner's term, microseconds since
    /// 1970-01-01T00:00Z.
    pub mint_above_us: u64,
    /// Fencing token of this term: a commit that began under one and ended under another must not be
    /// acknowledged.
    pub epoch: u64,
    /// Id shared by terms that follow each other without another owner's in between. A commit in doubt from
    /// another reign is not repeated: the owner in between has sealed the channel without it.
    pub reign: u64,
    /// Worker number of the ids minted in this term.
    pub worker: u16,
}

/// This node may not change the scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOwner {
    /// Another node owns it, or the lease has ended.
    #[error("this node does not own the channel now")]
    Elsewhere,
    /// The lease of this node's worker number has ended: until it is held again, another node might mint with
    /// it.
    #[error("this node's worker number is not held now")]
    Worker,
    /// The node's clock is too far from the database's.
    #[error("this node's clock is {off_ms} ms off the database's")]
    Clock {
        /// Difference in milliseconds.
        off_ms: u64,
    },
    /// The node's clock has jumped, see [`crate::steady`].
    #[error(
        "this node's clock jumped ahead by {} s and is not believed: nothing is changed until it is right again, or the service was restarted",
        ahead_ms / 1_000
    )]
    ClockJumped {
        /// Size of the jump in milliseconds.
        ahead_ms: u64,
    },
}

/// Answers whether this node owns a scope.
pub trait Ownership: Send + Sync + 'static {
    /// The scope's present tenure; `None` stands for rows that belong to no scope. This is cheap, because it
    /// is called before and after every commit and before every cached reply.
    ///
    /// # Errors
    /// [`NotOwner`]
    fn tenure(&self, scope: Option<ScopeId>) -> Result<Tenure, NotOwner>;

    /// Name of this node in explanations.
    fn node(&self) -> &str;

    /// The epoch of the newest tenure; changes when another one begins. Records that any owner writes, and
    /// that were read from the database before then, must be read again.
    fn tenures(&self) -> watch::Receiver<u64>;

    /// Name of the node that owns instead of this one, if known; for operators.
    fn held_by(&self) -> Option<String> {
        None
    }
}

impl dyn Ownership {
    /// True if the tenure `before` is still the present one.
    pub fn still(&self, scope: Option<ScopeId>, before: Tenure) -> bool {
        self.tenure(scope).is_ok_and(|now| now.epoch == before.epoch)
    }
}

/// Owner of a store whose files nobody else can open: the lock ends with the process, so the tenure does not
/// end before it.
#[derive(Debug)]
pub struct WholeStore {
    tenure: Tenure,
    tenures: watch::Sender<u64>,
}

impl WholeStore {
    /// `mint_above_us`: the greatest revision that is durable in the store, so that a clock that was set back
    /// repeats no id.
    #[must_use]
    pub fn new(mint_above_us: u64) -> Arc<Self> {
        let tenure = Tenure { mint_until_us: u64::MAX, mint_above_us, epoch: 1, reign: 1, worker: 0 };
        Arc::new(Self { tenure, tenures: watch::Sender::new(tenure.epoch) })
    }
}

impl Ownership for WholeStore {
    fn tenure(&self, _scope: Option<ScopeId>) -> Result<Tenure, NotOwner> {
        Ok(self.tenure)
    }

    fn node(&self) -> &str {
        "local"
    }

    fn tenures(&self) -> watch::Receiver<u64> {
        self.tenures.subscribe()
    }
}
