//! What a request is answered: a [`reply`], or an [`error`] in Discord's terms; [`found`] makes one of a data call.

pub(crate) mod error;
pub(crate) mod found;
pub(crate) mod reply;
