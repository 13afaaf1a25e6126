//! A caller that leaves before its answer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Polls a future at most so many times, then drops it.
pub(super) struct Leaves<F> {
    inner: Option<Pin<Box<F>>>,
    polls: usize,
}

impl<F: Future> Future for Leaves<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polls = self.polls;
        let Some(inner) = self.inner.as_mut().filter(|_| polls > 0) else {
            self.inner = None;
            return Poll::Ready(None);
        };
        let polled = inner.as_mut().poll(context);
        self.polls -= 1;
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls == 0 => {
                self.inner = None;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// `inner`, which is dropped if it is not done after so many polls.
pub(super) fn leaves<F: Future>(inner: F, polls: usize) -> Leaves<F> {
    Leaves { inner: Some(Box::pin(inner)), polls }
}
