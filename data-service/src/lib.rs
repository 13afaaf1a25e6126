//! The data service: the only code that opens a database.
