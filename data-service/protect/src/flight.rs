//! Flights: one store read shared by all who want its answer.
//!
//! [`slot`] is the shared result and the queue of those who wait for it; [`table`] is the state machine that decides
//! who leads and who joins. Neither knows tokio: the task that runs a flight's read is [`crate::stack`]'s.

pub mod slot;
pub mod table;

pub use table::{Entered, Flight, FlightTable, Lead, Lost, Waiter, Want};
