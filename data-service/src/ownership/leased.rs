//! Ownership by leases in a shared database.
//!
//! Two leases: `slots/all`, the right to change anything, and `worker/N`, a worker number. Both are rows changed by lightweight
//! transactions (a Redis failover can forget, so they are not there). A lease carries `mint_until`: its holder mints only below it, its
//! successor only above it. A taker waits until the row has not changed for a whole lease on its *own* clock, one that counts sleep, so
//! no two clocks are ever compared for safety.
//!
//! Who stops in order leaves the row to nobody, with the time up to which it told what is settled; the next one begins above that, and waits
//! for nothing.
//!
//! Who loses the slots asks for them again like any other taker, for as long as the process lives: `Leased::keep` is one loop of both
//! states. What it gets then is a new tenure of a new reign.
//!
//! A worker number's row is never removed, only taken over long after its end: "renewed" proves that nobody else had it meanwhile, and a
//! number that went to another is replaced by a free one. Nothing is minted while its lease is not known to run.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use weir_store::{Lease, LeaseAnswer, ReadError, Store, WriteError};

use super::{NotOwner, Ownership, Tenure};
use crate::{
    clock::Clock,
    seeded::{Seeded, armed},
};

/// Length of a lease. A killed node's channels are without an owner for at most this and the time to take over. A guess between the
/// driver's timeout (2 s) and what users bear.
pub const LEASE: Duration = Duration::from_secs(5);
/// How often a lease is renewed: four chances before it ends.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often who waits for the slots looks whether they are free: what an orderly handover costs at most.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Part of the lease at its end that the holder does not use: covers the rates of two clocks drifting apart (200 ppm of 5 s is 1 ms)
/// and the work between a check and its effect.
pub const MARGIN: Duration = Duration::from_millis(250);
/// A clock further from the database's than this does not mint (rule 3).
pub const CLOCK_OFF_MAX: Duration = Duration::from_millis(500);
/// Tries for a free worker number before giving up; with 1,000 numbers and few nodes the first is nearly always free.
const WORKER_TRIES: u16 = 64;
/// A worker number is taken over only this long after its lease's end, in microseconds of the database's clock: ten times the lease, far
/// more than any holder's ids run ahead of that clock (one second).
const WORKER_FREE_AFTER_US: u64 = 10 * 5_000_000;

/// Worker numbers that are leased are below this; those from here to 1,023 are for ids that are derived, not minted.
const LEASED_WORKERS: u16 = 1_000;
const _: () =
    assert!(LEASED_WORKERS <= weir_proto::id::IMPORT_WORKER, "a minted id would pass for an imported one");

const SLOTS: &str = "slots/all";
/// Holder of a lease that was given up in order.
const NOBODY: &str = "";

/// Why the leases could not be taken.
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
    /// Told to stop while waiting.
    #[error("stopped while waiting for the lease")]
    Stopped,
}

/// What the current lease allows.
#[derive(Debug, Clone, Copy)]
struct Held {
    mint_until_us: u64,
    mint_above_us: u64,
    epoch: u64,
    reign: u64,
    /// On the boot clock: before the end of the lease by [`MARGIN`].
    until_boot_ns: u64,
}

#[derive(Debug)]
struct State {
    held: Option<Held>,
    /// The last tenure's number, and its reign's.
    epoch: u64,
    reign: u64,
    worker: u16,
    /// As [`Held::until_boot_ns`], of the worker number.
    worker_until_boot_ns: u64,
    /// Who holds the slots instead, as last seen.
    other: Option<String>,
}

/// A row of another holder, and since when it has not changed.
struct StandsStill {
    lease: Lease,
    since_boot_ns: u64,
}

/// Ownership by leases.
pub struct Leased {
    clock: Arc<dyn Clock>,
    holder: String,
    state: Mutex<State>,
    /// Milliseconds that the clock was off at the last renewal.
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
    fn tenure(&self, _scope_id: u64) -> Result<Tenure, NotOwner> {
        let off_ms = self.clock_off_ms.load(Ordering::Acquire);
        if u128::from(off_ms) > CLOCK_OFF_MAX.as_millis() && !armed(Seeded::ClockOffIgnored) {
            return Err(NotOwner::Clock { off_ms });
        }
        let state = self.state();
        let now_ns = self.clock.boot().as_ns();
        let running = |held: &Held| now_ns < held.until_boot_ns || armed(Seeded::LeaseEndIgnored);
        let Some(held) = state.held.filter(running) else {
            return Err(NotOwner::Elsewhere);
        };
        if now_ns >= state.worker_until_boot_ns && !armed(Seeded::WorkerLeaseIgnored) {
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
    /// Takes a worker number and asks for the slots, then for as long as `stop` lets it: waits out another holder, renews what it holds,
    /// and begins again if it loses it. At the end the slots are given up. It need not hold them when this returns; see [`Self::held`].
    ///
    /// `holder`: unique for each start of a process.
    ///
    /// # Errors
    /// [`TakeError`] of the first question; later ones are tried again.
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

    /// [`Self::start`], and waits until the slots are held.
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

    /// The end of the last lease of the slots, by the database's clock when it was taken: about when the newest change was made.
    /// Microseconds since 1970-01-01T00:00Z; 0 if there never was one. It leaves everything as it is, but for a row of nobody's in a new
    /// store.
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

    /// Waits until the slots were held for the first time.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn held(&self) {
        // The sender is in `self`, so it outlives the wait.
        let _ = self.tenures.subscribe().wait_for(|epoch| *epoch > 0).await;
    }

    /// This node's worker number; it counts only while [`Ownership::tenure`] names it.
    #[must_use]
    pub fn worker(&self) -> u16 {
        self.state().worker
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain values, written in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One question for the slots: a renewal if they are held, else a try to take them, over a row that stood still for a whole lease.
    async fn ask(&self, store: &dyn Store, still: &mut Option<StandsStill>) -> Result<(), TakeError> {
        // Read before the question is sent: the lease counts from here, never from the answer.
        let asked_boot_ns = self.clock.boot().as_ns();
        let before = self.state().held;
        let stood_still = |still: &&StandsStill| {
            asked_boot_ns.saturating_sub(still.since_boot_ns) >= LEASE_NS || armed(Seeded::TakerDoesNotWait)
        };
        let mut expected = still.as_ref().filter(stood_still).map(|still| still.lease.clone());
        let above = before.map_or(0, |held| held.mint_above_us);
        let database_us = store.clock_us().await?;
        let off_us = database_us.abs_diff(self.clock.wall_us());
        self.clock_off_ms.store(off_us / 1_000, Ordering::Release);
        let mint_until_us = database_us + LEASE_NS / 1_000;
        let wanted = Lease { name: SLOTS.to_owned(), holder: self.holder.clone(), mint_until_us };
        loop {
            match store.take_lease(wanted.clone(), expected.clone()).await? {
                // Nobody is to be waited for. It ends: whoever changes the row meanwhile is somebody.
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

    /// Gives the slots up. Their row stays, as nobody's, with the time up to which this process told what is settled: by the clocks alone the
    /// next one could write below it.
    async fn give_up(&self, store: &dyn Store, held: Held) -> Result<(), WriteError> {
        let row = |holder: &str, mint_until_us| {
            let holder = holder.to_owned();
            Lease { name: SLOTS.to_owned(), holder, mint_until_us }
        };
        // Never above the lease itself, below which all is minted: a clock that has gone ahead would stay in the row, and nobody could write
        // until its time came.
        let free = row(NOBODY, self.clock.wall_us().min(held.mint_until_us));
        let mut own = row(&self.holder, held.mint_until_us);
        loop {
            match store.take_lease(free.clone(), Some(own.clone())).await? {
                // A renewal whose answer was lost: it is our own row still, and nobody renews it any more.
                LeaseAnswer::HeldBy(newer) if newer.holder == self.holder && newer != own => own = newer,
                _ => return Ok(()),
            }
        }
    }

    fn won(&self, asked_boot_ns: u64, mint_until_us: u64, mint_above_us: u64, renewed: bool) {
        let mut state = self.state();
        // Judged now that the answer is there, not when the question was sent: this process may have been paused in between. A lease
        // that lapsed may have been another's for a while, although the row is ours again: a new tenure, so that every channel forgets
        // what it remembers.
        let now_ns = self.clock.boot().as_ns();
        let unbroken = renewed && state.held.is_some_and(|held| now_ns < held.until_boot_ns);
        // Not renewed: the row had gone, or was another's.
        if state.held.is_none() || !renewed {
            state.reign += 1;
        }
        if !unbroken {
            state.epoch += 1;
        }
        let (epoch, reign) = (state.epoch, state.reign);
        let counts_from = if armed(Seeded::LeaseCountsFromAnswer) { now_ns } else { asked_boot_ns };
        let until_boot_ns = counts_from + USABLE_NS;
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

    /// Somebody else holds the slots: said once for each holder, not for each look at its row.
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

    /// Keeps the worker number, or takes another if it went to somebody else.
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

    /// Renews what is held and asks for what is not, until `stop`.
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

/// The first free number from one that the holder's name selects. A number whose last holder is gone stays taken for a while: there are
/// enough, and its ids must lie in the past of any clock that may mint.
async fn take_worker(store: &dyn Store, holder: &str) -> Result<u16, TakeError> {
    let first = holder.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let now_us = store.clock_us().await?;
    for step in 0..WORKER_TRIES {
        // Below the number of leased workers, so it fits.
        let worker = ((first.wrapping_add(u32::from(step))) % u32::from(LEASED_WORKERS)) as u16;
        let wanted = worker_lease(worker, holder, now_us);
        match store.take_lease(wanted.clone(), None).await? {
            LeaseAnswer::Held | LeaseAnswer::Renewed => return Ok(worker),
            LeaseAnswer::HeldBy(_) if armed(Seeded::WorkerTakenAnyway) => return Ok(worker),
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
