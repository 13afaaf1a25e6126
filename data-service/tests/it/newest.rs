//! The newest message of each channel of a guild: right at once, after a restart, and read once.

use prost::Message as _;
use weir_data_client::DataClient;
use weir_proto::{
    data::{Channel, GetGuildRequest, ListChangesRequest, PutChannelRequest},
    event::{Record, record::Change},
};
use weir_store::Store as _;

use crate::node::{Place, Talk, embedded, options};

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
