//! A guild in the fan-out: its state, as far as it is loaded, and its subscribers.

use std::{collections::HashMap, sync::Arc};

use tokio::time::Instant;
use weir_proto::{
    event::{Record, record::Change},
    id::{ChannelId, MessageId},
};

use super::{snapshot::Snapshot, subscriber::Subscriber, subscribers::Subscribers};
use crate::limits::weight::{ByteGauge, Weight};

/// Records of a guild that are kept while its state is being loaded; if more come, the state is loaded again.
const PENDING_MAX: usize = 1_024;

/// How far a guild's state is loaded.
#[derive(Debug)]
pub(crate) enum LoadState {
    /// It was not asked for yet, or was dropped.
    Absent,
    /// It is being loaded; `records` are those of the guild's own scope since then.
    Loading {
        records: Vec<Record>,
        overflowed: bool,
        /// The newest message of each channel that was published since then: it may be younger than the
        /// loaded one.
        newest: HashMap<ChannelId, MessageId>,
    },
    Loaded(Arc<Snapshot>),
}

/// Bytes of a state that stay in memory when its guild drops it; 0 if nothing else keeps it.
fn kept_elsewhere(snapshot: &Arc<Snapshot>) -> usize {
    if Arc::strong_count(snapshot) > 1 || snapshot.is_shared() { snapshot.bytes() } else { 0 }
}

#[derive(Debug)]
pub(crate) struct Guild {
    pub(crate) load: LoadState,
    /// The weight of the loaded state.
    weight: Weight,
    pub(crate) subscribers: Subscribers,
    /// The revision above which every record comes to the inbox, and below which everything is part of what
    /// sessions start from. `None` until interest is registered and the data service has answered after that.
    pub(crate) interest_since_us: Option<u64>,
    /// Since when it has had no subscribers.
    pub(crate) idle_since: Instant,
}

impl Guild {
    /// A guild whose state is counted in `states`.
    pub(crate) fn new(states: &ByteGauge) -> Self {
        Self {
            load: LoadState::Absent,
            weight: Weight::new(states, 0),
            subscribers: Subscribers::default(),
            interest_since_us: None,
            idle_since: Instant::now(),
        }
    }

    pub(crate) fn unsubscribe(&mut self, subscriber: &Arc<Subscriber>) {
        if self.subscribers.remove(subscriber) && self.subscribers.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// The newest message of a channel, as far as it was published or loaded; `None` if it is not known.
    pub(crate) fn newest_message(&self, channel_id: ChannelId) -> Option<MessageId> {
        match &self.load {
            LoadState::Loaded(snapshot) => snapshot.newest_message(channel_id),
            LoadState::Loading { newest, .. } => newest.get(&channel_id).copied(),
            LoadState::Absent => None,
        }
    }

    /// Bytes of the loaded state.
    pub(crate) fn bytes(&self) -> usize {
        match &self.load {
            LoadState::Loaded(snapshot) => snapshot.bytes(),
            LoadState::Absent | LoadState::Loading { .. } => 0,
        }
    }

    /// Installs a state.
    pub(crate) fn put_state(&mut self, snapshot: Snapshot) {
        self.weight.set(snapshot.bytes());
        self.load = LoadState::Loaded(Arc::new(snapshot));
    }

    /// Drops the state. Returns the bytes that entries may still keep of it.
    pub(crate) fn drop_state(&mut self) -> usize {
        let kept = match &self.load {
            LoadState::Loaded(snapshot) => kept_elsewhere(snapshot),
            LoadState::Absent | LoadState::Loading { .. } => 0,
        };
        self.load = LoadState::Absent;
        self.weight.set(0);
        kept
    }

    /// Drops the state and the subscribers of a guild that was deleted. Returns the bytes that entries may
    /// still keep.
    pub(crate) fn vacate(&mut self) -> usize {
        self.subscribers = Subscribers::default();
        self.idle_since = Instant::now();
        self.drop_state()
    }

    /// Applies a record. Returns the state after it, and the bytes of the replaced state that entries may
    /// still keep.
    pub(crate) fn apply(&mut self, record: &Record) -> (Option<Arc<Snapshot>>, usize) {
        let own = record.scope_id == record.guild_id;
        let posted = match &record.change {
            Some(Change::MessageCreated(row)) => {
                ChannelId::try_from(row.channel_id).ok().zip(MessageId::try_from(row.id).ok())
            }
            _ => None,
        };
        match &mut self.load {
            LoadState::Loaded(snapshot) => {
                if let Some((channel_id, id)) = posted {
                    snapshot.note_message(channel_id, id);
                }
                let mut outdated = 0;
                if own && let Some(after) = snapshot.after(record) {
                    outdated = if after.shares_rows(snapshot) { 0 } else { kept_elsewhere(snapshot) };
                    self.weight.set(after.bytes());
                    *snapshot = Arc::new(after);
                }
                (Some(snapshot.clone()), outdated)
            }
            LoadState::Loading { records, overflowed, newest } => {
                if let Some((channel_id, id)) = posted
                    && (newest.len() < PENDING_MAX || newest.contains_key(&channel_id))
                {
                    newest.entry(channel_id).and_modify(|last| *last = id.max(*last)).or_insert(id);
                }
                if own && records.len() == PENDING_MAX {
                    *overflowed = true;
                } else if own {
                    records.push(record.clone());
                }
                (None, 0)
            }
            LoadState::Absent => (None, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::{Fanout, Installed, LossScope, entry::Publication, ring::Ring};
    use std::time::Duration;
    use weir_proto::{
        data::{Channel, Guild as GuildRow, GuildState},
        id::{GuildId, UserId},
    };

    const GUILD: u64 = 1;
    const CHANNELS: u64 = 100;
    const RING_BYTES: usize = 4 << 20;
    /// Enough for two guilds of half a mebibyte.
    const STATES_BYTES: usize = 1 << 20;

    fn guild(id: u64) -> GuildId {
        GuildId::try_from(id).expect("not 0")
    }

    fn channel(id: u64, rev: u64) -> Channel {
        Channel { id, guild_id: GUILD, topic: "x".repeat(4_096), rev, ..Channel::default() }
    }

    /// A fan-out that holds a guild of about half a mebibyte.
    fn fanout() -> Fanout {
        let fanout = Fanout::new(Ring::new(0, 65_536, RING_BYTES), STATES_BYTES);
        assert_eq!(load(&fanout, GUILD), Installed::Done);
        fanout
    }

    fn load(fanout: &Fanout, guild_id: u64) -> Installed {
        fanout.begin_loading(guild(guild_id));
        let rev = 1;
        let state = GuildState {
            guild: Some(GuildRow { id: guild_id, rev, ..GuildRow::default() }),
            channels: (1..=CHANNELS).map(|id| channel(id, rev)).collect(),
            rev,
            ..GuildState::default()
        };
        fanout.install(guild(guild_id), state, &[], rev)
    }

    fn publication(rev: u64, change: Change) -> Box<Publication> {
        let record =
            Record { scope_id: GUILD, guild_id: GUILD, rev, change: Some(change), ..Record::default() };
        Box::new(Publication { record, context: None, encoded_len: 5_000 })
    }

    /// Bytes of the rows of states that only the ring keeps.
    fn kept(fanout: &Fanout) -> usize {
        let scan = fanout.ring.scan(fanout.ring.floor(), (usize::MAX, usize::MAX), |_| true, |_| false);
        let present = fanout.present(guild(GUILD));
        let mut states: Vec<_> = scan.expect("kept").entries.iter().filter_map(|e| e.after.clone()).collect();
        states.dedup_by(|a, b| a.shares_rows(b));
        states.retain(|state| present.as_ref().is_none_or(|present| !present.shares_rows(state)));
        states.iter().map(|state| state.weight().1).sum()
    }

    #[test]
    fn the_rings_bound_holds_for_the_states_that_its_entries_keep() {
        let fanout = fanout();
        for rev in 2..100 {
            fanout.publish(rev - 1, publication(rev, Change::ChannelUpdated(channel(rev, rev))));
            let (kept, counted) = (kept(&fanout), fanout.ring.bytes().get());
            assert!(kept <= RING_BYTES && kept <= counted && counted <= RING_BYTES, "{kept} {counted}");
        }
        let kept_at_last = fanout.ring.head() - fanout.ring.floor();
        assert!((4..10).contains(&kept_at_last), "{kept_at_last}: about as many as fit");
    }

    #[test]
    fn a_state_that_nobody_keeps_costs_the_ring_nothing() {
        let fanout = fanout();
        // An entry that could keep a state, and keeps none.
        fanout.publish_loss(1, LossScope::InDirect(Vec::new()));
        let before = fanout.ring.bytes().get();
        assert_eq!(fanout.forget_idle(Instant::now()), [guild(GUILD)]);
        assert_eq!(fanout.ring.bytes().get(), before);
    }

    #[test]
    fn a_state_that_is_dropped_with_its_guild_is_the_rings() {
        let dropped: [fn(&Fanout); 3] = [
            |fanout| fanout.publish_loss(2, LossScope::InGuild(guild(GUILD))),
            |fanout| fanout.publish_loss(2, LossScope::Anywhere),
            |fanout| assert_eq!(fanout.forget_idle(Instant::now()), [guild(GUILD)]),
        ];
        for drop in dropped {
            let fanout = fanout();
            fanout.publish(1, publication(2, Change::RecordsLost(Default::default())));
            let before = fanout.ring.bytes().get();
            assert!(before < 100_000, "the guild's, not the ring's: {before}");
            drop(&fanout);
            let (kept, counted) = (kept(&fanout), fanout.ring.bytes().get());
            assert!(kept > 400_000 && kept <= counted, "{kept} {counted}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn states_are_counted_and_none_is_held_beyond_their_bound_but_of_guilds_that_nobody_hears() {
        let fanout = fanout();
        let subscriber = Arc::new(Subscriber::new(
            UserId::try_from(7_u64).expect("not 0"),
            (0, std::num::NonZeroU32::MIN),
        ));
        fanout.subscribe(&subscriber, &[guild(GUILD)]);
        assert_eq!(load(&fanout, 2), Installed::Done);
        assert_eq!(load(&fanout, 3), Installed::Full, "nobody has had time to listen to the second");
        let of_two = fanout.states_bytes().get();
        assert!((2 * 400_000..STATES_BYTES).contains(&of_two), "{of_two}");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(load(&fanout, 3), Installed::Done);
        assert!(fanout.present(guild(2)).is_none() && fanout.present(guild(GUILD)).is_some());
        assert_eq!(fanout.states_bytes().get(), of_two);
        fanout.publish(1, publication(2, Change::GuildDeleted(Default::default())));
        assert_eq!(fanout.states_bytes().get(), of_two / 2);
        fanout.publish_loss(2, LossScope::Anywhere);
        assert_eq!(fanout.states_bytes().get(), 0);
    }
}
