//! Which mutants were caught, by the bytes of their patches and of the files that these change.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::patch::{FOLDER, Mutant};

/// The record, in [`FOLDER`].
const FILE: &str = "proven.txt";

/// Its first line.
const HEADER: &str =
    "# name sha256 of the patch and of the files it changes; written by cargo xtask mutants --record";

/// Hashes in hexadecimal, by the mutants' names.
pub(super) type Hashes = BTreeMap<String, String>;

/// Reads the record.
///
/// # Errors
/// If there is none, or a line of it is no name with a hash.
pub(super) fn read(root: &Path) -> Result<Hashes> {
    let path = root.join(FOLDER).join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Hashes> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parts = lines.map(|line| -> Result<_> {
        let (name, hash) = line.split_once(' ').with_context(|| format!("{FILE}: `{line}` has no hash"))?;
        Ok((name.to_owned(), hash.to_owned()))
    });
    parts.collect()
}

/// Replaces the record.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(root: &Path, hashes: &Hashes) -> Result<()> {
    let path = root.join(FOLDER).join(FILE);
    fs::write(&path, text(hashes)).with_context(|| format!("write {}", path.display()))
}

fn text(hashes: &Hashes) -> String {
    let lines = hashes.iter().map(|(name, hash)| format!("{name} {hash}\n"));
    format!("{HEADER}\n{}", lines.collect::<String>())
}

/// Hashes of mutants, as they and the tree are now.
///
/// # Errors
/// If a file that one of them names cannot be read.
pub(super) fn hashes(root: &Path, mutants: &[Mutant]) -> Result<Hashes> {
    mutants.iter().map(|mutant| Ok((mutant.name.clone(), hash(root, mutant)?))).collect()
}

fn hash(root: &Path, mutant: &Mutant) -> Result<String> {
    let mut hash = Sha256::new();
    let changed = mutant.content.files.iter().map(|file| root.join(file));
    for path in [mutant.path.clone()].into_iter().chain(changed) {
        let bytes = fs::read(&path).with_context(|| format!("{}: read {}", mutant.name, path.display()))?;
        // With the length before them, no byte can pass from one file to the next.
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::patch::read_all, *};

    #[test]
    fn what_is_written_is_read_again() {
        let hashes: Hashes =
            [("b/y", "02"), ("a/x", "01")].map(|(name, hash)| (name.to_owned(), hash.to_owned())).into();
        let written = text(&hashes);
        assert_eq!(written, format!("{HEADER}\na/x 01\nb/y 02\n"));
        assert_eq!(parse(&written).expect("well formed"), hashes);
        assert!(parse(&text(&Hashes::new())).expect("well formed").is_empty());
        assert!(parse("a/x\n").is_err());
    }

    #[test]
    fn the_patch_and_each_file_that_it_changes_count() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join(FOLDER).join("crate");
        fs::create_dir_all(&folder).expect("made");
        let patch =
            "Title.\n\nPackage: p\nTest: it a\nSays: words\n\ndiff --git a/x b/x\ndiff --git a/y b/y\n";
        fs::write(folder.join("m.patch"), patch).expect("written");
        let of = |x: &str, y: &str| {
            fs::write(root.path().join("x"), x).expect("written");
            fs::write(root.path().join("y"), y).expect("written");
            let mutants = read_all(root.path()).expect("well formed");
            hashes(root.path(), &mutants).expect("readable")["crate/m"].clone()
        };
        let first = of("1", "2");
        assert_eq!(first.len(), 64);
        assert_eq!(of("1", "2"), first);
        assert_ne!(of("1", "3"), first);
        assert_ne!(of("12", ""), first);
        fs::write(folder.join("m.patch"), format!("Other {patch}")).expect("written");
        assert_ne!(of("1", "2"), first);
    }
}
