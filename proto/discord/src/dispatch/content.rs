//! The MESSAGE_CONTENT gate. A session without the intent sees who wrote where and when, but not what, except
//! in messages by its own user and in those that mention it. The same holds for the quoted message of a
//! reply, by that message's author and mentions.
//!
//! The full form is encoded once, with the gated fields of each message in one known span of the text. A
//! stripped form is the same text with a span replaced. It is made for the first session that needs it and
//! shared by all others.

use std::{ops::Range, sync::OnceLock};

use serde::Serialize;
use weir_proto::data::Message;

use crate::object::{GatedFields, MessageObject};

/// The gated part of an encoded message event.
#[derive(Debug)]
pub(super) struct ContentGate {
    outer: GatedSpan,
    /// The quoted message's part, which comes after the outer one.
    quoted: Option<GatedSpan>,
    /// The stripped forms, indexed by [`Stripped`].
    forms: [OnceLock<Box<str>>; 3],
}

/// One message's gated fields: their place, and the users who may read them without the intent.
#[derive(Debug)]
struct GatedSpan {
    bytes: Range<usize>,
    /// The author and the mentioned users, ascending.
    exempt: Box<[u64]>,
}

/// The gated parts that a form leaves out. Its number is the index in [`ContentGate::forms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stripped {
    Outer = 0,
    Quoted = 1,
    Both = 2,
}

impl ContentGate {
    /// The `d` for a user without the intent, made from the full one that this gate belongs to.
    pub(super) fn data_for<'a>(&'a self, full: &'a str, user_id: u64) -> &'a str {
        let outer = !self.outer.is_exempt(user_id);
        let quoted = self.quoted.as_ref().is_some_and(|quoted| !quoted.is_exempt(user_id));
        let form = match (outer, quoted) {
            (false, false) => return full,
            (true, false) => Stripped::Outer,
            (false, true) => Stripped::Quoted,
            (true, true) => Stripped::Both,
        };
        self.forms[form as usize].get_or_init(|| self.strip(full, form).into_boxed_str())
    }

    fn strip(&self, full: &str, form: Stripped) -> String {
        let outer = (form != Stripped::Quoted).then_some(&self.outer);
        let quoted = self.quoted.as_ref().filter(|_| form != Stripped::Outer);
        let stripped = crate::object::to_json(&GatedFields::STRIPPED);
        let stripped = &stripped[1..stripped.len() - 1];
        let mut text = String::with_capacity(full.len());
        let mut copied = 0;
        for span in outer.into_iter().chain(quoted) {
            text.push_str(&full[copied..span.bytes.start]);
            text.push_str(stripped);
            copied = span.bytes.end;
        }
        text.push_str(&full[copied..]);
        text
    }
}

impl GatedSpan {
    fn new(bytes: Range<usize>, row: &Message) -> Self {
        let mut exempt = row.mention_user_ids.clone();
        exempt.push(row.author_id);
        exempt.sort_unstable();
        exempt.dedup();
        Self { bytes, exempt: exempt.into_boxed_slice() }
    }

    fn is_exempt(&self, user_id: u64) -> bool {
        self.exempt.binary_search(&user_id).is_ok()
    }
}

/// The JSON of a message event, equal in meaning to what serde writes for the object, and its gate.
pub(super) fn encode(
    object: &MessageObject<'_>,
    row: &Message,
    quoted_row: Option<&Message>,
) -> (String, ContentGate) {
    // A rendered message without its content takes 700 to 900 bytes; a wrong guess costs one reallocation.
    let mut text = Vec::with_capacity(1_024 + row.content.len() + row.embeds_json.len());
    let outer = push_gated(&mut text, object);
    let mut quoted = None;
    if let Some(referenced) = &object.referenced_message {
        text.extend_from_slice(b",\"referenced_message\":");
        match referenced {
            None => text.extend_from_slice(b"null"),
            Some(message) => {
                let bytes = push_gated(&mut text, message);
                push_open(&mut text, message);
                quoted = quoted_row.map(|row| GatedSpan::new(bytes, row));
            }
        }
    }
    push_open(&mut text, object);
    let text = String::from_utf8(text).expect("serde_json writes UTF-8, and so are our literals");
    (text, ContentGate { outer: GatedSpan::new(outer, row), quoted, forms: Default::default() })
}

/// Opens the object and writes its gated fields; gives their span.
fn push_gated(text: &mut Vec<u8>, object: &MessageObject<'_>) -> Range<usize> {
    let start = text.len() + 1;
    push_json(text, &object.gated);
    // The fields that are not gated follow, and their end closes the object.
    text.pop();
    start..text.len()
}

/// Writes the fields that are not gated and closes the object.
fn push_open(text: &mut Vec<u8>, object: &MessageObject<'_>) {
    let start = text.len();
    push_json(text, &object.open);
    // These fields are never the first of their object, so they begin with a separator.
    text[start] = b',';
}

fn push_json(text: &mut Vec<u8>, object: &impl Serialize) {
    serde_json::to_writer(text, object).expect("strings and numbers always serialise, and memory takes them");
}
