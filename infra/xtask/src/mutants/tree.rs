//! The copy of the tree in which mutants are built.
//!
//! A file is written only if its bytes differ, and its time is then the present: what cargo has built from
//! other bytes is older than it, also after a run that was interrupted with a mutant in the copy.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::patch::Mutant;
use crate::process;

/// A copy of a repository's files.
#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
}

impl Tree {
    /// Makes `folder` a copy of the repository at `root`: of what git tracks, and of new files that it does
    /// not ignore.
    ///
    /// # Errors
    /// If git does not list the files, or one cannot be copied.
    pub(super) fn copied(root: &Path, folder: PathBuf) -> Result<Self> {
        let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let paths = git(root, &arguments, &[])?;
        let paths = paths.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        let paths = paths.map(|path| PathBuf::from(OsStr::from_bytes(path)));
        // A file that was removed is listed as long as the removal is not staged.
        let files: BTreeSet<PathBuf> = paths.filter(|path| root.join(path).is_file()).collect();
        for file in &files {
            copy(&root.join(file), &folder.join(file))?;
        }
        remove_others(&folder, &folder, &files)?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a mutant into the copy.
    ///
    /// # Errors
    /// If it does not apply; then nothing was changed.
    pub(super) fn mutate(&self, mutant: &Mutant) -> Result<Mutated> {
        let keep = |file: &String| -> Result<_> {
            let path = self.folder.join(file);
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Ok((path, bytes))
        };
        let before: Vec<_> = mutant.content.files.iter().map(keep).collect::<Result<_>>()?;
        apply(&self.folder, &mutant.path, &[])?;
        Ok(Mutated { before })
    }
}

/// A copy with a mutant in it.
#[must_use = "the mutant is to be taken out again"]
#[derive(Debug)]
pub(super) struct Mutated {
    /// The changed files, with their bytes before the change.
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Mutated {
    /// Takes the mutant out again.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn revert(self) -> Result<()> {
        for (path, bytes) in self.before {
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Checks that a patch applies to the files at `root`.
///
/// # Errors
/// With what git says.
pub(super) fn check(root: &Path, patch: &Path) -> Result<()> {
    apply(root, patch, &["--check"])
}

fn apply(folder: &Path, patch: &Path, options: &[&str]) -> Result<()> {
    let arguments = [&["apply", "--whitespace=nowarn"][..], options].concat();
    git(folder, &arguments, &[patch]).map(drop)
}

/// Output of a git command that takes `folder` for the root, even if it lies in a repository: below the root
/// of one, `git apply` passes over the files of a patch without a word.
fn git(folder: &Path, arguments: &[&str], files: &[&Path]) -> Result<Vec<u8>> {
    let mut command = Command::new("git");
    command.args(arguments).args(files).current_dir(folder);
    // Hooks of git set these.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    if let Some(above) = folder.parent() {
        command.env("GIT_CEILING_DIRECTORIES", above);
    }
    let output = command.output().with_context(|| format!("run {}", process::shown(&command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        bail!("{} ended with {}: {said}", process::shown(&command), output.status);
    }
    Ok(output.stdout)
}

/// Copies a file with its permissions, unless the copy has the same bytes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let shown = || format!("copy {} to {}", from.display(), to.display());
    let bytes = fs::read(from).with_context(shown)?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(shown)?;
    }
    fs::copy(from, to).map(drop).with_context(shown)
}

/// Removes what lies in `folder`, which is `root` or below it, and is none of `files`: a left file could be a
/// test target of its own.
fn remove_others(root: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, files)?;
        } else if path.strip_prefix(root).is_ok_and(|file| !files.contains(file)) {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn text(root: &Path, file: &str) -> Option<String> {
        fs::read_to_string(root.join(file)).ok()
    }

    /// A repository with two files, and a folder in it for the copy, which git ignores.
    fn repository() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a folder");
        git(root.path(), &["init", "--quiet"], &[]).expect("git is installed");
        write(root.path(), ".gitignore", "/target\n");
        write(root.path(), "a/one.rs", "1\n");
        write(root.path(), "two.rs", "2\n");
        let copy = root.path().join("target/tree");
        fs::create_dir_all(&copy).expect("made");
        (root, copy)
    }

    #[test]
    fn a_copy_has_the_files_of_the_tree_and_no_others() {
        let (root, copy) = repository();
        write(&copy, "a/gone.rs", "of an earlier run");
        write(&copy, "two.rs", "with a mutant in it");
        Tree::copied(root.path(), copy.clone()).expect("copied");
        assert_eq!(text(&copy, "a/one.rs").as_deref(), Some("1\n"));
        assert_eq!(text(&copy, "two.rs").as_deref(), Some("2\n"));
        assert_eq!(text(&copy, "a/gone.rs"), None);
        assert!(!copy.join("target").exists());
    }

    #[test]
    fn only_what_differs_is_written_and_its_time_is_new() {
        let (root, copy) = repository();
        Tree::copied(root.path(), copy.clone()).expect("copied");
        write(&copy, "two.rs", "with a mutant in it");
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        for file in ["a/one.rs", "two.rs"] {
            for path in [root.path().join(file), copy.join(file)] {
                let opened = fs::File::options().append(true).open(path).expect("opened");
                opened.set_modified(long_ago).expect("set");
            }
        }
        Tree::copied(root.path(), copy.clone()).expect("copied");
        let modified =
            |file: &str| fs::metadata(copy.join(file)).and_then(|it| it.modified()).expect("there");
        assert_eq!(modified("a/one.rs"), long_ago);
        assert!(modified("two.rs") > long_ago);
    }

    #[test]
    fn a_mutant_is_put_into_the_copy_and_taken_out_again() {
        let (root, copy) = repository();
        let tree = Tree::copied(root.path(), copy.clone()).expect("copied");
        let patch = "Title.\n\nPackage: p\nTest: it a\nSays: words\n\ndiff --git a/a/one.rs b/a/one.rs\n\
            --- a/a/one.rs\n+++ b/a/one.rs\n@@ -1 +1 @@\n-1\n+wrong\n";
        write(root.path(), "infra/mutants/crate/x.patch", patch);
        let mutants = super::super::patch::read_all(root.path()).expect("well formed");
        check(root.path(), &mutants[0].path).expect("it applies");
        let mutated = tree.mutate(&mutants[0]).expect("it applies");
        assert_eq!(text(&copy, "a/one.rs").as_deref(), Some("wrong\n"));
        assert_eq!(text(root.path(), "a/one.rs").as_deref(), Some("1\n"));
        mutated.revert().expect("reverted");
        assert_eq!(text(&copy, "a/one.rs").as_deref(), Some("1\n"));

        write(root.path(), "a/one.rs", "3\n");
        assert!(check(root.path(), &mutants[0].path).is_err());
        let tree = Tree::copied(root.path(), copy).expect("copied");
        assert!(tree.mutate(&mutants[0]).is_err());
    }
}
