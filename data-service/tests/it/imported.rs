//! Imported rows are recognized by their ids' worker number, independently of any clock.

use weir_data_client::DataError;
use weir_proto::{
    admin::{BeginImportRequest, BeginImportResponse},
    data::{Channel, GetGuildRequest, GuildState, ListChangesRequest, Message, PutChannelRequest},
    id::EPOCH_MS,
};
use weir_runtime::WallClock as _;

use crate::node::{Node, Talk, World, begin_import, import, imported, options};

/// A file may end with a line of this very moment.
#[tokio::test(start_paused = true)]
async fn a_row_that_is_imported_at_its_own_time_is_no_event() {
    let (world, node, place) = World::with_place(1).await;
    let said = Talk(&node.client, place).create("said").await.unwrap();
    let now_ms = world.clock.wall_ms() - EPOCH_MS;
    let row =
        |id: u64| Message { id, author_id: place.user, content: "imported".into(), ..Message::default() };
    let messages = vec![row(imported(now_ms - 1, 0)), row(imported(now_ms, 0))];
    begin_import(&*world.store, vec![place.channel]).await;
    import(&node.client, place.channel, [messages]).await.unwrap();
    let asked = ListChangesRequest { scope_id: place.channel, after_rev: said.rev, limit: 0 };
    let told = node.client.list_changes(&asked, &options()).await.unwrap().message;
    assert_eq!(told.records.len(), 0);
    let asked = ListChangesRequest { after_rev: said.rev - 1, ..asked };
    let told = node.client.list_changes(&asked, &options()).await.unwrap().message;
    assert_eq!(told.records.len(), 1, "what was said is");
}

/// Such an id may be that of a message which was said here, and a row under it would pass for one.
#[tokio::test(start_paused = true)]
async fn an_id_that_an_owner_may_mint_is_no_imports() {
    let (world, node, place) = World::with_place(2).await;
    let said = Talk(&node.client, place).create("said").await.unwrap();
    begin_import(&*world.store, vec![place.channel]).await;
    for id in [said.id, 1_000 << 22, imported(1_000, 0) + (1 << 12)] {
        let row = Message { id, author_id: 5, content: "another's".into(), ..Message::default() };
        let answer = import(&node.client, place.channel, [vec![row]]).await;
        assert!(matches!(answer, Err(DataError::Invalid { .. })), "{id}: {answer:?}");
    }
    assert_eq!(Talk(&node.client, place).get(said.id).await.unwrap(), Some(said));
}

/// The guild, its channels and some authors of a job that has four.
async fn begin(node: &Node, first_author: u64, author_names: [&str; 2]) -> BeginImportResponse {
    let request = BeginImportRequest {
        job: vec![7; 32],
        guild_name: "imported".into(),
        channel_names: vec!["general".into(), "random".into()],
        author_names: author_names.map(str::to_owned).into(),
        authors_total: 4,
        first_author,
    };
    node.client.begin_import(&request, &options()).await.unwrap().message
}

async fn guild(node: &Node, guild_id: u64) -> GuildState {
    let request = GetGuildRequest { guild_id, ..GetGuildRequest::default() };
    node.client.get_guild(&request, &options()).await.unwrap().message.state.unwrap()
}

async fn rename(node: &Node, channel: &Channel, name: &str) -> Channel {
    let channel = Some(Channel { name: name.into(), ..channel.clone() });
    let request = PutChannelRequest { channel, ..PutChannelRequest::default() };
    node.client.put_channel(&request, &options()).await.unwrap().message.channel.unwrap()
}

/// A turn of the guild has it in memory when the import goes on.
#[tokio::test(start_paused = true)]
async fn what_an_import_adds_to_a_guild_in_memory_is_seen() {
    let (_world, node) = World::with_node(3).await;
    let job = begin(&node, 0, ["ann", "bob"]).await;
    let before = guild(&node, job.guild_id).await;
    assert_eq!((before.member_count, before.channels.len()), (2, 2));
    let channel = rename(&node, &before.channels[0], "renamed").await;
    begin(&node, 2, ["cem", "dia"]).await;
    assert_eq!(guild(&node, job.guild_id).await.member_count, 4);
    rename(&node, &channel, "again").await;
    assert_eq!(guild(&node, job.guild_id).await.member_count, 4, "the next turn builds on it");
}

/// A job that was killed begins anew: what was changed in its guild meanwhile stays so.
#[tokio::test(start_paused = true)]
async fn a_job_that_begins_again_keeps_what_was_changed() {
    let (world, node) = World::with_node(4).await;
    let job = begin(&node, 0, ["ann", "bob"]).await;
    let channel = guild(&node, job.guild_id).await.channels[0].clone();
    let channel = rename(&node, &channel, "renamed").await;
    assert_eq!(begin(&node, 0, ["ann", "bob"]).await.guild_id, job.guild_id);
    for node in [node, world.node().await] {
        let now = guild(&node, job.guild_id).await;
        let named = now.channels.iter().find(|row| row.id == channel.id).unwrap();
        assert_eq!((named.name.as_str(), named.rev), ("renamed", channel.rev));
    }
}
