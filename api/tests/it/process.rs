//! The binary `api` itself: what it says on standard output, for the scripts that start it.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
};

use weir_testkit::{Child, address};

fn api(arguments: &[&str]) -> Command {
    let mut command = weir_testkit::command(env!("CARGO_BIN_EXE_api"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

const ANY: [&str; 4] = ["--api", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

#[test]
fn listeners_are_told_as_one_object_or_in_a_line_once_they_serve() {
    let started = |arguments: &[&str]| Child::spawn(api(arguments).args(ANY)).unwrap();
    let mut child = started(&["--json"]);
    let told = child.told().unwrap();
    for listener in ["api", "admin"] {
        let address = address(&told, listener).unwrap();
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).unwrap();
    }
    let line = started(&[]).line().unwrap();
    assert!(line.starts_with("api serves: api 127.0.0.1:") && line.contains("admin 127.0.0.1:"), "{line}");
}

#[test]
fn the_configuration_and_what_is_wrong_with_it_are_one_object_too() {
    let last = |arguments: &[&str]| {
        let output = api(arguments).stderr(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let object: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        (output.status.code(), object)
    };
    let (code, object) = last(&["--check-config", "--json"]);
    assert_eq!((code, &object["configuration"]["listen.api"]["origin"]), (Some(0), &"default".into()));
    let (code, object) = last(&["--api", "x", "--json"]);
    assert_eq!((code, &object["exit"]), (Some(2), &2.into()));
    assert!(object["error"].as_str().unwrap().contains("listen.api"), "{object}");
}

/// One file serves every binary.
#[test]
fn the_sample_with_every_key_of_every_binary_is_accepted() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/standalone/samples/full.toml");
    let output = api(&["--config", sample, "--check-config"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
