//! Tests how a server starts, runs and stops.

use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::{Signal, http};

use crate::process::{Home, Server};

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bot {token}"))
}

fn send(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (name, value) = bearer(token);
    let headers = [(name, value.as_str()), ("content-type", "application/json")];
    let (status, body) = server.http("api", method, path, &headers, &body.to_string());
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[test]
fn it_prints_its_addresses_answers_on_all_of_them_and_stops_when_told() {
    let home = Home::new();
    let server = home.serve(&[]);
    for tier in ["api", "gateway", "data_service", "admin"] {
        assert_ne!(server.address(tier).port(), 0, "{tier}");
    }
    assert_eq!(server.told["public_url"], format!("ws://{}", server.address("gateway")));
    assert_eq!(server.http("admin", "GET", "/healthz", &[], "").0, 200);
    assert_eq!(server.http("api", "GET", "/api/v10/gateway", &[], "").0, 200);
    let path = "/weir.data.v1.GuildService/GetGuild";
    let (status, body) = server.http(
        "data_service",
        "POST",
        path,
        &[("content-type", "application/json")],
        "{\"guildId\":\"1\"}",
    );
    assert_eq!((status, body.contains("not_found")), (404, true), "{body}");
    assert!(home.data().join("data/admin.json").exists());
    assert_eq!(server.stop(), Some(0));
    assert!(!home.data().join("data/admin.json").exists());
}

/// Names and nice values of a process's threads.
fn threads(pid: u32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let of = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        // `tid (name) state ppid …`: the nice value is the nineteenth field.
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        Some((name, tail.split_whitespace().nth(16)?.parse().ok()?))
    };
    tasks.flatten().filter_map(of).collect()
}

#[test]
fn listeners_have_threads_of_their_own_and_the_data_services_step_back() {
    let home = Home::new();
    let server = home.serve(&[]);
    let threads = threads(server.pid());
    let usual = rustix::process::nice(0).expect("a niceness");
    let of = |name| threads.iter().filter(move |(thread, _)| thread == name).map(|(_, niceness)| *niceness);
    for name in ["weir-gateway", "weir-admin"] {
        assert!(of(name).count() > 0 && of(name).all(|niceness| niceness == usual), "{name}: {threads:?}");
    }
    assert!(of("weir-data").count() > 0, "{threads:?}");
    assert!(of("weir-data").all(|niceness| niceness == (usual + 10).min(19)), "{threads:?}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_message_is_written_by_the_short_flows_and_is_there_after_a_restart() {
    let home = Home::new();
    let server = home.serve(&[]);
    let token = home.ok(&["bot", "create", "ferris"])["token"].as_str().expect("a token").to_owned();
    let (status, guild) = send(&server, &token, "POST", "/servers", &json!({ "name": "Rust" }));
    assert_eq!(status, 201, "{guild}");
    let channel = guild["channel_id"].as_str().expect("an id").to_owned();
    let (status, message) =
        send(&server, &token, "POST", "/messages", &json!({ "channel": channel, "content": "hi" }));
    assert_eq!((status, &message["content"]), (200, &json!("hi")), "{message}");
    assert_eq!(server.stop(), Some(0));

    let server = home.serve(&[]);
    let (status, history) =
        send(&server, &token, "GET", &format!("/history?channel={channel}"), &Value::Null);
    assert_eq!((status, &history["messages"][0]["id"]), (200, &message["id"]), "{history}");
    let (status, later) =
        send(&server, &token, "POST", "/messages", &json!({ "channel": channel, "content": "again" }));
    assert_eq!(status, 200, "{later}");
    let id = |message: &Value| message["id"].as_str().and_then(|id| id.parse::<u64>().ok()).expect("an id");
    assert!(id(&later) > id(&message));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let home = Home::new();
    let server = home.serve(&[]);
    let demo = home.ok(&["demo"]);
    server.signal(Signal::KILL);
    assert_eq!(server.wait(), None);
    // The file that the server left behind does not mislead.
    let (code, refusal) = home.json(&["hot"]);
    assert_eq!(code, 4, "{refusal}");
    let server = home.serve(&[]);
    let (token, channel) =
        (demo["token"].as_str().expect("text"), demo["channel_id"].as_str().expect("text"));
    let (status, history) = send(&server, token, "GET", &format!("/history?channel={channel}"), &Value::Null);
    assert_eq!((status, history["messages"].as_array().map(Vec::len)), (200, Some(5)), "{history}");
}

#[test]
fn nothing_is_acknowledged_into_a_directory_that_was_removed_and_the_exit_code_says_so() {
    let home = Home::new();
    let server = home.serve(&[]);
    let demo = home.ok(&["demo"]);
    let (token, channel) =
        (demo["token"].as_str().expect("text"), demo["channel_id"].as_str().expect("text"));
    std::fs::remove_dir_all(home.data().join("data")).expect("ours");
    let message = json!({ "channel": channel, "content": "into nothing" });
    let (status, said) = send(&server, token, "POST", "/messages", &message);
    assert!(status >= 500, "{status}: {said}");
    assert_eq!(server.wait(), Some(1));
}

#[test]
fn a_second_server_on_the_same_directory_says_who_holds_it() {
    let home = Home::new();
    let server = home.serve(&[]);
    let any = "127.0.0.1:0";
    let second = home.run(&["--api", any, "--gateway", any, "--data-service", any, "--admin", any]);
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1));
    assert!(told.contains("is in use by process"), "{told}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_port_in_use_is_named_before_anything_is_opened() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = home.run(&["--api", &address]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains(&format!("cannot listen on {address} for the api")), "{told}");
    assert!(!home.data().join("data").exists());
}

#[test]
fn after_a_stop_nobody_listens_any_more() {
    let home = Home::new();
    let server = home.serve(&[]);
    let (admin, api) = (server.address("admin"), server.address("api"));
    assert_eq!(http(admin, "GET", "/readyz", &[], "").0, 200);
    assert_eq!(http(api, "GET", "/api/v10/gateway", &[], "").0, 200);
    server.signal(Signal::INT);
    assert_eq!(server.wait(), Some(0));
    assert!(
        std::net::TcpStream::connect_timeout(&api, Duration::from_secs(1)).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn all_parts_of_the_memory_are_shown_and_fit_together_into_what_it_may_use() {
    let home = Home::new();
    std::fs::write(home.data().join("small.toml"), "[memory]\nmax = \"512MiB\"\n").expect("written");
    let server = home.serve(&["--config", "small.toml"]);
    let (_, page) = server.http("admin", "GET", "/metrics", &[], "");
    let parts: Vec<(&str, f64)> = page
        .lines()
        .filter_map(|line| {
            let (part, bytes) =
                line.strip_prefix("weir_memory_held_max_bytes{part=\"")?.split_once("\"} ")?;
            Some((part, bytes.parse().expect("a number")))
        })
        .collect();
    for part in [
        "api_connections",
        "api_replies",
        "api_bodies",
        "api_users",
        "api_pages",
        "api_credentials",
        "api_rate_limits",
        "api_strangers",
        "gateway_connections",
        "gateway_codecs",
        "gateway_unread",
        "gateway_introductions",
        "gateway_ring",
        "gateway_held_back",
        "gateway_scopes",
        "gateway_guilds",
        "gateway_sessions",
        "gateway_identifies",
        "gateway_strangers",
        "data_pages",
        "data_json",
        "data_tails",
        "store_cache",
        "store_buffers",
        "store_writes",
        "admin_connections",
    ] {
        assert!(parts.iter().any(|(name, _)| *name == part), "{part} is not in {parts:?}");
    }
    let together = parts.iter().map(|(_, bytes)| bytes).sum::<f64>();
    assert!(together <= 0.75 * f64::from(512_u32 << 20), "{together} bytes of {parts:?}");
    assert_eq!(server.stop(), Some(0));
}
