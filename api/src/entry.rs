//! What every request passes before its route: [`server`] (connections) and [`envelope`] (what every answer
//! carries). Inside of routing it passes [`admission`] (identity by [`auth`], then rate limits). [`prefix`]
//! has the versions of the paths.

pub(crate) mod admission;
pub(crate) mod auth;
pub(crate) mod envelope;
pub(crate) mod prefix;
pub(crate) mod server;
