//! Limits that an operator tunes while they are in force: rates and concurrency, for each key, group, class and all.
//!
//! In order of use: [`gcra`] is the arithmetic of one rate, [`table`] holds the state of many in fixed memory, and
//! [`rules`] says which rate applies to whom and charges all of a request's scopes in one step.

pub mod gcra;
mod quotas;
pub mod rules;
pub mod table;

pub use gcra::{Quota, QuotaError};
pub use rules::{Admitted, Bound, LimitKind, Limits, Rule, RuleError, RuleView, Scope, Selector};
