//! How much may be rendered at once for sessions that begin, and how they wait for room. An introduction is
//! what such a session is sent: READY and its initial guilds.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::timeout,
};
use weir_connect::{
    Budget,
    budget::{Account, Hold},
};

use crate::{Close, GatewayConfig, GatewayMetrics};

/// Room for the bytes that are rendered for introductions and that clients have not read. A guild is as large
/// as its owner made it, and a client that does not read holds it until the write timeout.
pub(crate) struct Introductions {
    bytes: Arc<Semaphore>,
    /// Notified when a part of a token's share was given back.
    freed: Notify,
    bytes_max: u32,
    /// How long an introduction waits for room: two write timeouts, because bytes are given back within one.
    patience: Duration,
    metrics: GatewayMetrics,
}

/// Bytes in use by one introduction.
pub(crate) struct Rendered<'a> {
    permit: SemaphorePermit<'a>,
    share: OwnShare<'a>,
    metrics: &'a GatewayMetrics,
}

/// What an introduction holds of its token's share. However it ends, those who wait for the share are
/// notified.
struct OwnShare<'a> {
    hold: Hold,
    freed: &'a Notify,
}

impl OwnShare<'_> {
    fn give_back(&mut self, bytes: usize) {
        self.hold.shrink(bytes);
        self.freed.notify_waiters();
    }
}

impl Drop for OwnShare<'_> {
    fn drop(&mut self) {
        self.give_back(self.hold.bytes());
    }
}

impl Introductions {
    pub(crate) fn new(config: &GatewayConfig, metrics: &GatewayMetrics, budget: &Budget) -> Self {
        let bytes_max = u32::try_from(config.introduction_bytes_max).unwrap_or(u32::MAX).max(1);
        let bytes = Arc::new(Semaphore::new(bytes_max as usize));
        let seen = Arc::clone(&bytes);
        budget.watch("gateway_introductions", bytes_max as usize, move || {
            (bytes_max as usize).saturating_sub(seen.available_permits())
        });
        Self {
            bytes,
            freed: Notify::new(),
            bytes_max,
            patience: config.write_timeout * 2,
            metrics: metrics.clone(),
        }
    }

    /// Waits until so many bytes may be rendered for `account`: first for the share of its token, together
    /// with others of the same token only, then in one line with all. So sessions of one token that do not
    /// read keep only each other waiting.
    ///
    /// # Errors
    /// 4000 if that takes too long.
    pub(crate) async fn room(&self, bytes: usize, account: Account) -> Result<Rendered<'_>, Close> {
        let mut share = OwnShare { hold: account.empty_hold(), freed: &self.freed };
        // An introduction that is larger than the whole share waits for the whole share, and one that is
        // larger than all the room for all of it.
        let of_share = bytes.min(share.hold.bounds().token);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                // This comes before the check, so that bytes given back after it are noticed.
                freed.as_mut().enable();
                if share.hold.grow(of_share).is_ok() {
                    break;
                }
                freed.await;
            }
            self.bytes.acquire_many(bytes).await.ok()
        };
        let busy = || Close::fault("too many sessions are being introduced");
        let permit = timeout(self.patience, room).await.map_err(|_| busy())?.ok_or_else(busy)?;
        self.metrics.introduction_bytes.inc_by(i64::from(bytes));
        Ok(Rendered { permit, share, metrics: &self.metrics })
    }
}

impl Rendered<'_> {
    /// Gives back what turned out not to be needed.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes);
        if let Some(back) = self.permit.split(surplus) {
            self.metrics.introduction_bytes.dec_by(i64::try_from(back.num_permits()).unwrap_or(i64::MAX));
            self.share.give_back(self.share.hold.bytes().saturating_sub(bytes));
        }
    }
}

impl Drop for Rendered<'_> {
    fn drop(&mut self) {
        let bytes = i64::try_from(self.permit.num_permits()).unwrap_or(i64::MAX);
        self.metrics.introduction_bytes.dec_by(bytes);
    }
}
