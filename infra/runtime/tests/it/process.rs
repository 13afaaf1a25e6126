//! Behaviour that only a whole process shows: signals, and its output on standard error.
//!
//! Each test runs this test binary again, with an environment variable that makes the same test act as the
//! child.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use weir_runtime::Shutdown;
use weir_runtime::telemetry::{self, LogFormat, TelemetryConfig};

const CHILD: &str = "WEIR_TEST_CHILD";

fn spawn(test: &str) -> Child {
    run(&mut Command::new(std::env::current_exe().unwrap()), test)
}

fn run(program: &mut Command, test: &str) -> Child {
    program
        .args(["--exact", "--nocapture", test])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Reads the child's lines until one contains `marker`.
fn await_line(lines: &mut impl Iterator<Item = std::io::Result<String>>, marker: &str) {
    assert!(lines.any(|line| line.unwrap().contains(marker)), "the child ended without {marker:?}");
}

#[test]
fn the_first_signal_drains_and_the_second_exits_with_130() {
    if is_child() {
        return child_waits_for_ever_after_the_first_signal();
    }
    // Children of a run under `nohup` ignore SIGHUP, as they should.
    let hangup = (!ignores_hangup(std::process::id())).then_some(Signal::HUP);
    for signal in [Signal::TERM, Signal::INT].into_iter().chain(hangup) {
        let mut child = spawn("process::the_first_signal_drains_and_the_second_exits_with_130");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = Pid::from_child(&child);
        await_line(&mut lines, "child: running");
        kill_process(pid, signal).unwrap();
        await_line(&mut lines, "child: draining");
        kill_process(pid, signal).unwrap();
        let status: ExitStatus = child.wait().unwrap();
        assert_eq!(status.code(), Some(130));
    }
}

#[expect(clippy::print_stdout, reason = "the parent follows the child by its lines")]
fn child_waits_for_ever_after_the_first_signal() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().unwrap();
        println!("child: running");
        shutdown.begun().await;
        println!("child: draining");
        // Longer than any test may take, so only the second signal can end it.
        tokio::time::sleep(Duration::from_secs(600)).await;
        panic!("the second signal was ignored");
    });
}

#[test]
fn a_process_that_was_told_to_outlive_its_terminal_does() {
    if is_child() {
        return child_waits_for_ever_after_the_first_signal();
    }
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let mut child = run(&mut nohup, "process::a_process_that_was_told_to_outlive_its_terminal_does");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    await_line(&mut lines, "child: running");
    let ignored = ignores_hangup(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ignored);
}

/// Whether Linux says that a process ignores SIGHUP: the lowest bit of its mask of ignored signals.
fn ignores_hangup(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(ignored, 16).unwrap() & 1 == 1
}

#[test]
fn json_logs_are_one_object_for_each_line_on_standard_error() {
    if is_child() {
        let config = TelemetryConfig { format: LogFormat::Json, ..TelemetryConfig::default() };
        telemetry::install(&config).unwrap();
        assert!(matches!(telemetry::install(&config), Err(telemetry::TelemetryError::AlreadyInstalled(_))));
        tracing::info!(channel = 7, "committed");
        tracing::debug!("below the default filter");
        return;
    }
    let child = spawn("process::json_logs_are_one_object_for_each_line_on_standard_error");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(events.len(), 1, "{text}");
    assert_eq!(events[0]["message"], "committed");
    assert_eq!(events[0]["channel"], 7);
    assert_eq!(events[0]["level"], "INFO");
    assert!(events[0]["timestamp"].is_string());
}
