//! `POST /servers`, `POST /messages`, `GET /history`.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Served, id, ids};

#[tokio::test]
async fn three_requests_make_a_server_a_message_and_its_history() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let ask = async |bot, method, path: String, body| served.ask(bot, method, &path, body).await;
    let members = json!([bob.id.to_string(), ann.id]);
    let server =
        ask(&ann, Method::POST, "/servers".into(), json!({"name": "club", "members": members})).await;
    assert_eq!(server.status, 201);
    let server = server.json();
    assert_eq!(server["name"], "club");
    let channel = id(&server["channel_id"]);

    let body = json!({"channel": server["channel_id"], "content": "hi", "nonce": "1"});
    let first = ask(&bob, Method::POST, "/messages".into(), body.clone()).await.ok();
    assert_eq!(
        (&first["content"], &first["author"]["username"], &first["nonce"]),
        (&json!("hi"), &json!("bob"), &json!("1"))
    );
    let again = ask(&bob, Method::POST, "/messages".into(), body).await.ok();
    assert_eq!(again["id"], first["id"], "deduplicates without being asked to");
    let to_server = json!({"server": server["server_id"], "content": "to the server"});
    let second = ask(&ann, Method::POST, "/messages".into(), to_server).await.ok();
    assert_eq!(id(&second["channel_id"]), channel, "its first text channel");

    let page = ask(&bob, Method::GET, format!("/history?channel={channel}&limit=1"), Value::Null).await.ok();
    assert_eq!((ids(&page["messages"]), &page["next"]), (vec![id(&second["id"])], &second["id"]));
    let next = id(&page["next"]);
    let page =
        ask(&bob, Method::GET, format!("/history?channel={channel}&limit=2&before={next}"), Value::Null)
            .await
            .ok();
    assert_eq!((ids(&page["messages"]), &page["next"]), (vec![id(&first["id"])], &Value::Null));
}

#[tokio::test]
async fn what_is_missing_or_too_much_is_named() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let channel = place.channel.to_string();
    for (method, path, body, field) in [
        (Method::POST, "/servers", json!({}), "name"),
        (Method::POST, "/servers", json!({"name": "x"}), "name"),
        (Method::POST, "/servers", json!({"name": "club", "members": ["12345"]}), "members"),
        (Method::POST, "/messages", json!({"content": "x"}), "channel"),
        (
            Method::POST,
            "/messages",
            json!({"content": "x", "channel": channel, "server": channel}),
            "channel",
        ),
        (Method::POST, "/messages", json!({"content": "x", "channel": "no id"}), "channel"),
        (Method::POST, "/messages", json!({"content": "x", "channel": 0}), "channel"),
        (Method::POST, "/messages", json!({"content": "x", "channel": null}), "channel"),
        (Method::POST, "/messages", json!({"content": "x", "server": "no id"}), "server"),
        (Method::POST, "/messages", json!({"content": "x", "user": "no id"}), "user"),
        (Method::POST, "/messages", json!({"content": "x", "user": "0"}), "user"),
        (Method::POST, "/messages", json!({"content": "x", "user": channel, "channel": channel}), "channel"),
        (Method::GET, "/history", Value::Null, "channel"),
        (Method::GET, "/history?channel=1&limit=101", Value::Null, "limit"),
    ] {
        let answer = served.ask(&ann, method, path, body.clone()).await;
        assert_eq!(answer.outcome(), (400, 50_035), "{path} {body}");
        // One field, and one thing that is wrong with it.
        let errors = answer.json()["errors"].as_object().cloned().unwrap_or_default();
        let of_field = errors.get(field).and_then(|found| found["_errors"].as_array()).map(Vec::len);
        assert_eq!((errors.len(), of_field), (1, Some(1)), "{path} {body}: {}", answer.json());
    }
    let empty = served.ask(&ann, Method::POST, "/messages", json!({"channel": channel})).await;
    assert_eq!(empty.outcome(), (400, 50_006));
    let stranger = served.bot("stranger");
    for (method, path, body) in [
        (Method::POST, "/messages".to_owned(), json!({"channel": channel, "content": "x"})),
        (Method::POST, "/messages".to_owned(), json!({"server": place.guild.to_string(), "content": "x"})),
        (Method::GET, format!("/history?channel={channel}"), Value::Null),
    ] {
        assert_eq!(served.ask(&stranger, method, &path, body).await.outcome(), (403, 50_001), "{path}");
    }
}
