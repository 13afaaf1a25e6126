//! Pinned messages, on Discord's new routes and its old ones.

use serde_json::{Value, json};
use weir_proto::data::{Emoji, Overwrite, ReactionCount};

use crate::harness::{Served, id, ids};

const READ_MESSAGE_HISTORY: u64 = 1 << 16;
const PIN_MESSAGES: u64 = 1 << 51;

#[tokio::test]
async fn a_message_is_pinned_listed_told_of_and_unpinned_on_both_routes() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let old = format!("/channels/{}/pins", place.channel);
    let new = format!("{}/pins", place.messages());
    for (write, told) in [(&new, 1), (&old, 2)] {
        let message = served.message(place.channel, bob.id, |_| {});
        let path = format!("{write}/{message}");
        assert_eq!(served.put(&ann, &path, json!(null)).await.status, 204);
        assert_eq!(served.put(&ann, &path, json!(null)).await.status, 204, "as it is already");
        let context = served.data.world().context.clone().unwrap();
        assert_eq!(context.author.unwrap().id, bob.id, "the event shows the author and not who pinned");
        let page = served.get(&ann, &place.messages()).await.ok();
        let by = |kind: u64| page.as_array().unwrap().iter().filter(move |row| row["type"] == json!(kind));
        assert_eq!(by(6).count(), told, "a message tells of each pin once");
        let notice = by(6).next().unwrap();
        assert_eq!(id(&notice["message_reference"]["message_id"]), message);
        assert_eq!((id(&notice["author"]["id"]), notice.get("referenced_message")), (ann.id, None));
        let listed = served.get(&bob, &new).await.ok();
        assert_eq!(listed["has_more"], false);
        let [item] = &listed["items"].as_array().unwrap()[..] else { panic!("{listed}") };
        assert!(item["pinned_at"].as_str().unwrap().ends_with("+00:00"));
        assert_eq!((id(&item["message"]["id"]), &item["message"]["pinned"]), (message, &json!(true)));
        assert_eq!(ids(&served.get(&bob, &old).await.ok()), [message]);
        assert_eq!(served.delete(&ann, &path).await.status, 204);
        assert_eq!(served.delete(&ann, &path).await.status, 204);
        assert_eq!(served.get(&bob, &new).await.ok(), json!({"items": [], "has_more": false}));
        assert_eq!(served.get(&bob, &old).await.ok(), json!([]));
    }
}

#[tokio::test]
async fn pages_of_pins_follow_the_time_at_which_they_were_pinned() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let pins = format!("{}/pins", place.messages());
    let messages: Vec<u64> = (0..7).map(|_| served.message(place.channel, ann.id, |_| {})).collect();
    for message in &messages {
        assert_eq!(served.put(&ann, &format!("{pins}/{message}"), json!(null)).await.status, 204);
    }
    let (mut found, mut before) = (Vec::new(), String::new());
    loop {
        let page = served.get(&ann, &format!("{pins}?limit=3{before}")).await.ok();
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|item| id(&item["message"]["id"])));
        if page["has_more"] == json!(false) {
            break;
        }
        // As discord.py writes it, with the plus sign encoded.
        let last = items.last().unwrap()["pinned_at"].as_str().unwrap().replace('+', "%2B");
        before = format!("&before={last}");
    }
    let newest_first: Vec<u64> = messages.into_iter().rev().collect();
    assert_eq!(found, newest_first);
}

#[tokio::test]
async fn wrong_queries_unknown_messages_and_a_full_channel_are_refused() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let pins = format!("{}/pins", place.messages());
    for query in ["limit=0", "limit=51", "limit=x", "before=yesterday", "before=1"] {
        assert_eq!(served.get(&ann, &format!("{pins}?{query}")).await.outcome(), (400, 50_035), "{query}");
    }
    for query in [
        "limit=50",
        "before=2026-01-01T00:00:00Z",
        "before=2026-01-01T00:00:00.5+00:00",
        "before=2026-01-01T00:00:00",
    ] {
        assert_eq!(served.get(&ann, &format!("{pins}?{query}")).await.status, 200, "{query}");
    }
    let pinned = served.message(place.channel, ann.id, |row| row.pinned_at_ms = 5);
    let before_all = served.get(&ann, &format!("{pins}?before=1970-01-01T00:00:00Z")).await.ok();
    assert_eq!(before_all, json!({"items": [], "has_more": false}), "0 is a bound too");
    assert_eq!(served.delete(&ann, &format!("{pins}/{pinned}")).await.status, 204);
    assert_eq!(served.put(&ann, &format!("{pins}/9"), json!(null)).await.outcome(), (404, 10_008));
    let notice = served.message(place.channel, ann.id, |row| row.r#type = 7);
    assert_eq!(served.put(&ann, &format!("{pins}/{notice}"), json!(null)).await.outcome(), (403, 50_021));
    // A history that was pinned elsewhere can be tidied up.
    let pinned = served.message(place.channel, ann.id, |row| (row.r#type, row.pinned_at_ms) = (7, 5));
    assert_eq!(served.delete(&ann, &format!("{pins}/{pinned}")).await.status, 204);
    assert_eq!(served.get(&ann, &format!("{}/{pinned}", place.messages())).await.ok()["pinned"], false);
    for _ in 0..250 {
        served.message(place.channel, ann.id, |row| row.pinned_at_ms = 5);
    }
    let one_more = served.message(place.channel, ann.id, |_| {});
    let answer = served.put(&ann, &format!("{pins}/{one_more}"), json!(null)).await;
    assert_eq!(answer.outcome(), (400, 30_003));
    assert_eq!(answer.json()["message"], "Maximum number of pins reached for the channel (250)");
}

#[tokio::test]
async fn the_permission_to_pin_suffices_and_both_users_of_a_direct_message_may() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let role = served.role(place.guild, PIN_MESSAGES, 1);
    let cid = served.bot("cid");
    served.join(&cid, place.guild, &[role]);
    let message = served.message(place.channel, ann.id, |_| {});
    let new = format!("{}/pins/{message}", place.messages());
    for path in [new, format!("/channels/{}/pins/{message}", place.channel)] {
        assert_eq!(served.put(&bob, &path, json!(null)).await.outcome(), (403, 50_013), "{path}");
        assert_eq!(served.put(&cid, &path, json!(null)).await.status, 204, "{path}");
        assert_eq!(served.delete(&bob, &path).await.outcome(), (403, 50_013), "{path}");
        assert_eq!(served.delete(&cid, &path).await.status, 204, "{path}");
    }
    let direct = served.post(&ann, "/users/@me/channels", json!({"recipient_id": bob.id.to_string()})).await;
    let direct = id(&direct.ok()["id"]);
    let message = served.message(direct, ann.id, |_| {});
    let path = format!("/channels/{direct}/messages/pins/{message}");
    assert_eq!(served.put(&bob, &path, Value::Null).await.status, 204);
    assert_eq!(served.put(&cid, &path, Value::Null).await.outcome(), (403, 50_001));
}

#[tokio::test]
async fn without_history_pins_are_empty_and_not_refused() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let message = served.message(place.channel, bob.id, |row| row.pinned_at_ms = 5);
    let deny = Overwrite { id: place.guild, r#type: 0, allow: 0, deny: READ_MESSAGE_HISTORY };
    served.data.world().channels.get_mut(&place.channel).unwrap().overwrites.push(deny);
    let (new, old) = (format!("{}/pins", place.messages()), format!("/channels/{}/pins", place.channel));
    assert_eq!(served.get(&bob, &new).await.ok(), json!({"items": [], "has_more": false}));
    assert_eq!(served.get(&bob, &old).await.ok(), json!([]));
    assert_eq!(ids(&served.get(&ann, &old).await.ok()), [message], "the owner may read all");
}

/// Clients cache what a list shows them, and nobody asks which reactions are the viewer's for a list of pins.
#[tokio::test]
async fn lists_of_pins_show_no_reactions() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let message = served.message(place.channel, ann.id, |row| {
        let emoji = Some(Emoji { id: 0, name: "👍".to_owned() });
        row.pinned_at_ms = 5;
        row.reactions = vec![ReactionCount { emoji, slot: 1, count: 1 }];
    });
    let alone = served.get(&ann, &format!("{}/{message}", place.messages())).await.ok();
    assert_eq!(alone["reactions"][0]["count"], 1);
    let new = served.get(&ann, &format!("{}/pins", place.messages())).await.ok();
    let old = served.get(&ann, &format!("/channels/{}/pins", place.channel)).await.ok();
    for shown in [&new["items"][0]["message"], &old[0]] {
        assert_eq!((id(&shown["id"]), shown.get("reactions")), (message, None));
    }
}

#[tokio::test]
async fn a_pin_that_cannot_be_told_of_stays() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let message = served.message(place.channel, ann.id, |_| {});
    served.data.fail_next("CreateMessage", weir_connect::ConnectError::unavailable("down"));
    let path = format!("{}/pins/{message}", place.messages());
    assert_eq!(served.put(&ann, &path, json!(null)).await.status, 204);
    assert_eq!(served.get(&ann, &format!("{}/{message}", place.messages())).await.ok()["pinned"], true);
}
