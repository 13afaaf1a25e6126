//! Users, guilds, and the rows that belong to guilds.

use weir_proto::{
    data::{Channel, Guild, Member, Overwrite, Role, User},
    id::{GuildId, UserId},
    pair::UserPair,
};
use weir_store::{RowChange, Store, WriteError};

use crate::fixture::{as_id, change, next_id, next_rev, scope};

async fn commit(store: &dyn Store, scope_id: u64, rows: Vec<RowChange>) {
    store.commit(change(scope_id, next_rev(), rows)).await.expect("committed");
}

fn member(guild_id: u64, user_id: u64) -> Member {
    Member {
        guild_id,
        user_id,
        nick: format!("n{user_id}"),
        role_ids: vec![1, 2],
        joined_at_ms: 3,
        rev: next_rev(),
    }
}

fn channel(guild_id: u64, id: u64, name: &str) -> Channel {
    let overwrites = vec![Overwrite { id: 1, r#type: 1, allow: u64::MAX, deny: 2 }];
    Channel { id, guild_id, name: name.to_owned(), overwrites, rev: next_rev(), ..Channel::default() }
}

fn role(guild_id: u64, id: u64, name: &str) -> Role {
    Role { id, guild_id, name: name.to_owned(), permissions: u64::MAX, rev: next_rev(), ..Role::default() }
}

pub(super) async fn users_that_exist_are_found(store: &dyn Store) {
    let base = next_id();
    let user = |n: u64| User {
        id: base + n,
        username: format!("u{n}"),
        bot: true,
        rev: next_rev(),
        ..User::default()
    };
    let users: Vec<User> = (1..=40).map(user).collect();
    commit(store, base, users.iter().cloned().map(RowChange::PutUser).collect()).await;
    let mut found = store
        .read_users(&(0..=60).map(|n| as_id(base + n)).collect::<Vec<UserId>>())
        .await
        .expect("readable");
    found.sort_by_key(|user| user.id);
    assert_eq!(found, users);
    assert_eq!(store.read_users(&[]).await.expect("readable"), []);
}

pub(super) async fn a_credential_leads_to_its_user(store: &dyn Store) {
    let user_id = next_id();
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&user_id.to_be_bytes());
    assert_eq!(store.read_token(hash).await.expect("readable"), None);
    let rows = vec![
        RowChange::PutUser(User { id: user_id, ..User::default() }),
        RowChange::PutToken { hash, user_id: as_id(user_id) },
    ];
    commit(store, user_id, rows).await;
    assert_eq!(store.read_token(hash).await.expect("readable"), Some(as_id(user_id)));
    hash[31] ^= 1;
    assert_eq!(store.read_token(hash).await.expect("readable"), None);
}

pub(super) async fn a_guild_lives_and_dies_with_all_that_hangs_on_it(store: &dyn Store) {
    let (guild_id, other_id, channel_id, user_id) = (next_id(), next_id(), next_id(), next_id());
    assert_eq!(store.read_guild(as_id(guild_id)).await.expect("readable"), None);
    for guild in [guild_id, other_id] {
        let channel_id = channel_id + u64::from(guild == other_id);
        let rows = vec![
            RowChange::PutGuild(Guild {
                id: guild,
                name: "g".to_owned(),
                owner_id: user_id,
                rev: next_rev(),
            }),
            RowChange::PutRole(role(guild, guild, "@everyone")),
            RowChange::PutChannel(channel(guild, channel_id, "general")),
            RowChange::PutMember(member(guild, user_id)),
        ];
        commit(store, guild, rows).await;
    }
    let (channel_ids, member_ids) = (vec![as_id(channel_id)], vec![as_id(user_id)]);
    let delete = RowChange::DeleteGuild { guild_id: as_id(guild_id), channel_ids, member_ids };
    commit(store, guild_id, vec![delete]).await;
    assert_eq!(store.read_guild(as_id(guild_id)).await.expect("readable"), None);
    assert_eq!(store.read_channel(as_id(channel_id)).await.expect("readable"), None);
    assert_eq!(store.read_member(as_id(guild_id), as_id(user_id)).await.expect("readable"), None);
    assert_eq!(store.count_members(as_id(guild_id)).await.expect("readable"), 0);
    assert_eq!(store.read_members(as_id(guild_id), None, 10).await.expect("readable"), []);
    assert_eq!(
        store.read_user_guilds(as_id(user_id), None, 10).await.expect("readable"),
        [as_id::<GuildId>(other_id)]
    );
    let (_, roles, channels) =
        store.read_guild(as_id(other_id)).await.expect("readable").expect("the other one lives");
    assert_eq!((roles.len(), channels.len()), (1, 1));
    assert_eq!(store.count_members(as_id(other_id)).await.expect("readable"), 1);
    // Its roles and channels do not come back with a new guild of the same id.
    commit(store, guild_id, vec![RowChange::PutGuild(Guild { id: guild_id, ..Guild::default() })]).await;
    let (_, roles, channels) =
        store.read_guild(as_id(guild_id)).await.expect("readable").expect("made again");
    assert_eq!((roles, channels), (vec![], vec![]));
}

pub(super) async fn channels_and_roles_are_replaced_and_removed(store: &dyn Store) {
    let guild_id = next_id();
    let ids = [next_id(), next_id()];
    let rows = vec![
        RowChange::PutGuild(Guild { id: guild_id, ..Guild::default() }),
        RowChange::PutChannel(channel(guild_id, ids[0], "a")),
        RowChange::PutChannel(channel(guild_id, ids[1], "b")),
        RowChange::PutRole(role(guild_id, ids[0], "a")),
        RowChange::PutRole(role(guild_id, ids[1], "b")),
    ];
    commit(store, guild_id, rows).await;
    let (renamed, regranted) = (channel(guild_id, ids[1], "renamed"), role(guild_id, ids[1], "renamed"));
    let rows = vec![
        RowChange::PutChannel(renamed.clone()),
        RowChange::PutRole(regranted.clone()),
        RowChange::DeleteChannel { guild_id: as_id(guild_id), channel_id: as_id(ids[0]) },
        RowChange::DeleteRole { guild_id: as_id(guild_id), role_id: as_id(ids[0]) },
    ];
    commit(store, guild_id, rows).await;
    let (_, roles, channels) = store.read_guild(as_id(guild_id)).await.expect("readable").expect("there");
    assert_eq!((roles, channels), (vec![regranted], vec![renamed.clone()]));
    assert_eq!(store.read_channel(as_id(ids[0])).await.expect("readable"), None);
    assert_eq!(store.read_channel(as_id(ids[1])).await.expect("readable"), Some(renamed));
}

pub(super) async fn members_are_listed_and_counted(store: &dyn Store) {
    let (guild_id, base) = (next_id(), next_id());
    let members: Vec<Member> = (1..=25).map(|n| member(guild_id, base + n)).collect();
    commit(store, guild_id, members.iter().cloned().map(RowChange::PutMember).collect()).await;
    // The same members again, as a repetition or a new nick writes them, are not counted twice.
    commit(store, guild_id, members[..5].iter().cloned().map(RowChange::PutMember).collect()).await;
    assert_eq!(store.count_members(as_id(guild_id)).await.expect("readable"), 25);
    assert_eq!(store.read_members(as_id(guild_id), None, 10).await.expect("readable"), members[..10]);
    assert_eq!(
        store.read_members(as_id(guild_id), Some(as_id(base + 10)), 100).await.expect("readable"),
        members[10..]
    );
    let gone = RowChange::DeleteMember { guild_id: as_id(guild_id), user_id: as_id(base + 1) };
    commit(store, guild_id, vec![gone.clone()]).await;
    commit(store, guild_id, vec![gone]).await;
    assert_eq!(store.count_members(as_id(guild_id)).await.expect("readable"), 24);
    assert_eq!(store.read_member(as_id(guild_id), as_id(base + 1)).await.expect("readable"), None);
    assert_eq!(
        store.read_member(as_id(guild_id), as_id(base + 2)).await.expect("readable"),
        Some(members[1].clone())
    );
    assert_eq!(store.read_user_guilds(as_id(base + 1), None, 10).await.expect("readable"), []);
    assert_eq!(
        store.read_user_guilds(as_id(base + 2), None, 10).await.expect("readable"),
        [as_id::<GuildId>(guild_id)]
    );
    // A user's guilds, page by page.
    let user_id = next_id();
    let guilds: Vec<GuildId> = (0..4).map(|_| as_id(next_id())).collect();
    for guild in &guilds {
        commit(store, guild.get(), vec![RowChange::PutMember(member(guild.get(), user_id))]).await;
    }
    assert_eq!(store.read_user_guilds(as_id(user_id), None, 3).await.expect("readable"), guilds[..3]);
    assert_eq!(
        store.read_user_guilds(as_id(user_id), Some(guilds[2]), 3).await.expect("readable"),
        guilds[3..]
    );
}

pub(super) async fn a_guild_larger_than_one_batch_is_created_and_deleted(store: &dyn Store) {
    let (guild_id, base) = (next_id(), next_id());
    let members: Vec<u64> = (1..=600).map(|n| base + n).collect();
    let mut rows = vec![RowChange::PutGuild(Guild { id: guild_id, ..Guild::default() })];
    rows.extend(members.iter().map(|user_id| RowChange::PutMember(member(guild_id, *user_id))));
    commit(store, guild_id, rows).await;
    assert!(store.read_guild(as_id(guild_id)).await.expect("readable").is_some());
    assert_eq!(store.count_members(as_id(guild_id)).await.expect("readable"), 600);
    let member_ids = members.iter().map(|id| as_id(*id)).collect();
    let delete = RowChange::DeleteGuild { guild_id: as_id(guild_id), channel_ids: vec![], member_ids };
    commit(store, guild_id, vec![delete]).await;
    assert_eq!(store.read_guild(as_id(guild_id)).await.expect("readable"), None);
    assert_eq!(store.count_members(as_id(guild_id)).await.expect("readable"), 0);
    for user_id in [members[0], members[599]] {
        assert_eq!(store.read_user_guilds(as_id(user_id), None, 10).await.expect("readable"), []);
    }
}

pub(super) async fn a_row_older_than_the_one_there_does_not_replace_it(store: &dyn Store) {
    let (guild_id, id) = (next_id(), next_id());
    let (old, new) = (channel(guild_id, id, "old"), channel(guild_id, id, "new"));
    for row in [&new, &old] {
        store.put_rows(vec![RowChange::PutChannel(row.clone())], next_rev()).await.expect("loaded");
    }
    assert_eq!(store.read_channel(as_id(id)).await.expect("readable"), Some(new.clone()));
    // A row that carries no revision takes the step's.
    let rev = next_rev();
    let bare = Channel { rev: 0, name: "newest".to_owned(), ..new };
    store.commit(change(guild_id, rev, vec![RowChange::PutChannel(bare.clone())])).await.expect("committed");
    assert_eq!(store.read_channel(as_id(id)).await.expect("readable"), Some(Channel { rev, ..bare }));
}

fn pair(one: u64, other: u64) -> UserPair {
    UserPair::of(as_id(one), as_id(other)).expect("two users")
}

fn direct(id: u64, pair: UserPair) -> Channel {
    Channel { id, r#type: 1, recipient_ids: pair.ids().to_vec(), rev: next_rev(), ..Channel::default() }
}

pub(super) async fn a_pair_has_one_channel_which_is_in_no_guild(store: &dyn Store) {
    let (ann, bob, eve) = (next_id(), next_id(), next_id());
    let (ours, theirs) = (pair(bob, ann), pair(ann, eve));
    assert_eq!(store.read_direct(ours).await.expect("readable"), None);
    let (first, second) = (direct(next_id(), ours), direct(next_id(), theirs));
    for row in [&first, &second] {
        let put = change(row.id, row.rev, vec![RowChange::PutDirect(row.clone())]);
        store.commit(put.clone()).await.expect("committed");
        // A commit in doubt is repeated.
        store.commit(put).await.expect("committed");
    }
    assert_eq!(store.read_direct(pair(ann, bob)).await.expect("readable"), Some(as_id(first.id)));
    assert_eq!(store.read_direct(theirs).await.expect("readable"), Some(as_id(second.id)));
    assert_eq!(store.read_direct(pair(bob, eve)).await.expect("readable"), None);
    assert_eq!(store.read_channel(as_id(first.id)).await.expect("readable"), Some(first.clone()));
    // The record is among the channel's own changes, and the channel is in no guild's list, not even in that
    // of guild 0.
    let records = store.read_changes(scope(first.id), 0, 10).await.expect("readable");
    assert_eq!(records.iter().map(|record| record.rev).collect::<Vec<_>>(), [first.rev]);
    commit(store, ann, vec![RowChange::PutGuild(Guild { id: ann, ..Guild::default() })]).await;
    assert_eq!(store.read_guild(as_id(ann)).await.expect("readable").expect("there").2, []);
}

pub(super) async fn of_two_channels_of_a_pair_the_higher_revision_stays(store: &dyn Store) {
    let ours = pair(next_id(), next_id());
    let (old, new) = (direct(next_id(), ours), direct(next_id(), ours));
    for row in [&new, &old] {
        let put = change(row.id, row.rev, vec![RowChange::PutDirect(row.clone())]);
        store.commit(put).await.expect("committed");
    }
    assert_eq!(store.read_direct(ours).await.expect("readable"), Some(as_id(new.id)));
}

pub(super) async fn a_direct_channel_without_two_users_is_refused(store: &dyn Store) {
    let (ann, bob) = (next_id(), next_id());
    for recipient_ids in [vec![], vec![ann], vec![ann, ann], vec![bob, ann]] {
        let row = Channel { recipient_ids, ..direct(next_id(), pair(ann, bob)) };
        let refused = store.commit(change(row.id, row.rev, vec![RowChange::PutDirect(row.clone())])).await;
        assert!(matches!(refused, Err(WriteError::NotApplied { .. })), "{row:?}: {refused:?}");
        assert_eq!(store.read_channel(as_id(row.id)).await.expect("readable"), None);
    }
    assert_eq!(store.read_direct(pair(ann, bob)).await.expect("readable"), None);
}
