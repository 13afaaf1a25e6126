//! Bodies that are forms: the same requests as in JSON, by `application/x-www-form-urlencoded` and by
//! `multipart/form-data`.

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{Answer, Bot, Served, id, ids, request};

const URL_ENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=cut";

async fn send(
    served: &Served,
    bot: &Bot,
    (method, path): (Method, &str),
    kind: Option<&str>,
    body: impl Into<Bytes>,
) -> Answer {
    let mut asked = request(method, path).header("authorization", format!("Bot {}", bot.token));
    if let Some(kind) = kind {
        asked = asked.header("content-type", kind);
    }
    served.send(asked.body(Full::from(body.into())).unwrap()).await
}

fn multipart(fields: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, text) in fields {
        body += &format!("--cut\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    }
    body + "--cut--\r\n"
}

/// Fields whose names and texts need no escaping.
fn url_encoded(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join("&")
}

/// Both ways to send fields.
fn both(fields: &[(&str, &str)]) -> [(&'static str, String); 2] {
    [(URL_ENCODED, url_encoded(fields)), (MULTIPART, multipart(fields))]
}

#[tokio::test]
async fn a_message_is_created_and_edited_by_a_form() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let path = format!("/api/v10{}", place.messages());
    // Each kind with a nonce and texts of its own, so that none is answered with what another one wrote.
    for (nth, nonce) in ["77", "78"].into_iter().enumerate() {
        let kind_of = |fields: &[(&str, &str)]| both(fields)[nth].clone();
        let (kind, body) = kind_of(&[
            ("content", nonce),
            ("nonce", nonce),
            ("enforce_nonce", "True"),
            ("tts", "true"),
            ("flags", "4096"),
            ("unknown", "ignored"),
        ]);
        let mut sent = Vec::new();
        for _ in 0..2 {
            let answer = send(&served, &ann, (Method::POST, &path), Some(kind), body.clone()).await.ok();
            assert_eq!((&answer["content"], &answer["nonce"]), (&json!(nonce), &json!(nonce)), "{kind}");
            assert_eq!((&answer["tts"], &answer["flags"]), (&json!(true), &json!(4096)), "{kind}");
            sent.push(id(&answer["id"]));
        }
        assert_eq!(sent[0], sent[1], "{kind}: the nonce deduplicates, so its flag was read");
        let edited = format!("{nonce}-edited");
        let (kind, body) = kind_of(&[("content", &edited), ("flags", "4")]);
        let one = format!("{path}/{}", sent[0]);
        let answer = send(&served, &ann, (Method::PATCH, &one), Some(kind), body).await.ok();
        assert_eq!((&answer["content"], &answer["flags"]), (&json!(edited), &json!(4100)), "{kind}");
    }
    let escaped = "content=a+b%26c%3D%F0%9F%A6%80%0Anew";
    let sent = send(&served, &ann, (Method::POST, &path), Some(URL_ENCODED), escaped).await.ok();
    assert_eq!(sent["content"], "a b&c=\u{1F980}\nnew");
    let typed = format!("{URL_ENCODED}; charset=UTF-8");
    let sent = send(&served, &ann, (Method::POST, &path), Some(&typed), "content=typed").await.ok();
    assert_eq!(sent["content"], "typed");
}

#[tokio::test]
async fn the_short_flows_take_forms() {
    let served = Served::start().await;
    let (ann, bob, eve) = (served.bot("ann"), served.bot("bob"), served.bot("eve"));
    let (bobs, eves) = (bob.id.to_string(), eve.id.to_string());
    for members in [vec![("members", &bobs[..])], vec![("members", &bobs), ("members", &eves)]] {
        let fields = [&[("name", "club")], &members[..]].concat();
        for (kind, body) in both(&fields) {
            let server = send(&served, &ann, (Method::POST, "/servers"), Some(kind), body).await.ok();
            let guild = id(&server["server_id"]);
            for (member, named) in [(&bob, true), (&eve, members.len() == 2)] {
                let joined = served.data.world().members.contains_key(&(guild, member.id));
                assert_eq!(joined, named, "{kind} {members:?}");
            }
            let channel = server["channel_id"].as_str().unwrap();
            let server = server["server_id"].as_str().unwrap();
            for target in [("channel", channel), ("server", server), ("user", &bobs)] {
                for (kind, body) in both(&[target, ("content", "hi")]) {
                    let sent = send(&served, &ann, (Method::POST, "/messages"), Some(kind), body).await.ok();
                    assert_eq!(sent["content"], "hi", "{kind} {target:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn other_routes_take_forms_too() {
    let (served, ann, place) = Served::with_guild("ann").await;
    for (kind, body) in both(&[("name", "Side"), ("type", "0"), ("nsfw", "1"), ("position", "7")]) {
        let path = format!("/api/v10/guilds/{}/channels", place.guild);
        let made = send(&served, &ann, (Method::POST, &path), Some(kind), body).await.ok();
        let wanted = (&json!("side"), &json!(true), &json!(7));
        assert_eq!((&made["name"], &made["nsfw"], &made["position"]), wanted, "{kind}");
        let rows = [1, 2].map(|_| served.message(place.channel, ann.id, |_| {}).to_string());
        let path = format!("/api/v10{}/bulk-delete", place.messages());
        let (_, body) = both(&[("messages", &rows[0]), ("messages", &rows[1])])
            .into_iter()
            .find(|(found, _)| *found == kind)
            .unwrap();
        let deleted = send(&served, &ann, (Method::POST, &path), Some(kind), body).await;
        assert_eq!((deleted.status.as_u16(), served.data.world().messages.len()), (204, 0), "{kind}");
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_form_is_named() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let path = format!("/api/v10{}", place.messages());
    for (field, text, code) in [
        ("tts", "maybe", "BOOLEAN_TYPE_CONVERT"),
        ("flags", "many", "BASE_TYPE_BAD_INT"),
        ("flags", "-1", "BASE_TYPE_BAD_INT"),
        // Objects are for `payload_json`: a text that looks like one stays text.
        ("allowed_mentions", "{}", "MODEL_TYPE_CONVERT"),
        ("poll", "1", "FEATURE_UNSUPPORTED"),
    ] {
        for (kind, body) in both(&[("content", "x"), (field, text)]) {
            let answer = send(&served, &ann, (Method::POST, &path), Some(kind), body).await;
            assert_eq!(answer.outcome(), (400, 50_035), "{kind} {field}");
            assert_eq!(answer.json()["errors"][field]["_errors"][0]["code"], code, "{kind} {field}");
        }
    }
    for (kind, body) in both(&[("content", "x"), ("content", "y")]) {
        let answer = send(&served, &ann, (Method::POST, &path), Some(kind), body).await.json();
        assert_eq!(answer["errors"]["content"]["_errors"][0]["code"], "STRING_TYPE_CONVERT", "{kind}");
    }
    for (kind, body) in both(&[]) {
        let empty = send(&served, &ann, (Method::POST, &path), Some(kind), body).await;
        assert_eq!(empty.outcome(), (400, 50_006), "{kind}: empty is {{}}");
    }
    let mut no_text = b"--cut\r\ncontent-disposition: form-data; name=\"content\"\r\n\r\n\xFF".to_vec();
    no_text.extend(b"\r\n--cut--\r\n");
    let no_boundary = multipart(&[("content", "x")]).into_bytes();
    let cut_off = b"--cut\r\ncontent-disposition: form-data; name=\"content\"\r\n\r\nx".to_vec();
    for (kind, body, field) in [
        (MULTIPART, no_text, "content"),
        (MULTIPART, cut_off, "Content-Type"),
        ("multipart/form-data", no_boundary, "Content-Type"),
        ("text/plain", b"content=x".to_vec(), "Content-Type"),
        ("application/xml", b"<content/>".to_vec(), "Content-Type"),
    ] {
        let answer = send(&served, &ann, (Method::POST, &path), Some(kind), body).await;
        assert_eq!(answer.outcome(), (400, 50_035), "{kind}");
        assert!(answer.json()["errors"][field]["_errors"].is_array(), "{kind}: {}", answer.json());
    }
    assert!(served.data.world().messages.is_empty());
}

#[tokio::test]
async fn payload_json_is_the_body_whatever_stands_beside_it() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let path = format!("/api/v10{}", place.messages());
    let json = r#"{"content":"json","embeds":[{"title":"t"}]}"#;
    for (kind, body) in both(&[("content", "field"), ("payload_json", json)]) {
        let sent = send(&served, &ann, (Method::POST, &path), Some(kind), body).await.ok();
        assert_eq!((&sent["content"], &sent["embeds"][0]["title"]), (&json!("json"), &json!("t")), "{kind}");
    }
    for (kind, body) in both(&[("payload_json", "{")]) {
        let broken = send(&served, &ann, (Method::POST, &path), Some(kind), body).await;
        assert_eq!(broken.outcome(), (400, 50_109), "{kind}");
    }
}

#[tokio::test]
async fn a_body_without_a_content_type_is_json() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let path = format!("/api/v10{}", place.messages());
    let sent = send(&served, &ann, (Method::POST, &path), None, r#"{"content":"x"}"#).await.ok();
    assert_eq!(sent["content"], "x");
    let form = send(&served, &ann, (Method::POST, &path), None, "content=x").await;
    assert_eq!(form.outcome(), (400, 50_109), "nothing says that it is a form");
}

#[tokio::test]
async fn a_form_may_be_as_long_as_any_body() {
    let served = Served::with(|config| {
        config.rate_limits = None;
        config.bounds.body_bytes_max = 4 << 20;
    })
    .await;
    let ann = served.bot("ann");
    let place = served.guild(&ann).await;
    let path = format!("/api/v10{}", place.messages());
    for (length, outcome) in [(3 << 20, (200, 0)), (5 << 20, (413, 40_005))] {
        let ballast = "x".repeat(length);
        for (kind, body) in both(&[("content", "x"), ("unknown", &ballast)]) {
            let answer = send(&served, &ann, (Method::POST, &path), Some(kind), body).await;
            assert_eq!(answer.outcome(), outcome, "{kind} {length}");
        }
    }
    let page: Value = served.get(&ann, &place.messages()).await.ok();
    assert_eq!(ids(&page).len(), 2);
}
