//! The event bus: how records travel from the data service to gateways.
