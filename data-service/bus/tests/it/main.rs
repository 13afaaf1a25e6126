//! The Redis bus against real servers: the shared one that `WEIR_TEST_REDIS` names, and servers of the tests'
//! own, which they kill.

mod delivery;
mod outage;
mod server;
