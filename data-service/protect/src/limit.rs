//! Limits that an operator tunes while they are in force: rates and concurrency, for each key, group, class
//! and all.
//!
//! From the outside in: [`Limits`] charges all of a request's scopes in one step; [`rules`] are the
//! operator's settings; [`table`] holds the state of many rates in fixed memory; [`gcra`] is the arithmetic
//! of one rate.

pub mod gcra;
mod limits;
mod quotas;
pub mod rules;
mod ruleset;
pub mod table;

pub use gcra::{Quota, QuotaError};
pub use limits::Limits;
pub use rules::{Admitted, Bound, LimitKind, Rule, RuleError, RuleView, Scope, Selector};
