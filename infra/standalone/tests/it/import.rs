//! Tests `weir import`: the file's messages are in the history once and in order, however often the import
//! was interrupted.

use std::{io::Write as _, process::Stdio};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use weir_testkit::Child;

use crate::process::{Home, Server};

fn lines(count: usize) -> Vec<String> {
    let line = |n: usize| {
        let mut line = json!({
            "id": n + 1,
            "channel": if n.is_multiple_of(3) { "rust" } else { "off-topic" },
            "author": format!("user{}", n % 40),
            "timestamp": format!("2020-01-01T{:02}:{:02}:{:02}.000Z", n / 3_600 % 24, n / 60 % 60, n % 60),
            "content": format!("message {n}"),
        });
        if n == 6 {
            line["reply_to"] = json!(4);
        }
        line.to_string()
    };
    (0..count).map(line).collect()
}

fn packed(home: &Home, lines: &[String]) -> String {
    let path = home.data().join("chat.ndjson.gz");
    let mut encoder = GzEncoder::new(std::fs::File::create(&path).expect("made"), Compression::fast());
    encoder.write_all(lines.join("\n").as_bytes()).expect("written");
    encoder.finish().expect("written");
    path.display().to_string()
}

/// A channel's whole history, oldest first, as the data service returns it.
fn history(server: &Server, channel: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let mut request = json!({ "channelId": channel, "limit": 100 });
        if let Some(oldest) = rows.last() {
            request["before"] = oldest["id"].clone();
        }
        let path = "/weir.data.v1.MessageService/ListMessages";
        let (status, page) = server.http(
            "data_service",
            "POST",
            path,
            &[("content-type", "application/json")],
            &request.to_string(),
        );
        assert_eq!(status, 200, "{page}");
        let page: Value = serde_json::from_str(&page).expect("json");
        match page["messages"].as_array() {
            Some(messages) if !messages.is_empty() => rows.extend(messages.iter().cloned()),
            _ => break,
        }
    }
    rows.reverse();
    rows
}

fn check(server: &Server, imported: &Value, lines: usize) {
    for (name, of_channel) in [("rust", true), ("off-topic", false)] {
        let channel = imported["channels"][name].as_str().expect("an id");
        let contents: Vec<String> = history(server, channel)
            .iter()
            .map(|row| row["content"].as_str().expect("text").to_owned())
            .collect();
        let expected: Vec<String> = (0..lines)
            .filter(|n| n.is_multiple_of(3) == of_channel)
            .map(|n| format!("message {n}"))
            .collect();
        assert_eq!(contents.len(), expected.len(), "{name}");
        assert!(contents == expected, "{name} is out of order");
    }
}

#[test]
fn a_file_is_loaded_in_order_without_a_server_and_a_bot_can_read_it() {
    let home = Home::new();
    let file = packed(&home, &lines(1_000));
    let imported = home.ok(&["import", &file, "--guild-name", "Chat"]);
    assert_eq!(
        (&imported["messages"], &imported["skipped"], &imported["replies"]),
        (&json!(1_000), &json!(0), &json!(1))
    );
    let guild = imported["guild_id"].as_str().expect("an id");
    let bot = home.ok(&["bot", "create", "reader", "--guild", guild]);
    let server = home.serve(&[]);
    check(&server, &imported, 1_000);
    let authorization = format!("Bot {}", bot["token"].as_str().expect("a token"));
    let channel = imported["channels"]["rust"].as_str().expect("an id");
    let path = format!("/api/v10/channels/{channel}/messages?limit=2");
    let (status, page) = server.http("api", "GET", &path, &[("authorization", &authorization)], "");
    let page: Value = serde_json::from_str(&page).expect("json");
    assert_eq!(
        (status, &page[0]["content"], &page[0]["author"]["username"]),
        (200, &json!("message 999"), &json!("user39")),
        "{page}"
    );
    assert_eq!(page[0]["timestamp"], "2020-01-01T00:16:39.000000+00:00", "{page}");
}

#[test]
fn a_file_that_is_newest_first_keeps_each_lines_time() {
    let home = Home::new();
    let path = home.data().join("chat.ndjson");
    let line = |year: u32, content: &str| {
        json!({ "channel": "c", "author": "a", "timestamp": format!("{year}-06-01T00:00:00Z"), "content": content })
            .to_string()
    };
    std::fs::write(&path, [line(2023, "newest"), line(2018, "oldest")].join("\n")).expect("written");
    let imported = home.ok(&["import", &path.display().to_string(), "--strict"]);
    let server = home.serve(&[]);
    let rows = history(&server, imported["channels"]["c"].as_str().expect("an id"));
    let shown = |row: &Value| {
        let id = row["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        (row["content"].as_str().expect("text").to_owned(), weir_proto::id::unix_ms(id))
    };
    let shown: Vec<_> = rows.iter().map(shown).collect();
    assert_eq!(shown, [("oldest".to_owned(), 1_527_811_200_000), ("newest".to_owned(), 1_685_577_600_000)]);
}

#[test]
fn a_server_that_runs_takes_the_file_and_the_same_file_again_changes_nothing() {
    let home = Home::new();
    let server = home.serve(&[]);
    let file = packed(&home, &lines(1_000));
    let first = home.ok(&["import", &file]);
    let again = home.ok(&["import", &file]);
    assert_eq!((&first["guild_id"], &first["channels"]), (&again["guild_id"], &again["channels"]));
    assert_eq!((&again["continued_after"], &again["written"]), (&json!(1_000), &json!(0)));
    assert_eq!((&again["messages"], &again["replies"]), (&first["messages"], &first["replies"]));
    let renamed = home.run(&["import", &file, "--guild-name", "Other"]);
    let text = String::from_utf8_lossy(&renamed.stdout).into_owned();
    assert!(text.contains("the guild keeps its name, \"chat\""), "{text}");
    check(&server, &first, 1_000);
}

#[test]
fn an_import_that_was_killed_is_completed_by_the_same_command() {
    const LINES: usize = 60_000;
    let home = Home::new();
    let server = home.serve(&[]);
    let file = packed(&home, &lines(LINES));
    let mut command = home.command(&["import", &file]);
    let mut child = Child::spawn(command.stdout(Stdio::null()).stderr(Stdio::null())).expect("runs");
    // The import is killed as soon as something was written, wherever it is then.
    let metrics = || server.http("admin", "GET", "/metrics", &[], "").1;
    let written = |text: &str| {
        let writes = text.lines().filter(|line| line.starts_with("weir_data_db_writes_total"));
        writes.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let before = written(&metrics());
    while written(&metrics()) < before + 3.0 && child.ended().expect("a child").is_none() {}
    child.kill().expect("a child");
    let imported = home.ok(&["import", &file]);
    assert_eq!(imported["messages"], LINES);
    check(&server, &imported, LINES);
}

#[test]
fn strict_refuses_a_file_with_a_wrong_line_before_anything_is_written() {
    let home = Home::new();
    let mut lines = lines(10);
    lines[5] = "{}".to_owned();
    let file = packed(&home, &lines);
    let (code, refusal) = home.json(&["import", &file, "--strict"]);
    assert_eq!((code, &refusal["exit"]), (1, &json!(1)), "{refusal}");
    assert!(!home.data().join("data").exists());
    let imported = home.ok(&["import", &file]);
    assert_eq!((&imported["messages"], &imported["skipped"]), (&json!(9), &json!(1)));
}

/// A limit on the size of files stands for a full disk: the write that crosses it fails.
#[test]
fn an_import_whose_store_fails_ends_at_once_and_says_why() {
    let home = Home::new();
    // The journal has its first size of 64 MiB now. When it is opened again, it is cut to its content.
    home.ok(&["bot", "create", "x"]);
    let mut lines = lines(4_000);
    for line in &mut lines {
        let mut object: Value = serde_json::from_str(line).expect("json");
        object["content"] = json!("x".repeat(1_000));
        *line = object.to_string();
    }
    let file = packed(&home, &lines);
    let inner = home.command(&["--json", "import", &file]);
    // The limit is in blocks of 512 bytes. Without the signal the write itself fails.
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg("trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"").arg(inner.get_program());
    command.args(inner.get_args()).current_dir(home.data()).stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().expect("runs");
    let (text, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text}{told}");
    assert!(text.contains("File too large") && text.contains("takes no more writes"), "{text}{told}");
}
