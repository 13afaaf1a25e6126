//! What a change of a guild rests on, told along with it, and deciding anew when that has changed.
//!
//! Between a handler's reading and the guild's turn others are served: the caller may have lost the role by which it may act, the member
//! may be gone, the channel may be another. So a handler names the rows that it looked at, the turn refuses the change if one of them
//! is no longer so, and the handler reads and judges again. An acknowledged change is thus never undone by one that did not see it.

use weir_discord::error::ApiError;
use weir_proto::data::{Basis, Channel, GuildState, Member, Role, RowSeen};

use crate::answer::error::Refused;

/// Times that a change is decided before the caller is told to come back. Each means that somebody else's change got through meanwhile: a
/// choice, above the number of people who press the same button at once.
const DECISIONS_MAX: u32 = 10;

/// Decides, and decides anew while others change what was decided by.
///
/// # Errors
/// Those of `decide`; [`ApiError::Contended`] if others were faster every time.
pub(crate) async fn settled<T, F>(decide: impl Fn() -> F) -> Result<T, Refused>
where
    F: Future<Output = Result<T, Refused>>,
{
    for _ in 1..DECISIONS_MAX {
        match decide().await {
            Err(refused) if refused.is(&ApiError::Contended) => {}
            outcome => return outcome,
        }
    }
    decide().await
}

/// Rows that a handler looked at. A guild's owner never changes, so its row is none of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Basis);

impl Seen {
    /// All by which is found what a member may do in the guild, and on whom it may act: its row and those of its roles.
    pub(crate) fn powers(self, state: &GuildState, member: &Member) -> Self {
        let held = |role: &&Role| role.id == member.guild_id || member.role_ids.contains(&role.id);
        let seen = self.member(member.user_id, Some(member));
        state.roles.iter().filter(held).fold(seen, Self::role)
    }

    /// A role.
    pub(crate) fn role(mut self, role: &Role) -> Self {
        note(&mut self.0.roles, role.id, Some(role.rev));
        self
    }

    /// A channel.
    pub(crate) fn channel(mut self, channel: &Channel) -> Self {
        note(&mut self.0.channels, channel.id, Some(channel.rev));
        self
    }

    /// A channel of the guild, if there is one with this id.
    pub(crate) fn channel_of(self, state: &GuildState, id: u64) -> Self {
        let found = state.channels.iter().find(|channel| channel.id == id);
        found.into_iter().fold(self, Self::channel)
    }

    /// A user's membership, or that it has none.
    pub(crate) fn member(mut self, user_id: u64, member: Option<&Member>) -> Self {
        note(&mut self.0.members, user_id, member.map(|member| member.rev));
        self
    }

    /// In the form in which it is sent.
    pub(crate) fn basis(self) -> Option<Basis> {
        Some(self.0)
    }
}

fn note(rows: &mut Vec<RowSeen>, id: u64, rev: Option<u64>) {
    // What was read twice and was not the same twice is kept twice, and holds in no turn.
    let row = RowSeen { id, rev };
    if !rows.contains(&row) {
        rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn powers_are_the_members_row_and_those_of_its_roles_each_once() {
        let role = |id| Role { id, guild_id: 1, rev: id + 100, ..Role::default() };
        let state = GuildState { roles: vec![role(1), role(2), role(3)], ..GuildState::default() };
        let member = Member { guild_id: 1, user_id: 7, role_ids: vec![3, 9], rev: 5, ..Member::default() };
        let seen = Seen::default().powers(&state, &member).powers(&state, &member).role(&state.roles[2]);
        let row = |id, rev| RowSeen { id, rev: Some(rev) };
        assert_eq!(seen.0.roles, [row(1, 101), row(3, 103)]);
        assert_eq!(seen.0.members, [row(7, 5)]);
        let absent = Seen::default().member(8, None).basis().expect("always told");
        assert_eq!(absent.members, [RowSeen { id: 8, rev: None }]);
    }

    #[tokio::test]
    async fn a_change_that_others_always_overtake_is_given_up() {
        let decisions = Cell::new(0);
        let decide = |until: u32| {
            let decisions = &decisions;
            move || {
                decisions.set(decisions.get() + 1);
                let settled = decisions.get() > until;
                async move { if settled { Ok(()) } else { Err(Refused::from(ApiError::Contended)) } }
            }
        };
        assert_eq!(settled(decide(DECISIONS_MAX - 1)).await, Ok(()));
        decisions.set(0);
        assert_eq!(settled(decide(u32::MAX)).await, Err(ApiError::Contended.into()));
        assert_eq!(decisions.get(), DECISIONS_MAX);
        let refused = settled(|| async { Err::<(), _>(Refused::from(ApiError::UnknownRole)) }).await;
        assert_eq!(refused, Err(ApiError::UnknownRole.into()), "only a conflict is decided anew");
    }
}
