//! What a run saw; [`super::check`] judges it. The values are plain; times are microseconds since the run
//! began, on one clock.

use std::time::Instant;

/// Microseconds since the run began.
pub(super) type Micros = u64;

/// The run's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Micros {
        // A run takes only minutes.
        self.0.elapsed().as_micros() as u64
    }
}

/// The text that an edit appends to a content. The message stays recognisable, and one sees whether it was
/// edited.
const EDITED: &str = " (edited)";

/// The content after an edit of a message that was created with `content`.
pub(super) fn edited(content: &str) -> String {
    format!("{content}{EDITED}")
}

/// The content that a message was created with.
pub(super) fn original(content: &str) -> &str {
    content.strip_suffix(EDITED).unwrap_or(content)
}

/// Everything that a run saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    pub(super) creates: Vec<Create>,
    pub(super) changes: Vec<Change>,
    /// Requests that a correct server would not have rejected: each with its answer.
    pub(super) rejections: Vec<String>,
    /// Processes and clients that ended unexpectedly, or never caught up.
    pub(super) failures: Vec<String>,
    /// Each channel's history at the end, read page by page.
    pub(super) histories: Vec<History>,
    pub(super) bots: Vec<Bot>,
    /// When a process was killed whose sessions end with it.
    pub(super) session_kills: Vec<Micros>,
}

/// A message that a writer tried to create.
#[derive(Debug, Clone)]
pub(super) struct Create {
    pub(super) channel: u64,
    /// The content, which is unique in the run.
    pub(super) content: String,
    /// The time before its first request left.
    pub(super) sent: Micros,
    pub(super) acknowledged: Option<Acknowledged>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) at: Micros,
    pub(super) id: u64,
}

/// An edit or a deletion. There is at most one of each kind for a message, sent once.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) kind: ChangeKind,
    pub(super) channel: u64,
    pub(super) id: u64,
    pub(super) sent: Micros,
    /// If false, it may have happened or not.
    pub(super) acknowledged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ChangeKind {
    Edit,
    Delete,
}

/// A channel's messages, newest first, as its pages came.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) channel: u64,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) content: String,
}

/// A client on the gateway.
#[derive(Debug, Clone, Default)]
pub(super) struct Bot {
    pub(super) name: String,
    /// The client's sessions, in order.
    pub(super) epochs: Vec<Epoch>,
    /// Ids that the client read from histories after a READY, by channel.
    pub(super) reread: Vec<(u64, u64)>,
    pub(super) resumed: u64,
    /// Close codes that make client libraries stop for good.
    pub(super) fatal: Vec<u16>,
}

/// A session.
#[derive(Debug, Clone, Default)]
pub(super) struct Epoch {
    /// The time before its Identify left.
    pub(super) identified: Micros,
    /// The time after its READY came.
    pub(super) ready: Micros,
    /// When and why it was lost, if it was.
    pub(super) lost: Option<(Micros, String)>,
    /// The dispatches in order of arrival.
    pub(super) dispatches: Vec<Dispatch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dispatch {
    pub(super) s: u64,
    pub(super) what: What,
}

/// The part of a dispatch that is checked. Contents are compared on arrival, so that a run of a million
/// messages fits in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Create {
        channel: u64,
        id: u64,
    },
    Change {
        kind: ChangeKind,
        channel: u64,
        id: u64,
    },
    /// Any other event that has a number of its own.
    Other,
    /// A dispatch that repeats the number of the last other one: RESUMED, TYPING_START.
    Ephemeral,
}
