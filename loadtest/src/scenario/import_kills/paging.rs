//! Compares a channel as REST shows it, page by page, with what the file promises.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::task::JoinSet;

use super::chat::{Chat, Promised, digest};
use crate::rest::{self, PAGE_MAX, Rest};

/// Channels that are read at once.
const CHANNELS_AT_ONCE: usize = 4;
/// How long a page is requested before the check fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most differences of one channel that are reported. After the first everything may be shifted.
const DIFFERENCES_MAX: usize = 5;

/// The result of the comparison.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) messages: u64,
    /// The differences, with channel and line.
    pub(crate) differences: Vec<String>,
}

/// A message as REST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    id: u64,
    content: String,
    author: String,
    reply_to: Option<u64>,
}

/// Reads every channel. `ids` maps the channels' names to the ids from the import.
///
/// # Errors
/// If a page cannot be read; differences are no errors.
pub(crate) async fn compare(chat: &Arc<Chat>, rest: &Rest, ids: &BTreeMap<String, u64>) -> Result<Compared> {
    let mut all = Compared::default();
    for name in chat.channels.keys().filter(|name| !ids.contains_key(*name)) {
        all.differences.push(format!("channel {name} was not made"));
    }
    let mut waiting = ids.iter();
    let mut reading = JoinSet::new();
    loop {
        while reading.len() < CHANNELS_AT_ONCE
            && let Some((name, id)) = waiting.next()
        {
            let (chat, rest, name, id) = (Arc::clone(chat), rest.another(), name.clone(), *id);
            reading.spawn(async move {
                let promised = chat.channels.get(&name).map_or(&[][..], Vec::as_slice);
                channel(rest, &name, id, promised).await
            });
        }
        let Some(one) = reading.join_next().await else { return Ok(all) };
        let one = one??;
        all.messages += one.messages;
        all.differences.extend(one.differences);
    }
}

async fn channel(mut rest: Rest, name: &str, id: u64, promised: &[Promised]) -> Result<Compared> {
    let mut shown: Vec<Shown> = Vec::with_capacity(promised.len());
    loop {
        let page = rest.page(id, shown.last().map(|message| message.id), PATIENCE).await?;
        let length = page.len();
        for message in page {
            shown.push(
                Shown::of(&message).with_context(|| format!("channel {name}: not a message: {message}"))?,
            );
        }
        if length < PAGE_MAX || shown.len() > promised.len() {
            break;
        }
    }
    shown.reverse();
    Ok(Compared { messages: shown.len() as u64, differences: differences(name, promised, &shown) })
}

/// Compares a channel. `shown` is in order, oldest first.
fn differences(name: &str, promised: &[Promised], shown: &[Shown]) -> Vec<String> {
    let mut found = Vec::new();
    if promised.len() != shown.len() {
        found.push(format!("channel {name}: {} messages instead of {}", shown.len(), promised.len()));
    }
    for pair in shown.windows(2).filter(|pair| pair[0].id >= pair[1].id) {
        found.push(format!("channel {name}: message {} comes before {}", pair[0].id, pair[1].id));
    }
    let places: BTreeMap<u64, usize> =
        shown.iter().enumerate().map(|(place, message)| (message.id, place)).collect();
    for (place, (promised, shown)) in promised.iter().zip(shown).enumerate() {
        let mut differs = |what: &str| {
            found.push(format!(
                "channel {name}: {what} of message {place} (line {}): {shown:?}",
                promised.line
            ));
        };
        if digest(&shown.content) != promised.content {
            differs("content");
        } else if digest(&shown.author) != promised.author {
            differs("author");
        } else if shown.reply_to.map(|id| places.get(&id).copied()) != promised.reply_to.map(Some) {
            differs("reply");
        }
    }
    let more = found.len().saturating_sub(DIFFERENCES_MAX);
    found.truncate(DIFFERENCES_MAX);
    if more > 0 {
        found.push(format!("channel {name}: and {more} more differences"));
    }
    found
}

impl Shown {
    fn of(message: &Value) -> Option<Self> {
        let author = &message["author"];
        // Bots and imported authors have no discriminator. The display name is closest to the name in the
        // file.
        let author = author["global_name"].as_str().or_else(|| author["username"].as_str())?;
        let reply_to = &message["message_reference"]["message_id"];
        Some(Self {
            id: rest::id(&message["id"])?,
            content: message["content"].as_str()?.to_owned(),
            author: author.to_owned(),
            reply_to: if reply_to.is_null() { None } else { Some(rest::id(reply_to)?) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> (Vec<Promised>, Vec<Shown>) {
        let promised = |place: u64| Promised {
            line: place + 10,
            content: digest(&format!("m{place}")),
            author: digest("x"),
            at_ms: place as i64,
            reply_to: (place == 2).then_some(0),
        };
        let shown = |place: u64| Shown {
            id: 100 + place,
            content: format!("m{place}"),
            author: "x".into(),
            reply_to: (place == 2).then_some(100),
        };
        ((0..4).map(promised).collect(), (0..4).map(shown).collect())
    }

    fn spoiled<R>(spoil: impl FnOnce(&mut Vec<Shown>) -> R) -> Vec<String> {
        let (promised, mut shown) = good();
        spoil(&mut shown);
        differences("c", &promised, &shown)
    }

    #[test]
    fn equal_channels_have_no_differences() {
        assert!(spoiled(|_| ()).is_empty());
    }

    #[test]
    fn each_difference_is_found() {
        let starts = |found: Vec<String>, with: &str| assert!(found[0].starts_with(with), "{found:?}");
        starts(spoiled(|shown| shown.pop()), "channel c: 3 messages instead of 4");
        starts(spoiled(|shown| shown.push(shown[3].clone())), "channel c: 5 messages instead of 4");
        starts(spoiled(|shown| shown.swap(0, 1)), "channel c: message 101 comes before 100");
        starts(spoiled(|shown| shown[1].content = "m".into()), "channel c: content of message 1 (line 11)");
        starts(spoiled(|shown| shown[1].author = "y".into()), "channel c: author of message 1");
        starts(spoiled(|shown| shown[1].reply_to = Some(100)), "channel c: reply of message 1");
        starts(spoiled(|shown| shown[2].reply_to = None), "channel c: reply of message 2");
        starts(spoiled(|shown| shown[2].reply_to = Some(101)), "channel c: reply of message 2");
        starts(spoiled(|shown| shown[2].reply_to = Some(7)), "channel c: reply of message 2");
    }

    #[test]
    fn many_differences_are_counted() {
        let (mut promised, mut shown) = good();
        (promised, shown) = (promised.repeat(10), vec![shown.remove(0); 40]);
        for (place, message) in shown.iter_mut().enumerate() {
            message.id = place as u64;
            message.content.clear();
        }
        let found = differences("c", &promised, &shown);
        assert_eq!(
            (found.len(), found.last().map(String::as_str)),
            (6, Some("channel c: and 35 more differences"))
        );
    }

    #[test]
    fn messages_are_read_from_discords_form() {
        let message = serde_json::json!({
            "id": "5", "content": "hi", "author": { "username": "x", "global_name": null },
            "message_reference": { "message_id": "4", "channel_id": "1" },
        });
        let shown = Shown { id: 5, content: "hi".into(), author: "x".into(), reply_to: Some(4) };
        assert_eq!(Shown::of(&message), Some(shown));
        assert_eq!(Shown::of(&serde_json::json!({ "id": "5" })), None);
    }
}
