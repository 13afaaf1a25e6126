//! Valid and invalid configurations, as operators would write them.

use weir_api::AddMembers;
use weir_data_service::backend::{BusChoice, StoreChoice};
use weir_runtime::config::MapEnvironment;

use super::*;

fn load(
    file: &str,
    environment: &MapEnvironment,
    common: CommonArgs,
    serve: &ServeArgs,
) -> Result<(Config, Effective), Problems> {
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), file).expect("written");
    Config::load(&CommonArgs { config: Some(path.path().to_owned()), ..common }, serve, true, environment)
}

fn of_file(file: &str) -> Result<Config, String> {
    let loaded = load(file, &MapEnvironment::default(), CommonArgs::default(), &ServeArgs::default());
    loaded.map(|(config, _)| config).map_err(|problems| problems.to_string())
}

/// Every key, with a value that is not its default.
const FULL: &str = include_str!("../../samples/full.toml");

#[test]
fn nothing_is_needed() {
    let config = of_file("").expect("the defaults");
    assert_eq!(config.listen.api, local(8_080));
    assert_eq!((config.backend.store, config.backend.bus), (StoreChoice::Embedded, BusChoice::Memory));
    assert_eq!(config.log_of_commands.filter, "warn");
}

#[test]
fn the_sample_with_every_key_is_accepted_and_leaves_none_out() {
    let (config, effective) =
        load(FULL, &MapEnvironment::default(), CommonArgs::default(), &ServeArgs::default())
            .expect("the sample");
    assert_eq!(config.drain, Duration::from_secs(15));
    assert_eq!(config.log_of_commands.filter, "debug");
    let text = effective.to_string();
    let missing: Vec<_> =
        text.lines().filter(|line| line.contains("# default") || line.contains("is not set")).collect();
    assert!(missing.is_empty(), "samples/full.toml lacks {missing:?}");
}

/// The one list of keys is what the binaries read. `weir` reads all of it except the keys that only a single
/// tier needs.
#[test]
fn the_keys_of_the_whole_are_those_that_its_binaries_read() {
    const OF_TIERS_ALONE: [&str; 1] = ["connect.data_service"];
    let (_, effective) =
        load("", &MapEnvironment::default(), CommonArgs::default(), &ServeArgs::default()).expect("good");
    let mut known: Vec<_> = effective.keys().chain(OF_TIERS_ALONE).collect();
    known.sort_unstable();
    assert_eq!(known, weir_runtime::config::KEYS);
    let (mut section, mut sampled) = ("", Vec::new());
    for line in FULL.lines() {
        match (line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')), line.split_once(" = ")) {
            (Some(name), _) => section = name,
            (None, Some((name, _))) if !line.starts_with('#') => sampled.push(format!("{section}.{name}")),
            (None, _) => {}
        }
    }
    sampled.sort_unstable();
    assert_eq!(sampled, weir_runtime::config::KEYS, "samples/full.toml");
}

#[test]
fn one_underscore_too_few_in_a_variable_is_a_problem() {
    let environment = MapEnvironment::from([("WEIR_LISTEN_API", "127.0.0.1:1")]);
    let problems =
        load("", &environment, CommonArgs::default(), &ServeArgs::default()).expect_err("a slip").to_string();
    assert!(problems.contains("WEIR_LISTEN__API"), "{problems}");
}

#[test]
fn what_is_printed_is_a_configuration_that_gives_the_same() {
    let shown = load(FULL, &MapEnvironment::default(), CommonArgs::default(), &ServeArgs::default())
        .expect("the sample")
        .1;
    let secret = "[cql]\n";
    let again = shown.to_string().replacen(secret, &format!("{secret}password = \"hush\"\n"), 1);
    let values = |effective: &Effective| {
        let text = effective.to_string();
        text.lines().map(|line| line.split("  # ").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let reread = load(&again, &MapEnvironment::default(), CommonArgs::default(), &ServeArgs::default())
        .expect("printed")
        .1;
    assert_eq!(values(&reread), values(&shown));
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = "[listen]\napi = \"127.0.0.1:1\"\ngateway = \"127.0.0.1:2\"\nadmin = \"127.0.0.1:3\"\n";
    let environment = MapEnvironment::from([
        ("WEIR_LISTEN__API", "127.0.0.1:11"),
        ("WEIR_LISTEN__GATEWAY", "127.0.0.1:12"),
    ]);
    let serve = ServeArgs { api: Some("127.0.0.1:21".to_owned()), ..ServeArgs::default() };
    let (config, _) = load(file, &environment, CommonArgs::default(), &serve).expect("good");
    assert_eq!(
        (config.listen.api.port(), config.listen.gateway.port(), config.listen.admin.port()),
        (21, 12, 3)
    );
}

#[test]
fn members_are_added_with_their_consent_once_a_listener_is_not_only_this_machines() {
    let origin = |file: &str| {
        let (config, _) =
            load(file, &MapEnvironment::default(), CommonArgs::default(), &ServeArgs::default()).expect(file);
        config.api.add_members
    };
    assert_eq!(origin(""), AddMembers::Open);
    for listener in ["api", "gateway", "data_service", "admin"] {
        let file = format!("[listen]\n{listener} = \"0.0.0.0:0\"\n");
        assert_eq!(origin(&file), AddMembers::Consent, "{listener}");
        assert_eq!(origin(&format!("{file}[api]\nadd_members = \"open\"\n")), AddMembers::Open);
    }
    assert_eq!(origin("[gateway]\npublic_url = \"wss://chat.example\"\n"), AddMembers::Consent);
}

#[test]
fn every_problem_is_told_at_once_with_its_key_and_origin() {
    let environment = MapEnvironment::from([("WEIR_API__RATE_LIMITS", "sometimes")]);
    let serve = ServeArgs { public_url: Some("http://x".to_owned()), ..ServeArgs::default() };
    let file =
        "[listen]\napi = \"8080\"\n[store]\nurl = \"mongodb://x\"\ndirectoy = \"x\"\n[stop]\ndrain = 20\n";
    let problems =
        load(file, &environment, CommonArgs::default(), &serve).expect_err("all wrong").to_string();
    for part in [
        "6 problems",
        "listen.api = \"8080\"",
        "store.url = \"mongodb://x\"",
        "embedded or cql://",
        "did you mean store.directory?",
        "stop.drain = 20",
        "a duration with a unit",
        "environment WEIR_API__RATE_LIMITS",
        "gateway.public_url = \"http://x\" (flag --public-url)",
    ] {
        assert!(problems.contains(part), "{part} is not in\n{problems}");
    }
}

#[test]
fn listeners_that_collide_and_drains_that_are_too_short_are_refused() {
    let error = of_file("[listen]\napi = \"127.0.0.1:8083\"\n").expect_err("two at 8083");
    assert!(error.contains("same address"), "{error}");
    assert!(
        of_file("[listen]\napi = \"127.0.0.1:0\"\ngateway = \"127.0.0.1:0\"\n").is_ok(),
        "port 0 is always free"
    );
    let error = of_file("[stop]\ndrain = \"5s\"\n").expect_err("below the write timeout");
    assert!(error.contains("gateway.write_timeout"), "{error}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let common = CommonArgs { config: Some("no-such-weir.toml".into()), ..CommonArgs::default() };
    let problems = Config::load(&common, &ServeArgs::default(), true, &MapEnvironment::default())
        .expect_err("not there");
    assert!(problems.to_string().contains("no-such-weir.toml"));
}

#[test]
fn a_password_in_the_stores_address_is_not_repeated() {
    let error = of_file("[store]\nurl = \"cql://u:hunter2@h/k\"\n").expect_err("not there");
    assert!(!error.contains("hunter2") && error.contains("cql.password"), "{error}");
}

#[test]
fn a_command_may_look_for_a_server_where_another_listener_would_be() {
    let common = CommonArgs { admin: Some("127.0.0.1:8080".to_owned()), ..CommonArgs::default() };
    let load = |serving| Config::load(&common, &ServeArgs::default(), serving, &MapEnvironment::default());
    assert!(load(false).is_ok());
    assert!(load(true).expect_err("two at one").to_string().contains("same address"));
}
