//! Violations: what must not happen, and how it is reported.

use std::fmt;

use super::observed::{ChangeKind, Micros};

/// Something that must not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// A request that must succeed was rejected.
    Rejected { what: String },
    /// A process or a client ended by itself, or never caught up.
    Failed { what: String },
    /// An acknowledged message is not in its channel's history.
    LostCreate { channel: u64, id: u64, content: String },
    /// The id of an acknowledged message has another content.
    WrongContent { channel: u64, id: u64, wanted: String, found: String },
    /// A message that no writer of that channel wrote.
    Phantom { channel: u64, id: u64, content: String },
    /// Two messages have the same content.
    Twice { content: String, first: u64, second: u64 },
    /// Pages are not in strictly falling order.
    PageOrder { channel: u64, above: u64, below: u64 },
    /// A deleted message is still there.
    Undeleted { channel: u64, id: u64 },
    /// An acknowledged edit does not show.
    LostEdit { channel: u64, id: u64 },
    /// The numbers of a session do not rise.
    Sequence { at: Place, after: u64, s: u64 },
    /// A message was delivered after a later one.
    Disorder { at: Place, channel: u64, after: u64, id: u64 },
    /// A message or change was delivered twice in a session.
    Again { at: Place, what: Subject, channel: u64, id: u64 },
    /// Something was not delivered in a session that had to see it.
    Gap { at: Place, what: Subject, channel: u64, id: u64 },
    /// A message was delivered that is not in the history, although no writer deleted it.
    Unfounded { at: Place, channel: u64, id: u64 },
    /// A change was delivered before the message that it changes.
    BeforeItsMessage { at: Place, kind: ChangeKind, channel: u64, id: u64 },
    /// A session was lost although no process that holds sessions was killed during its life.
    SessionLost { at: Place, when: Micros, why: String },
    /// A client that did everything right saw a message neither in a session nor in the re-reading after a
    /// READY.
    NeverSeen { bot: String, channel: u64, id: u64 },
    /// A close code that makes client libraries stop for good.
    FatalClose { bot: String, code: u16 },
    /// A client never got a session.
    NoSession { bot: String },
}

/// A session: the client's name and the number of its session, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bot: String,
    pub(super) epoch: usize,
}

/// The kind of what is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Create,
    Change(ChangeKind),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, session {}", self.bot, self.epoch)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "the creation",
            Self::Change(kind) => kind.name(),
        })
    }
}

impl ChangeKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Edit => "the edit",
            Self::Delete => "the deletion",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { what } => write!(f, "rejected: {what}"),
            Self::Failed { what } => write!(f, "failed: {what}"),
            Self::LostCreate { channel, id, content } => {
                write!(
                    f,
                    "lost: channel {channel}: acknowledged message {id} ({content}) is not in the history"
                )
            }
            Self::WrongContent { channel, id, wanted, found } => {
                write!(
                    f,
                    "wrong content: channel {channel}: message {id} says {found:?} instead of {wanted:?}"
                )
            }
            Self::Phantom { channel, id, content } => {
                write!(f, "phantom: channel {channel}: nobody wrote message {id} ({content:?})")
            }
            Self::Twice { content, first, second } => {
                write!(f, "twice: {content:?} is message {first} and message {second}")
            }
            Self::PageOrder { channel, above, below } => {
                write!(f, "page order: channel {channel}: {below} comes below {above}")
            }
            Self::Undeleted { channel, id } => {
                write!(f, "undeleted: channel {channel}: message {id} is still there")
            }
            Self::LostEdit { channel, id } => {
                write!(f, "lost edit: channel {channel}: message {id} shows its old content")
            }
            Self::Sequence { at, after, s } => write!(f, "sequence: {at}: s {s} came after s {after}"),
            Self::Disorder { at, channel, after, id } => {
                write!(f, "disorder: {at}: channel {channel}: message {id} came after {after}")
            }
            Self::Again { at, what, channel, id } => {
                write!(f, "again: {at}: channel {channel}: {what} of message {id} came twice")
            }
            Self::Gap { at, what, channel, id } => {
                write!(f, "gap: {at}: channel {channel}: {what} of message {id} never came")
            }
            Self::Unfounded { at, channel, id } => {
                write!(
                    f,
                    "unfounded: {at}: channel {channel}: message {id} came, and history does not have it"
                )
            }
            Self::BeforeItsMessage { at, kind, channel, id } => {
                write!(
                    f,
                    "too early: {at}: channel {channel}: {} of message {id} came before the message",
                    kind.name()
                )
            }
            Self::SessionLost { at, when, why } => {
                write!(f, "session lost: {at}: at {:.3} s: {why}", *when as f64 / 1e6)
            }
            Self::NeverSeen { bot, channel, id } => {
                write!(
                    f,
                    "never seen: {bot}: channel {channel}: message {id} came in no session and no re-reading"
                )
            }
            Self::FatalClose { bot, code } => write!(f, "fatal close: {bot}: {code}"),
            Self::NoSession { bot } => write!(f, "no session: {bot} never got READY"),
        }
    }
}
