//! The scripts, each one step in Redis. They are sent by their hash; a Redis that lost them is sent the text again.

use deadpool_redis::redis::Script;

/// The scripts of the bus.
#[derive(Debug)]
pub(super) struct Scripts {
    /// Hands records to inboxes.
    pub(super) publish: Script,
    /// Keeps a gateway alive.
    pub(super) renew: Script,
    /// Notes interest.
    pub(super) interest: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            publish: Script::new(include_str!("publish.lua")),
            renew: Script::new(include_str!("renew.lua")),
            interest: Script::new(include_str!("interest.lua")),
        }
    }
}
