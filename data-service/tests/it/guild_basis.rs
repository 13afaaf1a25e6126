//! An acknowledged change of a guild is never undone by a concurrent request that did not see it.
//!
//! The requests run over a store whose calls take random times, in virtual time: each seed is one
//! interleaving.

use std::{future::Future, time::Duration};

use futures_util::future::join_all;
use weir_data_client::{DataClient, DataError};
use weir_proto::data::{
    Basis, Channel, DeleteChannelRequest, DeleteMemberRequest, DeleteRoleRequest, GetGuildRequest,
    GetMemberRequest, GuildState, Member, Overwrite, PutChannelRequest, PutMemberRequest, PutRoleRequest,
    RefusalReason, Role, RowSeen, UpdateMemberRequest, User,
};

use crate::{
    fake_store::Fate,
    node::{Node, Place, World, options},
};

/// Interleavings of each test.
const SEEDS: u64 = 48;
/// Longest random time of a store's call: a guess at a loaded database, only its spread matters.
const SLOW: Duration = Duration::from_millis(20);
/// Times that a caller decides anew: each conflict means that another caller got through, and a test has
/// fewer callers.
const ATTEMPTS_MAX: usize = 16;

struct Guild {
    client: DataClient,
    place: Place,
}

fn seen(id: u64, rev: u64) -> RowSeen {
    RowSeen { id, rev: Some(rev) }
}

fn conflicted<T>(outcome: &Result<T, DataError>) -> bool {
    matches!(outcome, Err(DataError::Refused { reason: RefusalReason::Conflict, .. }))
}

impl Guild {
    async fn of(node: &Node) -> Self {
        Self { client: node.client.clone(), place: node.place().await }
    }

    async fn user(&self, name: &str) -> u64 {
        let user = Some(User { username: name.into(), ..User::default() });
        let request = weir_proto::data::CreateUserRequest { user, token_hash: Vec::new() };
        self.client.create_user(&request, &options()).await.unwrap().message.user.unwrap().id
    }

    async fn state(&self) -> GuildState {
        let request = GetGuildRequest { guild_id: self.place.guild, ..GetGuildRequest::default() };
        self.client.get_guild(&request, &options()).await.unwrap().message.state.unwrap()
    }

    async fn channel(&self) -> Channel {
        let state = self.state().await;
        state.channels.into_iter().find(|row| row.id == self.place.channel).unwrap()
    }

    async fn member(&self, user_id: u64) -> Option<Member> {
        let request = GetMemberRequest { guild_id: self.place.guild, user_id };
        match self.client.get_member(&request, &options()).await {
            Ok(reply) => reply.message.member,
            Err(DataError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn role(&self, name: &str) -> Role {
        let role = Role { guild_id: self.place.guild, name: name.into(), ..Role::default() };
        self.put_role(role, Basis::default()).await.unwrap()
    }

    async fn put_role(&self, role: Role, basis: Basis) -> Result<Role, DataError> {
        let request = PutRoleRequest { role: Some(role), basis: Some(basis) };
        Ok(self.client.put_role(&request, &options()).await?.message.role.unwrap())
    }

    async fn put_channel(&self, channel: Channel, basis: Basis) -> Result<Channel, DataError> {
        let request = PutChannelRequest { channel: Some(channel), basis: Some(basis) };
        Ok(self.client.put_channel(&request, &options()).await?.message.channel.unwrap())
    }

    async fn join(&self, user_id: u64, basis: Basis) -> Result<Member, DataError> {
        let member = Member { guild_id: self.place.guild, user_id, ..Member::default() };
        let request = PutMemberRequest { member: Some(member), basis: Some(basis) };
        Ok(self.client.put_member(&request, &options()).await?.message.member.unwrap())
    }

    async fn update(
        &self,
        user_id: u64,
        add: &[u64],
        remove: &[u64],
        basis: Basis,
    ) -> Result<Member, DataError> {
        let request = UpdateMemberRequest {
            guild_id: self.place.guild,
            user_id,
            add_role_ids: add.to_vec(),
            remove_role_ids: remove.to_vec(),
            basis: Some(basis),
        };
        Ok(self.client.update_member(&request, &options()).await?.message.member.unwrap())
    }

    async fn kick(&self, user_id: u64, basis: Basis) -> Result<(), DataError> {
        let request = DeleteMemberRequest { guild_id: self.place.guild, user_id, basis: Some(basis) };
        self.client.delete_member(&request, &options()).await.map(drop)
    }
}

/// Decides and sends anew until nothing changed in between, as the api does.
async fn settled<T, F: Future<Output = Result<T, DataError>>>(
    decide: impl Fn() -> F,
) -> Result<T, DataError> {
    for _ in 0..ATTEMPTS_MAX {
        let outcome = decide().await;
        if !conflicted(&outcome) {
            return outcome;
        }
    }
    panic!("more conflicts than there are other callers");
}

/// Runs a test in every interleaving.
async fn interleaved<F: Future<Output = ()>>(test: impl Fn(World, Node, u64) -> F) {
    for seed in 0..SEEDS {
        let (world, node) = World::with_node(seed).await;
        test(world, node, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn roles_granted_and_revoked_at_once_are_all_granted_and_revoked() {
    interleaved(|world, node, seed| async move {
        let guild = Guild::of(&node).await;
        let user = guild.user("bea").await;
        guild.join(user, Basis::default()).await.unwrap();
        let mut roles = Vec::new();
        for name in ["a", "b", "c", "d"] {
            roles.push(guild.role(name).await.id);
        }
        guild.update(user, &roles[..2], &[], Basis::default()).await.unwrap();
        world.store.slow(SLOW);
        let revoke = roles[..2].iter().map(|role| (vec![], vec![*role]));
        let grant = roles[2..].iter().map(|role| (vec![*role], vec![]));
        let guild = &guild;
        let changes = revoke.chain(grant).map(|(add, remove)| async move {
            guild.update(user, &add, &remove, Basis::default()).await.map(|row| row.rev)
        });
        let revs: Vec<u64> = join_all(changes).await.into_iter().map(|done| done.unwrap()).collect();
        let mut left = guild.member(user).await.unwrap().role_ids;
        left.sort_unstable();
        assert_eq!(left, roles[2..], "seed {seed}");
        assert!(revs.iter().all(|rev| *rev > 0));
        world.store.assert_sound();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_kicked_member_does_not_come_back_by_a_grant() {
    interleaved(|world, node, seed| async move {
        let guild = Guild::of(&node).await;
        let user = guild.user("bea").await;
        guild.join(user, Basis::default()).await.unwrap();
        let roles = [guild.role("a").await.id];
        world.store.slow(SLOW);
        let (kicked, granted) = tokio::join!(
            guild.kick(user, Basis::default()),
            guild.update(user, &roles, &[], Basis::default())
        );
        kicked.unwrap();
        assert!(matches!(granted, Ok(_) | Err(DataError::NotFound { .. })), "seed {seed}: {granted:?}");
        assert_eq!(guild.member(user).await, None, "seed {seed}");
        assert_eq!(guild.state().await.member_count, 1, "seed {seed}");
        world.store.assert_sound();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_many_who_join_for_one_user_at_once_one_does() {
    interleaved(|world, node, seed| async move {
        let guild = Guild::of(&node).await;
        let user = guild.user("bea").await;
        world.store.slow(SLOW);
        let fresh = || Basis { members: vec![RowSeen { id: user, rev: None }], ..Basis::default() };
        let outcomes = join_all((0..4).map(|_| guild.join(user, fresh()))).await;
        let joined = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(joined, 1, "seed {seed}: {outcomes:?}");
        assert!(outcomes.iter().all(|outcome| outcome.is_ok() || conflicted(outcome)), "seed {seed}");
        assert_eq!(guild.state().await.member_count, 2, "seed {seed}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_halves_of_a_channel_and_of_a_role_changed_at_once_are_both_there() {
    interleaved(|world, node, seed| async move {
        let guild = Guild::of(&node).await;
        let role = guild.role("a").await.id;
        world.store.slow(SLOW);
        let guild = &guild;
        let channel = |change: fn(&mut Channel)| {
            settled(move || async move {
                let mut row = guild.channel().await;
                let basis = Basis { channels: vec![seen(row.id, row.rev)], ..Basis::default() };
                change(&mut row);
                guild.put_channel(row, basis).await
            })
        };
        let edit = |change: fn(&mut Role)| {
            settled(move || async move {
                let mut row = guild.state().await.roles.into_iter().find(|row| row.id == role).unwrap();
                let basis = Basis { roles: vec![seen(role, row.rev)], ..Basis::default() };
                change(&mut row);
                guild.put_role(row, basis).await
            })
        };
        let (topic, overwrites, color, name) = tokio::join!(
            channel(|row| row.topic = "t".into()),
            channel(|row| row.overwrites = vec![Overwrite { id: row.guild_id, ..Overwrite::default() }]),
            edit(|row| row.color = 7),
            edit(|row| row.name = "b".into()),
        );
        assert!(topic.is_ok() && overwrites.is_ok() && color.is_ok() && name.is_ok());
        let row = guild.channel().await;
        assert_eq!((row.topic.as_str(), row.overwrites.len()), ("t", 1), "seed {seed}");
        let row = guild.state().await.roles.into_iter().find(|row| row.id == role).unwrap();
        assert_eq!((row.color, row.name.as_str()), (7, "b"), "seed {seed}");
        world.store.assert_sound();
    })
    .await;
}

/// One who holds a role gives it to others while it is taken from him: whatever he gave, he gave while he
/// held it.
#[tokio::test(start_paused = true)]
async fn what_was_judged_by_an_old_state_does_not_change_a_new_one() {
    interleaved(|world, node, seed| async move {
        let guild = Guild::of(&node).await;
        let (actor, other) = (guild.user("ann").await, guild.user("bea").await);
        guild.join(actor, Basis::default()).await.unwrap();
        guild.join(other, Basis::default()).await.unwrap();
        let role = guild.role("power").await;
        guild.update(actor, &[role.id], &[], Basis::default()).await.unwrap();
        world.store.slow(SLOW);
        let grant = settled(|| async {
            let by = guild.member(actor).await.unwrap();
            if !by.role_ids.contains(&role.id) {
                return Ok(None);
            }
            let basis = Basis {
                members: vec![seen(actor, by.rev)],
                roles: vec![seen(role.id, role.rev)],
                ..Basis::default()
            };
            guild.update(other, &[role.id], &[], basis).await.map(Some)
        });
        let revoked = [role.id];
        let (granted, revoked) = tokio::join!(grant, guild.update(actor, &[], &revoked, Basis::default()));
        let (granted, revoked) = (granted.unwrap(), revoked.unwrap());
        assert!(granted.is_none_or(|row| row.rev < revoked.rev), "seed {seed}");
        world.store.assert_sound();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_change_is_refused_if_a_row_of_its_basis_has_changed_or_gone_and_nothing_happens() {
    let (_world, node) = World::with_node(1).await;
    let guild = Guild::of(&node).await;
    let Place { guild: guild_id, channel: channel_id, user } = guild.place;
    let role = guild.role("a").await;
    let gone = guild.role("gone").await;
    let request = DeleteRoleRequest { guild_id, role_id: gone.id, basis: None };
    guild.client.delete_role(&request, &options()).await.unwrap();
    let (state, member) = (guild.state().await, guild.member(user).await.unwrap());
    let channel = state.channels[0].clone();
    let changes = guild.client.list_changes(&changes_of(guild_id), &options()).await.unwrap().message;
    let stale = [
        Basis { roles: vec![seen(role.id, role.rev), seen(gone.id, gone.rev)], ..Basis::default() },
        Basis { roles: vec![RowSeen { id: role.id, rev: None }], ..Basis::default() },
        Basis { channels: vec![seen(channel_id, channel.rev - 1)], ..Basis::default() },
        Basis { members: vec![seen(user, member.rev + 1)], ..Basis::default() },
        Basis { members: vec![seen(user, member.rev), seen(77, 1)], ..Basis::default() },
    ];
    for basis in stale {
        let all = || Some(basis.clone());
        let (far, client) = (options(), &guild.client);
        let delete_channel = DeleteChannelRequest { channel_id, basis: all() };
        let delete_role = DeleteRoleRequest { guild_id, role_id: role.id, basis: all() };
        let outcomes = [
            guild.put_role(Role { color: 9, ..role.clone() }, basis.clone()).await.map(drop),
            guild
                .put_channel(Channel { topic: "x".into(), ..channel.clone() }, basis.clone())
                .await
                .map(drop),
            guild.join(user, basis.clone()).await.map(drop),
            guild.update(user, &[role.id], &[], basis.clone()).await.map(drop),
            guild.kick(user, basis.clone()).await,
            client.delete_channel(&delete_channel, &far).await.map(drop),
            client.delete_role(&delete_role, &far).await.map(drop),
        ];
        assert!(outcomes.iter().all(conflicted), "{basis:?}: {outcomes:?}");
    }
    assert_eq!((guild.state().await, guild.member(user).await), (state, Some(member.clone())));
    let after = guild.client.list_changes(&changes_of(guild_id), &options()).await.unwrap().message;
    assert_eq!(after, changes, "nothing was told either");

    // The same with a basis that holds, and a change that changes nothing: answered, and not told.
    let basis = Basis {
        roles: vec![seen(role.id, role.rev), RowSeen { id: gone.id, rev: None }],
        channels: vec![seen(channel_id, channel.rev)],
        members: vec![seen(user, member.rev), RowSeen { id: 77, rev: None }],
    };
    assert_eq!(guild.update(user, &[], &[role.id], basis.clone()).await.unwrap(), member);
    let after = guild.client.list_changes(&changes_of(guild_id), &options()).await.unwrap().message;
    assert_eq!(after, changes);
    let granted = guild.update(user, &[role.id], &[], basis.clone()).await.unwrap();
    assert_eq!(granted.role_ids, [role.id]);
    assert!(conflicted(&guild.update(user, &[], &[role.id], basis).await), "the row is another now");
}

fn changes_of(scope_id: u64) -> weir_proto::data::ListChangesRequest {
    weir_proto::data::ListChangesRequest { scope_id, after_rev: 0, limit: 0 }
}

#[tokio::test(start_paused = true)]
async fn a_basis_from_before_a_change_in_doubt_does_not_hold_after_it() {
    let (world, node) = World::with_node(3).await;
    let guild = Guild::of(&node).await;
    let user = guild.user("bea").await;
    let joined = guild.join(user, Basis::default()).await.unwrap();
    let roles = [guild.role("a").await.id];
    world.store.script([Fate::UnknownLater(Duration::from_millis(500))]);
    let basis = Basis { members: vec![seen(user, joined.rev)], ..Basis::default() };
    let (kicked, granted) =
        tokio::join!(guild.kick(user, Basis::default()), guild.update(user, &roles, &[], basis));
    assert!(matches!(kicked, Err(DataError::OutcomeUnknown { .. })), "{kicked:?}");
    assert!(conflicted(&granted), "{granted:?}");
    assert_eq!(guild.member(user).await, None);
    world.store.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_service_finds_the_same_rows_as_they_were_seen() {
    let (mut world, node) = World::with_node(4).await;
    let guild = Guild::of(&node).await;
    let user = guild.place.user;
    let role = guild.role("a").await;
    let (channel, member) = (guild.channel().await, guild.member(user).await.unwrap());
    let place = guild.place;
    world.crash();
    drop(node);
    let node = world.node().await;
    let guild = Guild { client: node.client.clone(), place };
    let basis = Basis {
        roles: vec![seen(role.id, role.rev)],
        channels: vec![seen(channel.id, channel.rev)],
        members: vec![seen(user, member.rev)],
    };
    assert_eq!(guild.update(user, &[role.id], &[], basis).await.unwrap().role_ids, [role.id]);
}
