//! The sequencer: every change of a channel, guild or user passes its turn, one after another.
//!
//! The owner of a scope (a channel or a guild) mints ids and revisions, has one commit in flight for it, and gathers the creates that
//! arrive meanwhile into the next. So a hot channel writes faster, not slower, and replies and events leave in revision order.
//!
//! - [`op`]: what can be asked for, and what can be answered.
//! - [`scope`]: the state of one scope and its queue.
//! - [`table`]: all scopes in memory, bounded.
//! - [`nonce`]: five minutes of (author, nonce).
//! - `warm`: the tail is read before the first change.
//! - `serve`: reads from the tails that the turns keep.
//! - `turn`: one step; `commit`: its end: commit, bump, acknowledge, publish.
//! - `create`, `change`, `guild`: the plans; `bulk`: removals of several messages in one step; `import`: rows with ids of the caller's; `direct`: the opening of direct messages.
//! - `preconditions`: whether what a guild's change rests on is still so.
//! - `record`: the event records of a plan.
//! - `counters`: what the turns did, for operators.

mod bulk;
pub(crate) mod change;
mod commit;
mod counters;
pub(crate) mod create;
mod direct;
pub(crate) mod guild;
mod import;
pub(crate) mod in_doubt;
pub mod nonce;
pub mod op;
pub(crate) mod preconditions;
pub(crate) mod record;
pub mod scope;
mod serve;
pub mod table;
mod turn;
mod warm;

pub(crate) use warm::read_guild;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::{runtime::Handle, sync::oneshot};
use weir_protect::Generations;
use weir_runtime::Registry;
use weir_store::Store;

use self::{
    counters::TurnCounters,
    op::{ChangeError, Op, Refused},
    scope::{Scope, ScopeKind},
    table::ScopeTable,
};
use crate::{
    outbox::Outbox,
    ownership::clock_skew::ClockLag,
    ownership::mint::{MintError, Minter},
    ownership::{NotOwner, Ownership, Tenure},
    seeded::{Seeded, armed},
    steady::Steady,
};

/// Bounds of the sequencer.
#[derive(Debug, Clone)]
pub struct SequencerConfig {
    /// Scopes in memory at once: each holds its last ids, nonces and perhaps a tail. Above it idle ones are forgotten and read again.
    pub scopes_max: usize,
    /// Changes that may wait for one scope's turn; more are refused. At one commit of 256 creates a millisecond this is a wait of 16 ms.
    pub queue_max: usize,
    /// Bytes of content that may wait for one scope's turn.
    pub queue_bytes_max: usize,
    /// Creates in one commit: about what gathers during the commit before at the fastest rates measured. 1 writes each by itself, which only
    /// the benchmark wants.
    pub batch_rows_max: usize,
    /// Rows of a channel's tail in memory.
    pub tail_rows_max: usize,
    /// Bytes of a channel's tail in memory.
    pub tail_bytes_max: usize,
    /// Bytes of all scopes together, with what is remembered of each; above it idle ones are forgotten and read again, and the tails of
    /// busy ones dropped.
    pub tails_bytes_max: usize,
}

impl Default for SequencerConfig {
    fn default() -> Self {
        Self {
            scopes_max: 100_000,
            queue_max: 4_096,
            queue_bytes_max: 8 << 20,
            batch_rows_max: 256,
            // Four pages of the largest size, so that a page and its neighbours come from the tail.
            tail_rows_max: 400,
            tail_bytes_max: 1 << 20,
            tails_bytes_max: 128 << 20,
        }
    }
}

/// What a sequencer is made of.
pub struct SequencerParts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<Steady>,
    /// The right to change scopes.
    pub ownership: Arc<dyn Ownership>,
    /// What tells reads of a state before a change from those after it.
    pub generations: Arc<Generations>,
    /// Where committed changes go.
    pub outbox: Arc<Outbox>,
    /// Mints ids.
    pub minter: Minter,
}

/// The sequencer of one node.
pub struct Sequencer {
    pub(crate) config: SequencerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<Steady>,
    pub(crate) minter: Minter,
    pub(crate) clock_lag: ClockLag,
    pub(crate) ownership: Arc<dyn Ownership>,
    pub(crate) generations: Arc<Generations>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) scopes: ScopeTable,
    /// Where changes run, whoever asks for them: a listener's threads may step back behind others, and end before the service does.
    pub(crate) home: Handle,
    counters: TurnCounters,
}

impl Sequencer {
    /// A sequencer over its parts, which registers its metrics. Changes run on the runtime on which this is called.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(config: SequencerConfig, parts: SequencerParts, registry: &Registry) -> Arc<Self> {
        let SequencerParts { store, clock, ownership, generations, outbox, minter } = parts;
        let scopes = ScopeTable::new(config.scopes_max, config.tails_bytes_max);
        registry.budget().watch("data_tails", config.tails_bytes_max, scopes.weight());
        let (clock_lag, counters) = (ClockLag::new(registry), TurnCounters::new(registry));
        Arc::new(Self {
            config,
            store,
            clock,
            minter,
            clock_lag,
            ownership,
            generations,
            outbox,
            scopes,
            home: Handle::current(),
            counters,
        })
    }

    /// The tenure for a change of a scope: this node owns it, and its clock may date the change.
    pub(crate) fn tenure_to_change(&self, scope_id: u64) -> Result<Tenure, NotOwner> {
        self.clock.check()?;
        self.ownership.tenure(scope_id)
    }

    /// Tells of a refusal that is the clock's, once for all of them.
    pub(crate) fn note_refusal(&self, error: &ChangeError) {
        if let ChangeError::Refused(Refused::ClockBehind(MintError::Ahead { ahead_ms })) = error {
            self.clock_lag.noticed(*ahead_ms, self.clock.wall_us() / 1_000);
        }
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
        scope_id: u64,
        kind: ScopeKind,
        make: impl FnOnce(oneshot::Sender<Result<T, ChangeError>>) -> Op,
    ) -> Result<T, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let scope = self.scopes.get_or_insert(scope_id, kind).ok_or(Refused::TableFull)?;
        if scope.push(make(reply), &self.config)? {
            if armed(Seeded::TurnInCallersFuture) {
                self.turns(scope).await;
            } else {
                self.home.spawn(self.turns(scope));
            }
        } else {
            // Who only waits does not keep it in memory.
            drop(scope);
        }
        // The sender is dropped only by a turn that panicked: what it had done by then is not known.
        let answer = answer.await.unwrap_or_else(|_| Err(ChangeError::OutcomeUnknown));
        answer.inspect_err(|error| self.note_refusal(error))
    }

    /// [`Self::run`], with its type erased: a turn may submit a change of another scope, and so contain this.
    fn turns(self: &Arc<Self>, scope: Arc<Scope>) -> BoxFuture<'static, ()> {
        Box::pin(Arc::clone(self).run(scope))
    }

    /// Takes turns until the queue is empty.
    async fn run(self: Arc<Self>, scope: Arc<Scope>) {
        use futures_util::FutureExt;
        while let Some(work) = scope.next_work(self.config.batch_rows_max) {
            let turn = std::panic::AssertUnwindSafe(self.turn(&scope, work));
            if turn.catch_unwind().await.is_err() {
                self.counters.panicked.inc();
                tracing::error!(scope = scope.id, "a turn panicked; the scope is read again");
                self.forget(&scope);
            }
        }
        self.scopes.trim(&scope);
    }

    /// Drops all that is remembered of a scope, so that the next turn reads it again. If its commit is in doubt its keys stay marked so: they
    /// are read from the database until the process ends, because nobody will find out what came of it.
    fn forget(&self, scope: &Scope) {
        let in_hand = {
            let mut state = scope.lock();
            state.forget();
            std::mem::take(&mut state.in_hand)
        };
        for key in in_hand.into_iter().chain(scope.kind.keys(scope.id)) {
            self.generations.bump(&key, weir_protect::Change::Both);
        }
    }
}
