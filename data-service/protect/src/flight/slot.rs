//! A result that arrives once and is given to every waiter.

use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, lock};

/// A waiter's place in a [`Slot`], to be freed with `Slot::leave`.
#[derive(Debug, Default)]
pub struct Seat(Option<usize>);

#[derive(Debug)]
enum State<R> {
    /// `wakers[i]` is `None` for a free seat; `free` lists those. 16 bytes a waiter and 8 for each freed
    /// seat.
    Pending { wakers: Vec<Option<Waker>>, free: Vec<usize> },
    /// The result, for every waiter, as long as the slot exists.
    Done(R),
}

/// A result that arrives once. Each waiter costs 16 bytes beside its own future.
#[derive(Debug)]
pub struct Slot<R> {
    state: Mutex<State<R>>,
}

impl<R: Clone> Slot<R> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::Pending { wakers: Vec::new(), free: Vec::new() }) }
    }

    /// Publishes `result` and wakes every waiter. Later calls change nothing: the first result stays.
    pub(super) fn publish(&self, result: R) {
        let mut state = lock(&self.state);
        let woken = match &mut *state {
            State::Pending { wakers, .. } => std::mem::take(wakers),
            State::Done(_) => return,
        };
        *state = State::Done(result);
        // The lock is released first: a woken thread would otherwise run into it at once.
        drop(state);
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    /// The result, or a registration that wakes the caller for it.
    pub(super) fn poll(&self, seat: &mut Seat, cx: &Context<'_>) -> Poll<R> {
        let mut state = lock(&self.state);
        let (wakers, free) = match &mut *state {
            State::Done(result) => return Poll::Ready(result.clone()),
            State::Pending { wakers, free } => (wakers, free),
        };
        let place = *seat.0.get_or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            })
        });
        match &mut wakers[place] {
            Some(waker) => waker.clone_from(cx.waker()),
            vacant @ None => *vacant = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Frees a seat: its waker is dropped and the next waiter can have the seat.
    pub(super) fn leave(&self, seat: &mut Seat) {
        let Some(place) = seat.0.take() else { return };
        let mut state = lock(&self.state);
        let waker = match &mut *state {
            State::Done(_) => None,
            State::Pending { wakers, free } => {
                free.push(place);
                wakers[place].take()
            }
        };
        drop(state);
        // The waker is dropped outside the lock: its drop can free its task, and with it further waiters of
        // this slot.
        drop(waker);
    }

    /// The result, if it has arrived.
    #[must_use]
    pub fn peek(&self) -> Option<R> {
        match &*lock(&self.state) {
            State::Pending { .. } => None,
            State::Done(result) => Some(result.clone()),
        }
    }
}
