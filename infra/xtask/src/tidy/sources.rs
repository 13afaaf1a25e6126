//! Rules for every Rust source file: header, length, width of comments, queues, and open work.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Longest file that needs no justification. A longer one states its reason in a header line that begins with
/// [`LENGTH_REASON`].
const LINES_MAX: usize = 500;

/// Start of the header line that says why a file is long: `//! Length: …`.
const LENGTH_REASON: &str = "//! Length:";

/// Longest line of a comment, in characters: rustfmt breaks code there, and leaves comments alone.
const WIDTH_MAX: usize = 110;

/// Signs of a line that must not be broken: a table's, and those that diagrams are drawn with.
const DRAWN: [char; 7] = ['|', '─', '│', '┌', '└', '▶', '◀'];

/// The word is split, so that this file passes its own rules.
const UNBOUNDED: &str = concat!("unbounded", "_channel");
const OPEN_WORK: &str = concat!("TO", "DO");

/// Folders that contain no sources of ours.
const NOT_OURS: [&str; 2] = ["target", "node_modules"];

/// All violations in the files below `root`, one line each.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    walk(root, &mut |path, text| {
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        violations.extend(check_file(text).into_iter().map(|violation| format!("{shown}{violation}")));
    })?;
    violations.sort();
    Ok(violations)
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &str)) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !NOT_OURS.contains(&name.as_ref()) {
                walk(&path, visit)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path, &fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(())
}

/// Violations in one file, each beginning with `:LINE:` or a space.
fn check_file(text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    if header.is_empty() {
        violations.push(": the file does not begin with a `//!` header".to_owned());
    }
    let lines = text.lines().count();
    if lines > LINES_MAX && !header.iter().any(|line| line.starts_with(LENGTH_REASON)) {
        violations
            .push(format!(": {lines} lines; split it, or say why not in the header: `{LENGTH_REASON} …`"));
    }
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if is_too_wide(line) {
            violations.push(format!(":{number}: a comment of more than {WIDTH_MAX} characters in a line"));
        }
        if line.contains(UNBOUNDED) && !line.trim_start().starts_with("//") {
            violations.push(format!(":{number}: {UNBOUNDED}: every queue has a bound"));
        }
        if line.match_indices(OPEN_WORK).any(|(at, _)| !names_an_issue(&line[at + OPEN_WORK.len()..])) {
            violations
                .push(format!(":{number}: {OPEN_WORK} without the number of an issue: {OPEN_WORK}(#123)"));
        }
    }
    violations
}

/// True if the line is a comment that could be broken, and should be.
fn is_too_wide(line: &str) -> bool {
    let text = line.trim_start();
    text.starts_with("//")
        && line.chars().count() > WIDTH_MAX
        && !text.contains(DRAWN)
        && !text.contains("://")
}

/// True if the text continues with `(#123)`.
fn names_an_issue(rest: &str) -> bool {
    let number = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')')).map(|(number, _)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_passes() {
        let text = format!("//! Purpose.\n\n// {OPEN_WORK}(#7): later. Never {UNBOUNDED}.\nfn main() {{}}\n");
        assert_eq!(check_file(&text), Vec::<String>::new());
    }

    #[test]
    fn a_missing_header_is_found() {
        assert_eq!(check_file("// Purpose.\nfn main() {}\n").len(), 1);
        assert_eq!(check_file("").len(), 1);
    }

    #[test]
    fn an_unbounded_queue_is_found_with_its_line() {
        let text = format!("//! Purpose.\nlet (a, b) = {UNBOUNDED}();\n");
        assert!(check_file(&text)[0].starts_with(":2:"));
    }

    #[test]
    fn open_work_needs_an_issue() {
        for rest in ["", ": later", "(later)", "(#)", "(#x1)", "(7)"] {
            let text = format!("//! Purpose.\n// {OPEN_WORK}{rest}\n");
            assert_eq!(check_file(&text).len(), 1, "{rest}");
        }
    }

    #[test]
    fn a_comment_is_as_wide_as_the_code_unless_it_is_drawn_or_has_an_address() {
        let of = |comment: &str| check_file(&format!("//! Purpose.\n{comment}\n"));
        let words = "word ".repeat(22);
        assert_eq!(of(&format!("// {words}"))[0].split_once(": ").map(|(place, _)| place), Some(":2"));
        assert_eq!(of(&format!("    /// {}", &words[..100])), Vec::<String>::new());
        for fine in
            [format!("//! | {words} |"), format!("// {words} ─▶ end"), format!("let a = \"{words}\";")]
        {
            assert_eq!(of(&fine), Vec::<String>::new(), "{fine}");
        }
        assert_eq!(of(&format!("// https://{}", "a".repeat(WIDTH_MAX))), Vec::<String>::new());
    }

    #[test]
    fn a_long_file_says_why() {
        let long = format!("//! Purpose.\n{}", "fn f() {}\n".repeat(LINES_MAX));
        assert_eq!(check_file(&long).len(), 1);
        let reasoned = format!("{LENGTH_REASON} one table.\n{}", "fn f() {}\n".repeat(LINES_MAX));
        assert_eq!(check_file(&reasoned), Vec::<String>::new());
    }

    #[test]
    fn build_output_is_not_searched() {
        let folder = tempfile::tempdir().unwrap();
        for sub in ["src", "target/debug", ".hidden"] {
            fs::create_dir_all(folder.path().join(sub)).unwrap();
            fs::write(folder.path().join(sub).join("bad.rs"), "fn f() {}\n").unwrap();
        }
        let violations = check(folder.path()).unwrap();
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(violations[0].starts_with("src/bad.rs:"));
    }
}
