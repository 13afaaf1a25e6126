//! The data service as a whole: its methods over a real embedded store, and its rules over a scripted one.
//!
//! Time is tokio's paused clock wherever the store is the scripted one, so minutes of waiting cost nothing and a failing seed fails again.

mod fake_bus;
mod fake_store;
mod methods;
mod node;
mod ownership;
mod smoke;
