//! The rows by which a change was judged, sent along with it as its preconditions.
//!
//! Other changes are made between a handler's reading and the guild's turn: the caller may have lost the role
//! by which it may act, the member may have left, the channel may have changed. So a handler names the rows
//! that it read, and the turn refuses the change if one of them is no longer as it was. The handler then
//! reads and judges again ([`crate::permission::retry`]). So no acknowledged change is undone by one whose
//! caller had not seen it.

use weir_proto::data::{Basis, Channel, GuildState, Member, Role, RowSeen};

/// Rows that a handler read. A guild's owner never changes, so the guild's own row is none of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadSet(Basis);

impl ReadSet {
    /// The rows that say what a member may do in the guild, and on whom it may act: its own and those of its
    /// roles.
    pub(crate) fn powers(self, state: &GuildState, member: &Member) -> Self {
        let held = |role: &&Role| role.id == member.guild_id || member.role_ids.contains(&role.id);
        let read = self.member(member.user_id, Some(member));
        state.roles.iter().filter(held).fold(read, Self::role)
    }

    /// A role.
    pub(crate) fn role(mut self, role: &Role) -> Self {
        add(&mut self.0.roles, role.id, Some(role.rev));
        self
    }

    /// A channel.
    pub(crate) fn channel(mut self, channel: &Channel) -> Self {
        add(&mut self.0.channels, channel.id, Some(channel.rev));
        self
    }

    /// The guild's channel with this id, if there is one.
    pub(crate) fn channel_of(self, state: &GuildState, id: u64) -> Self {
        let found = state.channels.iter().find(|channel| channel.id == id);
        found.into_iter().fold(self, Self::channel)
    }

    /// A user's membership, or the fact that it has none.
    pub(crate) fn member(mut self, user_id: u64, member: Option<&Member>) -> Self {
        add(&mut self.0.members, user_id, member.map(|member| member.rev));
        self
    }

    /// The preconditions, in the form in which they are sent.
    pub(crate) fn basis(self) -> Option<Basis> {
        Some(self.0)
    }
}

fn add(rows: &mut Vec<RowSeen>, id: u64, rev: Option<u64>) {
    // A row that changed between two reads is kept with both revisions, so that no turn accepts the change.
    let row = RowSeen { id, rev };
    if !rows.contains(&row) {
        rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_the_members_row_and_those_of_its_roles_each_once() {
        let role = |id| Role { id, guild_id: 1, rev: id + 100, ..Role::default() };
        let state = GuildState { roles: vec![role(1), role(2), role(3)], ..GuildState::default() };
        let member = Member { guild_id: 1, user_id: 7, role_ids: vec![3, 9], rev: 5, ..Member::default() };
        let read = ReadSet::default().powers(&state, &member).powers(&state, &member).role(&state.roles[2]);
        let row = |id, rev| RowSeen { id, rev: Some(rev) };
        assert_eq!(read.0.roles, [row(1, 101), row(3, 103)]);
        assert_eq!(read.0.members, [row(7, 5)]);
        let absent = ReadSet::default().member(8, None).basis().expect("always told");
        assert_eq!(absent.members, [RowSeen { id: 8, rev: None }]);
    }
}
