//! The files of a data directory.
//!
//! ```text
//! DIR/weir.lock    held exclusively while open; contains the holder's process id
//! DIR/VERSION      the layout's number; a newer one than ours is refused. The file appears when the tree is
//!                  complete: a directory with it has a store
//! DIR/VERSION.new  the tree is being made; nothing was ever stored in it
//! DIR/JOURNAL      how far the tree's journals reach at least
//! DIR/SEAL         after a clean stop: every file of the tree, with its checksum
//! DIR/ACKED        the batch that was acknowledged last, at least
//! DIR/lsm/         the tree; `integrity` checks that it is complete
//! ```

/// Name of the file with the layout's number: a directory without it has no embedded store.
pub const VERSION_FILE: &str = "VERSION";

/// Number of the layout that this build writes. Raise it when an older build could no longer read what a
/// newer one wrote.
pub const LAYOUT_VERSION: u32 = 1;

/// Name of the version file until the store is complete.
pub(super) const DRAFT_FILE: &str = "VERSION.new";

/// Folder of the tree.
pub(super) const TREE: &str = "lsm";

/// Name of the note on how far the journals reach at least: the number of the newest journal, and its bytes.
pub(super) const NOTE: &str = "JOURNAL";

/// fjall's lock file within the tree. It is free when fjall has ended.
pub(super) const LOCK: &str = "lock";

/// Ending of a journal's name, after its number.
pub(super) const JOURNAL_END: &str = ".jnl";
