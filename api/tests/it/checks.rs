//! A permission check costs what it needs: bytes of the data service's answers, with and without a guild
//! around it.

use http::Method;
use serde_json::{Value, json};
use weir_proto::data::Overwrite;

use crate::harness::{Bot, Served};

/// Channels of the large guild beside the one that is asked about.
const CHANNELS: usize = 200;
/// Overwrites of each: with the channels, twice what a guild may have.
const OVERWRITES: u64 = 100;
/// Bytes of the topic of each.
const TOPIC: usize = 1_024;

/// A bot in a guild with one channel of its own, a role that it has, and one that it has not.
struct Place {
    bot: Bot,
    other: Bot,
    guild: u64,
    channel: u64,
    role: u64,
    message: u64,
}

async fn place(served: &Served, large: bool) -> Place {
    let (owner, bot, other) = (served.bot("owner"), served.bot("bot"), served.bot("other"));
    let made = served.guild(&owner).await;
    // All but ADMINISTRATOR, so that nothing is decided before it is looked at.
    let role = served.role(made.guild, ((1 << 53) - 1) & !(1 << 47 | 1 << 3), 2);
    let given = served.role(made.guild, 0, 1);
    served.join(&bot, made.guild, &[role]);
    served.join(&other, made.guild, &[]);
    let message = served.message(made.channel, bot.id, |_| {});
    if large {
        let overwrites = |from: u64| -> Vec<Overwrite> {
            (from..from + OVERWRITES)
                .map(|id| Overwrite { id, r#type: 1, allow: 1 << 20, deny: 1 << 21 })
                .collect()
        };
        for _ in 0..CHANNELS {
            served.channel(made.guild, |row| {
                row.topic = "t".repeat(TOPIC);
                row.overwrites = overwrites(1_000);
            });
        }
        served.data.world().channels.get_mut(&made.channel).unwrap().overwrites = overwrites(5_000);
    }
    Place { bot, other, guild: made.guild, channel: made.channel, role: given, message }
}

/// Requests whose permission check is all that they need of the guild.
fn checked(at: &Place) -> Vec<(Method, String, Value)> {
    let Place { guild, channel, role, message, other, .. } = at;
    let (channel, guild) = (format!("/channels/{channel}"), format!("/guilds/{guild}"));
    vec![
        (Method::GET, format!("{channel}/messages"), Value::Null),
        (Method::GET, format!("{channel}/messages/{message}"), Value::Null),
        (Method::POST, format!("{channel}/messages"), json!({"content": format!("<@&{role}>")})),
        (Method::PATCH, format!("{channel}/messages/{message}"), json!({"content": "edited"})),
        (Method::POST, format!("{channel}/typing"), Value::Null),
        (Method::DELETE, format!("{channel}/messages/{message}"), Value::Null),
        (Method::GET, guild.clone(), Value::Null),
        (Method::GET, format!("{guild}/members"), Value::Null),
        (Method::GET, format!("{guild}/roles"), Value::Null),
        (Method::PUT, format!("{guild}/members/{}/roles/{role}", other.id), Value::Null),
        (Method::PATCH, format!("{guild}/roles/{role}"), json!({"name": "renamed"})),
        (Method::DELETE, format!("{guild}/members/{}", other.id), Value::Null),
        (Method::GET, "/users/@me/guilds".to_owned(), Value::Null),
    ]
}

/// Bytes that the data service answered with to one request.
async fn answered(served: &Served, bot: &Bot, (method, path, body): (Method, String, Value)) -> usize {
    let before = served.data.world().answered;
    served
        .ask(bot, method, &format!("/api/v10{path}"), body)
        .await
        .status
        .is_success()
        .then_some(())
        .expect(&path);
    served.data.world().answered - before
}

#[tokio::test]
async fn a_check_does_not_grow_with_other_channels_and_other_peoples_overwrites() {
    let served = Served::start().await;
    let (small, large) = (place(&served, false).await, place(&served, true).await);
    for (one, other) in checked(&small).into_iter().zip(checked(&large)) {
        let path = other.1.clone();
        let (small, large) =
            (answered(&served, &small.bot, one).await, answered(&served, &large.bot, other).await);
        assert!(large <= small + 16, "{path}: {small} bytes alone, {large} beside others");
    }
}

#[tokio::test]
async fn to_change_channels_costs_their_names_and_the_overwrites_of_one() {
    let served = Served::start().await;
    let at = place(&served, true).await;
    let row = served.data.world().channels[&at.channel].clone();
    // The channel as it is read and as it is answered, and 200 bytes for each of the others.
    let most = 2 * prost::Message::encoded_len(&row) + 200 * CHANNELS;
    let (channel, guild) = (format!("/channels/{}", at.channel), format!("/guilds/{}", at.guild));
    for request in [
        (Method::GET, channel.clone(), Value::Null),
        (Method::PATCH, channel.clone(), json!({"name": "renamed", "permission_overwrites": []})),
        (Method::POST, format!("{guild}/channels"), json!({"name": "new"})),
        (Method::DELETE, channel, Value::Null),
    ] {
        let path = format!("{} {}", request.0, request.1);
        let bytes = answered(&served, &at.bot, request).await;
        assert!(bytes <= most, "{path}: {bytes} bytes of {most}");
    }
}
