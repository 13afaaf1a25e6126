//! Facts about a file's ids that are needed before its first message is written: in a newest-first file the
//! messages that replies refer to, because their lines come later; with `--strict`, whether every line keeps
//! its time.

use std::collections::HashMap;

/// A message that others reply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replied {
    /// Number of the channel.
    pub(crate) channel: usize,
    /// Id of the message.
    pub(crate) id: u64,
}

/// Facts about the ids of a whole file.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By the number that others reply to. It holds as many as the scan keeps.
    pub(crate) replied: HashMap<u64, Replied>,
    /// Messages that do not keep their time.
    pub(crate) moved: u64,
}
