//! Public types of one name in several crates: whoever imports both has to rename one of them, and a reader
//! does not know at once which of them is meant.
//!
//! A type counts if it is a struct, an enum or a trait that other crates can name: it is `pub` in public
//! modules, or a public module hands it on. What a crate hands on of another crate is the other's. Types that
//! macros make are not seen, nor those that are generated from the contract.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use anyhow::Result;
use syn::{Ident, Item, Visibility};

use super::modules::{
    HANDED_ON_MAX, Module, Parsed, absolute, child, crates, flatten, is_test, parsed, shown,
};

/// A name that several crates have.
struct Known {
    name: &'static str,
    /// Their folders.
    crates: &'static [&'static str],
    /// Why they may.
    reason: &'static str,
}

const fn known(name: &'static str, crates: &'static [&'static str], reason: &'static str) -> Known {
    Known { name, crates, reason }
}

const CONNECT: &str = "proto/connect";
const PROTECT: &str = "data-service/protect";
const STORE: &str = "data-service/store";
const DATA: &str = "data-service";
const RUNTIME: &str = "infra/runtime";

/// The names of which this is known. The list may only shrink.
const KNOWN: &[Known] = &[
    known("Bound", &[PROTECT, RUNTIME], "of a limit, and of a part of memory"),
    known(
        "Clock",
        &[DATA, PROTECT],
        "the protection layer depends on nothing of ours, so it has a trait of its own",
    ),
    known("ConnectError", &[CONNECT, STORE], "the protocol is called Connect; a database is connected to"),
    known("ManualClock", &[PROTECT, RUNTIME], "each of two traits of clocks has one for tests"),
    known("Memory", &[CONNECT, DATA], "accounts of memory, and what a read may remember"),
    known("Observer", &[DATA, PROTECT], "the data service's implements the protection layer's"),
    known("OpenError", &[DATA, STORE], "each is why its crate's service or store could not be opened"),
    known("ReadError", &[PROTECT, STORE], "the protection layer's wraps any store's"),
    known("Reply", &[CONNECT, PROTECT], "to a call, and to a read"),
    known("Scope", &[DATA, PROTECT], "what has turns, and whom a limit counts together"),
    known(
        "Store",
        &[PROTECT, STORE],
        "the protection layer depends on nothing of ours, so it has a trait of its own",
    ),
];

/// A module, as far as names go.
#[derive(Debug, Default)]
struct Names {
    /// Structs, enums and traits that it declares, and whether they are `pub`.
    types: HashMap<String, bool>,
    /// Modules below it, and whether they are `pub`.
    modules: Vec<(String, bool)>,
    /// What it names of other modules: the name here, the path from the root, and whether it hands it on to
    /// everybody.
    uses: Vec<(String, Module, bool)>,
}

/// The modules of a crate.
type Crate = BTreeMap<Module, Names>;

/// Names that more crates have than are known, or fewer: then the list is to be mended.
///
/// # Errors
/// When a file cannot be read or is no Rust.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in crates(root)? {
        let sources = folder.join("src");
        // Nobody can name what is in a binary.
        if !sources.join("lib.rs").exists() {
            continue;
        }
        for name in surface(&names(&sources)?) {
            found.entry(name).or_default().insert(shown(root, &folder));
        }
    }
    Ok(judge(&found, KNOWN))
}

fn judge(found: &BTreeMap<String, BTreeSet<String>>, known: &[Known]) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, folders) in found.iter().filter(|(_, folders)| folders.len() > 1) {
        let known = known.iter().find(|known| known.name == name.as_str());
        let allowed = |folder: &String| known.is_some_and(|known| known.crates.contains(&folder.as_str()));
        if !folders.iter().all(allowed) {
            let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
            let why = known.map_or_else(String::new, |known| {
                format!(" (known in {}: {})", known.crates.join(", "), known.reason)
            });
            violations.push(format!(
                "{name}: public types of this name are in {}{why}: rename the new one",
                folders.join(", ")
            ));
        }
    }
    for known in known {
        let is_in = |folder: &&&str| found.get(known.name).is_some_and(|folders| folders.contains(**folder));
        if known.crates.iter().filter(is_in).count() < known.crates.len() {
            violations.push(format!(
                "{}: not all of {} have a public type of this name any more: shrink `KNOWN` in tidy/names.rs",
                known.name,
                known.crates.join(", ")
            ));
        }
    }
    violations
}

/// The modules of the library below `folder`.
fn names(folder: &Path) -> Result<Crate> {
    let mut found = Crate::new();
    for Parsed { module, file, .. } in parsed(folder)? {
        note(&file.items, module, &mut found);
    }
    Ok(found)
}

/// Notes the items of a module, and those of the modules that are written within it.
fn note(items: &[Item], module: Module, found: &mut Crate) {
    let mut here = Names::default();
    for item in items {
        match item {
            Item::Struct(item) if !is_test(&item.attrs) => here.declare(&item.ident, &item.vis),
            Item::Enum(item) if !is_test(&item.attrs) => here.declare(&item.ident, &item.vis),
            Item::Trait(item) if !is_test(&item.attrs) => here.declare(&item.ident, &item.vis),
            Item::Mod(item) if !is_test(&item.attrs) => {
                let name = item.ident.to_string();
                if let Some((_, items)) = &item.content {
                    note(items, child(&module, &name), found);
                }
                here.modules.push((name, is_public(&item.vis)));
            }
            Item::Use(item) if !is_test(&item.attrs) => {
                for (name, path) in flatten(&item.tree) {
                    if let Some(path) = absolute(&module, &path) {
                        here.uses.push((name, path, is_public(&item.vis)));
                    }
                }
            }
            _ => {}
        }
    }
    found.insert(module, here);
}

impl Names {
    fn declare(&mut self, name: &Ident, visibility: &Visibility) {
        self.types.insert(name.to_string(), is_public(visibility));
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The types that other crates can name.
fn surface(names: &Crate) -> BTreeSet<String> {
    let (mut found, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![Module::new()]);
    while let Some(module) = open.pop() {
        let Some(here) = names.get(&module) else { continue };
        let public = here.modules.iter().filter(|(_, public)| *public);
        let below: Vec<Module> = public.map(|(name, _)| child(&module, name)).collect();
        if !seen.insert(module) {
            continue;
        }
        open.extend(below);
        found.extend(here.types.iter().filter(|(_, public)| **public).map(|(name, _)| name.clone()));
        for (name, path, _) in here.uses.iter().filter(|(_, _, public)| *public) {
            if name == "*" || names.contains_key(path) {
                open.push(path.clone());
            } else if is_type(names, path, HANDED_ON_MAX) {
                found.insert(name.clone());
            }
        }
    }
    found
}

/// Whether a path leads to a type of this crate, perhaps by modules that hand it on.
fn is_type(names: &Crate, path: &[String], more: usize) -> bool {
    let Some((name, module)) = path.split_last() else { return false };
    let Some(here) = names.get(module) else { return false };
    let handed_on = |(as_name, from, _): &(String, Module, bool)| match as_name.as_str() {
        "*" => is_type(names, &child(from, name), more - 1),
        as_name => as_name == name.as_str() && is_type(names, from, more - 1),
    };
    here.types.contains_key(name) || (more > 0 && here.uses.iter().any(handed_on))
}

#[cfg(test)]
mod tests {
    use super::{super::modules::tests::folder_of, *};

    /// The public types of a crate of these files.
    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let folder = folder_of(files);
        surface(&names(folder.path()).expect("read")).into_iter().collect()
    }

    #[test]
    fn a_type_is_public_if_each_module_above_it_is() {
        let root = "pub mod a; mod b; pub(crate) mod c; pub struct Root; pub(crate) struct Own; struct Mine;";
        let a = "pub enum A {} pub trait T {} pub mod d { pub struct Inline; } mod e { pub struct Hidden; }";
        let below = ("a/f.rs", "pub struct InNoModule;");
        let hidden = [("b.rs", "pub struct B;"), ("c.rs", "pub struct C;")];
        let public = of(&[("lib.rs", root), ("a.rs", a), below, hidden[0], hidden[1]]);
        assert_eq!(public, ["A", "Inline", "Root", "T"]);
    }

    #[test]
    fn what_is_handed_on_is_public_by_its_name_there() {
        let root = "mod a; mod b; pub use a::{A, f, Old as New}; pub use b::*; pub(crate) use a::Own;";
        let a =
            "pub use self::deep::A; pub struct Old; pub struct Own; pub fn f() {} mod deep { pub struct A; }";
        let b = "pub struct B; pub mod below { pub struct Below; } struct Mine;";
        assert_eq!(of(&[("lib.rs", root), ("a.rs", a), ("b.rs", b)]), ["A", "B", "Below", "New"]);
    }

    #[test]
    fn types_of_other_crates_and_of_tests_do_not_count() {
        let root =
            "pub use other::{Foreign, more::*}; #[cfg(test)] pub mod tests; #[cfg(test)] pub struct X;";
        assert!(of(&[("lib.rs", root), ("tests.rs", "pub struct T;")]).is_empty());
    }

    #[test]
    fn re_exports_in_a_circle_end() {
        let root = "mod a; mod b; pub use a::A;";
        assert!(
            of(&[("lib.rs", root), ("a.rs", "pub use crate::b::A;"), ("b.rs", "pub use crate::a::A;")])
                .is_empty()
        );
    }

    #[test]
    fn the_known_names_may_only_shrink() {
        let found = |folders: &[&str]| {
            let folders: BTreeSet<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
            BTreeMap::from([("Same".to_owned(), folders)])
        };
        let in_two = [known("Same", &["a", "b"], "a reason")];
        assert!(judge(&found(&["a"]), &[]).is_empty());
        assert!(judge(&found(&["a", "b"]), &in_two).is_empty());
        assert!(judge(&found(&["a", "b"]), &[])[0].contains("a, b"));
        assert!(judge(&found(&["a", "b", "c"]), &in_two)[0].contains("a reason"));
        for fewer in [found(&["a"]), BTreeMap::new()] {
            assert!(judge(&fewer, &in_two)[0].contains("shrink"));
        }
    }
}
