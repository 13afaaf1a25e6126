//! The binary `data-service` itself: what it tells the scripts that start it, and where commands find it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use weir_runtime::running::Running;

/// Ends with the test, also one that fails in the middle.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn data_service(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-service"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command.current_dir(directory).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn its_addresses_are_one_object_once_it_is_ready_and_its_directory_says_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0";
    let arguments = ["--json", "--data", "data", "--data-service", any, "--admin", any];
    let mut process = Process(data_service(home.path(), &arguments).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = |name: &str| told[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
    TcpStream::connect(address("data_service")).unwrap();
    assert!(get(address("admin"), "/readyz").starts_with("HTTP/1.1 200"));
    let directory = home.path().join("data");
    let running = Running::read(&directory).unwrap().unwrap();
    assert_eq!((running.address, running.api, running.pid), (address("admin"), None, process.0.id()));
    let signalled = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap();
    assert!(signalled.success() && process.0.wait().unwrap().success());
    assert_eq!(Running::read(&directory).unwrap(), None);
}

/// Under a limit of 300 descriptors, 400 strangers get what is left beside the reserve; the store and the operators keep theirs.
#[test]
fn strangers_take_no_descriptors_that_the_store_and_the_operators_need() {
    let home = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0";
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 300; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_data-service")]);
    command.args(["--json", "--data", "data", "--data-service", any, "--admin", any]);
    command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Process(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = |name: &str| told[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
    let strangers: Vec<_> = (0..400).map(|_| TcpStream::connect(address("data_service")).unwrap()).collect();
    let reply = get(address("admin"), "/readyz");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.0.id())).unwrap().count();
    assert!(open < 300, "{open} of 300 descriptors are in use");
    drop(strangers);
    let signalled = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap();
    assert!(signalled.success() && process.0.wait().unwrap().success());
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
