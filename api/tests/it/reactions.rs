//! Reactions: six routes, counts in messages, and each viewer's own.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Bot, Place, Served, ids};

const THUMB: &str = "%F0%9F%91%8D";
const HEART: &str = "%E2%9D%A4";

fn path(place: Place, message: u64, rest: &str) -> String {
    format!("{}/{message}/reactions{rest}", place.messages())
}

async fn react(served: &Served, bot: &Bot, place: Place, message: u64, emoji: &str) -> (u16, u64) {
    let answer = served.put(bot, &path(place, message, &format!("/{emoji}/@me")), Value::Null).await;
    if answer.status.is_success() { (answer.status.as_u16(), 0) } else { answer.outcome() }
}

/// Name, count and `me` of a message's reactions, as the message alone and as a page show them.
async fn seen(served: &Served, bot: &Bot, place: Place, message: u64) -> Vec<(String, u64, bool)> {
    let alone = served.get(bot, &format!("{}/{message}", place.messages())).await.ok();
    let page = served.get(bot, &place.messages()).await.ok();
    let on_page = page.as_array().unwrap().iter().find(|row| row["id"] == alone["id"]).unwrap().clone();
    assert_eq!(alone.get("reactions"), on_page.get("reactions"));
    let Some(reactions) = alone.get("reactions") else { return Vec::new() };
    let one = |row: &Value| {
        assert_eq!(row["count_details"], json!({"burst": 0, "normal": row["count"]}));
        assert_eq!((&row["me_burst"], &row["burst_colors"]), (&json!(false), &json!([])));
        assert_eq!(row["emoji"]["id"], Value::Null);
        let name = row["emoji"]["name"].as_str().unwrap().to_owned();
        (name, row["count"].as_u64().unwrap(), row["me"].as_bool().unwrap())
    };
    reactions.as_array().unwrap().iter().map(one).collect()
}

#[tokio::test]
async fn each_viewer_sees_its_own_reactions_and_all_see_the_counts() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let message = served.message(place.channel, ann.id, |_| {});
    assert!(seen(&served, &ann, place, message).await.is_empty());
    for _ in 0..2 {
        assert_eq!(react(&served, &ann, place, message, THUMB).await, (204, 0));
    }
    let thumb = |count, me| ("👍".to_owned(), count, me);
    let heart = |count, me| ("❤\u{fe0f}".to_owned(), count, me);
    // The page was rendered for bob first, whose rendering all share who reacted to nothing.
    assert_eq!(seen(&served, &bob, place, message).await, [thumb(1, false)]);
    assert_eq!(seen(&served, &ann, place, message).await, [thumb(1, true)]);
    assert_eq!(seen(&served, &bob, place, message).await, [thumb(1, false)]);
    assert_eq!(react(&served, &bob, place, message, HEART).await, (204, 0));
    assert_eq!(react(&served, &bob, place, message, THUMB).await, (204, 0));
    assert_eq!(seen(&served, &ann, place, message).await, [thumb(2, true), heart(1, false)]);
    let users = path(place, message, &format!("/{THUMB}"));
    let mut both = vec![ann.id, bob.id];
    both.sort_unstable();
    assert_eq!(ids(&served.get(&ann, &users).await.ok()), both);
    assert_eq!(ids(&served.get(&ann, &format!("{users}?after={}&limit=1", both[0])).await.ok()), both[1..]);
    assert_eq!(served.get(&ann, &format!("{users}?type=1")).await.ok(), json!([]), "nobody has paid");
    assert_eq!(served.delete(&ann, &format!("{users}/@me")).await.status, 204);
    assert_eq!(served.delete(&ann, &format!("{users}/@me")).await.status, 204, "as it is already");
    assert_eq!(seen(&served, &ann, place, message).await, [thumb(1, false), heart(1, false)]);
    assert_eq!(served.delete(&ann, &format!("{users}/{}", bob.id)).await.status, 204, "the owner may");
    assert_eq!(seen(&served, &bob, place, message).await, [heart(1, true)]);
    assert_eq!(served.delete(&ann, &path(place, message, &format!("/{HEART}"))).await.status, 204);
    assert!(seen(&served, &bob, place, message).await.is_empty());
    assert_eq!(react(&served, &bob, place, message, HEART).await, (204, 0));
    assert_eq!(served.delete(&ann, &path(place, message, "")).await.status, 204);
    assert!(seen(&served, &bob, place, message).await.is_empty());
}

/// Which of a message's reactions are the viewer's own.
fn own(message: &Value) -> Vec<bool> {
    let reactions = message["reactions"].as_array().unwrap_or_else(|| panic!("no reactions in {message}"));
    reactions.iter().map(|reaction| reaction["me"].as_bool().unwrap()).collect()
}

#[tokio::test]
async fn an_editor_and_a_reader_of_the_short_history_see_their_own_reactions() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let message = served.message(place.channel, ann.id, |_| {});
    assert_eq!(react(&served, &ann, place, message, THUMB).await, (204, 0));
    assert_eq!(react(&served, &bob, place, message, HEART).await, (204, 0));
    let one = format!("{}/{message}", place.messages());
    assert_eq!(own(&served.patch(&ann, &one, json!({"content": "new"})).await.ok()), [true, false]);
    let short = format!("/history?channel={}", place.channel);
    for (bot, expected) in [(&ann, [true, false]), (&bob, [false, true])] {
        let page = served.ask(bot, Method::GET, &short, Value::Null).await.ok();
        assert_eq!(own(&page["messages"][0]), expected);
    }
}

#[tokio::test]
async fn a_repeated_creation_does_not_say_that_its_author_did_not_react() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let body = json!({"content": "x", "nonce": "n", "enforce_nonce": true});
    let first = served.post(&ann, &place.messages(), body.clone()).await.ok();
    let message = crate::harness::id(&first["id"]);
    assert_eq!(react(&served, &ann, place, message, THUMB).await, (204, 0));
    let again = served.post(&ann, &place.messages(), body).await.ok();
    assert_eq!((&again["id"], again.get("reactions")), (&first["id"], None));
}

#[tokio::test]
async fn the_systems_message_takes_reactions_and_the_event_knows_who_acted() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let message = served.message(place.channel, ann.id, |row| row.r#type = 7);
    let acted = || {
        let context = served.data.world().context.clone().unwrap();
        (context.guild_id, context.author.unwrap().id, context.member.unwrap().user_id)
    };
    assert_eq!(react(&served, &bob, place, message, THUMB).await, (204, 0));
    assert_eq!(acted(), (place.guild, bob.id, bob.id));
    let of_bob = path(place, message, &format!("/{THUMB}/{}", bob.id));
    assert_eq!(served.delete(&ann, &of_bob).await.status, 204);
    assert_eq!(acted(), (place.guild, ann.id, ann.id), "the moderator and not whose reaction it was");
    assert!(seen(&served, &bob, place, message).await.is_empty(), "it was bob's that went");
}

#[tokio::test]
async fn paths_that_name_a_kind_of_reaction_are_not_served() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let message = served.message(place.channel, ann.id, |_| {});
    for kind in [0, 1] {
        let of_kind = path(place, message, &format!("/{THUMB}/{kind}/@me"));
        assert_eq!(served.put(&ann, &of_kind, Value::Null).await.outcome(), (404, 0), "{kind}");
        assert_eq!(served.delete(&ann, &of_kind).await.outcome(), (404, 0), "{kind}");
    }
}

#[tokio::test]
async fn who_may_not_add_reactions_may_join() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    served.data.world().roles.get_mut(&place.guild).unwrap().permissions &= !(1 << 6);
    let message = served.message(place.channel, ann.id, |_| {});
    assert_eq!(react(&served, &bob, place, message, THUMB).await, (403, 50_013));
    assert_eq!(react(&served, &ann, place, message, THUMB).await, (204, 0), "the owner may");
    assert_eq!(react(&served, &bob, place, message, THUMB).await, (204, 0));
}

#[tokio::test]
async fn unknown_emojis_and_messages_and_the_twenty_first_emoji_are_refused() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let message = served.message(place.channel, ann.id, |_| {});
    for emoji in ["x", "party:123", "a:party:123", "party%3A123", "%F0%9F%91%8D%F0%9F%91%8D"] {
        assert_eq!(react(&served, &ann, place, message, emoji).await, (400, 10_014), "{emoji}");
    }
    assert_eq!(react(&served, &ann, place, 9, THUMB).await, (404, 10_008));
    // Squares of digits, hearts and faces: U+1F600 and what follows.
    for number in 0..20 {
        let emoji = format!("%F0%9F%98%{:02X}", 0x80 + number);
        assert_eq!(react(&served, &ann, place, message, &emoji).await, (204, 0), "{emoji}");
    }
    assert_eq!(react(&served, &ann, place, message, THUMB).await, (400, 30_010));
    for query in ["limit=0", "limit=101", "after=x", "type=2"] {
        let users = path(place, message, &format!("/{THUMB}?{query}"));
        assert_eq!(served.get(&ann, &users).await.outcome(), (400, 50_035), "{query}");
    }
}

#[tokio::test]
async fn both_users_of_a_direct_message_may_react_and_nobody_may_clear() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let direct = served.post(&ann, "/users/@me/channels", json!({"recipient_id": bob.id.to_string()})).await;
    let direct = Place { channel: crate::harness::id(&direct.ok()["id"]), ..place };
    let message = served.message(direct.channel, ann.id, |_| {});
    assert_eq!(react(&served, &bob, direct, message, THUMB).await, (204, 0));
    assert_eq!(served.delete(&ann, &path(direct, message, "")).await.outcome(), (403, 50_003));
    let others = path(direct, message, &format!("/{THUMB}/{}", bob.id));
    assert_eq!(served.delete(&ann, &others).await.outcome(), (403, 50_003));
}
