//! The contract's golden summary: `proto/compat.golden` lists every field, enum value and method of the
//! .proto files, one to a line.
//!
//! Clients of another version read and write by these numbers and names (Connect's JSON uses the names). A
//! line that vanished or changed means a broken client, so the check fails. A new line is compatible, but
//! must be added on purpose, by `cargo xtask proto-golden --bless`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use protox::prost_reflect::{DescriptorPool, Kind};

use crate::workspace::Workspace;

/// Most differing lines that a message shows: a screenful.
const SHOWN_MAX: usize = 20;

/// Lines in which the golden file and the .proto files differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    /// Lines that only the golden file has. Their removal breaks clients.
    removed: Vec<String>,
    /// Lines that only the .proto files have. They are to be blessed.
    added: Vec<String>,
}

/// Fails unless the golden file matches the .proto files.
///
/// # Errors
/// With the lines that differ.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let current = summary(&workspace.root().join("proto/proto"))?;
    let difference = difference(&read_golden(workspace)?, &current);
    if !difference.removed.is_empty() {
        bail!("the contract lost or changed what clients rely on:{}", excerpt(&difference.removed));
    }
    if !difference.added.is_empty() {
        bail!(
            "not in proto/compat.golden yet; run `cargo xtask proto-golden --bless`:{}",
            excerpt(&difference.added)
        );
    }
    Ok(())
}

/// Writes the golden file.
///
/// # Errors
/// If that would drop a line, unless `accept_breaking`.
pub(crate) fn bless(workspace: &Workspace, accept_breaking: bool) -> Result<()> {
    let current = summary(&workspace.root().join("proto/proto"))?;
    let difference = difference(&read_golden(workspace)?, &current);
    if !difference.removed.is_empty() && !accept_breaking {
        bail!(
            "this change breaks clients; give --accept-breaking if that is meant:{}",
            excerpt(&difference.removed)
        );
    }
    let mut text = current.into_iter().collect::<Vec<_>>().join("\n");
    text.push('\n');
    fs::write(golden_path(workspace), text).context("write proto/compat.golden")?;
    println!("{} lines added, {} removed", difference.added.len(), difference.removed.len());
    Ok(())
}

/// At most [`SHOWN_MAX`] of the lines, and the number of further ones.
fn excerpt(lines: &[String]) -> String {
    let mut text: String = lines.iter().take(SHOWN_MAX).map(|line| format!("\n  {line}")).collect();
    if lines.len() > SHOWN_MAX {
        text.push_str(&format!("\n  and {} more", lines.len() - SHOWN_MAX));
    }
    text
}

fn golden_path(workspace: &Workspace) -> PathBuf {
    workspace.root().join("proto/compat.golden")
}

/// The golden lines; none when the file does not exist yet.
fn read_golden(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let path = golden_path(workspace);
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn difference(golden: &BTreeSet<String>, current: &BTreeSet<String>) -> Difference {
    Difference {
        removed: golden.difference(current).cloned().collect(),
        added: current.difference(golden).cloned().collect(),
    }
}

/// One line for each field, enum value and method of all .proto files below `root`.
fn summary(root: &Path) -> Result<BTreeSet<String>> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    let set = protox::compile(&files, [root]).context("compile the .proto files")?;
    let pool = DescriptorPool::from_file_descriptor_set(set).context("link the .proto files")?;
    let mut lines = BTreeSet::new();
    // Types that come with protobuf are not part of our contract.
    let foreign = |name: &str| name.starts_with("google.protobuf.");
    for message in pool.all_messages().filter(|message| !foreign(message.full_name())) {
        for field in message.fields() {
            let label = if field.is_map() {
                "map "
            } else if field.is_list() {
                "repeated "
            } else if field.supports_presence() && !matches!(field.kind(), Kind::Message(_)) {
                "optional "
            } else {
                ""
            };
            let kind = kind(&field.kind());
            lines.insert(format!("{}={}:{label}{kind}", field.full_name(), field.number()));
        }
    }
    for item in pool.all_enums().filter(|item| !foreign(item.full_name())) {
        for value in item.values() {
            lines.insert(format!("{}.{}={}:value", item.full_name(), value.name(), value.number()));
        }
    }
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let (input, output) = (method.input(), method.output());
        lines.insert(format!("{}({}):{}", method.full_name(), input.full_name(), output.full_name()));
    }
    Ok(lines)
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Double => "double".to_owned(),
        Kind::Float => "float".to_owned(),
        Kind::Int32 => "int32".to_owned(),
        Kind::Int64 => "int64".to_owned(),
        Kind::Uint32 => "uint32".to_owned(),
        Kind::Uint64 => "uint64".to_owned(),
        Kind::Sint32 => "sint32".to_owned(),
        Kind::Sint64 => "sint64".to_owned(),
        Kind::Fixed32 => "fixed32".to_owned(),
        Kind::Fixed64 => "fixed64".to_owned(),
        Kind::Sfixed32 => "sfixed32".to_owned(),
        Kind::Sfixed64 => "sfixed64".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::String => "string".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(item) => item.full_name().to_owned(),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"syntax = "proto3"; package t.v1;
        enum Reason { REASON_UNSPECIFIED = 0; REASON_RATE = 1; }
        message Note { uint64 id = 1; optional string text = 2; repeated Note replies = 3; Reason why = 4; map<string, bytes> by = 5; }
        service Notes { rpc Get(Note) returns (Note); }"#;

    fn summary_of(text: &str) -> BTreeSet<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("t/v1")).unwrap();
        fs::write(folder.path().join("t/v1/note.proto"), text).unwrap();
        summary(folder.path()).unwrap()
    }

    #[test]
    fn summary_names_fields_values_and_methods() {
        let lines = summary_of(FIRST);
        for line in [
            "t.v1.Note.id=1:uint64",
            "t.v1.Note.text=2:optional string",
            "t.v1.Note.replies=3:repeated t.v1.Note",
            "t.v1.Note.why=4:t.v1.Reason",
            "t.v1.Note.by=5:map t.v1.Note.ByEntry",
            "t.v1.Note.ByEntry.value=2:bytes",
            "t.v1.Reason.REASON_RATE=1:value",
            "t.v1.Notes.Get(t.v1.Note):t.v1.Note",
        ] {
            assert!(lines.contains(line), "{line} is not in {lines:#?}");
        }
    }

    #[test]
    fn an_added_field_is_no_removal_but_a_new_number_or_type_or_name_is() {
        let golden = summary_of(FIRST);
        let removed = |from: &str, to: &str| {
            let changed = FIRST.replace(from, to);
            assert_ne!(changed, FIRST);
            difference(&golden, &summary_of(&changed)).removed
        };
        assert!(removed("Reason why = 4;", "Reason why = 4; bool done = 6;").is_empty());
        assert_eq!(removed("uint64 id = 1", "uint64 id = 7"), ["t.v1.Note.id=1:uint64"]);
        assert_eq!(removed("uint64 id = 1", "sint64 id = 1"), ["t.v1.Note.id=1:uint64"]);
        assert_eq!(removed("uint64 id = 1", "uint64 key = 1"), ["t.v1.Note.id=1:uint64"]);
        assert_eq!(removed("REASON_RATE = 1;", ""), ["t.v1.Reason.REASON_RATE=1:value"]);
        assert_eq!(removed("rpc Get(", "rpc Fetch("), ["t.v1.Notes.Get(t.v1.Note):t.v1.Note"]);
    }

    #[test]
    fn blessing_needs_consent_to_forget_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(folder.path());
        let proto = folder.path().join("proto/proto/t.proto");
        fs::create_dir_all(proto.parent().unwrap()).unwrap();
        fs::write(&proto, FIRST).unwrap();
        assert!(check(&workspace).is_err(), "a missing golden file must not pass");
        bless(&workspace, false).unwrap();
        check(&workspace).unwrap();
        fs::write(&proto, FIRST.replace("uint64 id = 1;", "")).unwrap();
        assert!(check(&workspace).is_err());
        assert!(bless(&workspace, false).is_err());
        assert!(check(&workspace).is_err(), "a refused blessing must not write");
        bless(&workspace, true).unwrap();
        check(&workspace).unwrap();
    }
}
