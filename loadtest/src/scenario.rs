//! Scenarios, one in each file.

pub(crate) mod hot_channel;
