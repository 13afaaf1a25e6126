//! Flights: one store read shared by all who want its answer.
//!
//! [`slot`] is the shared result and the queue of those who wait for it; [`waiter`] is one flight with its callers;
//! [`table`] is the state machine that decides who leads and who joins. None knows tokio: the task that runs a flight's read is [`crate::stack`]'s.

pub mod slot;
pub mod table;
pub mod waiter;

pub use table::{Begun, Entered, FlightTable, Lead, Lost};
pub use waiter::{Flight, Waiter, Want};
