//! Ownership by leases in a shared database.
//!
//! There are two leases: `slots/all`, the right to change anything, and `worker/N`, a worker number. Both are
//! rows changed by lightweight transactions; they are not in Redis, because its failover can forget. A lease
//! carries `mint_until`: its holder mints only below it, its successor only above it. A taker waits until the
//! row has not changed for a whole lease on its *own* clock, one that counts sleep, so safety never depends
//! on comparing two clocks.
//!
//! A node that stops in order leaves the row to nobody, with the time up to which it reported everything as
//! settled. The next owner begins above that time and need not wait.
//!
//! A node that loses the slots asks for them again like any other taker, for as long as the process lives:
//! `Leased::keep` is one loop of both states. It then gets a new tenure of a new reign.
//!
//! A worker number's row is never removed, only taken over long after its end: a renewal proves that nobody
//! else had it meanwhile, and a number that another node took is replaced by a free one. Nothing is minted
//! unless its lease is known to run.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use weir_proto::id::ScopeId;
use weir_store::{Lease, LeaseAnswer, ReadError, Store, WriteError};

use super::{NotOwner, Ownership, Tenure};
use crate::clock::Clock;

/// Length of a lease. A killed node's channels have no owner for at most this and the time to take over. It
/// is a guess between the driver's timeout (2 s) and what users bear.
pub const LEASE: Duration = Duration::from_secs(5);
/// Interval between renewals of a lease: there are four chances before it ends.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// A node that waits for the slots checks this often whether they are free: the longest delay of an orderly
/// handover.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Part at the end of the lease that the holder does not use. It covers the drift of two clocks (200 ppm of 5
/// s is 1 ms) and the work between a check and its effect.
pub const MARGIN: Duration = Duration::from_millis(250);
/// A clock further from the database's than this does not mint (rule 3).
pub const CLOCK_OFF_MAX: Duration = Duration::from_millis(500);
/// Attempts to find a free worker number; with 1,000 numbers and few nodes the first one is nearly always
/// free.
const WORKER_TRIES: u16 = 64;
/// A worker number is taken over only this long after its lease's end, in microseconds of the database's
/// clock. It is ten times the lease, far more than any holder's ids run ahead of that clock (one second).
const WORKER_FREE_AFTER_US: u64 = 10 * 5_000_000;

/// Leased worker numbers are below this; those from here to 1,023 are for ids that are derived, not minted.
const LEASED_WORKERS: u16 = 1_000;
const _: () =
    assert!(LEASED_WORKERS <= weir_proto::id::IMPORT_WORKER, "a minted id would pass for an imported one");

const SLOTS: &str = "slots/all";
/// Holder name of a lease that was given up in order.
const NOBODY: &str = "";

/// Reasons why the leases could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The database did not answer.
    #[error("the database's clock could not be read")]
    Read(#[from] ReadError),
    /// The database refused the transaction.
    #[error("the lease could not be taken")]
    Write(#[from] WriteError),
    /// No worker number is free.
    #[error("no worker number is free after {WORKER_TRIES} tries")]
    NoWorker,
    /// The node was stopped while it waited.
    #[error("stopped while waiting for the lease")]
    Stopped,
}

/// State of the current lease.
#[derive(Debug, Clone, Copy)]
struct Held {
    mint_until_us: u64,
    mint_above_us: u64,
    epoch: u64,
    reign: u64,
    /// Usable end on the boot clock: [`MARGIN`] before the end of the lease.
    until_boot_ns: u64,
}

#[derive(Debug)]
struct State {
    held: Option<Held>,
    /// The numbers of the last tenure and of its reign.
    epoch: u64,
    reign: u64,
    worker: u16,
    /// The same as [`Held::until_boot_ns`] for the worker number.
    worker_until_boot_ns: u64,
    /// The other node that holds the slots, as last seen.
    other: Option<String>,
}

/// A row of another holder, and the time since which it has not changed.
struct StandsStill {
    lease: Lease,
    since_boot_ns: u64,
}

/// Ownership by leases.
pub struct Leased {
    clock: Arc<dyn Clock>,
    holder: String,
    state: Mutex<State>,
    /// Clock difference at the last renewal, in milliseconds.
    clock_off_ms: AtomicU64,
    tenures: watch::Sender<u64>,
}

impl std::fmt::Debug for Leased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leased")
            .field("holder", &self.holder)
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

impl Ownership for Leased {
    fn tenure(&self, _scope: Option<ScopeId>) -> Result<Tenure, NotOwner> {
        let off_ms = self.clock_off_ms.load(Ordering::Acquire);
        if u128::from(off_ms) > CLOCK_OFF_MAX.as_millis() {
            return Err(NotOwner::Clock { off_ms });
        }
        let state = self.state();
        let now_ns = self.clock.boot().as_ns();
        let Some(held) = state.held.filter(|held| now_ns < held.until_boot_ns) else {
            return Err(NotOwner::Elsewhere);
        };
        if now_ns >= state.worker_until_boot_ns {
            return Err(NotOwner::Worker);
        }
        let Held { mint_until_us, mint_above_us, epoch, reign, .. } = held;
        Ok(Tenure { mint_until_us, mint_above_us, epoch, reign, worker: state.worker })
    }

    fn node(&self) -> &str {
        &self.holder
    }

    fn tenures(&self) -> watch::Receiver<u64> {
        self.tenures.subscribe()
    }

    fn held_by(&self) -> Option<String> {
        self.state().other.clone()
    }
}

impl Leased {
    /// Takes a worker number and asks for the slots. Until `stop` it waits for another holder to end, renews
    /// its own leases, and begins again if it loses them. At the end the slots are given up. They may not be
    /// held yet when this returns; see [`Self::held`].
    ///
    /// `holder`: a name unique for each start of a process.
    ///
    /// # Errors
    /// [`TakeError`] of the first request; later ones are repeated.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        holder: String,
        stop: CancellationToken,
    ) -> Result<(Arc<Self>, tokio::task::JoinHandle<()>), TakeError> {
        let asked_boot_ns = clock.boot().as_ns();
        let worker = take_worker(&*store, &holder).await?;
        let state = State {
            held: None,
            epoch: 0,
            reign: 0,
            worker,
            worker_until_boot_ns: asked_boot_ns + USABLE_NS,
            other: None,
        };
        let leased = Arc::new(Self {
            clock,
            holder,
            state: Mutex::new(state),
            clock_off_ms: AtomicU64::new(0),
            tenures: watch::Sender::new(0),
        });
        let mut still = None;
        leased.ask(&*store, &mut still).await?;
        let keeping = tokio::spawn(Arc::clone(&leased).keep(store, still, stop));
        Ok((leased, keeping))
    }

    /// [`Self::start`], which then waits until the slots are held.
    ///
    /// # Errors
    /// [`TakeError`]
    pub async fn take(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        holder: String,
        stop: CancellationToken,
    ) -> Result<(Arc<Self>, tokio::task::JoinHandle<()>), TakeError> {
        let (leased, keeping) = Self::start(store, clock, holder, stop.clone()).await?;
        tokio::select! {
            () = leased.held() => Ok((leased, keeping)),
            () = stop.cancelled() => Err(TakeError::Stopped),
        }
    }

    /// The end of the last lease of the slots, by the database's clock when it was taken: about when the
    /// newest change was made. Microseconds since 1970-01-01T00:00Z; 0 if there never was one. It changes
    /// nothing, except that a new store gets a row of nobody's.
    ///
    /// # Errors
    /// [`WriteError`] if the database does not answer.
    pub async fn last_end_us(store: &dyn Store) -> Result<u64, WriteError> {
        let nobodys = Lease { name: SLOTS.to_owned(), holder: NOBODY.to_owned(), mint_until_us: 0 };
        Ok(match store.take_lease(nobodys, None).await? {
            LeaseAnswer::HeldBy(last) => last.mint_until_us,
            _ => 0,
        })
    }

    /// Waits until the slots were first held.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn held(&self) {
        // The sender is in `self`, so it outlives the wait.
        let _ = self.tenures.subscribe().wait_for(|epoch| *epoch > 0).await;
    }

    /// This node's worker number; valid only while [`Ownership::tenure`] returns it.
    #[must_use]
    pub fn worker(&self) -> u16 {
        self.state().worker
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The values are plain and are written in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request for the slots: a renewal if they are held, else an attempt to take a row that stood still
    /// for a whole lease.
    async fn ask(&self, store: &dyn Store, still: &mut Option<StandsStill>) -> Result<(), TakeError> {
        // The clock is read before the request is sent: the lease counts from here, never from the answer.
        let asked_boot_ns = self.clock.boot().as_ns();
        let before = self.state().held;
        let stood_still =
            |still: &&StandsStill| asked_boot_ns.saturating_sub(still.since_boot_ns) >= LEASE_NS;
        let mut expected = still.as_ref().filter(stood_still).map(|still| still.lease.clone());
        let above = before.map_or(0, |held| held.mint_above_us);
        let database_us = store.clock_us().await?;
        let off_us = database_us.abs_diff(self.clock.wall_us());
        self.clock_off_ms.store(off_us / 1_000, Ordering::Release);
        let mint_until_us = database_us + LEASE_NS / 1_000;
        let wanted = Lease { name: SLOTS.to_owned(), holder: self.holder.clone(), mint_until_us };
        loop {
            match store.take_lease(wanted.clone(), expected.clone()).await? {
                // The row has no holder to wait for. The loop ends: a node that changes the row meanwhile is
                // a holder.
                LeaseAnswer::HeldBy(free) if free.holder == NOBODY && expected.as_ref() != Some(&free) => {
                    expected = Some(free);
                }
                LeaseAnswer::HeldBy(other) => {
                    self.lost_to(&other.holder);
                    if still.as_ref().is_none_or(|still| still.lease != other) {
                        *still = Some(StandsStill { lease: other, since_boot_ns: self.clock.boot().as_ns() });
                    }
                    return Ok(());
                }
                answer => {
                    *still = None;
                    let mint_above_us = expected.map_or(above, |lease| lease.mint_until_us.max(above));
                    self.won(asked_boot_ns, mint_until_us, mint_above_us, answer == LeaseAnswer::Renewed);
                    return Ok(());
                }
            }
        }
    }

    /// Gives the slots up. Their row stays, as nobody's, with the time up to which this process reported
    /// everything as settled: by the clocks alone the next owner could write below it.
    async fn give_up(&self, store: &dyn Store, held: Held) -> Result<(), WriteError> {
        let row = |holder: &str, mint_until_us| {
            let holder = holder.to_owned();
            Lease { name: SLOTS.to_owned(), holder, mint_until_us }
        };
        // The time is never above the lease itself, below which all ids are minted: otherwise the time of a
        // clock that ran ahead would stay in the row, and nobody could write until then.
        let free = row(NOBODY, self.clock.wall_us().min(held.mint_until_us));
        let mut own = row(&self.holder, held.mint_until_us);
        loop {
            match store.take_lease(free.clone(), Some(own.clone())).await? {
                // The answer to a renewal was lost: the row is still ours, and nobody renews it any more.
                LeaseAnswer::HeldBy(newer) if newer.holder == self.holder && newer != own => own = newer,
                _ => return Ok(()),
            }
        }
    }

    fn won(&self, asked_boot_ns: u64, mint_until_us: u64, mint_above_us: u64, renewed: bool) {
        let mut state = self.state();
        // The lease is judged when the answer has come, not when the request was sent: this process may have
        // been paused in between. If the lease lapsed, another node may have held it for a while although the
        // row is ours again. So this is a new tenure, and every channel forgets its state.
        let now_ns = self.clock.boot().as_ns();
        let unbroken = renewed && state.held.is_some_and(|held| now_ns < held.until_boot_ns);
        // The lease was not renewed: its row was missing or another node's.
        if state.held.is_none() || !renewed {
            state.reign += 1;
        }
        if !unbroken {
            state.epoch += 1;
        }
        let (epoch, reign) = (state.epoch, state.reign);
        let until_boot_ns = asked_boot_ns + USABLE_NS;
        state.held = Some(Held { mint_until_us, mint_above_us, epoch, reign, until_boot_ns });
        let other = state.other.take();
        drop(state);
        if let Some(other) = other {
            tracing::info!(instead_of = other, epoch, "this data service holds the slots now");
        }
        if !unbroken {
            self.tenures.send_replace(epoch);
        }
    }

    /// Logs that another node holds the slots, once for each holder and not for each read of its row.
    fn lost_to(&self, other: &str) {
        let mut state = self.state();
        let held = state.held.take().is_some();
        let known = state.other.as_deref() == Some(other);
        state.other = Some(other.to_owned());
        drop(state);
        if held {
            tracing::error!(
                holder = other,
                "the slots' lease was taken by another data service; waiting for its lease to end"
            );
        } else if !known {
            tracing::info!(
                holder = other,
                "another data service holds the slots; waiting for its lease to end"
            );
        }
    }

    /// Keeps the worker number, or takes another one if a different node took it.
    async fn keep_worker(&self, store: &dyn Store) -> Result<(), TakeError> {
        let asked_boot_ns = self.clock.boot().as_ns();
        let worker = self.worker();
        let wanted = worker_lease(worker, &self.holder, store.clock_us().await?);
        let worker = match store.take_lease(wanted, None).await? {
            LeaseAnswer::Held | LeaseAnswer::Renewed => worker,
            LeaseAnswer::HeldBy(other) => {
                tracing::warn!(
                    worker,
                    holder = other.holder,
                    "the worker number went to another; taking a free one"
                );
                take_worker(store, &self.holder).await?
            }
        };
        let mut state = self.state();
        state.worker = worker;
        state.worker_until_boot_ns = asked_boot_ns + USABLE_NS;
        Ok(())
    }

    /// Renews the held leases and requests the missing ones, until `stop`.
    async fn keep(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        mut still: Option<StandsStill>,
        stop: CancellationToken,
    ) {
        let mut since_worker = Duration::ZERO;
        loop {
            let pause = if self.state().held.is_some() { RENEW_EVERY } else { ASK_EVERY };
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => since_worker += pause,
            }
            if let Err(error) = self.ask(&*store, &mut still).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the slots' lease was not renewed");
            }
            if since_worker < RENEW_EVERY {
                continue;
            }
            since_worker = Duration::ZERO;
            if let Err(error) = self.keep_worker(&*store).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the worker number's lease was not renewed"
                );
            }
        }
        let held = self.state().held.take();
        if let Some(held) = held
            && let Err(error) = self.give_up(&*store, held).await
        {
            tracing::warn!(%error, "the slots' lease was not given up; its successor waits it out");
        }
    }
}

const LEASE_NS: u64 = LEASE.as_nanos() as u64;
/// Part of a lease that its holder uses.
const USABLE_NS: u64 = (LEASE.as_nanos() - MARGIN.as_nanos()) as u64;

fn worker_lease(worker: u16, holder: &str, now_us: u64) -> Lease {
    Lease {
        name: format!("worker/{worker}"),
        holder: holder.to_owned(),
        mint_until_us: now_us + LEASE_NS / 1_000,
    }
}

/// The first free number, starting from one that the holder's name selects. A number whose last holder is
/// gone stays taken for a while: there are enough, and its ids must lie in the past of any clock that may
/// mint.
async fn take_worker(store: &dyn Store, holder: &str) -> Result<u16, TakeError> {
    let first = holder.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let now_us = store.clock_us().await?;
    for step in 0..WORKER_TRIES {
        // The value is below the number of leased workers, so it fits.
        let worker = ((first.wrapping_add(u32::from(step))) % u32::from(LEASED_WORKERS)) as u16;
        let wanted = worker_lease(worker, holder, now_us);
        match store.take_lease(wanted.clone(), None).await? {
            LeaseAnswer::Held | LeaseAnswer::Renewed => return Ok(worker),
            LeaseAnswer::HeldBy(old) if old.mint_until_us + WORKER_FREE_AFTER_US < now_us => {
                if store.take_lease(wanted, Some(old)).await? == LeaseAnswer::Held {
                    return Ok(worker);
                }
            }
            LeaseAnswer::HeldBy(_) => {}
        }
    }
    Err(TakeError::NoWorker)
}
