//! What must be known of a file's ids before its first message is written: of a newest-first file, to which message a reply belongs whose
//! line comes later; with `--strict`, whether every line keeps its time.

use std::collections::HashMap;

/// A message that others reply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replied {
    /// Number of its channel.
    pub(crate) channel: usize,
    /// Its id.
    pub(crate) id: u64,
}

/// Ids of a whole file.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By the number that others reply to; as many as the scan keeps.
    pub(crate) replied: HashMap<u64, Replied>,
    /// Messages that do not keep their time.
    pub(crate) moved: u64,
}
