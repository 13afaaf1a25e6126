//! Direct messages: one channel for each pair, after any failure and for any caller; and the receivers of its
//! records.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::sleep;
use weir_data_client::{DataClient, DataError};
use weir_proto::{
    data::{
        Channel, CreateUserRequest, GetChannelContextRequest, GetChannelContextResponse, OpenDirectRequest,
        OpenDirectResponse, PutChannelRequest, TypingRequest, User,
    },
    event::{Record, record::Change},
    id::UserId,
    pair::UserPair,
};
use weir_store::RowChange;

use crate::{
    fake_bus::Consumer,
    fake_store::Fate,
    node::{At, Place, Talk, World, options},
    order::assert_chained,
};

/// Two users.
async fn two(client: &DataClient) -> [u64; 2] {
    let user = async |name: &str| {
        let user = User { username: name.into(), ..User::default() };
        let request = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
        client.create_user(&request, &options()).await.unwrap().message.user.unwrap().id
    };
    [user("ann").await, user("bob").await]
}

async fn opened(
    client: &DataClient,
    user_id: u64,
    recipient_id: u64,
) -> Result<OpenDirectResponse, DataError> {
    let request = OpenDirectRequest { user_id, recipient_id };
    Ok(client.open_direct(&request, &options()).await?.message)
}

async fn open(client: &DataClient, user_id: u64, recipient_id: u64) -> Result<Channel, DataError> {
    Ok(opened(client, user_id, recipient_id).await?.channel.unwrap())
}

async fn context(
    client: &DataClient,
    channel_id: u64,
    user_id: u64,
) -> Result<GetChannelContextResponse, DataError> {
    let request = GetChannelContextRequest { channel_id, user_id, ..GetChannelContextRequest::default() };
    Ok(client.get_channel_context(&request, &options()).await?.message)
}

fn pair([one, other]: [u64; 2]) -> UserPair {
    let user = |id| UserId::try_from(id).unwrap();
    UserPair::of(user(one), user(other)).unwrap()
}

/// Channels that were ever committed for direct messages.
fn made(world: &World) -> BTreeSet<u64> {
    let seen = world.store.seen();
    let rows = seen.iter().flat_map(|seen| &seen.commit.rows);
    rows.filter_map(|row| match row {
        RowChange::PutDirect(channel) => Some(channel.id),
        _ => None,
    })
    .collect()
}

/// Any transport, any store: what a client of the service relies on.
pub(crate) async fn work(client: &DataClient) {
    let [ann, bob] = two(client).await;
    let eve = two(client).await[0];
    let first = opened(client, bob, ann).await.unwrap();
    let channel = first.channel.unwrap();
    assert_eq!((channel.r#type, channel.guild_id, &channel.recipient_ids), (1, 0, &vec![ann, bob]));
    assert_eq!(first.last_message_id, 0);
    assert_eq!(open(client, ann, bob).await.unwrap(), channel, "the same from the other side");
    assert_ne!(open(client, ann, eve).await.unwrap().id, channel.id);
    let talk = Talk(client, Place { guild: 0, channel: channel.id, user: ann });
    let row = talk.create("hello").await.unwrap();
    let edited = talk.edit(row.id, "hello, Bob").await.unwrap();
    assert!(row.rev > channel.rev && edited.last_rev > row.rev, "one chain");
    assert_eq!(talk.contents(At::Latest, 5).await, ["hello, Bob"]);
    assert_eq!(opened(client, bob, ann).await.unwrap().last_message_id, row.id);
    for user in [ann, bob, eve] {
        let told = context(client, channel.id, user).await.unwrap();
        assert_eq!((told.channel, told.state, told.member), (Some(channel.clone()), None, None));
        assert_eq!((told.user.unwrap().id, told.last_message_id), (user, row.id));
    }
    talk.delete(row.id).await.unwrap();
    for (user_id, recipient_id) in [(ann, ann), (0, ann), (ann, 0)] {
        let refused = open(client, user_id, recipient_id).await;
        assert!(matches!(refused, Err(DataError::Invalid { .. })), "{refused:?}");
    }
    for (user_id, recipient_id) in [(ann, 12_345), (12_345, ann)] {
        let refused = open(client, user_id, recipient_id).await;
        assert!(matches!(refused, Err(DataError::NotFound { .. })), "{refused:?}");
    }
    let request = weir_proto::data::DeleteChannelRequest { channel_id: channel.id, basis: None };
    let refused = client.delete_channel(&request, &options()).await;
    assert!(matches!(refused, Err(DataError::Invalid { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn of_many_who_open_a_pair_at_once_all_get_one_channel() {
    for seed in 0..20 {
        let (world, node) = World::with_node(seed).await;
        let [ann, bob] = two(&node.client).await;
        let before = world.store.seen().len();
        world.store.slow(Duration::from_millis(20));
        let calls = (0..40).map(|n| {
            let client = &node.client;
            async move {
                sleep(Duration::from_millis(n)).await;
                let (one, other) = if n % 2 == 0 { (ann, bob) } else { (bob, ann) };
                let channel = open(client, one, other).await.unwrap();
                // Whoever has it may use it at once.
                let place = Place { guild: 0, channel: channel.id, user: one };
                Talk(client, place).create("mine").await.unwrap();
                channel
            }
        });
        let channels = join_all(calls).await;
        assert!(channels.iter().all(|channel| *channel == channels[0]), "seed {seed}: {channels:?}");
        assert_eq!(made(&world), BTreeSet::from([channels[0].id]), "seed {seed}");
        let commits = world.store.seen().split_off(before);
        assert!(matches!(commits[0].commit.rows[..], [RowChange::PutDirect(_)]), "before any message");
        sleep(Duration::from_secs(1)).await;
        world.store.assert_sound();
        assert_chained(&world, channels[0].id);
        let told = world.bus.of(channels[0].id);
        assert_eq!(told.len(), 41);
        assert!(matches!(told[0].change, Some(Change::ChannelCreated(_))) && told[0].prev_rev == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_making_is_in_doubt_nobody_is_told_and_nobody_makes_another() {
    for fate in [
        Fate::UnknownApplied,
        Fate::UnknownNotApplied,
        Fate::UnknownLater(Duration::from_millis(300)),
        Fate::Slow(Duration::from_secs(1)),
        Fate::NotApplied,
    ] {
        let (world, node) = World::with_node(1).await;
        let [ann, bob] = two(&node.client).await;
        world.store.script([fate]);
        let answers = join_all([
            open(&node.client, ann, bob),
            open(&node.client, bob, ann),
            open(&node.client, ann, bob),
        ])
        .await;
        let told: BTreeSet<u64> = answers.iter().flatten().map(|channel| channel.id).collect();
        let found = open(&node.client, bob, ann).await.unwrap();
        assert_eq!(told, BTreeSet::from([found.id]), "{fate:?}: {answers:?}");
        let first_fails = matches!(
            (fate, &answers[0]),
            (Fate::Slow(_), Ok(_))
                | (Fate::NotApplied, Err(DataError::Refused { .. }))
                | (_, Err(DataError::OutcomeUnknown { .. }))
        );
        assert!(first_fails, "{fate:?}: {answers:?}");
        context(&node.client, found.id, ann).await.unwrap();
        if fate != Fate::NotApplied {
            assert_eq!(made(&world), BTreeSet::from([found.id]), "{fate:?}");
        }
        world.store.assert_sound();
    }
}

/// A process killed at any moment of an opening: what it said holds, and whoever asks next gets one channel
/// that works.
#[test]
fn a_kill_at_any_moment_of_an_opening_leaves_one_channel_that_works() {
    for at_ms in 0..120 {
        crate::history::paused(async move {
            let (mut world, node) = World::with_node(at_ms).await;
            let [ann, bob] = two(&node.client).await;
            sleep(Duration::from_millis(2_500)).await;
            world.store.slow(Duration::from_millis(15));
            let client = node.client.clone();
            let said = Arc::new(Mutex::new(None));
            let told = Arc::clone(&said);
            tokio::spawn(async move {
                let channel = open(&client, ann, bob).await.unwrap();
                *told.lock().unwrap() = Some(channel);
            });
            sleep(Duration::from_millis(at_ms)).await;
            world.crash();
            let said = said.lock().unwrap().clone();
            sleep(Duration::from_secs(1)).await;
            let next = world.node().await;
            let channel = open(&next.client, bob, ann).await.unwrap();
            assert!(said.is_none_or(|said| said == channel), "killed after {at_ms} ms");
            assert_eq!(open(&next.client, ann, bob).await.unwrap(), channel);
            let row = Talk(&next.client, Place { guild: 0, channel: channel.id, user: bob });
            let row = row.create("works").await.unwrap();
            sleep(Duration::from_secs(3)).await;
            // Told in its order, whichever of the two processes made it and whether or not that one came to
            // tell. What is recovered is chained to where the reading began, which is before the channel was.
            let mut consumer = Consumer { have: channel.rev - 1, ..Consumer::default() };
            consumer.take(world.bus.of(channel.id));
            let revs: Vec<u64> = consumer.taken.iter().map(|record| record.rev).collect();
            assert_eq!((revs, consumer.gaps), (vec![channel.rev, row.rev], 0), "killed after {at_ms} ms");
        });
    }
}

fn goes_to(record: &Record, users: [u64; 2]) {
    assert_eq!((record.guild_id, &record.recipient_ids[..]), (0, &users[..]), "{record:?}");
}

#[tokio::test(start_paused = true)]
async fn every_record_goes_to_both_users_and_to_no_guild() {
    let (world, node) = World::with_node(2).await;
    let users = two(&node.client).await;
    let channel = open(&node.client, users[0], users[1]).await.unwrap();
    let talk = Talk(&node.client, Place { guild: 0, channel: channel.id, user: users[0] });
    let row = talk.create("m").await.unwrap();
    talk.edit(row.id, "e").await.unwrap();
    talk.delete(row.id).await.unwrap();
    let typing = TypingRequest { channel_id: channel.id, user_id: users[0], timestamp_ms: 1, context: None };
    node.client.typing(&typing, &options()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let told = world.bus.of(channel.id);
    assert_eq!(told.len(), 4);
    told.iter().for_each(|record| goes_to(record, users));
    assert_eq!(world.bus.topics_of(channel.id), vec![users.to_vec(); 4], "once, under both");
    let typing = world.bus.ephemeral();
    assert_eq!(typing.len(), 1, "what has no number must not come twice");
    assert_eq!(typing[0].0, users);
    goes_to(&typing[0].1, users);
    let named = told[0].context.clone().unwrap().recipients;
    assert_eq!(named.iter().map(|user| user.id).collect::<Vec<_>>(), users, "gateways need not ask");
}

#[tokio::test(start_paused = true)]
async fn records_left_unpublished_go_to_both_users_by_the_channels_row() {
    let (mut world, node) = World::with_node(3).await;
    let users = two(&node.client).await;
    sleep(Duration::from_secs(5)).await;
    world.bus.down(true);
    let channel = open(&node.client, users[1], users[0]).await.unwrap();
    let talk = Talk(&node.client, Place { guild: 0, channel: channel.id, user: users[1] });
    let row = talk.create("acknowledged, then the power went").await.unwrap();
    let edited = talk.edit(row.id, "so was this").await.unwrap();
    world.crash();
    assert!(world.bus.of(channel.id).is_empty());
    let _next = world.node().await;
    sleep(Duration::from_secs(3)).await;
    let mut consumer = Consumer::default();
    consumer.take(world.bus.of(channel.id));
    let told: Vec<u64> = consumer.taken.iter().map(|record| record.rev).collect();
    assert_eq!(told, [channel.rev, row.rev, edited.last_rev]);
    for record in &consumer.taken {
        goes_to(record, users);
        assert!(record.recovered);
    }
    assert!(world.bus.topics_of(channel.id).iter().all(|topics| *topics == users));
}

#[tokio::test(start_paused = true)]
async fn a_channel_to_which_its_pair_does_not_lead_is_none() {
    let (world, node) = World::with_node(4).await;
    let users = two(&node.client).await;
    // As an owner that lost its lease half-way would leave it.
    let stray = Channel { id: 99 << 22, r#type: 1, recipient_ids: users.into(), ..Channel::default() };
    world.store.rows().channels.insert(stray.id, stray.clone());
    assert!(matches!(context(&node.client, stray.id, users[0]).await, Err(DataError::NotFound { .. })));
    let channel = open(&node.client, users[0], users[1]).await.unwrap();
    assert_ne!(channel.id, stray.id);
    assert!(matches!(context(&node.client, stray.id, users[0]).await, Err(DataError::NotFound { .. })));
    context(&node.client, channel.id, users[0]).await.unwrap();

    // A pair that leads to nothing: another channel is made.
    let others = two(&node.client).await;
    world.store.rows().direct.insert(pair(others), (98 << 22, 1));
    let channel = open(&node.client, others[0], others[1]).await.unwrap();
    context(&node.client, channel.id, others[1]).await.unwrap();
    assert_eq!(open(&node.client, others[1], others[0]).await.unwrap(), channel);
}

#[tokio::test(start_paused = true)]
async fn a_guilds_channel_has_no_recipients_whatever_its_maker_says() {
    let (world, node, place) = World::with_place(5).await;
    let users = two(&node.client).await;
    let channel = Channel {
        guild_id: place.guild,
        name: "c".into(),
        recipient_ids: users.into(),
        ..Channel::default()
    };
    let put = PutChannelRequest { channel: Some(channel), basis: None };
    let put = node.client.put_channel(&put, &options()).await.unwrap().message.channel.unwrap();
    assert!(put.recipient_ids.is_empty());
    sleep(Duration::from_secs(1)).await;
    assert!(world.bus.of(place.guild).iter().all(|record| record.recipient_ids.is_empty()));
}
