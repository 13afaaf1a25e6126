//! Flights: one store read shared by all callers that want its answer.
//!
//! [`slot`] is the shared result and the queue of its waiters; [`waiter`] is one flight with its callers;
//! [`table`] is the state machine that decides which caller leads and which joins. None of them depends on
//! tokio: the task that runs a flight's read belongs to [`crate::stack`].

pub mod slot;
pub mod table;
pub mod waiter;

pub use table::{Begun, Entered, FlightTable, Lead, LostLead};
pub use waiter::{Flight, Waiter, Want};
