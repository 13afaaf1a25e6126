//! The stores: one conformance suite for both, and tests of each alone.

mod conformance;
mod cql;
mod embedded;
mod fixture;
