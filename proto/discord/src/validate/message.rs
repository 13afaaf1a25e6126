//! The bodies of message creation and edit.

use serde_json::{Map, Value};

use super::{
    blank::is_empty_content,
    body::{Fields, parse_fields},
    embed::parse_embeds,
    mention::AllowedMentions,
};
use crate::error::{ApiError, FormErrors, Leaf};

/// Longest content, in code points. Discord's bound.
pub const CONTENT_MAX: usize = 2_000;
/// Longest nonce, in code points. Discord's bound.
pub const NONCE_MAX: usize = 25;
/// Fewest messages of a bulk deletion. Discord's bound.
pub const BULK_DELETE_MIN: usize = 2;
/// Most messages of a bulk deletion. Discord's bound.
pub const BULK_DELETE_MAX: usize = 100;

/// Message flags that a client may set: suppress embeds (bit 2), suppress notifications (bit 12).
const CREATE_FLAGS: u64 = 1 << 2 | 1 << 12;
/// Message flags that an edit may change: suppress embeds.
const EDIT_FLAGS: u64 = 1 << 2;

/// `POST /channels/{c}/messages`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateMessageForm {
    /// The text. It may be without a visible character only if there are embeds.
    pub content: String,
    /// The client's idempotency key, at most [`NONCE_MAX`] code points. A number arrives as its digits.
    pub nonce: Option<String>,
    /// True if the nonce was sent as a number. It is shown in the form in which it was sent, because clients
    /// compare it.
    pub nonce_is_integer: bool,
    /// True if the nonce deduplicates.
    pub enforce_nonce: bool,
    /// Whether the message is read aloud.
    pub tts: bool,
    /// Discord's embeds as a JSON array, empty if none: the row's form.
    pub embeds_json: String,
    /// What may be pinged.
    pub allowed_mentions: AllowedMentions,
    /// The message replied to.
    pub reply: Option<ReplyTo>,
    /// Message flags.
    pub flags: u64,
}

/// A `message_reference` of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The message.
    pub message_id: u64,
    /// The channel that it is said to be in; the reply's own if absent.
    pub channel_id: Option<u64>,
    /// If false and the message does not exist, a plain message is sent.
    pub fail_if_not_exists: bool,
}

impl CreateMessageForm {
    /// The form of a body.
    ///
    /// # Errors
    /// All form errors at once; [`ApiError::EmptyMessage`] if there is nothing to send.
    pub fn parse(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let form = parse_fields(body, Self::read)?;
        if is_empty_content(&form.content) && form.embeds_json.is_empty() {
            return Err(ApiError::EmptyMessage);
        }
        Ok(form)
    }

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        for key in ["sticker_ids", "poll", "components", "attachments"] {
            fields.refuse_unsupported(key);
        }
        Self {
            content: fields.text("content", 0..=CONTENT_MAX).unwrap_or_default().to_owned(),
            nonce: nonce(fields),
            nonce_is_integer: fields.value("nonce").is_some_and(Value::is_number),
            enforce_nonce: fields.boolean("enforce_nonce").unwrap_or(false),
            tts: fields.boolean("tts").unwrap_or(false),
            embeds_json: parse_embeds(fields).unwrap_or_default(),
            allowed_mentions: AllowedMentions::parse(fields),
            reply: fields.object("message_reference", ReplyTo::read).flatten(),
            flags: fields.bits("flags").unwrap_or(0) & CREATE_FLAGS,
        }
    }
}

fn nonce(fields: &mut Fields<'_, '_>) -> Option<String> {
    match fields.value("nonce")? {
        Value::String(_) => {
            fields.text("nonce", 0..=NONCE_MAX).filter(|text| !text.is_empty()).map(str::to_owned)
        }
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => {
            fields.fail("nonce", Leaf::NotAString);
            None
        }
    }
}

impl ReplyTo {
    /// Type 1 is a forward, which Weir does not have; type 0, the default, is a reply.
    fn read(fields: &mut Fields<'_, '_>) -> Option<Self> {
        if fields.bits("type").is_some_and(|kind| kind != 0) {
            fields.fail("type", Leaf::Unsupported);
        }
        fields.require("message_id");
        let fail_if_not_exists = fields.boolean("fail_if_not_exists").unwrap_or(true);
        let channel_id = fields.id("channel_id");
        Some(Self { message_id: fields.id("message_id")?, channel_id, fail_if_not_exists })
    }

    /// The error of a reply to a message that does not exist.
    #[must_use]
    pub fn unknown_message() -> FormErrors {
        FormErrors::field("message_reference", Leaf::UnknownReferencedMessage)
    }
}

/// `PATCH /channels/{c}/messages/{m}`. Absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EditMessageForm {
    /// New text; null clears it.
    pub content: Option<String>,
    /// New embeds in the row's form; null and `[]` clear them.
    pub embeds_json: Option<String>,
    /// What may be pinged, because an edit recomputes the mentions.
    pub allowed_mentions: AllowedMentions,
    /// New message flags, with only those bits that an edit may change.
    pub flags: Option<u64>,
}

impl EditMessageForm {
    /// The form of a body. The row decides whether the message would become empty: see
    /// [`EditMessageForm::leaves_empty`].
    ///
    /// # Errors
    /// All form errors at once.
    pub fn parse(body: &Map<String, Value>) -> Result<Self, FormErrors> {
        parse_fields(body, Self::read)
    }

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        for key in ["components", "attachments"] {
            fields.refuse_unsupported(key);
        }
        let cleared = |fields: &Fields<'_, '_>, key: &str| fields.is_null(key).then(String::new);
        let embeds_json = match parse_embeds(fields) {
            None => cleared(fields, "embeds"),
            embeds => embeds,
        };
        Self {
            content: match fields.text("content", 0..=CONTENT_MAX) {
                Some(text) => Some(text.to_owned()),
                None => cleared(fields, "content"),
            },
            embeds_json,
            allowed_mentions: AllowedMentions::parse(fields),
            flags: fields.bits("flags").map(|flags| flags & EDIT_FLAGS),
        }
    }

    /// True if the edit would leave the row with nothing to show.
    #[must_use]
    pub fn leaves_empty(&self, row: &weir_proto::data::Message) -> bool {
        is_empty_content(self.content.as_deref().unwrap_or(&row.content))
            && self.embeds_json.as_deref().unwrap_or(&row.embeds_json).is_empty()
    }

    /// The row's flags after the edit. Bits that an edit may not change stay.
    #[must_use]
    pub fn flags_after(&self, row_flags: u64) -> u64 {
        self.flags.map_or(row_flags, |flags| row_flags & !EDIT_FLAGS | flags)
    }
}

/// `POST /channels/{c}/messages/bulk-delete`: the ids, ascending and each once.
///
/// # Errors
/// Form errors, also for an id that is there twice; [`ApiError::BulkDeleteCount`] if there are not 2 to 100.
pub fn parse_bulk_delete(body: &Map<String, Value>) -> Result<Vec<u64>, ApiError> {
    let mut ids = parse_fields(body, |fields| {
        fields.require("messages");
        match fields.value("messages") {
            // Too many elements are an error of their own, so elements are examined only within the bound.
            Some(Value::Array(list)) if list.len() > BULK_DELETE_MAX => None,
            _ => distinct_ids(fields, "messages"),
        }
    })?
    .ok_or(ApiError::BulkDeleteCount)?;
    ids.sort_unstable();
    if ids.len() < BULK_DELETE_MIN { Err(ApiError::BulkDeleteCount) } else { Ok(ids) }
}

fn distinct_ids(fields: &mut Fields<'_, '_>, key: &str) -> Option<Vec<u64>> {
    let ids = fields.ids(key, BULK_DELETE_MAX)?;
    let mut seen = std::collections::BTreeSet::new();
    if ids.iter().any(|id| !seen.insert(*id)) {
        fields.fail(key, Leaf::Repeated);
    }
    Some(ids)
}
