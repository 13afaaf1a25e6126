//! The scripts, each of them one atomic step in Redis. They are called by their hash; a Redis that does not
//! have a script gets its text again.

use deadpool_redis::redis::Script;

/// The scripts of the bus.
#[derive(Debug)]
pub(super) struct Scripts {
    /// Hands records to inboxes.
    pub(super) publish: Script,
    /// Renews a gateway's keys.
    pub(super) renew: Script,
    /// Registers interest.
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
