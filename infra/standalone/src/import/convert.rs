//! Converts lines to batches, in the file's order.

use std::{collections::HashMap, mem::take};

use prost::Message as _;
use weir_proto::{
    data::{ImportMessagesRequest, Message},
    id::Snowflake,
};

use super::{
    ImportError,
    held::Numbered,
    ids::{ImportIds, nth},
    plan::Replied,
    scan::Scan,
};

/// Most lines of one batch. With lines of usual length, the bound on bytes ends a batch first.
pub(crate) const BATCH_LINES_MAX: u64 = 4_000;
/// Most messages of one channel in a batch; the contract's bound.
pub(crate) const CHANNEL_MESSAGES_MAX: usize = 1_000;
/// Most bytes of a batch. The admin listener takes requests of 256 KiB; the rest is for the batch's own
/// frame.
pub(crate) const BATCH_BYTES_MAX: usize = 192 * 1024;
/// Bytes of field tags and lengths that a message or a channel needs in a batch.
const FRAME_BYTES: usize = 16;
/// Discord's message type of a reply.
const TYPE_REPLY: u32 = 19;

/// The service's answer to the job's names.
#[derive(Debug)]
pub(crate) struct Placed {
    /// Channel ids, by the channel's number in the file.
    pub(crate) channel_ids: Vec<u64>,
    /// Id of the first author. The other authors' ids follow it; see [`super::ids::nth`].
    pub(crate) author_id_base: Snowflake,
    /// Number of lines that are durable already.
    pub(crate) lines_done: u64,
}

/// Messages to send in one call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Encoded `weir.data.v1.ImportMessagesRequest` messages, one for each channel.
    pub(crate) requests: Vec<Vec<u8>>,
    /// All lines up to this one are durable once the batch is.
    pub(crate) lines_done: u64,
}

/// Counts of the second pass. They cover the whole file, except for `written`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Converted {
    /// Messages that this run wrote.
    pub(crate) written: u64,
    /// Replies that were kept.
    pub(crate) replies: u64,
    /// Replies that became ordinary messages, because their target is not in the same channel, not before
    /// them in time, or beyond what is remembered.
    pub(crate) replies_dropped: u64,
    /// Messages whose time differs from the line's, because more lines have that millisecond than it has ids.
    pub(crate) moved: u64,
}

/// Converts the file's lines to batches and hands them to `give`, which says whether to go on. Blocks.
///
/// # Errors
/// [`ImportError::Read`], [`ImportError::Changed`] if the file is not the one that was scanned,
/// [`ImportError::Scattered`].
pub(crate) fn convert(
    scan: &Scan,
    placed: &Placed,
    mut give: impl FnMut(Batch) -> bool,
) -> Result<Converted, ImportError> {
    let mut converter = Converter::new(scan, placed);
    let mut wanted = true;
    let mut scattered = false;
    scan.each_line(|line| {
        let Some((channel, message)) = converter.message(&line) else {
            scattered = true;
            return false;
        };
        if line.position > placed.lines_done {
            if let Some(full) = converter.make_room(channel, &message, line.position - 1) {
                wanted = give(full);
            }
            converter.add(channel, message);
        }
        wanted
    })?;
    if scattered {
        return Err(ImportError::Scattered { path: scan.path.clone() });
    }
    if wanted && scan.lines > placed.lines_done {
        give(converter.finish(scan.lines));
    }
    Ok(converter.counted)
}

struct Converter<'a> {
    scan: &'a Scan,
    placed: &'a Placed,
    ids: ImportIds,
    /// Lines that others reply to, filled as they come. It is used where the scan did not need to look ahead.
    replied: HashMap<u64, Replied>,
    /// The batch's messages, by channel number.
    pending: Vec<Vec<Message>>,
    pending_bytes: usize,
    /// Number of lines before the batch.
    batch_from: u64,
    counted: Converted,
}

impl<'a> Converter<'a> {
    fn new(scan: &'a Scan, placed: &'a Placed) -> Self {
        Self {
            scan,
            placed,
            ids: scan.ids(),
            replied: HashMap::with_capacity(scan.replied.len()),
            pending: vec![Vec::new(); placed.channel_ids.len()],
            pending_bytes: 0,
            batch_from: placed.lines_done,
            counted: Converted::default(),
        }
    }

    /// The row of a line, and its channel's number; `None` if its id cannot be derived.
    fn message(&mut self, line: &Numbered<'_>) -> Option<(usize, Message)> {
        let channel = line.channel;
        let derived = self.ids.next(line.at_ms, self.scan.order.is_newest_first(channel)).ok()?;
        self.counted.moved += u64::from(derived.moved);
        let id = derived.id.get();
        let reply_to = line.reply_to.map_or(0, |target| self.reply(channel, id, target));
        if self.scan.plan.is_none() && self.scan.replied.contains(&line.number) {
            self.replied.insert(line.number, Replied { channel, id });
        }
        let message = Message {
            id,
            channel_id: self.placed.channel_ids[channel],
            author_id: nth(self.placed.author_id_base, line.author as u64),
            content: line.content.to_owned(),
            r#type: if reply_to == 0 { 0 } else { TYPE_REPLY },
            reply_to,
            ..Message::default()
        };
        Some((channel, message))
    }

    /// The message that a reply refers to; 0 if the reply cannot be kept.
    fn reply(&mut self, channel: usize, id: u64, target: u64) -> u64 {
        let known = self.scan.plan.as_ref().map_or(&self.replied, |plan| &plan.replied);
        match known.get(&target) {
            Some(replied) if replied.channel == channel && replied.id < id => {
                self.counted.replies += 1;
                replied.id
            }
            Some(_) | None => {
                self.counted.replies_dropped += 1;
                0
            }
        }
    }

    /// The batch, if the message no longer fits into it; `before` is the line before the message's.
    fn make_room(&mut self, channel: usize, message: &Message, before: u64) -> Option<Batch> {
        let full = before.saturating_sub(self.batch_from) >= BATCH_LINES_MAX
            || self.pending[channel].len() == CHANNEL_MESSAGES_MAX
            || self.pending_bytes + message.encoded_len() + 2 * FRAME_BYTES > BATCH_BYTES_MAX;
        full.then(|| self.finish(before))
    }

    fn add(&mut self, channel: usize, message: Message) {
        let frame = if self.pending[channel].is_empty() { 2 * FRAME_BYTES } else { FRAME_BYTES };
        self.pending_bytes += message.encoded_len() + frame;
        self.counted.written += 1;
        self.pending[channel].push(message);
    }

    /// The batch as it is. It may be empty, because wrong lines count as done too.
    fn finish(&mut self, lines_done: u64) -> Batch {
        self.batch_from = lines_done;
        self.pending_bytes = 0;
        let filled = self
            .pending
            .iter_mut()
            .zip(&self.placed.channel_ids)
            .filter(|(messages, _)| !messages.is_empty());
        let requests = filled
            .map(|(messages, channel_id)| {
                let mut messages = take(messages);
                // The ids of a call rise, but those of the file's lines need not.
                messages.sort_unstable_by_key(|message| message.id);
                let request = ImportMessagesRequest { channel_id: *channel_id, messages };
                request.encode_to_vec()
            })
            .collect();
        Batch { requests, lines_done }
    }
}

#[cfg(test)]
mod tests;
