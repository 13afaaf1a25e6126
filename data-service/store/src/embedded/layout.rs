//! What lies where in a data directory.
//!
//! ```text
//! DIR/weir.lock    held exclusively while open; contains the holder's process id
//! DIR/VERSION      the layout's number; a newer one than ours is refused. It appears when the tree is complete: where it is, a store is
//! DIR/VERSION.new  the tree is being made; nothing was ever stored in it
//! DIR/JOURNAL      how far the tree's journals reach at least
//! DIR/SEAL         after a clean stop: every file of the tree, with its checksum
//! DIR/ACKED        the batch that was acknowledged last, at least
//! DIR/lsm/         the tree; `whole` looks whether it is
//! ```

/// Name of the file that holds the layout's number: a directory without it has no embedded store.
pub const VERSION_FILE: &str = "VERSION";

/// Number of the layout this build writes. Raise it when an older build could no longer read what a newer one wrote.
pub const LAYOUT_VERSION: u32 = 1;

/// Name of the version file until there is a store.
pub(super) const DRAFT_FILE: &str = "VERSION.new";

/// The tree in a data directory.
pub(super) const TREE: &str = "lsm";

/// Says how far the journals reach at least: number of the newest, and its bytes.
pub(super) const NOTE: &str = "JOURNAL";

/// fjall's lock within the tree: free when fjall has ended.
pub(super) const LOCK: &str = "lock";

/// Ending of a journal's name; the rest is its number.
pub(super) const JOURNAL_END: &str = ".jnl";
