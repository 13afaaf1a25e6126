//! The scenarios, one in each file.

pub(crate) mod attack;
pub(crate) mod fanout;
pub(crate) mod hot_channel;
pub(crate) mod import_kills;
pub(crate) mod kills;
pub(crate) mod limit_change;
pub(crate) mod soak;
