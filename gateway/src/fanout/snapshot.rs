//! A guild's state as the gateway holds it, for permissions and GUILD_CREATE. It changes by the guild's own
//! records, in their order.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prost::Message as _;
use weir_discord::permission::{GuildView, Permissions};
use weir_proto::{
    change::ChangeKind,
    data::{Channel, GuildState, Member, Role},
    event::{Record, record::Change},
    id::{ChannelId, MessageId},
};

/// A guild at one revision, immutable. So the visibility of a record is decided by the state at its commit,
/// however late a session reads it.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Revision of the last change that is included.
    rev: u64,
    /// This is kept apart from the state, which then need not be copied when a member joins.
    member_count: u32,
    /// Its `rev` and `member_count` are those of the last change of the rows.
    state: Arc<GuildState>,
    view: Arc<GuildView>,
    /// The newest messages as of now, not of this revision, shared with the snapshots before and after. A
    /// message is published as an event of its own and is no change of the guild.
    newest: Arc<Newest>,
    /// Bytes of the state and the view, counted when they were made.
    bytes: usize,
}

/// The newest message of each channel, ascending by channel; 0 if it has none or it is not known.
#[derive(Debug, Default)]
struct Newest(Box<[(u64, AtomicU64)]>);

impl Newest {
    /// Newest messages for the channels of a state, taken from `known` where it has them.
    fn of(state: &GuildState, known: &Self) -> Self {
        let mut ids: Vec<u64> = state.channels.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        Self(ids.into_iter().map(|id| (id, AtomicU64::new(known.get(id)))).collect())
    }

    fn of_channel(&self, channel_id: u64) -> Option<&AtomicU64> {
        let slot = self.0.binary_search_by_key(&channel_id, |(id, _)| *id).ok()?;
        Some(&self.0[slot].1)
    }

    fn get(&self, channel_id: u64) -> u64 {
        self.of_channel(channel_id).map_or(0, |newest| newest.load(Ordering::Relaxed))
    }

    fn is_of(&self, state: &GuildState) -> bool {
        self.0.len() == state.channels.len()
            && state.channels.iter().all(|row| self.of_channel(row.id).is_some())
    }
}

impl Snapshot {
    /// The snapshot of a state from the data service; `None` if the state has no guild row.
    pub(crate) fn new(state: GuildState) -> Option<Self> {
        let view = Arc::new(GuildView::new(&state)?);
        let newest = Arc::new(Newest::of(&state, &Newest::default()));
        let bytes = bytes(&state, &view);
        Some(Self {
            rev: state.rev,
            member_count: state.member_count,
            state: Arc::new(state),
            view,
            newest,
            bytes,
        })
    }

    pub(crate) fn rev(&self) -> u64 {
        self.rev
    }

    pub(crate) fn member_count(&self) -> u32 {
        self.member_count
    }

    /// The state with its current revision and member count.
    pub(crate) fn state(&self) -> GuildState {
        GuildState { rev: self.rev, member_count: self.member_count, ..GuildState::clone(&self.state) }
    }

    /// Notes a message that was published. A message older than the newest one changes nothing.
    pub(crate) fn note_message(&self, channel_id: ChannelId, message_id: MessageId) {
        if let Some(newest) = self.newest.of_channel(channel_id.get()) {
            newest.fetch_max(message_id.get(), Ordering::Relaxed);
        }
    }

    /// The newest message of a channel; `None` if it has none or it is not known.
    pub(crate) fn newest_message(&self, channel_id: ChannelId) -> Option<MessageId> {
        MessageId::try_from(self.newest.get(channel_id.get())).ok()
    }

    /// The number of channels and roles, and the encoded bytes of all rows.
    pub(crate) fn weight(&self) -> (usize, usize) {
        (self.state.channels.len() + self.state.roles.len(), self.state.encoded_len())
    }

    /// Bytes in memory, which it shares with other snapshots of the same rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if other snapshots keep its rows.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.state) > 1
    }

    /// True if both snapshots share their rows, which then are in memory once.
    pub(crate) fn shares_rows(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// True if a member sees a channel of the guild.
    pub(crate) fn sees(&self, member: &Member, channel_id: ChannelId) -> bool {
        self.view.permissions(member, channel_id.get()).contains(Permissions::VIEW_CHANNEL)
    }

    /// The snapshot after a record of the guild's own scope; `None` if the record is included already.
    pub(crate) fn after(&self, record: &Record) -> Option<Self> {
        if record.rev <= self.rev {
            return None;
        }
        let next = Self { rev: record.rev, ..self.clone() };
        let Some(change) = &record.change else { return Some(next) };
        Some(match change {
            Change::ChannelCreated(row) | Change::ChannelUpdated(row) => {
                next.changed(|state| put_channel(state, row))
            }
            Change::ChannelDeleted(row) => {
                next.changed(|state| state.channels.retain(|old| old.id != row.id))
            }
            Change::RoleCreated(row) | Change::RoleUpdated(row) => next.changed(|state| put_role(state, row)),
            Change::RoleDeleted(row) => next.changed(|state| state.roles.retain(|old| old.id != row.role_id)),
            Change::GuildCreated(created) => match created.state.clone().and_then(Self::new) {
                Some(fresh) => Self { rev: record.rev, ..fresh },
                None => next,
            },
            Change::MemberAdded(_) => Self { member_count: self.member_count.saturating_add(1), ..next },
            Change::MemberRemoved(_) => Self { member_count: self.member_count.saturating_sub(1), ..next },
            // Nothing else is a part of the state.
            other => {
                debug_assert_ne!(ChangeKind::of(other), ChangeKind::Rights, "{other:?}");
                next
            }
        })
    }

    fn changed(self, change: impl FnOnce(&mut GuildState)) -> Self {
        let mut state = self.state();
        change(&mut state);
        // A state that has its guild row keeps it.
        let view = GuildView::new(&state).map_or(self.view, Arc::new);
        // It is shared while the channels stay the same, so that earlier snapshots see later messages, too.
        let newest = match self.newest.is_of(&state) {
            true => self.newest,
            false => Arc::new(Newest::of(&state, &self.newest)),
        };
        let bytes = bytes(&state, &view);
        Self { state: Arc::new(state), view, newest, bytes, ..self }
    }
}

/// Bytes that a state and its view take in memory, without the overhead of the allocator.
fn bytes(state: &GuildState, view: &GuildView) -> usize {
    let name = state.guild.as_ref().map_or(0, |guild| guild.name.len());
    let channels = state.channels.iter().map(|row| {
        let (overwrites, recipients) = (size_of_val(&*row.overwrites), size_of_val(&*row.recipient_ids));
        size_of::<Channel>()
            + size_of::<(u64, AtomicU64)>()
            + row.name.len()
            + row.topic.len()
            + overwrites
            + recipients
    });
    let roles = state.roles.iter().map(|row| size_of::<Role>() + row.name.len());
    size_of::<Snapshot>()
        + size_of::<GuildState>()
        + name
        + channels.sum::<usize>()
        + roles.sum::<usize>()
        + view.bytes()
}

fn put_channel(state: &mut GuildState, row: &Channel) {
    match state.channels.iter_mut().find(|old| old.id == row.id) {
        Some(old) => old.clone_from(row),
        None => state.channels.push(row.clone()),
    }
}

fn put_role(state: &mut GuildState, row: &Role) {
    match state.roles.iter_mut().find(|old| old.id == row.id) {
        Some(old) => old.clone_from(row),
        None => state.roles.push(row.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::{
        data::{Guild, Overwrite},
        event::{MemberChanged, RoleDeleted},
    };

    const VIEW: u64 = 1 << 10;

    fn snapshot() -> Snapshot {
        Snapshot::new(GuildState {
            guild: Some(Guild { id: 1, name: "g".into(), owner_id: 9, rev: 5 }),
            roles: vec![Role { id: 1, guild_id: 1, permissions: VIEW, ..Role::default() }],
            channels: vec![Channel { id: 2, guild_id: 1, ..Channel::default() }],
            member_count: 3,
            rev: 5,
        })
        .expect("has a guild row")
    }

    fn record(rev: u64, change: Change) -> Record {
        Record { scope_id: 1, guild_id: 1, rev, prev_rev: rev - 1, change: Some(change), ..Record::default() }
    }

    fn channel(id: u64) -> ChannelId {
        ChannelId::try_from(id).expect("not 0")
    }

    fn message(id: u64) -> MessageId {
        MessageId::try_from(id).expect("not 0")
    }

    fn member() -> Member {
        Member { guild_id: 1, user_id: 7, role_ids: vec![3], ..Member::default() }
    }

    #[test]
    fn overwrites_and_roles_change_what_is_seen_and_old_snapshots_stay() {
        let before = snapshot();
        assert!(before.sees(&member(), channel(2)));
        assert!(!before.sees(&member(), channel(99)), "a channel that is not there");
        let hidden = Channel {
            overwrites: vec![Overwrite { id: 1, r#type: 0, allow: 0, deny: VIEW }],
            ..before.state().channels[0].clone()
        };
        let after = before.after(&record(6, Change::ChannelUpdated(hidden))).expect("new");
        assert!(!after.sees(&member(), channel(2)));
        assert!(before.sees(&member(), channel(2)));
        let role = Role { id: 3, guild_id: 1, permissions: 1 << 3, ..Role::default() };
        let admin = after.after(&record(7, Change::RoleCreated(role))).expect("new");
        assert!(admin.sees(&member(), channel(2)));
        let demoted = admin
            .after(&record(8, Change::RoleDeleted(RoleDeleted { guild_id: 1, role_id: 3 })))
            .expect("new");
        assert!(!demoted.sees(&member(), channel(2)));
    }

    #[test]
    fn the_newest_message_outlives_changes_of_the_guild_and_never_goes_back() {
        let first = snapshot();
        first.note_message(channel(2), message(50));
        first.note_message(channel(2), message(40));
        first.note_message(channel(99), message(60));
        let made = Channel { id: 3, guild_id: 1, ..Channel::default() };
        let second = first.after(&record(6, Change::ChannelCreated(made.clone()))).expect("new");
        let newest = [2, 3, 99].map(|id| second.newest_message(channel(id)));
        assert_eq!(newest, [Some(message(50)), None, None]);
        let third = second.after(&record(7, Change::ChannelUpdated(made))).expect("new");
        third.note_message(channel(3), message(70));
        let newest = (second.newest_message(channel(3)), third.newest_message(channel(2)));
        assert_eq!(newest, (Some(message(70)), Some(message(50))), "shared");
    }

    #[test]
    fn a_record_that_is_included_changes_nothing_and_members_are_counted() {
        let before = snapshot();
        let join = Change::MemberAdded(MemberChanged { member: Some(member()), user: None });
        assert!(before.after(&record(5, join.clone())).is_none());
        let after = before.after(&record(6, join)).expect("new");
        assert_eq!((after.state().member_count, after.state().rev, after.rev()), (4, 6, 6));
    }
}
