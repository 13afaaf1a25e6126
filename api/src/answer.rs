//! What a request is answered with: a [`reply`], or an [`error`] in Discord's terms. [`found`] turns the
//! outcome of a data call into one of them.

pub(crate) mod error;
pub(crate) mod found;
pub(crate) mod reply;
