//! The maximum number of guilds that one user may own.

use weir_data_client::{DataClient, DataError};
use weir_proto::{
    admin::{Limit, LimitKind, SetLimitRequest},
    data::{CreateGuildRequest, CreateUserRequest, DeleteGuildRequest, Guild, Member, RefusalReason, User},
};
use weir_store::Store as _;

use crate::{
    fake_store::Fate,
    node::{Node, World, options},
};

/// The bound.
const OWNED_MAX: usize = 200;

async fn user(node: &Node, name: &str) -> u64 {
    let user = Some(User { username: name.into(), ..User::default() });
    let request = CreateUserRequest { user, token_hash: Vec::new() };
    node.client.create_user(&request, &options()).await.unwrap().message.user.unwrap().id
}

async fn found(client: &DataClient, owner_id: u64) -> Result<u64, DataError> {
    let request = CreateGuildRequest {
        guild: Some(Guild { name: "g".into(), owner_id, ..Guild::default() }),
        members: vec![Member { user_id: owner_id, ..Member::default() }],
        ..CreateGuildRequest::default()
    };
    let state = client.create_guild(&request, &options()).await?.message.state.unwrap();
    Ok(state.guild.unwrap().id)
}

fn refused(outcome: &Result<u64, DataError>) -> bool {
    matches!(outcome, Err(DataError::Refused { reason: RefusalReason::OwnedGuilds, .. }))
}

#[tokio::test(start_paused = true)]
async fn a_user_owns_so_many_guilds_however_fast_it_founds_them() {
    let node = World::new(1).node().await;
    let (ann, bob) = (user(&node, "ann").await, user(&node, "bob").await);
    let mut guilds = Vec::new();
    for _ in 0..OWNED_MAX - 1 {
        guilds.push(found(&node.client, ann).await.unwrap());
    }
    let at_once = futures_util::future::join_all((0..5).map(|_| found(&node.client, ann))).await;
    assert_eq!(at_once.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{at_once:?}");
    assert_eq!(at_once.iter().filter(|outcome| refused(outcome)).count(), 4, "{at_once:?}");
    found(&node.client, bob).await.unwrap();

    let request = DeleteGuildRequest { guild_id: guilds[0] };
    node.client.delete_guild(&request, &options()).await.unwrap();
    found(&node.client, ann).await.unwrap();
    assert!(refused(&found(&node.client, ann).await));
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_and_never_came_counts_for_a_while_only() {
    let (world, node) = World::with_node(2).await;
    let ann = user(&node, "ann").await;
    let kind = format!("owned/{ann}");
    // As a process leaves them that is killed between the note and the guild: of long ago, and of now.
    let note = async |from: u64| {
        for number in 0..OWNED_MAX as u64 {
            world
                .store
                .write_setting(&kind, &(from + number).to_be_bytes(), Some(Default::default()))
                .await
                .unwrap();
        }
    };
    note(1 << 22).await;
    let guild = found(&node.client, ann).await.unwrap();
    let left = world.store.read_settings(&kind, 1_000).await.unwrap().len();
    assert_eq!(left, OWNED_MAX - 8 + 1, "so many were taken away as one founding looks at");
    note(guild + (1 << 22)).await;
    assert!(refused(&found(&node.client, ann).await));
}

async fn noted(world: &World, owner_id: u64) -> usize {
    world.store.read_settings(&format!("owned/{owner_id}"), 1_000).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_guild_that_was_certainly_not_made_is_not_counted() {
    let (world, node) = World::with_node(3).await;
    let ann = user(&node, "ann").await;
    world.store.script([Fate::NotApplied]);
    assert!(found(&node.client, ann).await.is_err());
    assert_eq!(noted(&world, ann).await, 0, "the database said no");
    let guild = found(&node.client, ann).await.unwrap();
    let again = CreateGuildRequest {
        guild: Some(Guild { id: guild, name: "g".into(), owner_id: ann, ..Guild::default() }),
        ..CreateGuildRequest::default()
    };
    assert!(node.client.create_guild(&again, &options()).await.is_err());
    assert_eq!(noted(&world, ann).await, 1, "the first of that id is there");
    let limit = Limit {
        scope: "all".into(),
        kind: LimitKind::Writes.into(),
        set_by: "ada".into(),
        reason: "an incident".into(),
        ..Limit::default()
    };
    node.client.set_limit(&SetLimitRequest { limit: Some(limit) }, &options()).await.unwrap();
    world.store.script_settings([Fate::Panic]);
    let refused = found(&node.client, ann).await.unwrap_err();
    assert!(matches!(refused, DataError::Refused { reason: RefusalReason::WriteLimit, .. }), "{refused:?}");
    assert_eq!(noted(&world, ann).await, 1, "nothing is written before the limit is charged");
}

#[tokio::test(start_paused = true)]
async fn who_comes_to_the_bound_again_and_again_has_few_guilds_read_each_time() {
    let (world, node) = World::with_node(4).await;
    let ann = user(&node, "ann").await;
    for _ in 0..OWNED_MAX {
        found(&node.client, ann).await.unwrap();
    }
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    let mut reads = Vec::new();
    for _ in 0..30 {
        let before = world.store.reads();
        assert!(refused(&found(&node.client, ann).await));
        reads.push(world.store.reads() - before);
    }
    // The notes, and for each guild its rows and how many members it has.
    assert!(reads.iter().all(|reads| *reads <= 1 + 2 * 8), "{reads:?}");
    assert!(reads[25..].iter().all(|reads| *reads == 1), "all were looked at: {reads:?}");
    assert_eq!(noted(&world, ann).await, OWNED_MAX);
}
