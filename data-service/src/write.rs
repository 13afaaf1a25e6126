//! The sequencer: every change of a channel, guild or user runs in that scope's turn, one after another.
//!
//! The owner of a scope (a channel or a guild) mints ids and revisions and has one commit in flight for it.
//! Creates that arrive meanwhile form the next commit. So a hot channel writes faster, not slower, and
//! replies and events leave in revision order.
//!
//! - [`op`]: requests and outcomes of turns; [`error`]: why a change has no result.
//! - `mailbox`: the queues of scopes.
//! - `turn`: one step; `create`, `alter`, `bulk`, `guild`, `direct`, `import`: the kinds of steps, each with
//!   its plan in `plan`.
//! - `preconditions`: checks that the rows on which a guild's change rests are unchanged.
//! - `commit`: the end of a step: send until the outcome is known, barrier, acknowledgement, publication;
//!   `in_doubt`: the pauses until then.
//! - `rows`: rows that pass no turn.
//! - `counters`: metrics of the turns.

mod alter;
mod bulk;
mod commit;
mod counters;
mod create;
mod direct;
pub mod error;
mod guild;
mod import;
pub(crate) mod in_doubt;
mod mailbox;
pub mod op;
pub(crate) mod plan;
pub(crate) mod preconditions;
pub(crate) mod rows;
mod turn;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{runtime::Handle, sync::oneshot};
use weir_protect::Generations;
use weir_proto::id::{ScopeId, Snowflake};
use weir_runtime::Registry;
use weir_store::Store;

use self::{
    counters::TurnCounters,
    error::{ChangeError, Refused},
    mailbox::Mailboxes,
    op::Op,
};
use crate::{
    live::{Live, scope::Scope},
    outbox::Outbox,
    ownership::{
        NotOwner, Ownership, Tenure,
        clock_skew::ClockSkew,
        mint::{MintError, Minter},
    },
    steady::Steady,
};

/// A stopping service checks this often whether its turns are done.
const IDLE_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Bounds of the sequencer.
#[derive(Debug, Clone)]
pub struct SequencerConfig {
    /// Changes that may wait for one scope's turn; more are refused. At one commit of 256 creates a
    /// millisecond the wait is 16 ms.
    pub queue_max: usize,
    /// Bytes of content that may wait for one scope's turn.
    pub queue_bytes_max: usize,
    /// Creates in one commit: about as many as gather during one commit at the fastest rates measured. With 1
    /// each create has its own commit, which only the benchmark wants.
    pub batch_rows_max: usize,
}

impl Default for SequencerConfig {
    fn default() -> Self {
        Self { queue_max: 4_096, queue_bytes_max: 8 << 20, batch_rows_max: 256 }
    }
}

/// Parts of a sequencer.
pub struct SequencerParts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<Steady>,
    /// The right to change scopes.
    pub ownership: Arc<dyn Ownership>,
    /// State of the scopes in memory.
    pub live: Arc<Live>,
    /// Separates reads that began before a change from later ones.
    pub generations: Arc<Generations>,
    /// Publishes committed changes.
    pub outbox: Arc<Outbox>,
    /// Id generator.
    pub minter: Arc<Minter>,
    /// Records that ids cannot be minted.
    pub clock_skew: Arc<ClockSkew>,
}

/// The sequencer of one node.
pub struct Sequencer {
    batch_rows_max: usize,
    store: Arc<dyn Store>,
    clock: Arc<Steady>,
    minter: Arc<Minter>,
    clock_skew: Arc<ClockSkew>,
    ownership: Arc<dyn Ownership>,
    live: Arc<Live>,
    generations: Arc<Generations>,
    outbox: Arc<Outbox>,
    mailboxes: Mailboxes,
    /// Runtime on which all changes run: a listener's threads may step back behind others, and may end before
    /// the service does.
    home: Handle,
    counters: TurnCounters,
}

impl Sequencer {
    /// Creates a sequencer over its parts and registers its metrics. Changes run on the runtime on which this
    /// is called.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(config: &SequencerConfig, parts: SequencerParts, registry: &Registry) -> Arc<Self> {
        let SequencerParts { store, clock, ownership, live, generations, outbox, minter, clock_skew } = parts;
        let mailboxes = Mailboxes::new(config.queue_max, config.queue_bytes_max);
        Arc::new(Self {
            batch_rows_max: config.batch_rows_max,
            store,
            clock,
            minter,
            clock_skew,
            ownership,
            live,
            generations,
            outbox,
            mailboxes,
            home: Handle::current(),
            counters: TurnCounters::new(registry),
        })
    }

    /// The tenure for a change of a scope, or of rows that belong to none: this node owns the scope, and its
    /// clock may date the change.
    pub(crate) fn tenure_to_change(&self, scope: Option<ScopeId>) -> Result<Tenure, NotOwner> {
        self.clock.check()?;
        self.ownership.tenure(scope)
    }

    /// Reports a refusal that the clock caused, once for all of them.
    pub(crate) fn note_refusal(&self, error: &ChangeError) {
        if let ChangeError::Refused(Refused::ClockBehind(MintError::Ahead { ahead_ms })) = error {
            self.clock_skew.noticed(*ahead_ms, self.clock.wall_us() / 1_000);
        }
    }

    /// Mints an id for a row that is made now and passes no turn.
    ///
    /// # Errors
    /// [`Refused::ClockBehind`], [`Refused::NotOwner`]
    pub(crate) fn mint(&self, tenure: Tenure) -> Result<Snowflake, ChangeError> {
        let minted = self.minter.mint(self.clock.wall_us(), None, tenure).map_err(ChangeError::from);
        minted.inspect_err(|error| self.note_refusal(error))
    }

    /// Mints `count` consecutive ids (1 to 2^20) for rows that are made now and pass no turn, and returns the
    /// first.
    ///
    /// # Errors
    /// [`MintError`]; nothing is used up.
    pub(crate) fn reserve(&self, tenure: Tenure, count: u64) -> Result<Snowflake, MintError> {
        self.minter.reserve(self.clock.wall_us(), None, tenure, count)
    }

    /// Puts a change into its scope's queue and waits for its outcome.
    ///
    /// # Errors
    /// [`ChangeError`]
    ///
    /// # Cancel safety
    /// The change runs in the scope's own task: a caller that leaves neither stops it nor skips a step.
    pub(crate) async fn submit<T>(
        self: &Arc<Self>,
        scope_id: ScopeId,
        make: impl FnOnce(oneshot::Sender<Result<T, ChangeError>>) -> Op,
    ) -> Result<T, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let scope = self.live.scope(scope_id).ok_or(Refused::TableFull)?;
        if self.mailboxes.push(scope_id, make(reply))? {
            self.home.spawn(self.turns(scope));
        } else {
            // A caller that only waits must not keep the scope in memory.
            drop(scope);
        }
        // Only a turn that panicked drops the sender: it is not known what it had done by then.
        let answer = answer.await.unwrap_or_else(|_| Err(ChangeError::OutcomeUnknown));
        answer.inspect_err(|error| self.note_refusal(error))
    }

    /// [`Self::run`] with its type erased: a turn may submit a change of another scope, so the future may
    /// contain itself.
    fn turns(self: &Arc<Self>, scope: Arc<Scope>) -> BoxFuture<'static, ()> {
        Box::pin(Arc::clone(self).run(scope))
    }

    /// Takes turns until the queue is empty.
    async fn run(self: Arc<Self>, scope: Arc<Scope>) {
        use futures_util::FutureExt;
        let turns = scope.begin_turns();
        while let Some(work) = self.mailboxes.next(scope.id, self.batch_rows_max) {
            let turn = std::panic::AssertUnwindSafe(self.turn(&scope, work));
            if turn.catch_unwind().await.is_err() {
                self.counters.panicked.inc();
                tracing::error!(scope = scope.id.get(), "a turn panicked; the scope is read again");
                self.live.forget(&scope);
            }
        }
        drop(turns);
        self.live.weigh(&scope);
    }

    /// Changes that wait for a scope's turn.
    pub(crate) fn waiting(&self, scope_id: ScopeId) -> usize {
        self.mailboxes.waiting(scope_id)
    }

    /// Waits until no scope has a change under way or waiting.
    pub(crate) async fn idle(&self) {
        while !self.mailboxes.all_idle() {
            tokio::time::sleep(IDLE_LOOK_EVERY).await;
        }
    }
}
