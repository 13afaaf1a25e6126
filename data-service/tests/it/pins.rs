//! Pinned messages: what is listed, what is told, and what becomes of a pin with its message.

use std::time::Duration;

use tokio::time::sleep;
use weir_data_client::{DataClient, DataError};
use weir_proto::{
    data::{EventContext, ListPinsRequest, ListPinsResponse, Message, RefusalReason, SetPinnedRequest},
    event::record::Change,
};

use crate::{
    fake_bus::Consumer,
    fake_store::Fate,
    node::{Place, Talk, World, options},
};

async fn set(client: &DataClient, place: Place, id: u64, pinned: bool) -> Result<(Message, bool), DataError> {
    let context = Some(EventContext { guild_id: place.guild, ..EventContext::default() });
    let request = SetPinnedRequest { channel_id: place.channel, message_id: id, pinned, context };
    let reply = client.set_pinned(&request, &options()).await?.message;
    Ok((reply.message.unwrap(), reply.changed))
}

async fn page(client: &DataClient, place: Place, before_ms: u64, limit: u32) -> ListPinsResponse {
    let request = ListPinsRequest { channel_id: place.channel, before_ms, limit };
    client.list_pins(&request, &options()).await.expect("a page").message
}

async fn pinned(client: &DataClient, place: Place) -> Vec<u64> {
    page(client, place, 0, 0).await.messages.iter().map(|row| row.id).collect()
}

#[tokio::test(start_paused = true)]
async fn the_last_one_pinned_comes_first_and_pages_go_back_in_time() {
    let world = World::new(1);
    let node = world.node().await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let mut ids = Vec::new();
    for index in 0..5 {
        ids.push(talk.create(&format!("m{index}")).await.unwrap().id);
    }
    assert!(pinned(&node.client, place).await.is_empty());
    let order = [2, 0, 4, 1];
    for index in order {
        sleep(Duration::from_secs(1)).await;
        let (row, changed) = set(&node.client, place, ids[index], true).await.unwrap();
        assert!(changed && row.pinned_at_ms != 0 && row.edited_at_ms == 0);
        assert_eq!(talk.get(ids[index]).await.unwrap(), Some(row));
        assert_eq!(pinned(&node.client, place).await[0], ids[index], "a list of before is not served");
    }
    let newest_first: Vec<u64> = order.iter().rev().map(|index| ids[*index]).collect();
    assert_eq!(pinned(&node.client, place).await, newest_first);
    let first = page(&node.client, place, 0, 3).await;
    assert!(first.has_more);
    let last = first.messages.last().unwrap().pinned_at_ms;
    let rest = page(&node.client, place, last, 3).await;
    assert_eq!((rest.messages[0].id, rest.messages.len(), rest.has_more), (newest_first[3], 1, false));
    for index in order {
        assert!(set(&node.client, place, ids[index], false).await.unwrap().1);
    }
    assert!(pinned(&node.client, place).await.is_empty());
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn pins_of_one_moment_have_their_order_and_are_each_on_a_page() {
    let world = World::new(6);
    let node = world.node().await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let mut ids = Vec::new();
    for index in 0..4 {
        ids.push(talk.create(&format!("m{index}")).await.unwrap().id);
    }
    // The clock is paused. The last one pinned has the least id.
    for id in ids.iter().rev() {
        set(&node.client, place, *id, true).await.unwrap();
    }
    let (mut found, mut before_ms) = (Vec::new(), 0);
    loop {
        let one = page(&node.client, place, before_ms, 1).await;
        before_ms = one.messages[0].pinned_at_ms;
        found.push(one.messages[0].id);
        if !one.has_more {
            break;
        }
    }
    assert_eq!(found, ids);
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_pin_is_told_as_an_edit_and_by_the_newest_pin_and_only_once() {
    let world = World::new(2);
    let node = world.node().await;
    let place = node.place().await;
    let id = Talk(&node.client, place).create("pin this").await.unwrap().id;
    let (row, _) = set(&node.client, place, id, true).await.unwrap();
    let (again, changed) = set(&node.client, place, id, true).await.unwrap();
    assert_eq!((again, changed), (row.clone(), false));
    set(&node.client, place, id, false).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let mut consumer = Consumer::default();
    consumer.take(world.bus.of(place.channel));
    let chained = consumer.taken.windows(2).all(|pair| pair[1].prev_rev == pair[0].rev);
    assert!(chained, "{:?}", consumer.taken);
    let told: Vec<(bool, u64)> = consumer
        .taken
        .iter()
        .filter_map(|record| match record.change.as_ref()? {
            Change::MessageEdited(row) => Some((true, row.pinned_at_ms)),
            Change::PinsChanged(change) => Some((false, change.last_pin_at_ms)),
            _ => None,
        })
        .collect();
    let at = row.pinned_at_ms;
    assert_eq!(told, [(true, at), (false, at), (true, 0), (false, 0)]);
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_pin_goes_with_its_message() {
    let world = World::new(3);
    let node = world.node().await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let mut ids = Vec::new();
    for index in 0..3 {
        let id = talk.create(&format!("m{index}")).await.unwrap().id;
        set(&node.client, place, id, true).await.unwrap();
        ids.push(id);
    }
    talk.delete(ids[0]).await.unwrap();
    talk.delete_together(&[ids[1]]).await.unwrap();
    assert_eq!(pinned(&node.client, place).await, ids[2..]);
    let left = world.store.rows().described.iter().filter(|(_, (_, row))| row.is_some()).count();
    assert_eq!(left, 1);
    let gone = set(&node.client, place, ids[0], true).await;
    assert!(matches!(gone, Err(DataError::NotFound { .. })), "{gone:?}");
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_has_at_most_250_pins() {
    let world = World::new(4);
    let node = world.node().await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let mut last = 0;
    for index in 0..251 {
        last = talk.create(&format!("m{index}")).await.unwrap().id;
        if index < 250 {
            set(&node.client, place, last, true).await.unwrap();
        }
    }
    let refused = set(&node.client, place, last, true).await;
    assert!(
        matches!(&refused, Err(DataError::Refused { reason: RefusalReason::ChannelPins, .. })),
        "{refused:?}"
    );
    assert_eq!(talk.get(last).await.unwrap().unwrap().pinned_at_ms, 0);
    assert!(page(&node.client, place, 0, 50).await.has_more);
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_pin_whose_answer_was_lost_is_there_once() {
    let world = World::new(5);
    let node = world.node().await;
    let place = node.place().await;
    let id = Talk(&node.client, place).create("pin this").await.unwrap().id;
    assert!(pinned(&node.client, place).await.is_empty());
    for fate in [Fate::UnknownApplied, Fate::UnknownNotApplied] {
        world.store.script([fate]);
        let outcome = set(&node.client, place, id, true).await;
        assert!(matches!(outcome, Err(DataError::OutcomeUnknown { .. })), "{outcome:?}");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(pinned(&node.client, place).await, [id], "{fate:?}: it was made good");
        assert!(!set(&node.client, place, id, true).await.unwrap().1);
        assert!(set(&node.client, place, id, false).await.unwrap().1);
    }
    node.close().await;
}

#[tokio::test]
async fn pins_survive_a_reopened_store() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = crate::node::embedded(directory.path()).await;
    let place = node.place().await;
    let id = Talk(&node.client, place).create("pin this").await.unwrap().id;
    let (row, _) = set(&node.client, place, id, true).await.unwrap();
    node.close().await;
    store.close().await;
    drop(store);
    let (node, store) = crate::node::embedded(directory.path()).await;
    assert_eq!(page(&node.client, place, 0, 0).await.messages, [row]);
    assert!(set(&node.client, place, id, false).await.unwrap().1);
    assert!(pinned(&node.client, place).await.is_empty());
    node.close().await;
    store.close().await;
}
