//! The protection layer: coalescing, a write barrier, a page cache's rules, live limits and concurrency gates
//! in front of any store. It is generic over key, query, value and store, independent of chat and CQL, and
//! needs only tokio.
//!
//! # The phases of a read, in order
//!
//! | phase | module | in one sentence |
//! |--|--|--|
//! | asks | [`request`] | key, query, scopes, deadline, freshness floor; the reply explains itself |
//! | passes the gates | [`stack`] | the order of the gates, tested; [`gates`] switches each off live |
//! | is charged | [`limit`] | GCRA over a bounded table, all scopes in one step, changed live |
//! | may be a hit | [`cache`], [`tail`] | a stamp compared at the hit; the live end of a log |
//! | joins or leads | [`flight`] | one detached read for all who ask the same under one generation |
//! | waits its turn | [`concurrency`] | a hard maximum in the store for each partition and scope |
//! | reads | [`store`] | what the user implements |
//!
//! Beside the path: [`generation`] is the barrier that writers bump, [`clock`] is time, [`config`] the
//! numbers, [`error`] the kinds of failure, [`observe`] the hooks for metrics.
//!
//! # What holds
//!
//! - A read that starts after a write was acknowledged sees it: the writer commits, bumps, then acknowledges;
//!   a read joins only flights, and hits only entries, whose generation is still current. Of a write that is
//!   *not yet* acknowledged two reads in succession may see it, then not (see `tests/it/simulation.rs` for
//!   when).
//! - A caller with a freshness token is answered only from a read that must have seen that revision: one that
//!   began when it was resolved, and that asked a quorum (see [`Store::QUORUM`]).
//! - A caller that leaves neither cancels nor restarts a read. A read in the store keeps its place there
//!   until the store answers or the store timeout passes, and can be joined all the while.
//! - An error, a panic and a refusal reach every waiter typed, and the next call leads at once.
//! - What is admitted in any window of length `w` is at most `burst + rate · w`; a refused request was
//!   charged nothing.
//! - All memory is bounded, by constants and by [`config::ProtectConfig`].
//!
//! # Use
//!
//! Implement [`Store`], [`Query`] and [`Value`] for the table, build a [`Protect`] over it, call
//! [`Protect::read`], and let every writer hold [`Generations::write`] across its commit.
//! `examples/foreign_store.rs` does all of it.

pub mod cache;
pub mod clock;
pub mod concurrency;
pub mod config;
pub mod error;
pub mod flight;
pub mod gates;
pub mod generation;
pub mod limit;
pub mod observe;
pub mod reason;
pub mod request;
pub mod stack;
pub mod store;
pub mod tail;

mod sync;

pub use cache::{NoCache, NoTail, PageCache, Stamped, TailAnswer, TailSource};
pub use clock::{Clock, ManualClock, Nanos, TokioClock};
pub use config::ProtectConfig;
pub use error::{ReadError, Refusal, Stage};
pub use gates::{Gate, Gates};
pub use generation::{Change, Dependence, Generation, Generations};
pub use limit::{Bound, LimitKind, Limits, Quota, Rule, Scope, Selector};
pub use observe::Observer;
pub use reason::RefusalReason;
pub use request::{Admitted, Explain, GateTimes, Outcome, PageRequest, Priority, ReadRequest, Reply, Scopes};
pub use stack::{Builder, Protect};
pub use store::{Query, ReadContext, Store, Value};
pub use tail::{Tail, TailAnchor, TailBounds, TailQuery, TailRow};
