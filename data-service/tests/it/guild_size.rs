//! The maximum size of a guild's overwrites, independently of the api; a permission check does not pay for
//! them.

use prost::Message as _;
use weir_data_client::{DataClient, DataError};
use weir_proto::data::{
    Channel, GetChannelContextRequest, GetGuildRequest, GuildExtent, Overwrite, PutChannelRequest,
    RefusalReason,
};

use crate::node::{Place, World, options};

/// Overwrites of a guild that the data service takes.
const OVERWRITES_MAX: usize = 10_000;
/// Of these each channel gets so many.
const OF_A_CHANNEL: usize = 500;

/// Overwrites of so many members.
fn overwrites(count: usize) -> Vec<Overwrite> {
    (1..=count as u64).map(|id| Overwrite { id, r#type: 1, allow: 1 << 11, deny: 1 << 10 }).collect()
}

async fn put(client: &DataClient, channel: Channel) -> Result<Channel, DataError> {
    let request = PutChannelRequest { channel: Some(channel), basis: None };
    Ok(client.put_channel(&request, &options()).await?.message.channel.unwrap())
}

fn channel(place: Place, overwrites: Vec<Overwrite>) -> Channel {
    Channel { guild_id: place.guild, name: "many".into(), overwrites, ..Channel::default() }
}

/// Bytes of the answers by which permissions are checked: in a channel, in the guild at large.
async fn checks(client: &DataClient, place: Place) -> [usize; 2] {
    let request = GetChannelContextRequest {
        channel_id: place.channel,
        user_id: place.user,
        concerned_only: true,
        ..GetChannelContextRequest::default()
    };
    let context = client.get_channel_context(&request, &options()).await.unwrap().message;
    let extent = GuildExtent::WithoutChannels.into();
    let request = GetGuildRequest { guild_id: place.guild, extent, ..GetGuildRequest::default() };
    let guild = client.get_guild(&request, &options()).await.unwrap().message;
    [context.encoded_len(), guild.encoded_len()]
}

#[tokio::test(start_paused = true)]
async fn a_guilds_overwrites_are_bounded_and_a_check_does_not_grow_with_them() {
    let node = World::new(1).node().await;
    let (small, large) = (node.place().await, node.place().await);
    let mut last = Channel::default();
    for _ in 0..OVERWRITES_MAX / OF_A_CHANNEL {
        last = put(&node.client, channel(large, overwrites(OF_A_CHANNEL))).await.unwrap();
    }
    let refused = put(&node.client, channel(large, overwrites(1))).await.unwrap_err();
    let full = matches!(&refused, DataError::Refused { reason: RefusalReason::GuildOverwrites, .. });
    assert!(full, "{refused:?}");
    let one_more = Channel { overwrites: overwrites(OF_A_CHANNEL + 1), ..last.clone() };
    assert!(matches!(put(&node.client, one_more).await, Err(DataError::Refused { .. })));
    let one_less = Channel { overwrites: overwrites(OF_A_CHANNEL - 1), ..last };
    put(&node.client, one_less).await.unwrap();
    put(&node.client, channel(large, overwrites(1))).await.unwrap();

    let (alone, beside) = (checks(&node.client, small).await, checks(&node.client, large).await);
    println!("bytes of a check: {alone:?} in a small guild, {beside:?} beside {OVERWRITES_MAX} overwrites");
    // Revisions and counts take a few bytes more or less.
    assert!(alone.iter().zip(&beside).all(|(alone, beside)| *beside <= alone + 16), "{alone:?} {beside:?}");
}

#[tokio::test(start_paused = true)]
async fn overwrites_are_checked_whatever_is_sent() {
    let node = World::new(1).node().await;
    let place = node.place().await;
    let one = |id, r#type| Overwrite { id, r#type, allow: u64::MAX, deny: 1 << 63 | 1 << 11 };
    for wrong in [vec![one(5, 1), one(5, 1)], vec![one(5, 2)], vec![one(0, 0)], overwrites(1_001)] {
        let outcome = put(&node.client, channel(place, wrong)).await;
        assert!(matches!(outcome, Err(DataError::Invalid { .. })), "{outcome:?}");
    }
    let stored = put(&node.client, channel(place, vec![one(5, 0), one(5, 1)])).await.unwrap();
    let meaning = ((1 << 53) - 1) & !(1 << 47);
    assert!(stored.overwrites.iter().all(|row| (row.allow, row.deny) == (meaning, 1 << 11)), "{stored:?}");
}
