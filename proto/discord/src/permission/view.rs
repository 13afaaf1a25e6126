//! A guild prepared for fan-out: which channels a member sees, as one bit for each channel.
//!
//! A gateway holds one [`GuildView`] for each guild and one [`ChannelSet`] for each member that has sessions: 64 channels take 8 bytes,
//! 500 take 64. For an event it finds the channel's [`ChannelSlot`] once and then tests one bit for each session.

use std::collections::HashMap;

use weir_proto::data::{Channel, GuildState, Member, Overwrite};

use super::{Permissions, resolve};

/// Roles and overwrites of a guild at one revision. Immutable: after a change of roles, channels or owner build another, and the sets anew.
#[derive(Debug, Clone)]
pub struct GuildView {
    guild_id: u64,
    owner_id: u64,
    rev: u64,
    roles: HashMap<u64, Permissions>,
    /// Ascending by channel id; the index is the channel's slot.
    channels: Box<[ChannelRules]>,
}

#[derive(Debug, Clone)]
struct ChannelRules {
    id: u64,
    kind: u32,
    /// A thread's are its parent's; `None` if the parent is not there, and then only administrators see it.
    overwrites: Option<Box<[Overwrite]>>,
}

/// A channel's place in the sets of one [`GuildView`]; meaningless with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelSlot(usize);

/// The channels that one member sees, by the slots of the view that made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChannelSet {
    words: Box<[u64]>,
}

impl GuildView {
    /// The view of a state; `None` if the state lacks its guild row.
    #[must_use]
    pub fn new(state: &GuildState) -> Option<Self> {
        let guild = state.guild.as_ref()?;
        let mut channels: Box<[ChannelRules]> =
            state.channels.iter().map(|channel| ChannelRules::new(&state.channels, channel)).collect();
        channels.sort_unstable_by_key(|channel| channel.id);
        let roles = state.roles.iter().map(|role| (role.id, Permissions(role.permissions))).collect();
        Some(Self { guild_id: guild.id, owner_id: guild.owner_id, rev: state.rev, roles, channels })
    }

    /// The guild.
    #[must_use]
    pub fn guild_id(&self) -> u64 {
        self.guild_id
    }

    /// The revision of the state it was made from.
    #[must_use]
    pub fn rev(&self) -> u64 {
        self.rev
    }

    /// Bytes that it takes in memory, without what the allocator adds. Takes as long as there are channels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rules = self
            .channels
            .iter()
            .map(|channel| size_of::<ChannelRules>() + channel.overwrites.as_deref().map_or(0, size_of_val));
        // A table has a byte of its own for each place, and up to twice as many places as entries.
        let role = 2 * (size_of::<(u64, Permissions)>() + 1);
        size_of::<Self>() + rules.sum::<usize>() + self.roles.len() * role
    }

    /// The slot of a channel; `None` if the guild has no such channel, and then nobody sees it.
    #[must_use]
    pub fn slot(&self, channel_id: u64) -> Option<ChannelSlot> {
        self.channels.binary_search_by_key(&channel_id, |channel| channel.id).ok().map(ChannelSlot)
    }

    /// The channels that a member sees.
    #[must_use]
    pub fn visible(&self, member: &Member) -> ChannelSet {
        let base = self.base(member);
        let mut words = vec![0_u64; self.channels.len().div_ceil(64)];
        for (slot, channel) in self.channels.iter().enumerate() {
            if self.in_channel(base, channel, member).contains(Permissions::VIEW_CHANNEL) {
                words[slot / 64] |= 1 << (slot % 64);
            }
        }
        ChannelSet { words: words.into_boxed_slice() }
    }

    /// What a member may do in a channel, or in the guild at large without one. The same as [`super::permissions_in`] of the state.
    #[must_use]
    pub fn permissions(&self, member: &Member, channel: Option<ChannelSlot>) -> Permissions {
        let base = self.base(member);
        match channel {
            None => base,
            Some(ChannelSlot(slot)) => self
                .channels
                .get(slot)
                .map_or(Permissions::NONE, |channel| self.in_channel(base, channel, member)),
        }
    }

    /// The ids of a set's channels, ascending.
    pub fn channel_ids<'a>(&'a self, set: &'a ChannelSet) -> impl Iterator<Item = u64> + 'a {
        let visible = |&(slot, _): &(usize, &ChannelRules)| set.contains(ChannelSlot(slot));
        self.channels.iter().enumerate().filter(visible).map(|(_, channel)| channel.id)
    }

    fn base(&self, member: &Member) -> Permissions {
        let granted = |role: u64| self.roles.get(&role).copied().unwrap_or_default();
        resolve::base(self.guild_id, self.owner_id == member.user_id, member, granted)
    }

    fn in_channel(&self, base: Permissions, channel: &ChannelRules, member: &Member) -> Permissions {
        match &channel.overwrites {
            Some(rules) => {
                let is_role = |role: u64| self.roles.contains_key(&role);
                resolve::in_channel(base, self.guild_id, channel.kind, rules, member, is_role)
            }
            None if base == Permissions::ALL => base,
            None => Permissions::NONE,
        }
    }
}

impl ChannelRules {
    fn new(channels: &[Channel], channel: &Channel) -> Self {
        let overwrites = resolve::rules_of(channels, channel).map(Box::from);
        Self { id: channel.id, kind: channel.r#type, overwrites }
    }
}

impl ChannelSet {
    /// True if the member sees the channel.
    #[must_use]
    pub fn contains(&self, slot: ChannelSlot) -> bool {
        self.words.get(slot.0 / 64).is_some_and(|word| word >> (slot.0 % 64) & 1 == 1)
    }
}
