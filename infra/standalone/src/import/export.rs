//! Reads a channel that DiscordChatExporter wrote as JSON: `{"guild": …, "channel": …, …, "messages": […],
//! …}`. It is taken apart message by message, so a file of any length costs no more memory than its longest
//! message.

use std::{
    borrow::Cow,
    io::{self, BufRead},
};

use serde::Deserialize;

use super::line::{self, BadLine, CONTENT_MAX, Line, Raw};

/// Longest message, in bytes; it lists embeds and reactions with their users. A longer one is skipped and
/// reported.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The part of the file before the messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Name of the guild.
    pub(crate) guild: String,
    /// Name of the channel.
    pub(crate) channel: String,
    /// Its length in bytes, including the bracket that opens the messages.
    pub(crate) bytes: usize,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Before {
    guild: Named,
    channel: Named,
}

impl Header {
    /// Parses the beginning of a file; `None` if it has another form.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let bytes = messages_begin(head)?;
        let closed = [&head[..bytes], b"]}"].concat();
        let before: Before = serde_json::from_slice(&closed).ok()?;
        Some(Self { guild: before.guild.name, channel: before.channel.name, bytes })
    }
}

/// A position in JSON text: how deep it is, and whether it is inside of a string.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Place {
    fn step(&mut self, byte: u8) {
        match (self.in_string, byte) {
            (true, _) if self.escaped => self.escaped = false,
            (true, b'\\') => self.escaped = true,
            (true, b'"') => self.in_string = false,
            (false, b'"') => self.in_string = true,
            (false, b'{' | b'[') => self.depth += 1,
            (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
            (true | false, _) => {}
        }
    }
}

/// The position after the bracket of the outermost object's `messages`.
fn messages_begin(head: &[u8]) -> Option<usize> {
    let mut place = Place::default();
    // Bounds of the last string in the outermost object.
    let (mut from, mut to) = (0, 0);
    for (index, byte) in head.iter().enumerate() {
        let before = place;
        place.step(*byte);
        if place.depth == 1 && !before.in_string && place.in_string {
            from = index + 1;
        } else if place.depth == 1 && before.in_string && !place.in_string {
            to = index;
        } else if (before.depth, place.depth, *byte) == (1, 2, b'[')
            && head.get(from..to) == Some(b"messages")
        {
            return Some(index + 1);
        }
    }
    None
}

/// Reads the next message into `message`; `None` after the last, false if it is longer than
/// [`MESSAGE_BYTES_MAX`].
///
/// # Errors
/// The reader's errors, and an error if the text is neither a message nor the end.
pub(crate) fn next(reader: &mut impl BufRead, message: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let mut place = Place::default();
    let mut fits = true;
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the export ends among its messages"));
        }
        for (index, byte) in part.iter().enumerate() {
            if place.depth == 0 {
                match byte {
                    b'{' => {}
                    b',' | b' ' | b'\t' | b'\r' | b'\n' => continue,
                    b']' => {
                        reader.consume(index + 1);
                        return Ok(None);
                    }
                    _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a list of messages")),
                }
            }
            place.step(*byte);
            fits &= message.len() < MESSAGE_BYTES_MAX;
            if fits {
                message.push(*byte);
            }
            if place.depth == 0 {
                reader.consume(index + 1);
                return Ok(Some(fits));
            }
        }
        let read = part.len();
        reader.consume(read);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exported<'a> {
    #[serde(deserialize_with = "line::id")]
    id: Option<u64>,
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(borrow)]
    author: Author<'a>,
    #[serde(default)]
    attachments: Vec<Attachment>,
    reference: Option<Reference>,
}

#[derive(Deserialize)]
struct Author<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    discriminator: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Attachment {
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default, deserialize_with = "line::reply_to")]
    message_id: Option<u64>,
}

/// Parses a message; see [`line::parse`]. Attachments become their addresses, below the text if there is
/// room.
pub(crate) fn parse<'a>(
    bytes: &'a [u8],
    channel: &'a str,
    position: u64,
    now_ms: u64,
) -> Result<Line<'a>, BadLine> {
    let exported: Exported<'a> = serde_json::from_slice(bytes).map_err(|error| BadLine::json(&error))?;
    let mut content = exported.content;
    for Attachment { url } in &exported.attachments {
        let longer = if content.is_empty() { url.clone() } else { format!("{content}\n{url}") };
        if longer.chars().count() <= CONTENT_MAX {
            content = longer.into();
        }
    }
    let Author { name, discriminator } = exported.author;
    // Without it two people of the same name would become one author.
    let author = match discriminator.as_deref() {
        None | Some("" | "0" | "0000") => name,
        Some(discriminator) => format!("{name}#{discriminator}").into(),
    };
    // Forwards, pins and threads refer to messages too.
    let is_reply = exported.r#type == "Reply";
    let reply_to = exported.reference.filter(|_| is_reply).and_then(|reference| reference.message_id);
    let raw = Raw {
        channel: channel.into(),
        author,
        timestamp: exported.timestamp,
        content,
        action: None,
        reply_to,
        id: exported.id,
    };
    line::checked(raw, position, now_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_767_225_600_000;

    #[test]
    fn the_header_is_found_and_its_strings_do_not_mislead() {
        let text = br#"{ "note": "\"messages\": [", "guild": {"id": "1", "name": "G", "messages": []},
            "channel": {"type": "GuildTextChat", "name": "c", "topic": null}, "messages": [ {"id""#;
        let header = Header::of(text).expect("an export");
        assert_eq!((&*header.guild, &*header.channel), ("G", "c"));
        assert!(text[..header.bytes].ends_with(b"\"messages\": ["));
        for other in [&b"{}"[..], b"[", b"", br#"{"messages": ["#, br#"{"channel":"c","messages":["#] {
            assert_eq!(Header::of(other), None);
        }
    }

    #[test]
    fn messages_come_one_by_one() {
        let mut text = &b" {\"a\": \"}\\\"]\"},\n {\"b\": [{}]} ] , \"messageCount\": 2}"[..];
        let mut all = Vec::new();
        loop {
            let mut message = Vec::new();
            match next(&mut text, &mut message).expect("good") {
                Some(fits) => all.push((fits, String::from_utf8(message).expect("text"))),
                None => break,
            }
        }
        let expected = [(true, "{\"a\": \"}\\\"]\"}".to_owned()), (true, "{\"b\": [{}]}".to_owned())];
        assert_eq!(all, expected);
        for (cut, kind) in [("{\"a\":", io::ErrorKind::UnexpectedEof), ("7]", io::ErrorKind::InvalidData)] {
            assert_eq!(next(&mut cut.as_bytes(), &mut Vec::new()).expect_err(cut).kind(), kind);
        }
    }

    #[test]
    fn a_message_becomes_a_line() {
        let text = r#"{"id": "866674314627121232", "type": "Reply", "timestamp": "2021-07-19T13:34:18.25+00:00",
            "timestampEdited": null, "isPinned": false, "content": "yes", "author": {"id": "2", "name": "ann",
            "discriminator": "0042", "nickname": "Ann", "isBot": false}, "attachments": [{"id": "3", "url": "https://x/y.png",
            "fileName": "y.png", "fileSizeBytes": 5}], "embeds": [], "reference": {"messageId": "866674314627121000",
            "channelId": "1", "guildId": "0"}}"#;
        let line = parse(text.as_bytes(), "general", 3, NOW).expect("good");
        assert_eq!(
            (&*line.channel, &*line.author, &*line.content),
            ("general", "ann#0042", "yes\nhttps://x/y.png")
        );
        assert_eq!((line.number, line.reply_to), (866_674_314_627_121_232, Some(866_674_314_627_121_000)));
        assert_eq!(line.at_ms, 1_626_701_658_250);
        let pin = text.replace("Reply", "ChannelPinnedMessage").replace("0042", "0000");
        let line = parse(pin.as_bytes(), "general", 3, NOW).expect("good");
        assert_eq!((&*line.author, line.reply_to), ("ann", None));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'{'), Just(b'"'), Just(b']')], 0..300)) {
            let _ = Header::of(&bytes);
            let _ = next(&mut bytes.as_slice(), &mut Vec::new());
            let _ = parse(&bytes, "c", 1, NOW);
        }
    }
}
