//! Ownership by leases in a shared database.
//!
//! Two leases: `slots/all`, the right to change anything, and `worker/N`, a worker number. Both are rows changed by lightweight
//! transactions (a Redis failover can forget, so they are not there). A lease carries `mint_until`: its holder mints only below it, its
//! successor only above it. A taker waits until the row has not changed for a whole lease on its *own* clock, one that counts sleep, so
//! no two clocks are ever compared for safety.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use weir_store::{Lease, LeaseAnswer, ReadError, Store, WriteError};

use super::{NotOwner, Ownership, Tenure};
use crate::clock::Clock;

/// Length of a lease. A killed node's channels are without an owner for at most this and the time to take over. A guess between the
/// driver's timeout (2 s) and what users bear.
pub const LEASE: Duration = Duration::from_secs(5);
/// How often a lease is renewed: four chances before it ends.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Part of the lease at its end that the holder does not use: covers the rates of two clocks drifting apart (200 ppm of 5 s is 1 ms)
/// and the work between a check and its effect.
pub const MARGIN: Duration = Duration::from_millis(250);
/// A clock further from the database's than this does not mint (rule 3).
pub const CLOCK_OFF_MAX: Duration = Duration::from_millis(500);
/// Tries for a free worker number before giving up; with 1,000 numbers and few nodes the first is nearly always free.
const WORKER_TRIES: u16 = 64;

/// Worker numbers that are leased are below this; those from here to 1,023 are for ids that are derived, not minted (imports use 1,022).
const LEASED_WORKERS: u16 = 1_000;

const SLOTS: &str = "slots/all";

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
    tenure: Tenure,
    /// On the boot clock: before the end of the lease by [`MARGIN`].
    until_boot_ns: u64,
}

/// Ownership by leases.
pub struct Leased {
    clock: Arc<dyn Clock>,
    holder: String,
    worker: u16,
    held: Mutex<Option<Held>>,
    /// The last tenure's number.
    epochs: AtomicU64,
    /// Milliseconds that the clock was off at the last renewal.
    clock_off_ms: AtomicU64,
}

impl std::fmt::Debug for Leased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leased")
            .field("holder", &self.holder)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl Ownership for Leased {
    fn tenure(&self, _scope_id: u64) -> Result<Tenure, NotOwner> {
        let off_ms = self.clock_off_ms.load(Ordering::Acquire);
        if u128::from(off_ms) > CLOCK_OFF_MAX.as_millis() {
            return Err(NotOwner::Clock { off_ms });
        }
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held {
            Some(held) if self.clock.boot().as_ns() < held.until_boot_ns => Ok(held.tenure),
            Some(_) | None => Err(NotOwner::Elsewhere),
        }
    }

    fn node(&self) -> &str {
        &self.holder
    }

    fn worker(&self) -> u16 {
        self.worker
    }
}

impl Leased {
    /// Takes both leases, waiting out an earlier holder of the slots, and keeps renewing them until `stop`; then gives them up.
    ///
    /// `holder`: unique for each start of a process.
    ///
    /// # Errors
    /// [`TakeError`]
    pub async fn take(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        holder: String,
        stop: CancellationToken,
    ) -> Result<(Arc<Self>, tokio::task::JoinHandle<()>), TakeError> {
        let worker = take_worker(&*store, &*clock, &holder).await?;
        let leased = Arc::new(Self {
            clock: Arc::clone(&clock),
            holder,
            worker,
            held: Mutex::new(None),
            epochs: AtomicU64::new(0),
            clock_off_ms: AtomicU64::new(0),
        });
        leased.wait_for_slots(&*store, &stop).await?;
        let renewing = tokio::spawn(Arc::clone(&leased).renew(store, stop));
        Ok((leased, renewing))
    }

    /// Waits until the slots' lease is free or its row stood still for a whole lease, then takes it.
    async fn wait_for_slots(&self, store: &dyn Store, stop: &CancellationToken) -> Result<(), TakeError> {
        let mut seen: Option<(Lease, Instant)> = None;
        loop {
            let expected = match &seen {
                Some((lease, since)) if since.elapsed() >= LEASE => Some(lease.clone()),
                Some(_) | None => None,
            };
            let above = expected.as_ref().map_or(0, |lease| lease.mint_until_us);
            match self.ask_for_slots(store, expected, above).await? {
                LeaseAnswer::Held => return Ok(()),
                LeaseAnswer::HeldBy(other) => {
                    let unchanged = seen.as_ref().is_some_and(|(lease, _)| *lease == other);
                    if !unchanged {
                        tracing::info!(holder = %other.holder, "another data service holds the slots; waiting for its lease to end");
                        seen = Some((other, Instant::now()));
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Err(TakeError::Stopped),
                () = sleep(Duration::from_millis(250)) => {}
            }
        }
    }

    async fn ask_for_slots(
        &self,
        store: &dyn Store,
        expected: Option<Lease>,
        mint_above_us: u64,
    ) -> Result<LeaseAnswer, TakeError> {
        // Read before the question is sent: the lease counts from here, never from the answer.
        let asked_boot_ns = self.clock.boot().as_ns();
        let database_us = store.clock_us().await?;
        let off_us = database_us.abs_diff(self.clock.wall_us());
        self.clock_off_ms.store(off_us / 1_000, Ordering::Release);
        let mint_until_us = database_us + u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX);
        let wanted = Lease { name: SLOTS.to_owned(), holder: self.holder.clone(), mint_until_us };
        let answer = store.take_lease(wanted, expected).await?;
        if answer == LeaseAnswer::Held {
            let usable = u64::try_from((LEASE - MARGIN).as_nanos()).unwrap_or(u64::MAX);
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            // Judged now that the answer is there, not when the question was sent: this process may have been paused in between. A lease
            // that lapsed may have been another's for a while, although the row is ours again: a new tenure, so that every channel forgets
            // what it remembers.
            let unbroken = held.filter(|held| self.clock.boot().as_ns() < held.until_boot_ns);
            let epoch = match unbroken {
                Some(held) => held.tenure.epoch,
                None => self.epochs.fetch_add(1, Ordering::AcqRel) + 1,
            };
            let tenure = Tenure { mint_until_us, mint_above_us, epoch };
            *held = Some(Held { tenure, until_boot_ns: asked_boot_ns + usable });
        }
        Ok(answer)
    }

    async fn renew(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(RENEW_EVERY) => {}
            }
            let before = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(before) = before else { continue };
            match self.ask_for_slots(&*store, None, before.tenure.mint_above_us).await {
                Ok(LeaseAnswer::Held) => {}
                Ok(LeaseAnswer::HeldBy(other)) => {
                    tracing::error!(holder = %other.holder, "the slots' lease was taken by another data service");
                    *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                Err(error) => tracing::warn!(error = %error, "the lease was not renewed"),
            }
            let worker = worker_lease(self.worker, &self.holder, self.clock.wall_us());
            if let Err(error) = store.take_lease(worker, None).await {
                tracing::warn!(error = %error, "the worker number's lease was not renewed");
            }
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for name in [SLOTS.to_owned(), format!("worker/{}", self.worker)] {
            if let Err(error) = store.release_lease(&name, &self.holder).await {
                tracing::warn!(name, error = %error, "a lease was not released; its successor waits it out");
            }
        }
    }
}

fn worker_lease(worker: u16, holder: &str, now_us: u64) -> Lease {
    let mint_until_us = now_us + u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX);
    Lease { name: format!("worker/{worker}"), holder: holder.to_owned(), mint_until_us }
}

/// The first free number from one that the holder's name selects. A number whose last holder was killed stays taken: there are enough,
/// and taking it over would mean waiting a lease.
async fn take_worker(store: &dyn Store, clock: &dyn Clock, holder: &str) -> Result<u16, TakeError> {
    let first = holder.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let now_us = clock.wall_us();
    for step in 0..WORKER_TRIES {
        // Below the number of leased workers, so it fits.
        let worker = ((first + u32::from(step)) % u32::from(LEASED_WORKERS)) as u16;
        match store.take_lease(worker_lease(worker, holder, now_us), None).await? {
            LeaseAnswer::Held => return Ok(worker),
            // Long ended by any clock: ten times the lease covers a clock that is off.
            LeaseAnswer::HeldBy(old) if old.mint_until_us + 10 * 5_000_000 < now_us => {
                let wanted = worker_lease(worker, holder, now_us);
                if store.take_lease(wanted, Some(old)).await? == LeaseAnswer::Held {
                    return Ok(worker);
                }
            }
            LeaseAnswer::HeldBy(_) => {}
        }
    }
    Err(TakeError::NoWorker)
}
