//! Tests the operator's subcommands, with a server and without one.

use serde_json::{Value, json};

use crate::process::Home;

#[test]
fn configuration_is_checked_and_every_problem_told() {
    let home = Home::new();
    let output = home.run(&["--check-config"]);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        shown.contains("api = \"127.0.0.1:8080\"  # default")
            && shown.contains("(flag --data)") | shown.contains("# flag --data"),
        "{shown}"
    );
    std::fs::write(home.data().join("weir.toml"), "[listen]\napi = 1\n[nonsense]\nx = 1\n").expect("written");
    let output = home.run(&["doctor"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        told.contains("2 problems") && told.contains("listen.api") && told.contains("nonsense.x"),
        "{told}"
    );
}

#[test]
fn wrong_words_are_usage_errors_and_no_server_is_unreachable() {
    let home = Home::new();
    for arguments in [
        &["frobnicate"][..],
        &["explain", "general"],
        &["--api", "x", "doctor"],
        &["limits", "set", "all", "requests", "50"],
    ] {
        let (code, object) = home.json(arguments);
        assert_eq!((code, &object["exit"]), (2, &json!(2)), "{arguments:?}");
        assert!(object["error"].as_str().is_some_and(|error| !error.is_empty()), "{object}");
    }
    for arguments in [&["hot"][..], &["explain", "1"]] {
        let (code, object) = home.json(arguments);
        assert_eq!((code, &object["exit"]), (4, &json!(4)), "{object}");
        assert!(object["error"].as_str().is_some_and(|error| error.contains("weir serve")), "{object}");
    }
}

/// In the wrong directory a command must not seem to have worked.
#[test]
fn what_reads_or_limits_makes_no_store() {
    let home = Home::new();
    for arguments in [
        &["limits", "list"][..],
        &["limits", "set", "all", "requests", "0/s"],
        &["limits", "history"],
        &["bot", "create", "x", "--guild", "5"],
    ] {
        let (code, object) = home.json(arguments);
        assert_eq!(code, 4, "{arguments:?}: {object}");
        assert!(
            object["error"].as_str().is_some_and(|error| error.contains("there is no store in it")),
            "{object}"
        );
        assert!(!home.data().join("data").exists(), "{arguments:?}");
    }
    let made = home.ok(&["bot", "create", "x"]);
    assert!(made["note"].as_str().is_some_and(|note| note.contains("a new one was made")), "{made}");
    let listed = home.ok(&["limits", "list"]);
    assert!(listed["note"].as_str().is_some_and(|note| note.contains("no server runs on")), "{listed}");
    let _server = home.serve(&[]);
    assert_eq!(home.ok(&["limits", "list"]).get("note"), None);
}

#[test]
fn an_overlong_argument_is_not_repeated() {
    let home = Home::new();
    let output = home.run(&["limits", "get", &"x".repeat(20_000)]);
    assert_eq!((output.status.code(), output.stderr.len() < 200), (Some(2), true));
}

/// Mistakes that operators make: a guild that does not exist, an invalid name.
#[test]
fn what_is_not_there_is_named_and_names_are_readable() {
    let home = Home::new();
    home.ok(&["bot", "create", "x"]);
    let (code, object) = home.json(&["bot", "create", "x", "--guild", "123"]);
    assert_eq!((code, &object["error"]), (1, &json!("there is no guild 123")));
    for name in ["", "   ", "\u{200B}", "\u{2060}\u{1BCA0}", "a\nb", "\u{1b}[31m", &"x".repeat(81)] {
        assert_eq!(home.json(&["bot", "create", name]).0, 2, "{name:?}");
    }
}

/// `chmod 600` is the remedy, and the same mistake has the same exit code everywhere.
#[test]
fn an_exposed_token_is_a_refusal_that_says_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let file = {
        let _server = home.serve(&[]);
        home.data().join("data/admin.token")
    };
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let any = "127.0.0.1:0";
    let listen = ["--api", any, "--gateway", any, "--data-service", any, "--admin", any];
    let (code, object) = home.json(&listen);
    assert_eq!(code, 3, "{object}");
    assert!(object["error"].as_str().is_some_and(|error| error.contains("chmod 600")), "{object}");
}

#[test]
fn check_config_ends_with_one_object_with_json() {
    let home = Home::new();
    let shown = home.ok(&["--check-config"]);
    assert_eq!(shown["configuration"]["listen.api"]["value"], "127.0.0.1:8080", "{shown}");
}

#[test]
fn a_bot_made_without_a_server_is_known_to_the_server() {
    let home = Home::new();
    let bot = home.ok(&["bot", "create", "ferris"]);
    let server = home.serve(&[]);
    let authorization = format!("Bot {}", bot["token"].as_str().expect("a token"));
    let (status, me) =
        server.http("api", "GET", "/api/v10/users/@me", &[("authorization", &authorization)], "");
    let me: Value = serde_json::from_str(&me).expect("json");
    assert_eq!((status, &me["id"], &me["username"]), (200, &bot["user_id"], &json!("ferris")));
}

#[test]
fn a_bot_joins_a_guild_as_its_administrator_and_the_role_is_shared() {
    let home = Home::new();
    let server = home.serve(&[]);
    let guild = home.ok(&["demo"])["guild_id"].as_str().expect("an id").to_owned();
    let bots = ["a", "b"].map(|name| home.ok(&["bot", "create", name, "--guild", &guild]));
    let authorization = format!("Bot {}", bots[1]["token"].as_str().expect("a token"));
    let (status, roles) = server.http(
        "api",
        "GET",
        &format!("/api/v10/guilds/{guild}/roles"),
        &[("authorization", &authorization)],
        "",
    );
    let roles: Vec<Value> = serde_json::from_str(&roles).expect("a list");
    let ours: Vec<_> = roles.iter().filter(|role| role["name"] == "weir bots").collect();
    assert_eq!((status, ours.len(), &ours[0]["permissions"]), (200, 1, &json!("8")));
    let (code, refusal) = home.json(&["bot", "create", "c", "--guild", "5"]);
    assert_eq!(code, 1, "{refusal}");
}

#[test]
fn limits_are_set_kept_and_recorded_with_and_without_a_server() {
    let home = Home::new();
    // Without a store there is nothing to limit.
    home.ok(&["bot", "create", "x"]);
    let set = home.ok(&[
        "limits",
        "set",
        "channel/7",
        "requests",
        "0/s",
        "--for",
        "10m",
        "--reason",
        "raid",
        "--who",
        "ann",
    ]);
    assert_eq!(
        (&set["scope"], &set["rate"], &set["set_by"]),
        (&json!("channel/7"), &json!(0.0), &json!("ann"))
    );
    let server = home.serve(&[]);
    let list = home.ok(&["limits", "list"]);
    assert_eq!(list["limits"][0]["reason"], "raid");
    let body = "{\"channelId\":\"7\"}";
    let path = "/weir.data.v1.MessageService/ListMessages";
    let json_body = [("content-type", "application/json")];
    let (status, refused) = server.http("data_service", "POST", path, &json_body, body);
    assert_eq!(status, 429, "{refused}");
    assert!(refused.contains("resource_exhausted") && refused.contains("weir.data.v1.Refusal"), "{refused}");
    assert_eq!(home.ok(&["limits", "unset", "channel/7", "requests"])["existed"], true);
    assert_eq!(home.ok(&["limits", "unset", "channel/7", "requests"])["existed"], false);
    assert_eq!(server.http("data_service", "POST", path, &json_body, body).0, 200);
    let history = home.ok(&["limits", "history", "--scope", "channel/7"]);
    let actions: Vec<_> =
        history["changes"].as_array().expect("a list").iter().map(|change| &change["action"]).collect();
    assert_eq!(actions, [&json!("unset"), &json!("set")]);
}

#[test]
fn explain_and_hot_see_what_happened() {
    let home = Home::new();
    let server = home.serve(&[]);
    let demo = home.ok(&["demo"]);
    let channel = demo["channel_id"].as_str().expect("an id");
    let body = json!({ "channelId": channel }).to_string();
    for _ in 0..20 {
        let (status, page) = server.http(
            "data_service",
            "POST",
            "/weir.data.v1.MessageService/ListMessages",
            &[("content-type", "application/json")],
            &body,
        );
        assert_eq!(status, 200, "{page}");
    }
    let explained = home.ok(&["explain", channel]);
    assert_eq!(
        (&explained["channel_id"], &explained["tail_warm"]),
        (&json!(channel), &json!(true)),
        "{explained}"
    );
    assert!(
        explained["outcome"]
            .as_str()
            .is_some_and(|word| ["hit", "joined", "led", "subsumed"].contains(&word))
    );
    let hot = home.ok(&["hot"]);
    assert_eq!(hot["channels"][0]["channel_id"], channel, "{hot}");
}

#[test]
fn a_wrong_token_is_a_refusal() {
    let home = Home::new();
    let server = home.serve(&[]);
    let other = Home::new();
    other.ok(&["bot", "create", "x"]);
    let file = other.data().join("wrong.token");
    std::fs::write(&file, format!("{}\n", "ab".repeat(32))).expect("written");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let (admin, file) = (server.address("admin").to_string(), file.display().to_string());
    let (code, refusal) = other.json(&["hot", "--admin", &admin, "--admin-token-file", &file]);
    assert_eq!(code, 3, "{refusal}");
    let right = home.data().join("data/admin.token").display().to_string();
    other.ok(&["hot", "--admin", &admin, "--admin-token-file", &right]);
}

#[test]
fn doctor_is_content_with_a_fresh_directory_and_with_a_server() {
    let home = Home::new();
    let any = [("listen", "api"), ("listen", "gateway"), ("listen", "data_service"), ("listen", "admin")];
    let file: String =
        any.iter().map(|(section, key)| format!("{section}.{key} = \"127.0.0.1:0\"\n")).collect();
    std::fs::write(home.data().join("weir.toml"), file).expect("written");
    // The machine's disk may fail its check, but the checks are printed before that failure.
    let verdicts = || {
        let output = home.run(&["--json", "doctor"]);
        let text = String::from_utf8(output.stdout).expect("text");
        let objects = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let report = objects.into_iter().find(|object| object["checks"].is_array()).expect("its checks");
        let checks = report["checks"].as_array().expect("a list").clone();
        let of = |check: &Value| (check["check"].to_string(), check["verdict"].to_string());
        let verdicts: Vec<_> = checks.iter().map(of).collect();
        let wrong =
            |(check, verdict): &&(String, String)| verdict.contains("fail") && !check.contains("disk");
        assert_eq!(verdicts.iter().find(wrong), None, "{text}");
        verdicts
    };
    let fresh = verdicts();
    assert!(fresh.iter().any(|(check, _)| check.contains("api listener")), "{fresh:?}");
    let _server = home.serve(&[]);
    let running = verdicts();
    assert!(
        running.iter().any(|(check, verdict)| check.contains("server") && verdict.contains("ok")),
        "{running:?}"
    );
}

#[test]
fn the_embedded_store_has_no_schema_to_apply() {
    let home = Home::new();
    let (code, refusal) = home.json(&["schema", "apply"]);
    assert_eq!(code, 2, "{refusal}");
}

/// A server on a cluster that is starting, or was stopped, has left its token and nothing else. A command
/// must not answer from a new, empty store beside it.
#[test]
fn a_directory_that_a_clusters_server_used_is_never_given_an_embedded_store() {
    let home = Home::new();
    let data = home.data().join("data");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("admin.token"), "unused").expect("written");
    let (code, refusal) = home.json(&["bot", "create", "ferris"]);
    assert_eq!(code, 4, "{refusal}");
    let left: Vec<_> =
        std::fs::read_dir(&data).expect("there").map(|entry| entry.expect("readable").file_name()).collect();
    assert_eq!(left, ["admin.token"]);
}
