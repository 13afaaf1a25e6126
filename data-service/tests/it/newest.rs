//! The newest message of each channel of a guild: it is right at once and after a restart, and is read once.

use std::sync::atomic::Ordering::SeqCst;

use prost::Message as _;
use tokio::time::Instant;
use weir_data_client::{DataClient, DataError};
use weir_proto::{
    admin::{Limit, LimitKind, SetLimitRequest},
    data::{Channel, GetGuildRequest, ListChangesRequest, PutChannelRequest, RefusalReason},
    event::{Record, record::Change},
};
use weir_store::Store as _;

use crate::node::{Node, Place, Talk, World, embedded, options};

/// By channel, as a guild's answer tells them.
async fn told(client: &DataClient, place: Place) -> Vec<(u64, u64)> {
    let request =
        GetGuildRequest { guild_id: place.guild, with_last_messages: true, ..GetGuildRequest::default() };
    let reply = client.get_guild(&request, &options()).await.unwrap().message;
    let channels = reply.state.unwrap().channels;
    assert_eq!(channels.len(), reply.last_message_ids.len(), "one for each");
    channels.iter().map(|channel| channel.id).zip(reply.last_message_ids).collect()
}

async fn put(client: &DataClient, channel: Channel) -> Channel {
    let request = PutChannelRequest { channel: Some(channel), basis: None };
    client.put_channel(&request, &options()).await.unwrap().message.channel.unwrap()
}

/// What the record of a channel's change says.
async fn announced(client: &DataClient, put: &Channel) -> (Channel, u64) {
    let request = ListChangesRequest { scope_id: put.guild_id, after_rev: put.rev - 1, limit: 0 };
    let reply = client.list_changes(&request, &options()).await.unwrap().message;
    let record = Record::decode(&**reply.records.last().unwrap()).unwrap();
    match record.change {
        Some(Change::ChannelUpdated(channel)) => {
            (channel, record.context.unwrap_or_default().last_message_id)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_channel_of_a_guild_has_its_newest_message_also_after_a_restart_and_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = embedded(directory.path()).await;
    let place = node.place().await;
    let other = Channel { guild_id: place.guild, name: "other".into(), ..Channel::default() };
    let (other, empty) = (put(&node.client, other.clone()).await, put(&node.client, other).await);
    assert!(told(&node.client, place).await.iter().all(|(_, newest)| *newest == 0));
    let talk = Talk(&node.client, place);
    talk.create("first").await.unwrap();
    assert!(
        told(&node.client, place).await.iter().any(|(_, newest)| *newest != 0),
        "not what was read before"
    );
    let newest = talk.create("second").await.unwrap().id;
    let elsewhere =
        Talk(&node.client, Place { channel: other.id, ..place }).create("there").await.unwrap().id;
    let expected = vec![(place.channel, newest), (other.id, elsewhere), (empty.id, 0)];
    assert_eq!(told(&node.client, place).await, expected);
    let other = Channel { topic: "changed".into(), ..other };
    let changed = put(&node.client, other.clone()).await;
    let (channel, last) = announced(&node.client, &changed).await;
    assert_eq!((channel.id, last), (other.id, elsewhere));
    node.close().await;
    drop(store);

    let (node, store) = embedded(directory.path()).await;
    assert_eq!(told(&node.client, place).await, expected, "after a restart");
    let reads = store.counters().reads;
    assert_eq!(told(&node.client, place).await, expected);
    assert_eq!(store.counters().reads, reads, "what was read is remembered, and that there is nothing too");
    let changed = put(&node.client, Channel { name: "renamed".into(), ..other }).await;
    assert_eq!(announced(&node.client, &changed).await.1, elsewhere, "told of a channel not written since");
    let later = Talk(&node.client, place).create("third").await.unwrap().id;
    assert_eq!(told(&node.client, place).await[0], (place.channel, later));
    node.close().await;
}

/// A guild of ten channels, each with one message, whose newest a node that starts now does not know.
async fn ten(world: &World) -> (Node, Place, Vec<(u64, u64)>) {
    let before = world.node().await;
    let place = before.place().await;
    for name in 1..10 {
        put(
            &before.client,
            Channel { guild_id: place.guild, name: format!("c{name}"), ..Channel::default() },
        )
        .await;
    }
    let mut newest = Vec::new();
    for (channel, _) in told(&before.client, place).await {
        let message = Talk(&before.client, Place { channel, ..place }).create("m").await.unwrap();
        newest.push((channel, message.id));
    }
    before.close().await;
    (world.node().await, place, newest)
}

async fn limit(client: &DataClient, kind: LimitKind, burst: u64) {
    let rate = if burst == 0 { 0.0 } else { 0.001 };
    let limit = Limit { scope: "all".into(), kind: kind.into(), rate, burst, ..Limit::default() };
    let limit = Limit { set_by: "ada".into(), reason: "an incident".into(), ..limit };
    client.set_limit(&SetLimitRequest { limit: Some(limit) }, &options()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_list_of_channels_is_one_request_however_many_they_are() {
    let world = World::new(3);
    let (node, place, newest) = ten(&world).await;
    limit(&node.client, LimitKind::Requests, 1).await;
    assert_eq!(told(&node.client, place).await, newest, "none of them was refused");
    let again = GetGuildRequest { guild_id: place.guild, ..GetGuildRequest::default() };
    let refused = node.client.get_guild(&again, &options()).await.unwrap_err();
    assert!(matches!(refused, DataError::Refused { reason: RefusalReason::RequestLimit, .. }), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_database_does_not_tell_soon_is_not_waited_for() {
    let world = World::new(4);
    let (node, place, newest) = ten(&world).await;
    // The guild is in memory now; its channels' messages are not.
    let first = Channel { id: newest[0].0, guild_id: place.guild, name: "c".into(), ..Channel::default() };
    let category = Channel { r#type: 4, name: "k".into(), guild_id: place.guild, ..Channel::default() };
    let category = put(&node.client, category).await;
    world.store.reads_hang.store(true, SeqCst);
    let begun = Instant::now();
    assert!(told(&node.client, place).await.iter().all(|(_, newest)| *newest == 0));
    assert_eq!(begun.elapsed().as_millis(), 250, "however long the caller would wait");
    let begun = Instant::now();
    put(&node.client, first.clone()).await;
    assert_eq!(begun.elapsed().as_millis(), 250);
    let begun = Instant::now();
    put(&node.client, category).await;
    assert_eq!(begun.elapsed().as_millis(), 0, "it has no messages");
    world.store.reads_hang.store(false, SeqCst);
    limit(&node.client, LimitKind::Writes, 0).await;
    world.store.reads_hang.store(true, SeqCst);
    let begun = Instant::now();
    let request = PutChannelRequest { channel: Some(first), basis: None };
    let refused = node.client.put_channel(&request, &options()).await.unwrap_err();
    assert!(matches!(refused, DataError::Refused { reason: RefusalReason::WriteLimit, .. }), "{refused:?}");
    assert_eq!(begun.elapsed().as_millis(), 0, "nothing is read for a change that is refused");
}
