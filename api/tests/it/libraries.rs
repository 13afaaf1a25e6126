//! What client libraries send that is not of the routes' own making: calls at their start, words in place of
//! ids, odd paths, nonces.

use http::Method;
use serde_json::json;

use crate::harness::Served;

#[tokio::test]
async fn what_libraries_ask_at_start_is_answered_with_empty_lists() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let (app, guild) = (format!("/applications/{}", ann.id), format!("/guilds/{}", place.guild));
    let lists = [
        "/soundboard-default-sounds".to_owned(),
        "/voice/regions".to_owned(),
        format!("{app}/commands"),
        format!("{app}{guild}/commands"),
        format!("{app}/entitlements"),
        format!("{app}/skus"),
        format!("{guild}/emojis"),
        format!("{guild}/stickers"),
        format!("{guild}/scheduled-events"),
        format!("{guild}/regions"),
    ];
    for path in lists {
        assert_eq!(served.get(&ann, &path).await.ok(), json!([]), "{path}");
    }
    for path in [format!("{app}/emojis"), format!("{guild}/soundboard-sounds")] {
        assert_eq!(served.get(&ann, &path).await.ok(), json!({"items": []}), "{path}");
    }
    assert_eq!(served.get(&ann, "/sticker-packs").await.ok(), json!({"sticker_packs": []}));
    let threads = served.get(&ann, &format!("{guild}/threads/active")).await.ok();
    assert_eq!(threads, json!({"threads": [], "members": []}));
    let command = json!([{"name": "ping", "description": "p"}]);
    assert_eq!(served.put(&ann, &format!("{app}/commands"), command).await.ok(), json!([]));
    let bob = served.bot("bob");
    assert_eq!(served.get(&bob, &format!("{app}/commands")).await.outcome(), (403, 50_001));
    assert_eq!(served.get(&bob, &format!("{guild}/emojis")).await.status, 403);
}

#[tokio::test]
async fn a_word_where_an_id_stands_is_an_unknown_route() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let (messages, guild) = (place.messages(), format!("/guilds/{}", place.guild));
    for path in [format!("{messages}/search"), format!("{guild}/members/search")] {
        let answer = served.get(&ann, &path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (404, json!({"message": "404: Not Found", "code": 0}))
        );
    }
    for wrong in ["0", "-5", "18446744073709551616", "1x"] {
        assert_eq!(served.get(&ann, &format!("/channels/{wrong}")).await.outcome(), (400, 50_035), "{wrong}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_answered_in_json() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    for path in [
        "/channels/%ff",
        "/channels/%ff/messages/%C0%80",
        "/guilds/1/members/%ff",
        "/applications/%ff/commands",
    ] {
        let answer = served.get(&ann, path).await;
        assert_eq!((answer.status.as_u16(), answer.json()["code"].as_u64()), (404, Some(0)), "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn a_nonce_comes_back_as_it_was_sent() {
    let (served, ann, place) = Served::with_guild("ann").await;
    for nonce in [json!(6_870), json!("6870"), json!(-5), json!("\u{E9}".repeat(25))] {
        let body = json!({"content": "x", "nonce": nonce});
        assert_eq!(served.post(&ann, &place.messages(), body).await.ok()["nonce"], nonce);
        let again = json!({"content": "x", "nonce": nonce, "enforce_nonce": true});
        assert_eq!(served.post(&ann, &place.messages(), again).await.ok()["nonce"], nonce);
    }
}

#[tokio::test]
async fn a_bulk_deletion_that_names_a_message_twice_deletes_nothing() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let [a, b] = [(); 2].map(|()| served.message(place.channel, ann.id, |_| {}).to_string());
    let bulk = format!("{}/bulk-delete", place.messages());
    for messages in [json!([a, b, a]), json!([a, a])] {
        let refused = served.post(&ann, &bulk, json!({"messages": messages})).await;
        assert_eq!(refused.outcome(), (400, 50_035));
    }
    for id in [a, b] {
        assert_eq!(served.get(&ann, &format!("{}/{id}", place.messages())).await.status, 200);
    }
    assert_eq!(
        served.ask(&ann, Method::GET, "/api/v10/soundboard-default-sounds", json!(null)).await.status,
        200
    );
}
