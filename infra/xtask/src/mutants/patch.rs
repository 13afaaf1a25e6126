//! One mutant: a patch that puts a known mistake back, and in its header the tests that must fail by it.
//!
//! The header is a title, an empty line, one `Package:` line, and pairs of `Test: TARGET NAME` and
//! `Says: WORDS`; the diff follows it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Folder of the patches, from the repository's root. Each crate has a folder in it.
pub(super) const FOLDER: &str = "infra/mutants";

/// Start of the part of a diff that concerns one file.
const FILE: &str = "diff --git ";

/// The test binary of a package that has a test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// That of the library's unit tests.
    Lib,
    /// That of a test target.
    Test(String),
}

impl Target {
    /// What cargo is told to run only this one.
    pub(super) fn arguments(&self) -> Vec<&str> {
        match self {
            Self::Lib => vec!["--lib"],
            Self::Test(name) => vec!["--test", name],
        }
    }
}

/// A test that must fail by a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Catcher {
    pub(super) target: Target,
    /// Its exact name.
    pub(super) test: String,
    /// A part of what it prints then; another failure does not count.
    pub(super) says: String,
}

/// A mutant.
#[derive(Debug)]
pub(super) struct Mutant {
    /// Its folder, and its file's name without the ending: `protect/leader-deadline`.
    pub(super) name: String,
    /// Its file.
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The package of the tests.
    pub(super) package: String,
    /// All of them must fail; there is at least one.
    pub(super) catchers: Vec<Catcher>,
    /// Files that the diff changes, from the repository's root.
    pub(super) files: BTreeSet<String>,
}

/// Reads all mutants, ordered by name.
///
/// # Errors
/// With one line for each file that is not well formed, or when the folder cannot be read.
pub(super) fn read_all(root: &Path) -> Result<Vec<Mutant>> {
    let (mut mutants, mut wrong) = (Vec::new(), Vec::new());
    for folder in listed(&root.join(FOLDER))?.into_iter().filter(|path| path.is_dir()) {
        for path in listed(&folder)? {
            if path.extension().is_none_or(|extension| extension != "patch") {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let name = path.with_extension("");
            let name = name.strip_prefix(root.join(FOLDER)).unwrap_or(&name).display().to_string();
            match parse(&text) {
                Ok(content) => mutants.push(Mutant { name, path, content }),
                Err(error) => wrong.push(format!("{FOLDER}/{name}.patch: {error:#}")),
            }
        }
    }
    if wrong.is_empty() {
        mutants.sort_by(|one, other| one.name.cmp(&other.name));
        return Ok(mutants);
    }
    bail!("{} patches are not well formed:\n  {}", wrong.len(), wrong.join("\n  "))
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn parse(text: &str) -> Result<Content> {
    let Some(at) = text.find(&format!("\n{FILE}")) else {
        bail!("there is no diff below a header");
    };
    let (header, diff) = text.split_at(at + 1);
    let (title, fields) = header.split_once("\n\n").unwrap_or((header, ""));
    if title.trim().is_empty()
        || [FILE, "Package:", "Test:", "Says:"].into_iter().any(|start| title.starts_with(start))
    {
        bail!("the first paragraph is to say what is wrong");
    }
    let (package, catchers) = parse_fields(fields)?;
    let mut files = BTreeSet::new();
    for line in diff.lines().filter_map(|line| line.strip_prefix(FILE)) {
        match line.strip_prefix("a/").and_then(|paths| paths.split_once(" b/")) {
            Some((old, new)) if old == new => files.insert(new.to_owned()),
            Some(_) | None => bail!("the diff is to change files where they are: `{line}`"),
        };
    }
    Ok(Content { package, catchers, files })
}

fn parse_fields(text: &str) -> Result<(String, Vec<Catcher>)> {
    let (mut package, mut test, mut catchers) = (None, None, Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((field, value)) = line.split_once(':') else {
            bail!("`{line}` is no field");
        };
        let value = value.trim();
        if value.is_empty() {
            bail!("`{line}` is empty");
        }
        match (field, test.take()) {
            ("Package", None) if package.is_none() => package = Some(value.to_owned()),
            ("Test", None) => test = Some(parse_test(value)?),
            ("Says", Some((target, test))) => {
                // The test's name is always in what it prints.
                if test.contains(value) {
                    bail!("`{line}` is a part of the test's name, so any failure would count");
                }
                catchers.push(Catcher { target, test, says: value.to_owned() });
            }
            _ => bail!("`{line}` is out of place"),
        }
    }
    if let Some((_, test)) = test {
        bail!("{test} has no `Says:`");
    }
    let Some(package) = package else {
        bail!("there is no `Package:`");
    };
    if catchers.is_empty() {
        bail!("there is no `Test:`");
    }
    Ok((package, catchers))
}

/// The target and the name in `TARGET NAME`.
fn parse_test(value: &str) -> Result<(Target, String)> {
    let words: Vec<&str> = value.split_whitespace().collect();
    match words[..] {
        ["lib", test] => Ok((Target::Lib, test.to_owned())),
        [target, test] => Ok((Target::Test(target.to_owned()), test.to_owned())),
        _ => bail!("`Test: {value}` is to have a target and a name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str =
        "diff --git a/x/src/y.rs b/x/src/y.rs\n--- a/x/src/y.rs\n+++ b/x/src/y.rs\n@@ -1 +1 @@\n-a\n+b\n";

    fn of(header: &str) -> Result<Content> {
        parse(&format!("{header}\n{DIFF}"))
    }

    /// What is wrong with a file.
    fn wrong(text: &str) -> String {
        format!("{:#}", parse(text).expect_err(text))
    }

    #[test]
    fn a_header_names_a_package_and_pairs_of_tests_and_words() {
        let header = "Hazard 1: it is\nwrong: so.\n\nPackage: weir-x\nTest: it a::b\nSays: : no, \"so\"\n\
            Test: lib c\nSays: other words\n";
        let content = of(header).expect("well formed");
        let of_test = Catcher {
            target: Target::Test("it".to_owned()),
            test: "a::b".to_owned(),
            says: ": no, \"so\"".to_owned(),
        };
        let of_lib = Catcher { target: Target::Lib, test: "c".to_owned(), says: "other words".to_owned() };
        assert_eq!(content.package, "weir-x");
        assert_eq!(content.catchers, [of_test, of_lib]);
        assert_eq!(content.files, BTreeSet::from(["x/src/y.rs".to_owned()]));
    }

    #[test]
    fn each_file_of_the_diff_is_known_and_none_of_its_lines_is_taken_for_one() {
        let second = "diff --git a/z.rs b/z.rs\n--- a/z.rs\n+++ b/z.rs\n@@ -1 +1 @@\n+diff --git a/n b/n\n";
        let text = format!("Title.\n\nPackage: p\nTest: it a\nSays: words\n\n{DIFF}{second}");
        let files = parse(&text).expect("well formed").files;
        assert_eq!(files, ["x/src/y.rs", "z.rs"].map(str::to_owned).into());
    }

    #[test]
    fn a_header_that_lacks_something_is_refused_with_what_it_lacks() {
        let pair = "Test: it a\nSays: words\n";
        for (header, reason) in [
            (format!("Package: p\n{pair}"), "first paragraph"),
            (format!("\n\nPackage: p\n{pair}"), "first paragraph"),
            (format!("Title.\n\n{pair}"), "no `Package:`"),
            ("Title.\n\nPackage: p\n".to_owned(), "no `Test:`"),
            ("Title.\n\nPackage: p\nTest: it a\n".to_owned(), "no `Says:`"),
            ("Title.\n\nPackage: p\nTest: it a\nSays:\n".to_owned(), "is empty"),
            ("Title.\n\nPackage: p\nTest: a\nSays: words\n".to_owned(), "a target and a name"),
            ("Title.\n\nPackage: p\nSays: words\n".to_owned(), "out of place"),
            (format!("Title.\n\nPackage: p\nPackage: q\n{pair}"), "out of place"),
            (format!("Title.\n\nPackage: p\nTest: it b\n{pair}"), "out of place"),
            (format!("Title.\n\nPackage: p\n{pair}more\n"), "no field"),
        ] {
            assert!(wrong(&format!("{header}\n{DIFF}")).contains(reason), "{header}");
        }
    }

    #[test]
    fn words_that_the_name_of_the_test_has_are_refused() {
        assert!(of("Title.\n\nPackage: p\nTest: it a::is_stale\nSays: stale page\n").is_ok());
        let text = format!("Title.\n\nPackage: p\nTest: it a::is_stale\nSays: stale\n\n{DIFF}");
        assert!(wrong(&text).contains("any failure would count"));
    }

    #[test]
    fn a_file_without_a_diff_or_with_a_renamed_file_is_refused() {
        assert!(wrong("Title.\n\nPackage: p\nTest: it a\nSays: words\n").contains("no diff"));
        assert!(wrong(DIFF).contains("no diff"));
        let moved = "Title.\n\nPackage: p\nTest: it a\nSays: words\n\ndiff --git a/x b/y\n";
        assert!(wrong(moved).contains("where they are"));
    }

    #[test]
    fn all_patches_are_read_by_name_and_each_wrong_one_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join(FOLDER).join("crate");
        fs::create_dir_all(&folder).expect("made");
        let text = format!("Title.\n\nPackage: p\nTest: it a\nSays: words\n\n{DIFF}");
        for name in ["b.patch", "a.patch", "notes.txt"] {
            fs::write(folder.join(name), &text).expect("written");
        }
        let mutants = read_all(root.path()).expect("well formed");
        let names: Vec<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!(names, ["crate/a", "crate/b"]);
        fs::write(folder.join("c.patch"), "nothing").expect("written");
        let error = format!("{:#}", read_all(root.path()).expect_err("one is wrong"));
        assert!(error.contains("infra/mutants/crate/c.patch: there is no diff"), "{error}");
    }
}
