//! Import circles between the files of a crate: files that need each other can only be read, tested and moved
//! together.
//!
//! A file needs another if it names something in it, outside of its tests. What a folder's file hands on
//! (`pub use`) is followed to where it is; that is no need of the folder's. Names within macros are not seen,
//! but nearly all of those are imported at the top.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use anyhow::Result;
use syn::{
    File, Item, ItemMod, ItemUse, Visibility,
    visit::{self, Visit},
};

use super::modules::{
    HANDED_ON_MAX, Module, Parsed, absolute, child, crates, flatten, is_test, parsed, shown,
};

/// Crates whose files have circles: their folder, and how many files each circle has, the largest first. All
/// others have none. The numbers may only fall.
const KNOWN: &[(&str, &[usize])] = &[("data-service/protect", &[4])];

/// One file.
#[derive(Debug, Default)]
struct Source {
    /// Paths that it names, from the root.
    names: BTreeSet<Module>,
    /// What it hands on, and where that is.
    hands_on: HashMap<String, Module>,
    /// Modules that only tests have.
    tests: Vec<String>,
}

/// Crates with more circles than are known, or with fewer: then the table is to be mended.
///
/// # Errors
/// When a file cannot be read or is no Rust.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for folder in crates(root)? {
        let found = find(&folder.join("src"))?;
        let shown = shown(root, &folder);
        let known = KNOWN.iter().find(|(folder, _)| *folder == shown);
        violations.extend(judge(&shown, &found, known.map_or(&[], |(_, sizes)| sizes)));
    }
    Ok(violations)
}

fn judge(folder: &str, found: &[Vec<String>], known: &[usize]) -> Option<String> {
    let mut sizes: Vec<usize> = found.iter().map(Vec::len).collect();
    sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
    let allowed = |place: usize| known.get(place).copied().unwrap_or(0);
    // Two circles that became one are a larger one.
    if sizes.iter().enumerate().any(|(place, size)| *size > allowed(place)) {
        let shown: Vec<String> = found.iter().map(|circle| circle.join(" ")).collect();
        return Some(format!(
            "{folder}: import circles of {sizes:?} files, where {known:?} are known: {}",
            shown.join("; ")
        ));
    }
    (sizes != known).then(|| {
        format!("{folder}: import circles of {sizes:?} files are left of {known:?}: lower `KNOWN` in tidy/circles.rs")
    })
}

/// The circles of the crate below `folder`, each as the sorted names of its files.
///
/// # Errors
/// When a file cannot be read or is no Rust.
pub(crate) fn find(folder: &Path) -> Result<Vec<Vec<String>>> {
    let mut sources: BTreeMap<Module, (String, Source)> = BTreeMap::new();
    for Parsed { name, module, file } in parsed(folder)? {
        sources.insert(module.clone(), (name, Source::of(&file, module)));
    }
    let tests: Vec<Module> = sources
        .iter()
        .flat_map(|(module, (_, source))| source.tests.iter().map(|test| child(module, test)))
        .collect();
    sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    Ok(circles(&needs(&sources)))
}

/// Which file needs which.
fn needs(sources: &BTreeMap<Module, (String, Source)>) -> BTreeMap<&str, BTreeSet<&str>> {
    let of = |(name, source): &(String, Source)| {
        let needed = source.names.iter().filter_map(|path| home(sources, path, HANDED_ON_MAX));
        needed.filter(|needed| *needed != name).collect()
    };
    sources.values().map(|file| (file.0.as_str(), of(file))).collect()
}

/// The file in which a path's item is.
fn home<'a>(
    sources: &'a BTreeMap<Module, (String, Source)>,
    path: &[String],
    more: usize,
) -> Option<&'a str> {
    let (depth, (name, source)) =
        (0..=path.len()).rev().find_map(|depth| Some((depth, sources.get(&path[..depth])?)))?;
    let rest = &path[depth..];
    let handed_on = rest.first().and_then(|item| source.hands_on.get(item)).filter(|_| more > 0);
    match handed_on {
        Some(target) => {
            let further: Module = target.iter().chain(&rest[1..]).cloned().collect();
            home(sources, &further, more - 1)
        }
        None => Some(name),
    }
}

/// Every file that one needs, directly or not; itself if it is in a circle.
fn reached<'a>(needs: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        open.extend(needs.get(at).into_iter().flatten().filter(|next| seen.insert(**next)));
    }
    seen
}

/// Groups of files that reach each other.
fn circles(needs: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Vec<String>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        needs.keys().map(|file| (*file, reached(needs, file))).collect();
    let mut found = BTreeSet::new();
    for (file, seen) in &reach {
        let group: Vec<String> = seen
            .iter()
            .filter(|other| reach.get(**other).is_some_and(|back| back.contains(file)))
            .map(|other| format!("{other}.rs"))
            .collect();
        if group.len() > 1 {
            found.insert(group);
        }
    }
    found.into_iter().collect()
}

impl Source {
    fn of(file: &File, module: Module) -> Self {
        let mut reader = Reader { module, source: Self::default() };
        reader.visit_file(file);
        reader.source
    }
}

/// Reads one file.
struct Reader {
    /// Where it is; within a module of the file, that.
    module: Module,
    source: Source,
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        } else if let Item::Mod(module) = item {
            self.source.tests.push(module.ident.to_string());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if let Some((_, items)) = &item.content {
            self.module.push(item.ident.to_string());
            items.iter().for_each(|item| self.visit_item(item));
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for (name, path) in flatten(&item.tree) {
            let Some(path) = absolute(&self.module, &path) else { continue };
            match item.vis {
                Visibility::Inherited => {
                    self.source.names.insert(path);
                }
                Visibility::Public(_) | Visibility::Restricted(_) => {
                    self.source.hands_on.insert(name, path);
                }
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            let path: Module = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.source.names.extend(absolute(&self.module, &path));
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::modules::tests::folder_of, *};

    /// The circles of a crate of these files.
    fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = folder_of(files);
        find(folder.path()).expect("read")
    }

    #[test]
    fn files_that_need_each_other_are_a_circle_and_a_chain_is_none() {
        let root = ("lib.rs", "mod a; mod b; mod c; pub use a::A;");
        let c = ("c.rs", "pub struct C;");
        let chain = [root, ("a.rs", "use crate::b::B; pub struct A(B);"), ("b.rs", "use crate::c::C;"), c];
        assert!(of(&chain).is_empty());
        let back = ("c.rs", "pub struct C(crate::A);");
        assert_eq!(of(&[chain[0], chain[1], chain[2], back]), [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn a_folder_that_hands_on_needs_nothing_and_one_that_uses_does() {
        let child = ("a/b.rs", "use super::A;");
        assert!(
            of(&[("lib.rs", "mod a;"), ("a.rs", "mod b; pub use b::B; pub struct A;"), child]).is_empty()
        );
        let uses = ("a.rs", "mod b; pub struct A; fn f() { b::f() }");
        assert_eq!(of(&[("lib.rs", "mod a;"), uses, child]), [["a.rs", "a/b.rs"]]);
    }

    #[test]
    fn the_known_numbers_may_only_fall() {
        let found = [vec!["a.rs".to_owned(), "b.rs".to_owned()]];
        assert_eq!(judge("x", &found, &[2]), None);
        assert!(judge("x", &found, &[]).is_some_and(|said| said.contains("a.rs b.rs")));
        assert!(judge("x", &found, &[3]).is_some_and(|said| said.contains("lower")));
        assert!(judge("x", &[], &[2]).is_some_and(|said| said.contains("lower")));
        let merged = [["a.rs", "b.rs", "c.rs", "d.rs"].map(str::to_owned).to_vec()];
        assert!(judge("x", &merged, &[2, 2]).is_some_and(|said| said.contains("known")));
    }

    #[test]
    fn tests_may_need_what_they_like() {
        let root = ("lib.rs", "mod a; mod b;");
        let b = ("b.rs", "use crate::a::A;");
        let inline = ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }");
        assert!(of(&[root, inline, b]).is_empty());
        let beside = [("a.rs", "pub struct A; #[cfg(test)] mod tests;"), ("a/tests.rs", "use crate::b::B;")];
        assert!(of(&[root, beside[0], beside[1], b]).is_empty());
    }
}
