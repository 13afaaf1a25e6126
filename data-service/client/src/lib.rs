//! The typed client of the data service and its Transport trait.
