//! Republishes events that the bus did not accept, reading them back from the database.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use weir_bus::{Outgoing, Topic};
use weir_proto::{
    event::{Record, RecordsLost, record::Change},
    id::ScopeId,
};
use weir_store::ReadError;

use super::{Behind, Outbox, SETTING, lock, topics::topics};
use crate::outbox::rebuild;

/// Records of a scope that are read back and published at once.
const HEAL_PAGE: usize = 500;
/// Pause between attempts to publish the backlog.
const HEAL_EVERY: Duration = Duration::from_millis(200);
/// Longest pause while nothing of the backlog can be read.
const HEAL_EVERY_MAX: Duration = Duration::from_secs(5);
/// Scopes republished at once. There are few: a store that times out answers none of them, and a healthy one
/// takes milliseconds for each.
const HEALS_AT_ONCE: usize = 8;
/// Without a stored watermark we republish the last ten minutes.
const UNKNOWN_WINDOW_US: u64 = 600 * 1_000_000;
/// A channel's activity note can be up to 65 s older than its last write: notes are renewed every minute, and
/// they carry the database's time.
const NOTED_BEFORE_US: u64 = 65 * 1_000_000;
/// Watermarks of earlier processes that are read; each start removes those that it has served.
const WATERMARKS_MAX: usize = 10_000;
/// Active scopes read on recovery. If there are more, the records of the others cannot be found: then data is
/// lost, and we report `RecordsLost`.
const ACTIVE_MAX: usize = 1_000_000;

/// Reason why a backlog could not be published.
enum Stuck {
    /// The database did not return the records. Other scopes may still be readable.
    Unread,
    /// The bus accepts no records, of any scope.
    Bus,
}

impl Outbox {
    pub(super) async fn run_healer(self: Arc<Self>, stop: CancellationToken) {
        // This also serves the tenure that exists when the healer starts.
        self.heal.notify_one();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.heal.notified() => {}
            }
            let (mut done_holders, mut pause) = (Vec::new(), HEAL_EVERY);
            loop {
                if self.recover.swap(false, Ordering::AcqRel) {
                    let Some((after_rev, holders)) = self.watermark_of_others(&stop).await else { return };
                    self.fall_behind(None, after_rev, after_rev);
                    done_holders.extend(holders);
                }
                let round: Vec<_> =
                    lock(&self.behind).iter().map(|(scope, behind)| (*scope, *behind)).collect();
                if round.is_empty() {
                    break;
                }
                // Each scope has one attempt before any has a second, and several run at once: an unreadable
                // channel delays no other.
                let (mut healed, mut stuck) = (false, None);
                let heals = round.into_iter().map(|(scope_id, behind)| self.heal(scope_id, behind));
                let mut heals = stream::iter(heals).buffer_unordered(HEALS_AT_ONCE);
                while let Some(outcome) = heals.next().await {
                    healed |= outcome.is_ok();
                    stuck = outcome.err().or(stuck);
                    if stop.is_cancelled() || matches!(stuck, Some(Stuck::Bus)) {
                        break;
                    }
                }
                drop(heals);
                if stuck.is_none() {
                    continue;
                }
                // The pause grows only while nothing can be read; new backlog is tried at once.
                pause = if healed || matches!(stuck, Some(Stuck::Bus)) {
                    HEAL_EVERY
                } else {
                    (pause * 2).min(HEAL_EVERY_MAX)
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(HEAL_EVERY) => {}
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.heal.notified() => {}
                    () = sleep(pause - HEAL_EVERY) => {}
                }
            }
            // Everything that earlier processes left is published, so their watermarks are removed.
            for holder in done_holders.drain(..) {
                if let Err(error) = self.store.write_setting(SETTING, &holder, None).await {
                    tracing::warn!(error = %error, "an old watermark stays; the next start publishes more than it must");
                }
            }
        }
    }

    /// [`Self::watermark`], repeated until it is known: a guess could leave something out. `None` if the
    /// process stops meanwhile.
    async fn watermark_of_others(&self, stop: &CancellationToken) -> Option<(u64, Vec<Vec<u8>>)> {
        loop {
            match self.watermark().await {
                Ok(found) => return Some(found),
                Err(error) => {
                    tracing::warn!(error = %error, "the outbox's watermark could not be read; it is asked for again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(HEAL_EVERY) => {}
            }
        }
    }

    /// The lowest watermark that other processes left, and the names of these processes.
    async fn watermark(&self) -> Result<(u64, Vec<Vec<u8>>), ReadError> {
        let kept = self.store.read_settings(SETTING, WATERMARKS_MAX).await?;
        let others = kept.into_iter().filter(|(holder, _)| *holder != self.holder.as_bytes());
        let marks = others.filter_map(|(holder, value)| {
            let mark = <[u8; 8]>::try_from(&*value).ok().map(u64::from_be_bytes)?;
            Some((mark, holder))
        });
        let (marks, holders): (Vec<u64>, Vec<Vec<u8>>) = marks.unzip();
        // Without a watermark this is the first start, or one after a long pause: all scopes still listed as
        // active are republished.
        let unknown = self.clock.wall_us().saturating_sub(UNKNOWN_WINDOW_US);
        Ok((marks.into_iter().min().unwrap_or(unknown), holders))
    }

    /// Publishes the backlog of a scope (`None`: of all active ones), page by page.
    async fn heal(&self, of: Option<ScopeId>, behind: Behind) -> Result<(), Stuck> {
        if let Some(scope_id) = of {
            self.say_lost_if_outlived(of).await?;
            self.heal_scope(scope_id, behind.after_rev, behind.times).await?;
        } else {
            let noted_us = behind.after_rev.saturating_sub(NOTED_BEFORE_US);
            let active = self.store.read_active(noted_us, ACTIVE_MAX).await.map_err(|error| {
                tracing::warn!(error = %error, "active channels could not be read");
                Stuck::Unread
            })?;
            if active.whole {
                self.say_lost_if_outlived(of).await?;
            } else {
                self.say_lost().await?;
            }
            for scope_id in active.scopes {
                match self.heal_scope(scope_id, behind.after_rev, 0).await {
                    // From here on the scope has its own backlog, so that the others are not republished
                    // because of it.
                    Err(Stuck::Unread) => {
                        self.fall_behind(Some(scope_id), behind.after_rev, behind.since_rev);
                    }
                    published => published?,
                }
            }
        }
        let mut all = lock(&self.behind);
        // New backlog may have come meanwhile; only what was published is removed.
        if let Some(now) = all.get(&of).copied().filter(|now| now.times == behind.times) {
            all.remove(&of);
            self.waiting.dec_by(now.records.cast_signed());
        }
        if all.is_empty() && self.told.swap(false, Ordering::AcqRel) {
            tracing::info!("the event bus takes records again, and has those that waited");
        }
        Ok(())
    }

    /// Tells every gateway that some unpublished records can no longer be found, so that its sessions begin
    /// again.
    async fn say_lost(&self) -> Result<(), Stuck> {
        tracing::error!(
            "records were lost: more time has passed, or more channels were written, than the outbox covers"
        );
        let before: HashMap<Option<ScopeId>, u64> =
            lock(&self.behind).iter().map(|(scope_id, behind)| (*scope_id, behind.times)).collect();
        let change = Some(Change::RecordsLost(RecordsLost {}));
        let record = Record { rev: self.clock.wall_us(), recovered: true, change, ..Record::default() };
        let out = Outgoing { topics: vec![Topic::All], record: rebuild::encode(&record) };
        self.hand_over(vec![out]).await.map_err(|_| Stuck::Bus)?;
        // This covers everything that was in the backlog before.
        for (scope_id, behind) in lock(&self.behind).iter_mut() {
            if before.get(scope_id) == Some(&behind.times) {
                behind.unsaid_since_rev = u64::MAX;
            }
        }
        Ok(())
    }

    /// Does the same if a scope's backlog is so old that its edits and removals are gone from the database,
    /// and no gateway was told yet.
    async fn say_lost_if_outlived(&self, of: Option<ScopeId>) -> Result<(), Stuck> {
        let _one = self.saying_lost.lock().await;
        let before_us = self.clock.wall_us().saturating_sub(rebuild::KEPT_US);
        let outlived = lock(&self.behind).get(&of).is_some_and(|behind| behind.unsaid_since_rev < before_us);
        if outlived { self.say_lost().await } else { Ok(()) }
    }

    /// `times`: the number of additions when this began. If none came since, the backlog shrinks to what
    /// follows the last page, so that a partly readable channel is not republished with each attempt.
    async fn heal_scope(&self, scope_id: ScopeId, after_rev: u64, times: u64) -> Result<(), Stuck> {
        let mut after_rev = after_rev;
        loop {
            let page = rebuild::read(&*self.store, scope_id, after_rev, HEAL_PAGE).await;
            let page = page.map_err(|error| {
                tracing::warn!(scope = scope_id.get(), error = %error, "the outbox could not be read");
                Stuck::Unread
            })?;
            let Some(last) = page.records.last() else { return Ok(()) };
            after_rev = last.rev;
            let outgoing = page
                .records
                .iter()
                .map(|record| Outgoing { topics: topics(record), record: rebuild::encode(record) });
            self.hand_over(outgoing.collect()).await.map_err(|_| Stuck::Bus)?;
            self.republished.inc_by(page.records.len() as u64);
            if let Some(now) = lock(&self.behind).get_mut(&Some(scope_id)).filter(|now| now.times == times) {
                now.after_rev = now.after_rev.max(after_rev);
            }
            if !page.more {
                return Ok(());
            }
        }
    }
}
