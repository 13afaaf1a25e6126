//! A writer. It posts messages one after another, each until it is acknowledged, and changes some of its own.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use fastrand::Rng;
use http::Method;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::observed::{Acknowledged, Change, ChangeKind, Clock, Create, edited};
use crate::{
    random::between,
    rest::{self, Rest, Verdict},
};

/// One message out of this many is followed by an edit or a deletion.
const CHANGE_ONE_IN: u64 = 10;
/// Number of a writer's last messages that may still be changed.
const CHANGEABLE_MAX: usize = 32;
/// How long a message is repeated after the writers were told to stop. It is longer than the longest start of
/// a process, because the run ends with it.
const LAST_PATIENCE: Duration = Duration::from_secs(60);

/// A record of what a writer did.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) creates: Vec<Create>,
    pub(super) changes: Vec<Change>,
    pub(super) rejections: Vec<String>,
    /// Number of requests that were repeated.
    pub(super) retried: u64,
}

impl Written {
    /// Adds the record of another writer.
    pub(super) fn add(&mut self, other: Self) {
        self.creates.extend(other.creates);
        self.changes.extend(other.changes);
        self.rejections.extend(other.rejections);
        self.retried += other.retried;
    }
}

/// A writer.
pub(super) struct Writer {
    pub(super) number: usize,
    pub(super) rest: Rest,
    pub(super) channels: Arc<[u64]>,
    pub(super) clock: Clock,
    pub(super) random: Rng,
    /// Longest pause between two messages; the shortest is zero.
    pub(super) think: Duration,
    /// True once the writer must stop.
    pub(super) stop: watch::Receiver<bool>,
}

/// A message that may still be changed.
struct Changeable {
    channel: u64,
    id: u64,
    content: String,
    edited: bool,
}

impl Writer {
    /// Writes until it is told to stop.
    ///
    /// # Errors
    /// An answer that is not a message.
    pub(super) async fn run(mut self) -> Result<Written> {
        let mut written = Written::default();
        let mut changeable: Vec<Changeable> = Vec::with_capacity(CHANGEABLE_MAX);
        let mut count = 0;
        while !*self.stop.borrow() {
            let channel = *self.random.choice(self.channels.iter()).context("no channels")?;
            let content = format!("w{}-{count}", self.number);
            count += 1;
            let Some(id) = self.create(channel, &content, &mut written).await? else { continue };
            if changeable.len() == CHANGEABLE_MAX {
                changeable.remove(0);
            }
            changeable.push(Changeable { channel, id, content, edited: false });
            if self.random.u64(..CHANGE_ONE_IN) == 0 {
                self.change(&mut changeable, &mut written).await;
            }
            let pause = between(&mut self.random, Duration::ZERO, self.think);
            sleep(pause).await;
        }
        Ok(written)
    }

    /// Posts one message until it is acknowledged, and returns its id. `None` if it was rejected or the run
    /// ended first.
    pub(super) async fn create(
        &mut self,
        channel: u64,
        content: &str,
        written: &mut Written,
    ) -> Result<Option<u64>> {
        // The nonce makes repeating safe, whatever became of the first request.
        let body = json!({ "content": content, "nonce": content, "enforce_nonce": true });
        let path = format!("/api/v10/channels/{channel}/messages");
        let sent = self.clock.now();
        let mut create = Create { channel, content: content.to_owned(), sent, acknowledged: None };
        let mut deadline = None;
        loop {
            match Verdict::of(self.rest.call(Method::POST, &path, Some(&body)).await) {
                Verdict::Done(message) => {
                    let id = rest::id(&message["id"]).with_context(|| format!("no message: {message}"))?;
                    if message["content"] != content {
                        written.rejections.push(format!("POST {path} {body} answered {message}"));
                    }
                    create.acknowledged = Some(Acknowledged { at: self.clock.now(), id });
                    break;
                }
                Verdict::Rejected { status, body: answer } => {
                    written.rejections.push(format!("POST {path} {body}: {status} {answer}"));
                    break;
                }
                Verdict::NotDone(pause) | Verdict::Unknown(pause) => {
                    if *self.stop.borrow() {
                        let deadline = *deadline.get_or_insert_with(|| Instant::now() + LAST_PATIENCE);
                        if Instant::now() >= deadline {
                            break;
                        }
                    }
                    written.retried += 1;
                    let jitter = between(&mut self.random, Duration::ZERO, pause);
                    sleep(pause + jitter).await;
                }
            }
        }
        let id = create.acknowledged.map(|acknowledged| acknowledged.id);
        written.creates.push(create);
        Ok(id)
    }

    /// Edits or deletes one of the last messages with a single request, because a repeated edit would count
    /// as two.
    async fn change(&mut self, changeable: &mut Vec<Changeable>, written: &mut Written) {
        if changeable.is_empty() {
            return;
        }
        let index = self.random.usize(..changeable.len());
        let message = &mut changeable[index];
        let (channel, id) = (message.channel, message.id);
        let kind = if message.edited || self.random.bool() { ChangeKind::Delete } else { ChangeKind::Edit };
        let path = format!("/api/v10/channels/{channel}/messages/{id}");
        let sent = self.clock.now();
        let outcome = match kind {
            ChangeKind::Edit => {
                message.edited = true;
                let body = json!({ "content": edited(&message.content) });
                self.rest.call(Method::PATCH, &path, Some(&body)).await
            }
            ChangeKind::Delete => {
                changeable.remove(index);
                self.rest.call(Method::DELETE, &path, None).await
            }
        };
        let acknowledged = match Verdict::of(outcome) {
            Verdict::Done(_) => true,
            Verdict::NotDone(_) | Verdict::Unknown(_) => false,
            Verdict::Rejected { status, body } => {
                written
                    .rejections
                    .push(format!("{kind:?} {path} of an acknowledged message: {status} {body}"));
                false
            }
        };
        written.changes.push(Change { kind, channel, id, sent, acknowledged });
    }
}
