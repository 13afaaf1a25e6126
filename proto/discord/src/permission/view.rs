//! A guild prepared for fan-out. A gateway holds one [`GuildView`] for each guild, and asks it for each
//! session whether the session's user can view an event's channel.

use std::collections::HashMap;

use weir_proto::data::{Channel, GuildState, Member, Overwrite};

use super::{Permissions, resolve};

/// Roles and overwrites of a guild at one revision. It is immutable: a change of roles, channels or owner
/// needs a new one.
#[derive(Debug, Clone)]
pub struct GuildView {
    guild_id: u64,
    owner_id: u64,
    roles: HashMap<u64, Permissions>,
    /// Ascending by channel id.
    channels: Box<[ChannelRules]>,
}

#[derive(Debug, Clone)]
struct ChannelRules {
    id: u64,
    kind: u32,
    /// A thread has those of its parent. `None` if the parent is missing; then only administrators can view
    /// the thread.
    overwrites: Option<Box<[Overwrite]>>,
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
        Some(Self { guild_id: guild.id, owner_id: guild.owner_id, roles, channels })
    }

    /// Bytes that the view takes in memory, without the allocator's overhead. The call takes time in
    /// proportion to the number of channels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rules = self
            .channels
            .iter()
            .map(|channel| size_of::<ChannelRules>() + channel.overwrites.as_deref().map_or(0, size_of_val));
        // A hash table has one more byte for each slot, and up to twice as many slots as entries.
        let role = 2 * (size_of::<(u64, Permissions)>() + 1);
        size_of::<Self>() + rules.sum::<usize>() + self.roles.len() * role
    }

    /// What a member may do in a channel; nothing if the guild has no such channel. It is the same as
    /// [`super::permissions_in`] of the state.
    #[must_use]
    pub fn permissions(&self, member: &Member, channel_id: u64) -> Permissions {
        let Ok(found) = self.channels.binary_search_by_key(&channel_id, |channel| channel.id) else {
            return Permissions::NONE;
        };
        let channel = &self.channels[found];
        let granted = |role: u64| self.roles.get(&role).copied().unwrap_or_default();
        let base = resolve::base(self.guild_id, self.owner_id == member.user_id, member, granted);
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
