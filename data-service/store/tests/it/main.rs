//! The stores: one conformance suite for both, and what is special to each.

mod conformance;
mod cql;
mod embedded;
mod fixture;
