//! Messages, in REST replies and as the base of MESSAGE_CREATE and MESSAGE_UPDATE.
//!
//! The fields that the MESSAGE_CONTENT intent gates come first and together, so that dispatch can cut them
//! out of encoded text instead of encoding a second time.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use weir_proto::data::{Emoji, EventContext, Member, Message, OwnReactions, ReactionCount, User};

use super::{member::MemberObject, user::UserObject};
use crate::wire::{Empty, Id, Ids, Timestamp};

/// Discord's message type of an ordinary message.
pub const TYPE_DEFAULT: u32 = 0;
/// Discord's message type that tells of a pinned message.
pub const TYPE_PIN: u32 = 6;
/// Discord's message type of a reply.
pub const TYPE_REPLY: u32 = 19;

/// A source of a message's author and mentioned users.
pub trait UserSource {
    /// The user of an id, if the source has it.
    fn user(&self, id: u64) -> Option<&User>;
}

impl NonceEcho {
    /// The nonce of a message that is announced as new.
    #[must_use]
    pub fn show(is_integer: bool) -> Self {
        if is_integer { Self::ShowInteger } else { Self::Show }
    }
}

impl<S: BuildHasher> UserSource for HashMap<u64, User, S> {
    fn user(&self, id: u64) -> Option<&User> {
        self.get(&id)
    }
}

impl UserSource for BTreeMap<u64, User> {
    fn user(&self, id: u64) -> Option<&User> {
        self.get(&id)
    }
}

/// For a handful of users, scanning a list is faster than a map.
impl UserSource for Vec<User> {
    fn user(&self, id: u64) -> Option<&User> {
        self.iter().find(|user| user.id == id)
    }
}

impl UserSource for EventContext {
    fn user(&self, id: u64) -> Option<&User> {
        let (author, referenced) = (self.author.as_ref(), self.referenced_author.as_ref());
        author.into_iter().chain(referenced).chain(&self.mentions).find(|user| user.id == id)
    }
}

/// The message that a reply answers, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub enum Referenced<'a> {
    /// It was not fetched: the key is absent.
    #[default]
    NotFetched,
    /// It was fetched and does not exist: null.
    Deleted,
    /// It exists.
    Found(&'a Message),
}

/// Whether the creator's nonce is shown. It is shown only where a message is announced as new (the reply to
/// its creation, MESSAGE_CREATE), so that the sender can recognise its own message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NonceEcho {
    /// The key is absent.
    #[default]
    Omit,
    /// The key is present if the creator gave a nonce, which was text.
    Show,
    /// The key is present, and the nonce was a number.
    ShowInteger,
}

/// Whether the viewer may read the fields that MESSAGE_CONTENT gates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContentAccess {
    /// The viewer has the intent or is no bot, or the channel is a direct message.
    #[default]
    Full,
    /// The viewer is a bot with this user id and without the intent. It reads its own messages and those that
    /// mention it.
    OnlyOwn(u64),
}

impl ContentAccess {
    /// True if the viewer may read this message's content.
    #[must_use]
    pub fn allows(self, row: &Message) -> bool {
        match self {
            Self::Full => true,
            Self::OnlyOwn(viewer) => row.author_id == viewer || row.mention_user_ids.contains(&viewer),
        }
    }
}

/// The parts of a message.
#[derive(Clone, Copy)]
pub struct MessageParts<'a> {
    /// The row.
    pub row: &'a Message,
    /// The author, the mentioned users, and those of the referenced message.
    pub users: &'a dyn UserSource,
    /// The guild of the channel; 0 in direct messages.
    pub guild_id: u64,
    /// The message it replies to.
    pub referenced: Referenced<'a>,
    /// Whether the nonce is shown.
    pub nonce: NonceEcho,
    /// Whether gated fields are shown.
    pub access: ContentAccess,
    /// What the viewer reacted to messages with. `None` if that was not asked for: then no reactions are
    /// shown, because clients cache what they are shown, and would believe that the viewer did not react.
    pub own: Option<&'a [OwnReactions]>,
}

/// A message.
#[derive(Serialize)]
pub struct MessageObject<'a> {
    #[serde(flatten)]
    pub(crate) gated: GatedFields<'a>,
    // If the outer `Option` is `None` the key is absent; if the inner one is, the value is null. Discord
    // distinguishes "not fetched" from "deleted" in this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) referenced_message: Option<Option<Box<MessageObject<'a>>>>,
    #[serde(flatten)]
    pub(crate) open: OpenFields<'a>,
}

impl<'a> MessageObject<'a> {
    /// The message of its parts, as REST shows it: without `guild_id` and `member`.
    #[must_use]
    pub fn new(parts: &MessageParts<'a>) -> Self {
        let referenced_message = match parts.referenced {
            _ if parts.row.reply_to == 0 || kind(parts.row) != TYPE_REPLY => None,
            Referenced::NotFetched => None,
            Referenced::Deleted => Some(None),
            Referenced::Found(row) => {
                let mut quoted = Self::single(parts, row, Unknown::LeaveOut);
                // What the viewer reacted to it with is mostly not known.
                quoted.open.reactions = Reactions::NONE;
                Some(Some(Box::new(quoted)))
            }
        };
        let mut message = Self::single(parts, parts.row, Unknown::ShowDeleted);
        message.referenced_message = referenced_message;
        message.open.nonce = match parts.nonce {
            NonceEcho::Show => Some(Nonce::Text(&parts.row.nonce)),
            NonceEcho::ShowInteger => Some(Nonce::of_digits(&parts.row.nonce)),
            NonceEcho::Omit => None,
        };
        if parts.row.nonce.is_empty() {
            message.open.nonce = None;
        }
        message
    }

    /// The same as a gateway event, which also has the message's guild and its author's member.
    #[must_use]
    pub fn into_event(mut self, guild_id: u64, member: Option<&'a Member>) -> Self {
        self.open.guild_id = Id::nonzero(guild_id);
        // Who reacted depends on the viewer, and clients count by the events of reactions.
        self.open.reactions = Reactions::NONE;
        self.open.member = member
            .filter(|member| guild_id != 0 && Id(member.user_id) == self.open.author_id)
            .map(MemberObject::partial);
        self
    }

    fn single(parts: &MessageParts<'a>, row: &'a Message, unknown: Unknown) -> Self {
        let gated = if parts.access.allows(row) { GatedFields::new(row) } else { GatedFields::STRIPPED };
        Self { gated, referenced_message: None, open: OpenFields::new(parts, row, unknown) }
    }
}

/// The fields that MESSAGE_CONTENT gates.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct GatedFields<'a> {
    content: &'a str,
    embeds: Embeds<'a>,
    attachments: Empty,
    components: Empty,
}

impl<'a> GatedFields<'a> {
    /// The fields as a session sees them that may not read the content.
    pub(crate) const STRIPPED: GatedFields<'static> =
        GatedFields { content: "", embeds: Embeds(None), attachments: [], components: [] };

    fn new(row: &'a Message) -> Self {
        Self {
            content: &row.content,
            embeds: Embeds::parse(&row.embeds_json),
            attachments: [],
            components: [],
        }
    }
}

/// Stored embeds, passed on unchanged; `None` is the empty list.
#[derive(Debug, Clone, Copy)]
struct Embeds<'a>(Option<&'a RawValue>);

impl<'a> Embeds<'a> {
    /// Text that is not a JSON array, as another writer might have left, counts as no embeds: it would break
    /// the JSON around it.
    fn parse(text: &'a str) -> Self {
        if !text.starts_with('[') {
            return Self(None);
        }
        Self(serde_json::from_str::<&RawValue>(text).ok())
    }
}

impl Serialize for Embeds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(raw) => raw.serialize(serializer),
            None => serializer.collect_seq(std::iter::empty::<()>()),
        }
    }
}

/// The fields that every user who can view the channel may read.
#[derive(Serialize)]
pub(crate) struct OpenFields<'a> {
    id: Id,
    channel_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
    author: UserObject<'a>,
    #[serde(skip)]
    author_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<MemberObject<'a>>,
    timestamp: Timestamp,
    edited_timestamp: Option<Timestamp>,
    tts: bool,
    mention_everyone: bool,
    mentions: Mentions<'a>,
    mention_roles: Ids<'a>,
    pinned: bool,
    #[serde(skip_serializing_if = "Reactions::is_empty")]
    reactions: Reactions<'a>,
    #[serde(rename = "type")]
    kind: u32,
    flags: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<Nonce<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_reference: Option<MessageReference>,
}

impl<'a> OpenFields<'a> {
    fn new(parts: &MessageParts<'a>, row: &'a Message, unknown: Unknown) -> Self {
        Self {
            id: Id(row.id),
            channel_id: Id(row.channel_id),
            guild_id: None,
            author: UserObject::of(row.author_id, parts.users.user(row.author_id)),
            author_id: Id(row.author_id),
            member: None,
            timestamp: Timestamp::of_snowflake(row.id),
            edited_timestamp: Timestamp::nonzero(row.edited_at_ms),
            tts: row.tts,
            mention_everyone: row.mention_everyone,
            mentions: Mentions { ids: &row.mention_user_ids, users: parts.users, unknown },
            mention_roles: Ids(&row.mention_role_ids),
            pinned: row.pinned_at_ms != 0,
            reactions: Reactions::of(row, parts.own),
            kind: kind(row),
            flags: row.flags,
            nonce: None,
            message_reference: (row.reply_to != 0).then(|| MessageReference {
                kind: 0,
                message_id: Id(row.reply_to),
                channel_id: Id(row.channel_id),
                guild_id: Id::nonzero(parts.guild_id),
            }),
        }
    }
}

/// The counts of a message's reactions, and which of them are the viewer's own.
#[derive(Debug, Clone, Copy)]
struct Reactions<'a> {
    counts: &'a [ReactionCount],
    own_slots: &'a [u64],
}

impl<'a> Reactions<'a> {
    const NONE: Self = Self { counts: &[], own_slots: &[] };

    fn of(row: &'a Message, own: Option<&'a [OwnReactions]>) -> Self {
        let Some(own) = own else { return Self::NONE };
        let own = own.iter().find(|own| own.message_id == row.id);
        Self { counts: &row.reactions, own_slots: own.map_or(&[], |own| &own.slots) }
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

impl Serialize for Reactions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.counts.iter().map(|count| ReactionObject {
            emoji: EmojiObject::new(count.emoji.as_ref()),
            count: count.count,
            count_details: CountDetails { burst: 0, normal: count.count },
            me: self.own_slots.contains(&count.slot),
            me_burst: false,
            burst_colors: [],
        }))
    }
}

#[derive(Serialize)]
struct ReactionObject<'a> {
    emoji: EmojiObject<'a>,
    count: u32,
    count_details: CountDetails,
    me: bool,
    me_burst: bool,
    burst_colors: Empty,
}

#[derive(Serialize)]
struct CountDetails {
    burst: u32,
    normal: u32,
}

/// An emoji in a reaction.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct EmojiObject<'a> {
    id: Option<Id>,
    name: Option<&'a str>,
}

impl<'a> EmojiObject<'a> {
    /// The emoji of a row; nameless if the row has none.
    pub(crate) fn new(emoji: Option<&'a Emoji>) -> Self {
        Self {
            id: emoji.and_then(|emoji| Id::nonzero(emoji.id)),
            name: emoji.map(|emoji| emoji.name.as_str()),
        }
    }
}

/// A nonce as its creator wrote it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Nonce<'a> {
    Text(&'a str),
    Negative(i64),
    Number(u64),
}

impl<'a> Nonce<'a> {
    /// The number with these digits, or the text if another writer marked something else as a number.
    fn of_digits(digits: &'a str) -> Self {
        let number = digits.parse().map(Self::Number);
        number.or_else(|_| digits.parse().map(Self::Negative)).unwrap_or(Self::Text(digits))
    }
}

/// A default message that answers another counts as a reply, whatever its writer stored: clients read
/// `referenced_message` only in replies.
fn kind(row: &Message) -> u32 {
    if row.r#type == TYPE_DEFAULT && row.reply_to != 0 { TYPE_REPLY } else { row.r#type }
}

#[derive(Debug, Clone, Copy, Serialize)]
struct MessageReference {
    #[serde(rename = "type")]
    kind: u32,
    message_id: Id,
    channel_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
}

/// The treatment of a mentioned user whose row is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// The user is shown as deleted. This is for the message itself, where the list says who was pinged.
    ShowDeleted,
    /// The user is left out. This is for a quoted message, whose mentions are not fetched, because clients
    /// cache the users that they are shown.
    LeaveOut,
}

#[derive(Clone, Copy)]
struct Mentions<'a> {
    ids: &'a [u64],
    users: &'a dyn UserSource,
    unknown: Unknown,
}

impl Serialize for Mentions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ids.iter().filter_map(|&id| match (self.users.user(id), self.unknown) {
            (None, Unknown::LeaveOut) => None,
            (user, _) => Some(UserObject::of(id, user)),
        }))
    }
}
