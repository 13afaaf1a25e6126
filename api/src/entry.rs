//! What every request passes before its route: [`server`] (connections), [`envelope`] (what every answer carries), and inside of routing
//! [`admission`] (identity by [`auth`], then rate limits). [`prefix`] has the versions of the paths.

pub(crate) mod admission;
pub(crate) mod auth;
pub(crate) mod envelope;
pub(crate) mod prefix;
pub(crate) mod server;
