//! The api tier: Discord's REST API over the data service.
