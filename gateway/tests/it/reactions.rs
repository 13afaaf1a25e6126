//! Events of reactions: they go to those who see the channel and asked for reactions.

use serde_json::json;
use weir_proto::{
    data::Emoji,
    event::{ReactionChanged, ReactionsCleared, record::Change},
};

use crate::{
    client::Client,
    world::{ALICE, BOT, Fate, GUILD, HIDDEN, OPEN, OWNER, World},
};

/// The channel of the bot and Alice.
const TALK: u64 = 500 << 22;
const MESSAGE: u64 = 7 << 22;
/// GUILDS and GUILD_MESSAGE_REACTIONS.
const REACTIONS: u64 = 1 | 1 << 10;
/// DIRECT_MESSAGE_REACTIONS.
const DIRECT: u64 = 1 << 13;
/// GUILDS, and all of messages and typing: no reactions.
const OTHERS: u64 = 1 | 1 << 9 | 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15;

fn changes(channel_id: u64) -> [(Change, &'static str); 4] {
    let emoji = || Some(Emoji { id: 0, name: "\u{1F44D}".to_owned() });
    let changed = || ReactionChanged {
        channel_id,
        message_id: MESSAGE,
        user_id: ALICE,
        emoji: emoji(),
        message_author_id: BOT,
    };
    let cleared = |emoji| ReactionsCleared { channel_id, message_id: MESSAGE, emoji };
    [
        (Change::ReactionAdded(changed()), "MESSAGE_REACTION_ADD"),
        (Change::ReactionRemoved(changed()), "MESSAGE_REACTION_REMOVE"),
        (Change::ReactionsCleared(cleared(None)), "MESSAGE_REACTION_REMOVE_ALL"),
        (Change::ReactionsCleared(cleared(emoji())), "MESSAGE_REACTION_REMOVE_EMOJI"),
    ]
}

#[tokio::test(start_paused = true)]
async fn in_a_guild_those_who_see_the_channel_and_asked_for_reactions_are_told() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::identified_with(&gateway, BOT, REACTIONS).await;
    let mut owner = Client::identified_with(&gateway, OWNER, REACTIONS).await;
    let mut deaf = Client::identified_with(&gateway, BOT, OTHERS | DIRECT).await;
    for channel in [HIDDEN, OPEN] {
        for (change, _) in changes(channel) {
            world.commit(channel, GUILD, change, Fate::Once).await;
        }
    }
    for (client, channels) in [(&mut bot, &[OPEN][..]), (&mut owner, &[HIDDEN, OPEN][..])] {
        for channel in channels {
            for (_, name) in changes(*channel) {
                let event = client.dispatch(name).await;
                assert_eq!(event["channel_id"], channel.to_string(), "{name}");
                assert_eq!(event["message_id"], MESSAGE.to_string(), "{name}");
                assert_eq!(event["guild_id"], GUILD.to_string(), "{name}");
            }
        }
        client.quiet().await;
    }
    deaf.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn in_a_direct_message_both_users_are_told_and_nobody_else() {
    let (world, gateway) = World::with_gateway(false, 1_000).await;
    let mut bot = Client::ready(&gateway, BOT, DIRECT).await;
    let mut alice = Client::ready(&gateway, ALICE, DIRECT).await;
    let mut third = Client::ready(&gateway, OWNER, DIRECT).await;
    let mut deaf = Client::ready(&gateway, BOT, 1 << 12).await;
    world.open_direct(TALK, [BOT, ALICE], Fate::Once).await;
    alice.dispatch("CHANNEL_CREATE").await;
    for (change, _) in changes(TALK) {
        world.commit(TALK, 0, change, Fate::Once).await;
    }
    for client in [&mut bot, &mut alice] {
        let added = client.dispatch("MESSAGE_REACTION_ADD").await;
        assert_eq!(
            added,
            json!({
                "user_id": ALICE.to_string(),
                "channel_id": TALK.to_string(),
                "message_id": MESSAGE.to_string(),
                "message_author_id": BOT.to_string(),
                "emoji": {"id": null, "name": "\u{1F44D}"},
                "burst": false,
                "type": 0,
            })
        );
        for (_, name) in &changes(TALK)[1..] {
            assert!(client.dispatch(name).await.get("guild_id").is_none(), "{name}");
        }
        client.quiet().await;
    }
    for client in [&mut third, &mut deaf] {
        client.quiet().await;
    }
}
