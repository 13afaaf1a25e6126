//! The binary `gateway` itself.

use std::process::{Command, Stdio};

/// One file serves every binary.
#[test]
fn the_sample_with_every_key_of_every_binary_is_accepted() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/standalone/samples/full.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(name);
    }
    let output =
        command.args(["--config", sample, "--check-config", "--json"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.starts_with(b"{\"configuration\":{"));
}
