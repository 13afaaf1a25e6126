//! Paths, queries and bodies through the whole tier: whatever they are, the answer is Discord's JSON, and
//! never a fault of the server's.

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use weir_fuzz::{run, text};

use crate::harness::{Served, request};

/// Inputs without `WEIR_FUZZ_CASES`: each is a request over a socket.
const CASES: u32 = 600;

const JSON: &str = r#"{"content":"hi <@12>","nonce":25,"tts":false,"embeds":[{"title":"t","color":255}],"allowed_mentions":{"parse":["users"]}}"#;
const FORM: &str = "content=hi+there&nonce=25&tts=false&content=%ff%00";
const MULTIPART: &str = "--b\r\ncontent-disposition: form-data; name=\"payload_json\"\r\n\r\n{\"content\":\"hi\"}\r\n--b\r\ncontent-disposition: form-data; name=\"nonce\"\r\n\r\n7\r\n--b--\r\n";

fn ask(
    target: &str,
    inputs: &[&str],
    method: &Method,
    path: impl Fn(&str, &[u8]) -> Vec<u8>,
    content_type: &str,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (served, bot, place) = runtime.block_on(async {
        let (served, bot, place) = Served::with_guild("ferris").await;
        (served, bot, place)
    });
    let messages = place.messages();
    run(target, CASES, &text(inputs.iter().map(|input| input.as_bytes())), |input| {
        let path = path(&messages, &input);
        let asking = http::Uri::try_from(path).map(|path| {
            request(method.clone(), "/")
                .uri(path)
                .header("authorization", format!("Bot {}", bot.token))
                .header("content-type", content_type)
        });
        let body = if *method == Method::POST { Full::from(Bytes::from(input)) } else { Full::default() };
        // What is no HTTP at all is hyper's to refuse.
        let Some(asking) = asking.ok().and_then(|asking| asking.body(body).ok()) else { return };
        if asking.uri().authority().is_some() || !asking.uri().path().starts_with('/') {
            return;
        }
        let answer = runtime.block_on(served.send(asking));
        assert!(answer.status.is_success() || answer.status.is_client_error(), "{answer:?}");
        if !answer.body.is_empty() {
            assert!(answer.header("content-type").starts_with("application/json"), "{answer:?}");
            answer.json();
        }
    });
}

#[test]
fn json_bodies() {
    ask(
        "api json body",
        &[JSON],
        &Method::POST,
        |messages, _| format!("/api/v10{messages}").into(),
        "application/json",
    );
}

#[test]
fn form_bodies() {
    let path = |messages: &str, _: &[u8]| format!("/api/v10{messages}").into_bytes();
    ask("api url-encoded body", &[FORM], &Method::POST, path, "application/x-www-form-urlencoded");
    ask("api multipart body", &[MULTIPART], &Method::POST, path, "multipart/form-data; boundary=b");
}

#[test]
fn paths_and_queries() {
    let valid =
        ["?limit=50&before=175928847299117063", "/175928847299117063", "/../messages?around=1&limit=%31"];
    let path = |messages: &str, input: &[u8]| [b"/api/v10", messages.as_bytes(), input].concat();
    ask("api path and query", &valid, &Method::GET, path, "application/json");
}
