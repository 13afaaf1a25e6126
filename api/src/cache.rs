//! What is remembered for some seconds: whose a token is ([`credentials`]), and what [`users`] look like. Both are bounded, and nothing is
//! lost with them but time.

pub(crate) mod credentials;
pub(crate) mod users;
