//! Precedence, provenance, refusals, and the effective configuration read back as a file.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A configuration like that of a binary.
#[derive(Debug, PartialEq)]
struct Example {
    timeout: Duration,
    cache: u64,
    api: std::net::SocketAddr,
    retries: u64,
    store: &'static str,
    peers: Vec<String>,
    public_url: Option<String>,
    budget: Option<u64>,
    password: Option<Secret>,
}

fn read(reader: &mut Reader) -> Example {
    Example {
        timeout: reader.duration("data.store_timeout", MS(500), MS(1)..=MS(60_000)),
        cache: reader.size("data.cache", 32 << 20, 0..=1 << 40),
        api: reader.addr("listen.api", ([127, 0, 0, 1], 8080).into()),
        retries: reader.u64("data.retries", 3, 0..=10),
        store: reader.choice("data.store", &[("embedded", "embedded"), ("cql", "cql")], "embedded"),
        peers: reader.list("data.peers"),
        public_url: reader.optional_string("gateway.public_url"),
        budget: reader.optional_size("data.budget", 1..=u64::MAX),
        password: reader.secret("data.password"),
    }
}

fn finish(raw: RawConfig) -> Result<(Example, Effective), Problems> {
    let mut reader = raw.into_reader();
    let example = read(&mut reader);
    reader.finish().map(|effective| (example, effective))
}

fn problems(raw: RawConfig) -> Vec<String> {
    finish(raw).expect_err("there are problems").iter().map(ToString::to_string).collect()
}

fn from_file(text: &str) -> RawConfig {
    let mut raw = RawConfig::default();
    raw.file("weir.toml", text);
    raw
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let mut raw = from_file("[data]\nstore_timeout = \"1s\"\nretries = 1\ncache = \"1MiB\"\n");
    raw.environment(&MapEnvironment::from([("WEIR_DATA__RETRIES", "2"), ("WEIR_DATA__CACHE", "2MiB")]));
    raw.flag("data.cache", "--cache", "3MiB");
    let (example, effective) = finish(raw).unwrap();
    assert_eq!((example.timeout, example.retries, example.cache), (MS(1000), 2, 3 << 20));
    let source = |key| effective.source(key).unwrap().to_string();
    assert_eq!(source("data.store_timeout"), "weir.toml line 2");
    assert_eq!(source("data.retries"), "environment WEIR_DATA__RETRIES");
    assert_eq!(source("data.cache"), "flag --cache");
    assert_eq!(source("listen.api"), "default");
}

/// The api reads the key with a default and the gateway without one. The api took a path and a query, to
/// which clients would have appended another.
#[test]
fn a_web_socket_url_keeps_one_rule_with_and_without_a_default() {
    let key = "gateway.public_url";
    let with_default = |text: &str| {
        let mut reader = from_file(&format!("{key} = {text:?}\n")).into_reader();
        let url = reader.web_socket_url(key, "ws://127.0.0.1:8081");
        reader.finish().map(|_| url)
    };
    let optional = |text: &str| {
        let mut reader = from_file(&format!("{key} = {text:?}\n")).into_reader();
        let url = reader.optional_web_socket_url(key);
        reader.finish().map(|_| url)
    };
    for (text, url) in
        [("ws://127.0.0.1:8081", "ws://127.0.0.1:8081"), ("wss://g.example/", "wss://g.example")]
    {
        assert_eq!(with_default(text).unwrap(), url);
        assert_eq!(optional(text).unwrap().as_deref(), Some(url));
    }
    // The first four both refused, the others the gateway alone.
    for text in ["", "http://a", "gateway.example.org", "ws:a", "ws://", "ws://a/b?x", "ws://a?x", "ws:// a"]
    {
        let told = format!("gateway.public_url = {text:?} (weir.toml line 1): it must be ws:// or wss://");
        for problems in [with_default(text).map(drop).unwrap_err(), optional(text).map(drop).unwrap_err()] {
            assert!(problems.to_string().contains(&told), "{problems}");
        }
    }
    let mut reader = RawConfig::default().into_reader();
    assert_eq!(reader.web_socket_url(key, "ws://127.0.0.1:8081"), "ws://127.0.0.1:8081");
    assert_eq!(RawConfig::default().into_reader().optional_web_socket_url(key), None);
}

#[test]
fn every_problem_of_every_layer_is_listed_at_once() {
    let mut raw = from_file("gateway.public_url = 5\n[data]\nstore_timeout = 5\nstor = \"cql\"\n");
    raw.environment(&MapEnvironment::from([
        ("WEIR_DATA__CAHCE", "1MiB"),
        ("WEIR_DATA__RETRIES", "11"),
        ("WEIR_TEST_CQL", "not configuration"),
        ("PATH", "/bin"),
    ]));
    raw.flag("listen.api", "--api", "localhost");
    assert_eq!(
        problems(raw),
        [
            "data.store_timeout = 5 (weir.toml line 3): it must be a duration with a unit; write whole numbers and units (ns, us, ms, s, m, h, d), the longest first, such as \"250ms\" or \"1h30m\"",
            "listen.api = \"localhost\" (flag --api): it must be an IP address and a port; write for example \"127.0.0.1:8080\" or \"[::1]:8080\"",
            "data.retries = \"11\" (environment WEIR_DATA__RETRIES): it is out of range; write 0 to 10",
            "gateway.public_url = 5 (weir.toml line 1): it must be text; put it in quotes",
            "data.cahce = \"1MiB\" (environment WEIR_DATA__CAHCE): there is no such key; did you mean WEIR_DATA__CACHE?",
            "data.stor = \"cql\" (weir.toml line 4): there is no such key; did you mean data.store?",
        ]
    );
}

#[test]
fn types_of_the_file_are_insisted_on_and_texts_are_read() {
    for (text, key) in [
        ("data.retries = \"3\"", "data.retries"),
        ("data.retries = -1", "data.retries"),
        ("data.retries = 1.0", "data.retries"),
        ("data.cache = 1024", "data.cache"),
        ("data.cache = \"64MB\"", "data.cache"),
        ("data.store = true", "data.store"),
        ("data.peers = \"a,b\"", "data.peers"),
        ("data.peers = [1]", "data.peers"),
        ("gateway.public_url = 1", "gateway.public_url"),
        ("data.store_timeout = 1979-05-27", "data.store_timeout"),
        ("data.store_timeout = \"2m\"", "data.store_timeout"),
    ] {
        let found = problems(from_file(text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(key), "{text}: {found:?}");
    }
    let mut raw = RawConfig::default();
    raw.environment(&MapEnvironment::from([
        ("WEIR_DATA__PEERS", "a:1, b:2,"),
        ("WEIR_COLOUR__X", "1"),
        ("WEIR_DATA__STORE", "cql"),
    ]));
    let found = problems(raw);
    assert_eq!(found, ["colour.x = \"1\" (environment WEIR_COLOUR__X): there is no such key"]);
}

#[test]
fn a_wrong_choice_lists_the_right_ones() {
    let found = problems(from_file("data.store = \"embeded\""));
    assert_eq!(
        found,
        [
            "data.store = \"embeded\" (weir.toml line 1): it must be one of embedded, cql; did you mean \"embedded\"?"
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_a_problem() {
    let found = problems(from_file("[data]\nretries = = 3\n"));
    assert!(found[0].starts_with("weir.toml: line 2 is not TOML"), "{found:?}");
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent.toml");
    let mut raw = RawConfig::default();
    raw.read_file(&absent, false);
    assert!(finish(raw.clone()).is_ok());
    raw.read_file(&absent, true);
    let found = problems(raw);
    assert!(found[0].contains("absent.toml: cannot be read"), "{found:?}");
}

#[test]
fn a_file_of_unreasonable_size_is_refused_unread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.toml");
    std::fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let mut raw = RawConfig::default();
    raw.read_file(&path, true);
    assert!(problems(raw)[0].contains("more than 1048576"));
}

#[test]
fn secrets_are_shown_nowhere() {
    let (example, effective) = finish(from_file("data.password = \"hunter2\"")).unwrap();
    assert_eq!(example.password.as_ref().unwrap().expose(), "hunter2");
    assert!(!format!("{example:?}{effective}{effective:?}").contains("hunter2"));
    assert!(effective.to_string().contains("# password = (secret)  # weir.toml line 1"));
    let found = problems(from_file("data.password = [\"hunter2\"]"));
    assert!(!found[0].contains("hunter2"), "{found:?}");
}

#[test]
fn who_an_address_is_reached_as_is_used_and_not_shown() {
    let address = "redis://weir:hunter2@h:1/2";
    let text = format!("data.peers = [\"{address}\"]\ngateway.public_url = \"{address}\"\n");
    let (example, effective) = finish(from_file(&text)).unwrap();
    assert_eq!((example.peers[0].as_str(), example.public_url.as_deref()), (address, Some(address)));
    let shown = effective.to_string();
    assert!(
        shown.contains("public_url = \"redis://***@h:1/2\"") && shown.contains("[\"redis://***@h:1/2\"]")
    );
    assert!(!format!("{shown}{effective:?}{}", effective.to_json()).contains("hunter2"), "{shown}");
}

#[test]
fn rules_between_keys_are_problems_of_the_key_that_was_set() {
    let mut reader = from_file("data.store_timeout = \"2s\"").into_reader();
    let timeout = reader.duration("data.store_timeout", MS(1), MS(1)..=MS(60_000));
    let deadline = reader.duration("data.deadline", MS(1000), MS(1)..=MS(60_000));
    reader.require("data.store_timeout", timeout < deadline, "it must be below data.deadline", "lower it");
    reader.require("data.store_timeout", false, "reported once", "");
    reader.require("data.deadline", false, "a default can break a rule too", "set it");
    let problems: Vec<String> = reader.finish().expect_err("two").iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "data.store_timeout = \"2s\" (weir.toml line 1): it must be below data.deadline; lower it",
            "data.deadline (default): a default can break a rule too; set it",
        ]
    );
}

#[test]
fn parsed_values_carry_their_own_rule() {
    let parse = |text: &str| text.parse::<char>().map_err(|error| error.to_string());
    let mut reader = from_file("a.b = \"xy\"\na.c = \"z\"").into_reader();
    assert_eq!(reader.parsed("a.b", 'q', parse, char::to_string, "write one letter"), 'q');
    assert_eq!(reader.parsed("a.c", 'q', parse, char::to_string, "write one letter"), 'z');
    let found = reader.finish().expect_err("two letters").to_string();
    assert!(
        found.contains("a.b = \"xy\" (weir.toml line 1): too many characters in string; write one letter")
    );
}

#[test]
fn the_effective_configuration_is_a_file_with_the_same_meaning() {
    let mut raw = from_file("[data]\npeers = [\"a\", \"b\\\"\\\\\\u0007\"]\nbudget = \"1GiB\"\n");
    raw.flag("listen.api", "--api", "[::1]:0");
    raw.flag("gateway.public_url", "--public-url", "wss://chat.example/#\"");
    let (example, effective) = finish(raw).unwrap();
    let (again, _) = finish(from_file(&effective.to_string())).unwrap();
    assert_eq!(again, example);
}

proptest! {
    #[test]
    fn any_text_survives_the_effective_file(text in any::<String>()) {
        let mut raw = RawConfig::default();
        raw.flag("gateway.public_url", "--public-url", text.clone());
        let (_, effective) = finish(raw).unwrap();
        let (again, _) = finish(from_file(&effective.to_string())).unwrap();
        prop_assert_eq!(again.public_url, Some(text));
    }

    #[test]
    fn any_file_is_read_or_refused_without_panic(text in "[a-z.\\[\\]= \"0-9\n#{},]{0,80}") {
        let _ = finish(from_file(&text));
    }
}

#[test]
fn keys_of_other_binaries_are_left_to_them_and_unknown_ones_are_not() {
    let mut raw = from_file("[gateway]\nring = \"64MiB\"\nrng = \"1MiB\"\n");
    raw.environment(&MapEnvironment::from([("WEIR_API__RATE_LIMITS", "off")]));
    assert_eq!(
        problems(raw),
        ["gateway.rng = \"1MiB\" (weir.toml line 3): there is no such key; did you mean gateway.ring?"]
    );
}

#[test]
fn the_configuration_in_force_is_one_object_too() {
    let raw = from_file("[data]\nretries = 2\npeers = [\"a\"]\npassword = \"hush\"\n");
    let (_, effective) = finish(raw).unwrap();
    let object = effective.to_json();
    let of = |key: &str| object["configuration"][key].clone();
    assert_eq!(of("data.retries"), serde_json::json!({ "value": 2, "origin": "weir.toml line 2" }));
    assert_eq!(of("data.peers")["value"], serde_json::json!(["a"]));
    assert_eq!(of("data.cache")["origin"], "default");
    assert!(!object.to_string().contains("hush"));
}
