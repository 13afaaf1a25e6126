//! What a request is answered: a [`reply`], or an [`error`] in Discord's terms.

pub(crate) mod error;
pub(crate) mod reply;
