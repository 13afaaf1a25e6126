//! Discord's objects, permissions and intents as pure functions of Weir's rows.
