//! The crates of this repository as syn reads them: their files, the modules that these are, and what paths
//! in them mean.
//!
//! Only what is written in the files is seen: no macro is expanded, and what a build script generates is not
//! there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use syn::{Attribute, File, UseTree};

/// A path of modules, from the crate's root.
pub(super) type Module = Vec<String>;

/// How often one re-export may lead to another.
pub(super) const HANDED_ON_MAX: usize = 8;

/// Folders in which no crate of ours is.
const NOT_CRATES: [&str; 4] = ["target", "node_modules", "src", "tests"];

/// A file of a crate.
pub(super) struct Parsed {
    /// Its path below `src`, without `.rs`.
    pub(super) name: String,
    /// The module that it is.
    pub(super) module: Module,
    /// What is in it.
    pub(super) file: File,
}

/// Folders below `root` that have a manifest and sources.
///
/// # Errors
/// When a folder cannot be listed.
pub(super) fn crates(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        if folder.join("Cargo.toml").exists() && folder.join("src").exists() {
            found.push(folder.clone());
        }
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && !NOT_CRATES.contains(&name.as_ref()) {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A folder's path below `root`.
pub(super) fn shown(root: &Path, folder: &Path) -> String {
    folder.strip_prefix(root).unwrap_or(folder).display().to_string()
}

/// The files of the crate whose sources are below `folder`: those of the library, if there is one.
///
/// # Errors
/// When a file cannot be read or is no Rust.
pub(super) fn parsed(folder: &Path) -> Result<Vec<Parsed>> {
    let mut files = BTreeMap::new();
    read(folder, folder, &mut files)?;
    // A binary beside a library is a crate of its own, which only wires.
    let root = if folder.join("lib.rs").exists() { "lib" } else { "main" };
    files.remove(if root == "lib" { "main" } else { "lib" });
    let parse = |(name, text): (String, String)| -> Result<Parsed> {
        let module: Module =
            if name == root { Module::new() } else { name.split('/').map(str::to_owned).collect() };
        let module = match module.split_last() {
            Some((last, folder)) if last == "mod" => folder.to_vec(),
            Some(_) | None => module,
        };
        let file = syn::parse_file(&text).with_context(|| format!("parse {name}.rs"))?;
        Ok(Parsed { name, module, file })
    };
    files.into_iter().map(parse).collect()
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).with_extension("").display().to_string();
            files.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// A module or item within a module.
pub(super) fn child(module: &[String], name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// A path from the root, of one that begins in `module`.
pub(super) fn absolute(module: &[String], path: &[String]) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut at = match first.as_str() {
        "crate" => Module::new(),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        // A module below this one, or another crate: then no file has that path.
        own => child(module, own),
    };
    for segment in rest {
        if segment == "super" {
            at.pop()?;
        } else {
            at.push(segment.clone());
        }
    }
    Some(at)
}

/// The paths of a `use`, each with the name that it has here: `*` for all that a module has.
pub(super) fn flatten(tree: &UseTree) -> Vec<(String, Module)> {
    let mut found = Vec::new();
    flatten_below(tree, &[], &mut found);
    found
}

fn flatten_below(tree: &UseTree, before: &[String], found: &mut Vec<(String, Module)>) {
    match tree {
        UseTree::Path(path) => flatten_below(&path.tree, &child(before, &path.ident.to_string()), found),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten_below(tree, before, found)),
        UseTree::Glob(_) => found.push(("*".to_owned(), before.to_vec())),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.last().cloned().unwrap_or_default(), before.to_vec()));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found.push((name.clone(), child(before, &name)));
        }
        UseTree::Rename(rename) => {
            found.push((rename.rename.to_string(), child(before, &rename.ident.to_string())));
        }
    }
}

/// True for what only tests have.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    /// A folder with these files.
    pub(in crate::tidy) fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        folder
    }
}
