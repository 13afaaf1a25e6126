//! What every answer carries, versions, unknown paths and methods, bodies, connections.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_api::Drained;

use crate::harness::{Answer, Bot, GATEWAY, Place, Served, request};

/// Longer than any of these tests takes: only a failing one waits so long.
const HANG: Duration = Duration::from_secs(20);

fn assert_sealed(answer: &Answer) {
    assert_eq!(answer.header("via"), "1.1 weir");
    assert!(answer.headers.contains_key("date"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    if answer.status == StatusCode::NO_CONTENT {
        assert!(answer.body.is_empty() && !answer.headers.contains_key("content-type"));
    } else {
        assert_eq!(answer.header("content-type"), "application/json");
        answer.json();
    }
}

#[tokio::test]
async fn every_answer_carries_via_date_and_the_exact_content_type() {
    let (served, bot, place) = Served::with_guild("ann").await;
    let typing = format!("/channels/{}/typing", place.channel);
    for (answer, status) in [
        (served.get(&bot, "/users/@me").await, 200),
        (served.post(&bot, "/guilds", json!({"name": "another"})).await, 201),
        (served.post(&bot, &typing, json!({})).await, 204),
        (served.get(&bot, "/channels/1").await, 404),
        (served.get(&bot, "/no/such/route").await, 404),
        (served.post(&bot, "/users/@me", json!({})).await, 405),
        (served.post(&bot, &place.messages(), json!({"content": ""})).await, 400),
        (served.send(request(Method::GET, "/api/v10/users/@me").body(Full::default()).unwrap()).await, 401),
    ] {
        assert_eq!(answer.status, status, "{:?}", answer.body);
        assert_sealed(&answer);
    }
}

#[tokio::test]
async fn both_versions_and_none_are_the_same_api() {
    let served = Served::start().await;
    let bot = served.bot("ann");
    for prefix in ["/api/v10", "/api/v9", "/api"] {
        let answer = served.ask(&bot, Method::GET, &format!("{prefix}/users/@me"), json!(null)).await;
        assert_eq!(answer.ok()["username"], "ann", "{prefix}");
    }
    for version in ["v6", "v8", "v11"] {
        let answer = served.ask(&bot, Method::GET, &format!("/api/{version}/users/@me"), json!(null)).await;
        assert_eq!(answer.outcome(), (400, 50_041), "{version}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_say_so() {
    let served = Served::start().await;
    let bot = served.bot("ann");
    for path in ["/", "/api", "/api/v10", "/api/v10/nothing", "/users/@me", "/api/v10/users/@me/"] {
        let answer = served.ask(&bot, Method::GET, path, json!(null)).await;
        assert_eq!(answer.json(), json!({"message": "404: Not Found", "code": 0}), "{path}");
        assert_eq!(answer.status, 404);
    }
    for (method, path) in
        [(Method::PUT, "/api/v10/users/@me"), (Method::GET, "/messages"), (Method::PATCH, "/api/guilds")]
    {
        let answer = served.ask(&bot, method, path, json!(null)).await;
        assert_eq!(answer.json(), json!({"message": "405: Method Not Allowed", "code": 0}), "{path}");
        assert_eq!(answer.status, 405);
    }
}

#[tokio::test]
async fn tokens_are_taken_in_three_forms_and_resolved_once() {
    let served = Served::start().await;
    let bot = served.bot("ann");
    let ask = async |authorization: String| {
        let asked = request(Method::GET, "/api/v10/users/@me").header("authorization", authorization);
        served.send(asked.body(Full::default()).unwrap()).await.outcome().0
    };
    for scheme in ["Bot ", "Bearer ", ""] {
        assert_eq!(ask(format!("{scheme}{}", bot.token)).await, 200, "{scheme:?}");
    }
    assert_eq!(served.data.take_calls(), ["ResolveToken"], "the cache answers the others");
    assert_eq!(ask("Bot nonsense".to_owned()).await, 401);
    assert_eq!(served.data.take_calls(), [""; 0], "what has no token's shape asks nobody");
    let other = served.bot("bob");
    served.data.world().tokens.clear();
    assert_eq!(ask(format!("Bot {}", other.token)).await, 401, "well formed, but nobody's");
}

#[tokio::test]
async fn the_gateway_is_named_without_authentication_and_without_a_slash() {
    let served = Served::with(|config| *config = weir_api::ApiConfig::new(format!("{GATEWAY}//"))).await;
    let answer = served.send(request(Method::GET, "/api/v10/gateway").body(Full::default()).unwrap()).await;
    assert_eq!(answer.ok(), json!({"url": GATEWAY}));
    let bot = served.bot("ann");
    let answer = served.get(&bot, "/gateway/bot").await.ok();
    assert_eq!((&answer["url"], &answer["shards"]), (&json!(GATEWAY), &json!(1)));
    assert_eq!(answer["session_start_limit"]["max_concurrency"], 1);
    let answer =
        served.send(request(Method::GET, "/api/v10/gateway/bot").body(Full::default()).unwrap()).await;
    assert_eq!(answer.outcome(), (401, 0));
}

#[tokio::test]
async fn a_preflight_is_answered_for_any_path() {
    let served = Served::start().await;
    for path in ["/api/v10/channels/1/messages", "/messages", "/nowhere"] {
        let asked = request(Method::OPTIONS, path).header("origin", "https://example.org");
        let answer = served.send(asked.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, 204, "{path}");
        assert!(answer.header("access-control-allow-headers").contains("Authorization"));
        assert!(answer.header("access-control-allow-methods").contains("PATCH"));
        assert_sealed(&answer);
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let served = Served::with(|config| {
        config.rate_limits = None;
        config.bounds.body_bytes_max = 4_096;
    })
    .await;
    let bot = served.bot("ann");
    let place = served.guild(&bot).await;
    let path = format!("/api/v10{}", place.messages());
    let send = async |content_type: &str, body: String| {
        let asked = request(Method::POST, &path)
            .header("authorization", format!("Bot {}", bot.token))
            .header("content-type", content_type);
        served.send(asked.body(Full::from(body)).unwrap()).await.outcome()
    };
    let json = "application/json";
    assert_eq!(send(json, format!("{{\"content\": \"{}\"}}", "x".repeat(5_000))).await, (413, 40_005));
    assert_eq!(send(json, "{\"content\": ".to_owned()).await, (400, 50_109));
    assert_eq!(send(json, "[1]".to_owned()).await, (400, 50_035));
    assert_eq!(send(json, String::new()).await, (400, 50_006), "empty is {{}}");
    assert_eq!(send("text/plain", "{\"content\": \"hi\"}".to_owned()).await, (400, 50_035));
    let form = format!("content=x&unknown={}", "x".repeat(5_000));
    assert_eq!(send("application/x-www-form-urlencoded", form).await, (413, 40_005));
    assert_eq!(send("application/json; charset=utf-8", "{\"content\": \"hi\"}".to_owned()).await, (200, 0));
}

#[tokio::test]
async fn a_multipart_form_carries_payload_json_and_files_are_refused() {
    let (served, bot, place) = Served::with_guild("ann").await;
    let send = async |parts: &str| {
        let asked = request(Method::POST, &format!("/api/v10{}", place.messages()))
            .header("authorization", format!("Bot {}", bot.token))
            .header("content-type", "multipart/form-data; boundary=cut");
        served.send(asked.body(Full::from(format!("{parts}--cut--\r\n"))).unwrap()).await
    };
    let json = "--cut\r\ncontent-disposition: form-data; name=\"payload_json\"\r\n\
                content-type: application/json\r\n\r\n{\"content\": \"by form\"}\r\n";
    let file = "--cut\r\ncontent-disposition: form-data; name=\"files[0]\"; filename=\"a.txt\"\r\n\r\nx\r\n";
    assert_eq!(send(json).await.ok()["content"], "by form");
    let refused = send(&format!("{json}{file}")).await;
    assert_eq!(refused.outcome(), (400, 50_035));
    assert!(refused.json()["errors"]["files"]["_errors"][0]["message"].is_string());
    assert_eq!(send("").await.outcome(), (400, 50_006), "an empty form is an empty body");
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let served = Served::start().await;
    let bot = served.bot("ann");
    let io = TokioIo::new(TcpStream::connect(served.address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let asked = http::Request::get("http://localhost/api/v10/users/@me").header("authorization", &bot.token);
    let answer = sender.send_request(asked.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["via"], "1.1 weir");
    assert!(answer.headers().contains_key("date"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"{"));
}

#[tokio::test]
async fn a_silent_connection_is_dropped_also_in_the_middle_of_the_http2_preface() {
    let served = Served::with(|config| config.bounds.header_read_timeout = Duration::from_millis(50)).await;
    for sent in [&b""[..], b"PRI * HTTP/2.0", b"GET / HTT"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        everything(stream).await;
    }
}

#[tokio::test]
async fn connections_above_the_bound_are_closed() {
    let served = Served::with(|config| config.bounds.connections_max = 1).await;
    // The harness holds one connection; make sure it is counted before the second comes.
    served.send(request(Method::GET, "/api/v10/gateway").body(Full::default()).unwrap()).await.ok();
    let second = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(everything(second).await, "");
}

#[tokio::test]
async fn no_more_requests_than_the_bound_are_under_way() {
    let served = Served::with(|config| config.bounds.requests_max = 0).await;
    let answer = served.send(request(Method::GET, "/api/v10/gateway").body(Full::default()).unwrap()).await;
    assert_eq!(answer.outcome(), (503, 130_000));
    assert_eq!(answer.header("retry-after"), "1");
    assert_sealed(&answer);
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_serving() {
    let served = Served::start().await;
    served.send(request(Method::GET, "/api/v10/gateway").body(Full::default()).unwrap()).await.ok();
    served.stop.cancel();
    assert_eq!(served.serving.await.unwrap(), Drained { connections_cut: 0 });
    assert!(TcpStream::connect(served.address).await.is_err(), "new connections are refused");
}

/// A message whose last byte of body has not been sent.
async fn all_but_the_last_byte(served: &Served, bot: &Bot, place: Place) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "POST /api/v10{} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-length: 15\r\n\r\n{{\"content\":\"x\"",
        place.messages(),
        bot.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The tier has the request once it has asked who sends it.
    while !served.data.world().calls.contains(&"ResolveToken") {
        tokio::task::yield_now().await;
    }
    stream
}

/// What the server sends until it ends the connection, by a close or a reset.
async fn everything(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    let _ = tokio::time::timeout(HANG, read).await.expect("the server ends the connection");
    text
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let served = Served::with(|config| config.bounds.body_read_timeout = Duration::from_millis(50)).await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let place = served.guild(&ann).await;
    served.join(&bob, place.guild, &[]);
    served.data.take_calls();
    let stream = all_but_the_last_byte(&served, &bob, place).await;
    let text = everything(stream).await;
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("50109"), "{text}");
    assert!(served.data.world().messages.is_empty());
}

#[tokio::test]
async fn a_request_under_way_is_finished_after_the_stop() {
    let (served, _ann, bob, place) = Served::with_member("ann", "bob").await;
    served.data.take_calls();
    let mut stream = all_but_the_last_byte(&served, &bob, place).await;
    served.stop.cancel();
    stream.write_all(b"}").await.unwrap();
    let text = everything(stream).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(served.serving.await.unwrap(), Drained { connections_cut: 0 });
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut() {
    let (served, _ann, bob, place) = Served::with_member("ann", "bob").await;
    served.data.take_calls();
    let _stream = all_but_the_last_byte(&served, &bob, place).await;
    served.stop.cancel();
    assert_eq!(served.serving.await.unwrap(), Drained { connections_cut: 1 });
}

#[tokio::test]
async fn requests_are_counted_by_template_whatever_strangers_ask() {
    let served = Served::start().await;
    let bot = served.bot("ann");
    for path in ["/api/v10/users/1", "/api/v9/users/2", "/api/users/3", "/x/1", "/x/2"] {
        served.ask(&bot, Method::GET, path, json!(null)).await;
    }
    let text = served.registry.encode();
    assert!(
        text.contains("weir_api_requests_total{route=\"GET /users/{user_id}\",status=\"404\"} 3"),
        "{text}"
    );
    assert!(text.contains("weir_api_requests_total{route=\"unmatched\",status=\"404\"} 2"), "{text}");
    assert!(text.contains("weir_api_request_seconds_count{route=\"GET /users/{user_id}\"} 3"), "{text}");
}

#[tokio::test]
async fn an_answer_without_room_is_refused_as_discords_clients_expect() {
    let served = Served::with(|config| {
        config.rate_limits = None;
        config.memory.replies = 64;
    })
    .await;
    let ann = served.bot("ann");
    let answer = served.get(&ann, "/users/@me").await;
    assert_eq!(answer.outcome(), (503, 130_000));
    assert_eq!((answer.header("content-type"), answer.header("retry-after")), ("application/json", "1"));
    assert_eq!((answer.header("via"), answer.header("access-control-allow-origin")), ("1.1 weir", "*"));
}
