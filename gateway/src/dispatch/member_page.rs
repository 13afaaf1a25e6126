//! A guild's members with their users, a page at a time.

use weir_data_client::DataError;
use weir_proto::data::{ListMembersRequest, Member, User};

use crate::shared::Shared;

/// The members of a guild above a user id, ascending, at most `limit`.
pub(crate) async fn page(
    shared: &Shared,
    guild_id: u64,
    after: u64,
    limit: u32,
) -> Result<Vec<(Member, User)>, DataError> {
    let request = ListMembersRequest { guild_id, after, limit };
    let reply = shared.loader.data.list_members(&request, &shared.loader.options()).await?.message;
    Ok(pair(reply.members, &reply.users))
}

/// Members with their users; a user that is not there is known by its id alone.
fn pair(members: Vec<Member>, users: &[User]) -> Vec<(Member, User)> {
    let by_id: std::collections::HashMap<u64, &User> = users.iter().map(|user| (user.id, user)).collect();
    members
        .into_iter()
        .map(|member| {
            let user = by_id
                .get(&member.user_id)
                .map_or_else(|| User { id: member.user_id, ..User::default() }, |user| User::clone(user));
            (member, user)
        })
        .collect()
}
