//! A store's directory in memory, where it is damaged, and from which it is written out to be opened.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

/// A file: its content up to its last byte that is not zero, and its length. A journal ends in a long row of
/// zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) length: u64,
}

/// Files by their path within the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image(pub(super) BTreeMap<String, Content>);

impl Image {
    /// Reads a directory.
    pub(super) fn read(directory: &Path) -> Self {
        let mut files = BTreeMap::new();
        collect(directory, "", &mut files);
        Self(files)
    }

    /// Writes the image into an empty directory.
    pub(super) fn write(&self, directory: &Path) {
        for (name, content) in &self.0 {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("made");
            let mut file = File::create(&path).expect("made");
            file.write_all(&content.bytes).expect("written");
            file.set_len(content.length).expect("set");
        }
        // A folder of tables may be empty.
        for name in self.0.keys() {
            if let Some(keyspace) = name.strip_suffix("/current") {
                fs::create_dir_all(directory.join(keyspace).join("tables")).expect("made");
            }
        }
    }
}

fn collect(directory: &Path, under: &str, files: &mut BTreeMap<String, Content>) {
    for entry in fs::read_dir(directory).expect("readable") {
        let entry = entry.expect("readable");
        let name = format!("{under}{}", entry.file_name().to_str().expect("text"));
        if entry.file_type().expect("known").is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
            continue;
        }
        let mut bytes = fs::read(entry.path()).expect("readable");
        let length = bytes.len() as u64;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
        files.insert(name, Content { bytes, length });
    }
}
