//! The binary `data-service` itself: its output for the scripts that start it, and the file by which commands
//! find it.

use std::{
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use weir_runtime::running::Running;
use weir_testkit::{Child, address, is_ready};

/// On any free ports, with its data in the working directory.
const ANY: [&str; 7] =
    ["--json", "--data", "data", "--data-service", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

fn data_service(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = weir_testkit::command(env!("CARGO_BIN_EXE_data-service"));
    command.current_dir(directory).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn its_addresses_are_one_object_once_it_is_ready_and_its_directory_says_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let mut child = Child::spawn(&mut data_service(home.path(), &ANY)).unwrap();
    let told = child.told().unwrap();
    let admin = address(&told, "admin").unwrap();
    TcpStream::connect(address(&told, "data_service").unwrap()).unwrap();
    assert!(is_ready(admin));
    let directory = home.path().join("data");
    let running = Running::read(&directory).unwrap().unwrap();
    assert_eq!((running.address, running.api, running.pid), (admin, None, child.id()));
    assert!(child.stop().unwrap().success());
    assert_eq!(Running::read(&directory).unwrap(), None);
}

/// Under a limit of 300 descriptors, 400 strangers get what is left beside the reserve; the store and the
/// operators keep theirs.
#[test]
fn strangers_take_no_descriptors_that_the_store_and_the_operators_need() {
    let home = tempfile::tempdir().unwrap();
    let mut command = weir_testkit::command("sh");
    command.args(["-c", "ulimit -n 300; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_data-service")]).args(ANY);
    let mut child = Child::spawn(command.current_dir(home.path()).stdout(Stdio::piped())).unwrap();
    let told = child.told().unwrap();
    let service = address(&told, "data_service").unwrap();
    let strangers: Vec<_> = (0..400).map(|_| TcpStream::connect(service).unwrap()).collect();
    let (status, body) = weir_testkit::http(address(&told, "admin").unwrap(), "GET", "/readyz", &[], "");
    assert_eq!(status, 200, "{body}");
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    assert!(open < 300, "{open} of 300 descriptors are in use");
    drop(strangers);
    assert!(child.stop().unwrap().success());
}

/// One file serves every binary, and the configuration in force is one object.
#[test]
fn the_sample_with_every_key_of_every_binary_is_accepted() {
    let home = tempfile::tempdir().unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/standalone/samples/full.toml");
    let arguments = ["--config", sample, "--check-config", "--json"];
    let output = data_service(home.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["configuration"]["data.cache"]["value"], "512MiB");
}
