//! Tests xtask as its users run it: the binary, with real processes.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Life of the child in the tests below. A child that is not stopped keeps its pipe open for this long, which
/// is how the tests notice it.
const CHILD_LIFE: Duration = Duration::from_secs(60);

fn xtask() -> &'static str {
    env!("CARGO_BIN_EXE_xtask")
}

/// Goal: a server never outlives an xtask that was killed. Method: a shell stands for xtask and starts a
/// child through `exec-child`; the shell is killed without a chance to clean up; the child's pipe must close
/// long before the child would have ended by itself.
#[test]
fn child_dies_with_its_parent_even_when_that_is_killed() {
    let child = format!("echo ready; exec sleep {}", CHILD_LIFE.as_secs());
    let script = format!("'{}' exec-child bound -- sh -c '{child}' & wait", xtask());
    let mut parent = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");

    let killed = Instant::now();
    parent.kill().unwrap();
    parent.wait().unwrap();
    output.read_to_string(&mut line).unwrap();
    assert!(killed.elapsed() < CHILD_LIFE / 2, "the child lived on for {:?}", killed.elapsed());
}

/// Goal: a developer's server stays when the shell that started it is gone. Method: as above, but detached;
/// the child must say something after its parent's death.
#[test]
fn detached_child_outlives_its_parent() {
    // The child waits until its parent is gone and another process has adopted it, and then prints.
    let child = r#"start=$(cut -d" " -f4 /proc/$$/stat); echo ready; while [ "$(cut -d" " -f4 /proc/$$/stat)" = "$start" ]; do :; done; echo alive"#;
    let mut parent = Command::new("sh")
        .args(["-c", "\"$1\" exec-child detached -- sh -c \"$2\" & wait", "sh", xtask(), child])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\nalive\n");
}

#[test]
fn a_program_that_does_not_exist_is_reported() {
    let output =
        Command::new(xtask()).args(["exec-child", "bound", "--", "no-such-program"]).output().unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("start no-such-program"), "{message}");
}

#[test]
fn an_unknown_part_is_refused_with_the_known_ones() {
    let output = Command::new(xtask()).args(["test", "--only", "everything"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cassandra") && message.contains("twilight"), "{message}");
}
