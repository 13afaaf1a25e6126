//! A change that leaves its row unchanged makes no revision and no record. An edit's time is that of a real
//! edit.

use std::time::Duration;

use tokio::time::sleep;
use weir_proto::data::{
    EditMessageRequest, GetGuildRequest, Member, Message, PutChannelRequest, PutMemberRequest,
    PutRoleRequest, Role,
};

use crate::node::{Node, Place, Talk, World, options};

/// Records of a message's channel and of its guild.
fn records(world: &World, place: Place) -> usize {
    world.bus.of(place.channel).len() + world.bus.of(place.guild).len()
}

async fn edit(node: &Node, row: &Message, request: EditMessageRequest) -> Message {
    let request = EditMessageRequest { channel_id: row.channel_id, message_id: row.id, ..request };
    node.client.edit_message(&request, &options()).await.unwrap().message.message.unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_what_a_message_says_makes_it_an_edited_one() {
    let (_world, node, place) = World::with_place(1).await;
    let row = Talk(&node.client, place).create("said").await.unwrap();
    let flagged =
        edit(&node, &row, EditMessageRequest { flags: Some(4), ..EditMessageRequest::default() }).await;
    assert!(flagged.flags == 4 && flagged.last_rev > row.last_rev);
    assert_eq!(flagged.edited_at_ms, 0, "a moderator hid the embeds, the author edited nothing");
    let content = EditMessageRequest { content: Some("other words".into()), ..EditMessageRequest::default() };
    let edited = edit(&node, &row, content).await;
    assert_eq!(edited.edited_at_ms, edited.last_rev / 1_000);
    sleep(Duration::from_secs(1)).await;
    let again =
        edit(&node, &row, EditMessageRequest { flags: Some(0), ..EditMessageRequest::default() }).await;
    assert_eq!(again.edited_at_ms, edited.edited_at_ms, "the time of the last edit stays");
    let embeds = EditMessageRequest { embeds_json: Some("[{}]".into()), ..EditMessageRequest::default() };
    assert!(edit(&node, &row, embeds).await.edited_at_ms > edited.edited_at_ms);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_changes_nothing_is_answered_and_told_to_nobody() {
    let (world, node, place) = World::with_place(2).await;
    let client = &node.client;
    let row = Talk(client, place).create("said").await.unwrap();
    let role = Role { guild_id: place.guild, name: "r".into(), ..Role::default() };
    let put_role = async |role: &Role| {
        let request = PutRoleRequest { role: Some(role.clone()), basis: None };
        client.put_role(&request, &options()).await.unwrap().message.role.unwrap()
    };
    let role = put_role(&role).await;
    let member = Member { guild_id: place.guild, user_id: place.user, nick: "n".into(), ..Member::default() };
    let put_member = async || {
        let request = PutMemberRequest { member: Some(member.clone()), basis: None };
        client.put_member(&request, &options()).await.unwrap().message
    };
    let member = put_member().await;
    let request = GetGuildRequest { guild_id: place.guild, ..GetGuildRequest::default() };
    let state = client.get_guild(&request, &options()).await.unwrap().message.state.unwrap();
    let channel = state.channels[0].clone();
    sleep(Duration::from_secs(1)).await;
    let before = records(&world, place);

    assert_eq!(edit(&node, &row, EditMessageRequest::default()).await, row);
    let same = EditMessageRequest {
        content: Some("said".into()),
        flags: Some(0),
        mentions_set: true,
        ..EditMessageRequest::default()
    };
    assert_eq!(edit(&node, &row, same).await, row);
    assert_eq!(put_role(&Role { rev: 0, ..role.clone() }).await, role);
    assert_eq!(put_member().await, member);
    let request = PutChannelRequest { channel: Some(channel.clone()), basis: None };
    assert_eq!(client.put_channel(&request, &options()).await.unwrap().message.channel, Some(channel));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(records(&world, place), before, "nothing happened, so nothing is told");
    // What is told next follows on what was told last.
    let next = Talk(client, place).create("next").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let record = world.bus.of(place.channel).pop().unwrap();
    assert_eq!((record.rev, record.prev_rev), (next.rev, row.rev));
}
