//! Tests `weir` on a CQL cluster and Redis, if the environment names them.

use serde_json::{Value, json};

use crate::process::Home;

/// The value of a variable that names a server. If it is unset, prints a note and returns `None`, or fails
/// where the test must not be skipped.
fn server(variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok();
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{variable} is not set");
        eprintln!("skipped: {variable} is not set");
    }
    found
}

/// A keyspace for this test alone, dropped at its end.
struct Keyspace {
    node: String,
    name: String,
}

impl Keyspace {
    fn new(node: String) -> Self {
        Self { node, name: format!("weir_standalone_{}", std::process::id()) }
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let session =
                scylla::client::session_builder::SessionBuilder::new().known_node(&self.node).build().await;
            if let Ok(session) = session {
                // If this fails, nothing is lost: the next run's keyspace has another name.
                let _ = session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {}", self.name), &[]).await;
            }
        });
    }
}

#[test]
fn the_schema_is_applied_once_and_messages_pass_through_cluster_and_redis() {
    let (Some(node), Some(redis)) = (server("WEIR_TEST_CQL"), server("WEIR_TEST_REDIS")) else { return };
    let home = Home::new();
    let keyspace = Keyspace::new(node);
    let store = format!("cql://{}/{}", keyspace.node, keyspace.name);
    std::fs::write(
        home.data().join("weir.toml"),
        format!("store.url = {store:?}\ncql.replication = \"1\"\n"),
    )
    .expect("written");

    let (code, refusal) = home.json(&["doctor"]);
    assert_eq!((code, refusal["exit"].as_u64()), (1, Some(1)), "no schema yet: {refusal}");
    let first = home.ok(&["schema", "apply"]);
    assert_eq!(
        (&first["keyspace_created"], first["version"].as_u64() >= Some(4)),
        (&json!(true), true),
        "{first}"
    );
    let again = home.ok(&["schema", "apply"]);
    assert_eq!((&again["applied"], &again["version"]), (&json!([]), &first["version"]));

    // The test has a Redis database number of its own, which keeps other tests' keys apart.
    let server = home.serve(&["--bus", &format!("{redis}/7")]);
    let token = home.ok(&["bot", "create", "ferris"])["token"].as_str().expect("a token").to_owned();
    let headers =
        [("authorization", format!("Bot {token}")), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let send = |method: &str, path: &str, body: Value| {
        let (status, text) = server.http("api", method, path, &headers, &body.to_string());
        (status, serde_json::from_str::<Value>(&text).unwrap_or(Value::Null))
    };
    // It also works without the configuration that names the cluster: the running server counts, not the
    // default store.
    std::fs::rename(home.data().join("weir.toml"), home.data().join("aside.toml")).expect("renamed");
    let other = home.ok(&["bot", "create", "crab"])["token"].as_str().expect("a token").to_owned();
    let authorization = format!("Bot {other}");
    let (status, own) =
        server.http("api", "GET", "/api/v10/users/@me", &[("authorization", authorization.as_str())], "");
    assert_eq!(status, 200, "{own}");
    std::fs::rename(home.data().join("aside.toml"), home.data().join("weir.toml")).expect("renamed");

    let (status, guild) = send("POST", "/servers", json!({ "name": "Cluster" }));
    assert_eq!(status, 201, "{guild}");
    let channel = guild["channel_id"].as_str().expect("an id");
    for word in ["one", "two", "three"] {
        let (status, message) = send("POST", "/messages", json!({ "channel": channel, "content": word }));
        assert_eq!(status, 200, "{message}");
    }
    let (status, history) = send("GET", &format!("/history?channel={channel}"), Value::Null);
    let words: Vec<_> =
        history["messages"].as_array().expect("a list").iter().map(|row| row["content"].clone()).collect();
    assert_eq!((status, words), (200, vec![json!("three"), json!("two"), json!("one")]));
    let direct = crate::direct::talk(&home, &server);
    assert_eq!(
        home.ok(&["doctor"])["checks"]
            .as_array()
            .map(|checks| checks.iter().any(|check| check["verdict"] == "fail")),
        Some(false)
    );
    assert_eq!(server.stop(), Some(0));

    // The same works on the bus in memory, and the earlier messages are still there.
    let server = home.serve(&["--bus", "memory"]);
    assert_ne!(crate::direct::talk(&home, &server), direct, "other users, another channel");
    assert_eq!(server.stop(), Some(0));
}
