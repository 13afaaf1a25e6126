//! How many guilds one user may own.

use weir_data_client::{DataClient, DataError};
use weir_proto::data::{
    CreateGuildRequest, CreateUserRequest, DeleteGuildRequest, Guild, Member, RefusalReason, User,
};
use weir_store::Store as _;

use crate::node::{Node, World, options};

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
    assert!(!at_once.iter().any(|outcome| outcome.as_ref().is_err_and(DataError::is_retryable)));
    found(&node.client, bob).await.unwrap();

    let request = DeleteGuildRequest { guild_id: guilds[0] };
    node.client.delete_guild(&request, &options()).await.unwrap();
    found(&node.client, ann).await.unwrap();
    assert!(refused(&found(&node.client, ann).await));
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_and_never_came_counts_for_a_while_only() {
    let world = World::new(2);
    let node = world.node().await;
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
    assert_eq!(world.store.read_settings(&kind, 1_000).await.unwrap().len(), 1, "they were taken away");
    note(guild + (1 << 22)).await;
    assert!(refused(&found(&node.client, ann).await));
}
