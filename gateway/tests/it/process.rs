//! The binary `gateway` itself.

use std::process::Stdio;

/// One file serves every binary.
#[test]
fn the_sample_with_every_key_of_every_binary_is_accepted() {
    assert!(checked(&["--json"]).starts_with("{\"configuration\":{"));
}

#[test]
fn the_password_of_redis_is_not_printed() {
    for format in [&[][..], &["--json"]] {
        let shown = checked(&[&["--bus", "redis://weir:hunter2@h:1/2"], format].concat());
        assert!(shown.contains("redis://***@h:1/2") && !shown.contains("hunter2"), "{shown}");
    }
}

/// What `--check-config` prints with the sample and these flags.
fn checked(flags: &[&str]) -> String {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/standalone/samples/full.toml");
    let mut command = weir_testkit::command(env!("CARGO_BIN_EXE_gateway"));
    command.args(["--config", sample, "--check-config"]).args(flags);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
