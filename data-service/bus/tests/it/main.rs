//! The Redis bus against real servers: the one that `WEIR_TEST_REDIS` names, shared with other tests, and own ones that are killed.

mod delivery;
mod outage;
mod server;
