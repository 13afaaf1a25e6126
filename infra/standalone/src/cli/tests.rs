//! Checks the words of the contract.

use super::*;
use crate::config::Misplaced;
use clap::CommandFactory as _;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

fn ok(line: &str) -> Cli {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn clap_finds_no_fault_with_the_definition() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_understood_with_json() {
    for line in [
        "weir",
        "weir serve",
        "weir import chat.ndjson.gz --guild-name Chat --strict",
        "weir bot create ferris",
        "weir bot create ferris --guild 123",
        "weir limits list",
        "weir limits get channel/1",
        "weir limits get channel/1 requests",
        "weir limits set channel/123 requests 50/s --burst 100 --for 10m --dry-run --reason raid",
        "weir limits unset channel/123 requests",
        "weir limits history",
        "weir limits history --scope all -n 5",
        "weir hot",
        "weir hot --watch",
        "weir explain 123",
        "weir schema apply --store cql://127.0.0.1/weir",
        "weir doctor",
        "weir demo",
    ] {
        assert!(!ok(line).common.json);
        assert!(ok(&format!("{line} --json")).common.json, "{line}");
        assert!(ok(&line.replacen("weir", "weir --json --data d", 1)).common.json, "{line}");
    }
}

#[test]
fn the_help_begins_with_what_it_is() {
    let help = Cli::command().render_help().to_string();
    assert!(help.starts_with("Chat storage and delivery at scale"), "{help}");
}

#[test]
fn serves_flags_stand_before_or_after_the_word_and_those_after_win() {
    let Cli { serve, command, .. } = ok("weir --api 1.1.1.1:1 --bus memory serve --api 2.2.2.2:2");
    let Some(Command::Serve(own)) = command else { panic!("not serve") };
    let merged = own.or(serve);
    assert_eq!((merged.api.as_deref(), merged.bus.as_deref()), (Some("2.2.2.2:2"), Some("memory")));
}

#[test]
fn serves_flags_on_other_commands_are_refused() {
    let cli = ok("weir --gateway 127.0.0.1:0 doctor");
    assert_eq!(cli.serve.none(), Err(Misplaced { flag: "--gateway" }));
    assert_eq!(ok("weir doctor").serve.none(), Ok(()));
    assert!(parse("weir doctor --gateway 127.0.0.1:0").is_err());
}

#[test]
fn ids_are_checked_where_they_are_written() {
    for line in [
        "weir explain 0",
        "weir explain general",
        "weir bot create x --guild -1",
        "weir hot -n 0",
        "weir frobnicate",
        "weir import",
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.use_stderr(), "{line}");
    }
    assert!(!parse("weir --help").expect_err("help").use_stderr());
    assert!(!parse("weir --version").expect_err("version").use_stderr());
}
