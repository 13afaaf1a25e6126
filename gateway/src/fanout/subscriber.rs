//! A session as the fan-out knows it: where its unread records begin, and a flag that wakes it. It has no
//! queue.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;
use weir_bus::Position;
use weir_discord::shard::shard_of;
use weir_proto::id::{GuildId, UserId};

use super::entry::Entry;

/// Ephemeral entries that wait for a session; beyond it the oldest is dropped. Typing is shown for seconds,
/// so late entries are worthless.
const EPHEMERAL_MAX: usize = 16;
/// Stands for "nothing": positions begin at 1.
const NONE: Position = 0;

/// A session as the fan-out sees it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) user_id: UserId,
    pub(crate) shard: (u32, NonZeroU32),
    /// The first record that may concern the session since it last looked; [`NONE`] if there is none. Nothing
    /// between the session's cursor and this position concerns it, so an idle session never falls off the
    /// ring, however far the log moves on.
    first: AtomicU64,
    wake: Notify,
    attached: AtomicBool,
    ephemeral: Mutex<VecDeque<Arc<Entry>>>,
}

impl Subscriber {
    pub(crate) fn new(user_id: UserId, shard: (u32, NonZeroU32)) -> Self {
        Self {
            user_id,
            shard,
            first: AtomicU64::new(NONE),
            wake: Notify::new(),
            attached: AtomicBool::new(false),
            ephemeral: Mutex::new(VecDeque::new()),
        }
    }

    /// True if the guild's events go to this session's shard.
    pub(crate) fn has_guild(&self, guild_id: GuildId) -> bool {
        shard_of(guild_id.get(), self.shard.1) == self.shard.0
    }

    /// True if the user's direct messages go to this session's shard, which is shard 0 whatever the number of
    /// shards.
    pub(crate) fn has_direct(&self) -> bool {
        self.shard.0 == 0
    }

    /// Announces the record at `position`, which is in the ring already and may concern the session.
    /// Positions are given in rising order.
    pub(crate) fn offer(&self, position: Position) {
        if self.first.compare_exchange(NONE, position, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.wake.notify_one();
        }
    }

    /// Takes the first record that may concern the session since the last call. A record that is announced
    /// later wakes the session again.
    pub(crate) fn take(&self) -> Option<Position> {
        Some(self.first.swap(NONE, Ordering::AcqRel)).filter(|&position| position != NONE)
    }

    /// Makes the session look again at everything from `position` on.
    pub(crate) fn rewind(&self, position: Position) {
        self.first.store(position.max(1), Ordering::Release);
        self.wake.notify_one();
    }

    /// Waits until something may concern the session.
    ///
    /// # Cancel safety
    /// Safe: a wake is not lost.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Wakes the session although nothing new came, because it left work undone.
    pub(crate) fn nudge(&self) {
        self.wake.notify_one();
    }

    /// Notes whether the session has a connection. Without one it gets no ephemeral entries.
    pub(crate) fn set_attached(&self, attached: bool) {
        self.attached.store(attached, Ordering::Release);
        if !attached {
            self.queue().clear();
        }
    }

    pub(crate) fn offer_ephemeral(&self, entry: &Arc<Entry>) {
        if !self.attached.load(Ordering::Acquire) {
            return;
        }
        let mut queue = self.queue();
        if queue.len() == EPHEMERAL_MAX {
            queue.pop_front();
        }
        queue.push_back(entry.clone());
        drop(queue);
        self.wake.notify_one();
    }

    pub(crate) fn take_ephemeral(&self) -> VecDeque<Arc<Entry>> {
        std::mem::take(&mut *self.queue())
    }

    // If a holder of the lock panicked, the data is still whole: no statement leaves it half changed.
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Entry>>> {
        self.ephemeral.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fanout::entry::Body, limits::weight::ByteGauge};

    fn subscriber() -> Subscriber {
        Subscriber::new(UserId::try_from(1_u64).expect("not 0"), (0, NonZeroU32::MIN))
    }

    #[tokio::test]
    async fn the_first_of_several_offers_is_kept_and_one_wake_is_enough() {
        let subscriber = subscriber();
        subscriber.offer(5);
        subscriber.offer(6);
        subscriber.woken().await;
        assert_eq!((subscriber.take(), subscriber.take()), (Some(5), None));
        subscriber.offer(7);
        subscriber.rewind(3);
        assert_eq!(subscriber.take(), Some(3));
    }

    #[test]
    fn ephemeral_entries_are_bounded_and_only_for_the_attached() {
        let subscriber = subscriber();
        let bytes = ByteGauge::default();
        let entry = |position| {
            Arc::new(Entry::new(position, GuildId::try_from(1_u64).ok(), Body::LostInGuild, None, &bytes))
        };
        subscriber.offer_ephemeral(&entry(1));
        assert!(subscriber.take_ephemeral().is_empty());
        subscriber.set_attached(true);
        (1..=20).for_each(|position| subscriber.offer_ephemeral(&entry(position)));
        let kept: Vec<_> = subscriber.take_ephemeral().iter().map(|entry| entry.position).collect();
        assert_eq!(kept, (5..=20).collect::<Vec<_>>());
    }
}
