//! Hazard 46: a caller that leaves at any of its await points skips no step of the write path.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;
use weir_proto::data::EditMessageRequest;

use crate::{
    fake_bus::gist,
    node::{At, Talk, World, create_in, options},
    order::assert_chained,
};

/// Polls a future at most so many times, then drops it.
struct Leaves<F> {
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

fn leaves<F: Future>(inner: F, polls: usize) -> Leaves<F> {
    Leaves { inner: Some(Box::pin(inner)), polls }
}

/// What the caller was doing.
#[derive(Debug, Clone, Copy)]
enum Act {
    Create,
    Edit,
}

/// True if the call was answered before its caller left.
async fn leave_after(act: Act, polls: usize) -> bool {
    let world = World::new(polls as u64);
    let node = world.node().await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    let first = talk.create("first").await.unwrap();
    talk.list(At::Latest, 50).await.unwrap();
    world.store.slow(Duration::from_millis(10));
    let far = options();
    let answered = match act {
        Act::Create => {
            let request = create_in(place, "by one who left");
            leaves(node.client.create_message(&request, &far), polls)
                .await
                .is_some_and(|answer| answer.is_ok())
        }
        Act::Edit => {
            // The guild is not told along, so that looking it up is an await point too.
            let request = EditMessageRequest {
                channel_id: place.channel,
                message_id: first.id,
                content: Some("by one who left".into()),
                ..EditMessageRequest::default()
            };
            leaves(node.client.edit_message(&request, &far), polls).await.is_some_and(|answer| answer.is_ok())
        }
    };
    // Readers while it is under way must not leave anything old behind.
    talk.list(At::Latest, 50).await.unwrap();
    talk.get(first.id).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    world.store.assert_sound();
    let kept = world.store.rows().history(place.channel);
    let happened = kept.iter().any(|row| row.content == "by one who left");
    assert!(happened || !answered, "{act:?} after {polls} polls: acknowledged and not there");
    let shown = talk.list(At::Latest, 50).await.unwrap();
    assert!(
        shown.iter().eq(kept.iter().rev()),
        "{act:?} after {polls} polls: memory differs from the database"
    );
    assert_eq!(talk.get(first.id).await.unwrap().as_ref(), kept.first());
    let told = world.bus.of(place.channel);
    let told: Vec<&str> = told.iter().map(|record| gist(record).1).collect();
    let second = if matches!(act, Act::Create) { "created" } else { "edited" };
    let expected: &[&str] = if happened { &["created", second] } else { &["created"] };
    assert_eq!(told, expected, "{act:?} after {polls} polls");
    assert_chained(&world, place.channel);
    talk.create("the channel goes on").await.unwrap();
    answered
}

#[test]
fn a_caller_that_leaves_at_any_await_point_skips_no_step() {
    for act in [Act::Create, Act::Edit] {
        let mut polls = 0;
        while !crate::history::paused(leave_after(act, polls)) {
            polls += 1;
            assert!(polls < 100, "the call is never answered");
        }
        assert!(polls >= 2, "{act:?} was answered after {polls} polls: no await point was met");
    }
}
