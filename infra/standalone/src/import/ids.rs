//! Ids of imported messages. They follow from the file alone, so a repeated import gives the same ids.
//!
//! An id has the line's millisecond, in whatever order the lines come, and no two lines of a file have the
//! same id. Lines of the same millisecond count up; in a channel that is written newest first they count
//! down, which keeps its order. After 4,096 lines of a millisecond the next free id is taken, and the line
//! counts as moved. Times before the epoch of ids cannot be in an id. Those lines take the first ids that
//! exist, in their channel's order.

use weir_proto::id::{EPOCH_MS, IMPORT_WORKER, MessageId, SEQUENCE_BITS, Snowflake, WORKER_BITS};

use super::{
    order::{BLOCK_MESSAGES, Order, Span},
    taken::Taken,
};

/// Milliseconds above the latest time still to come whose ids are remembered, for lines that do not fit into
/// their own millisecond. Four million lines of one millisecond fit.
const CARRY_MS: i64 = 1_000;

/// Milliseconds since [`EPOCH_MS`] and the sequence in one number, so that counting up carries by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(u64);

impl Tick {
    fn first_of(unix_ms: i64) -> Self {
        Self(u64::try_from(unix_ms).unwrap_or(0).saturating_sub(EPOCH_MS) << SEQUENCE_BITS)
    }

    fn last_of(unix_ms: i64) -> Self {
        Self(Self::first_of(unix_ms).0 | ((1 << SEQUENCE_BITS) - 1))
    }

    fn id(self) -> MessageId {
        let sequence = (self.0 & ((1 << SEQUENCE_BITS) - 1)) as u16;
        let unix_ms = (self.0 >> SEQUENCE_BITS) + EPOCH_MS;
        let snowflake = Snowflake::from_parts(unix_ms, IMPORT_WORKER, sequence);
        MessageId(snowflake.expect("times are not after now, and ids last until 2154"))
    }
}

/// The `index`th id of rows that were created together. Ids of one worker count up in sequence and
/// millisecond; as plain numbers they have gaps, where other workers' ids lie. The service numbers a job's
/// authors so.
pub(crate) fn nth(first: Snowflake, index: u64) -> u64 {
    let tick =
        (first.get() >> (WORKER_BITS + SEQUENCE_BITS) << SEQUENCE_BITS | u64::from(first.sequence())) + index;
    let (ms, sequence) = (tick >> SEQUENCE_BITS, tick & ((1 << SEQUENCE_BITS) - 1));
    ms << (WORKER_BITS + SEQUENCE_BITS) | u64::from(first.worker()) << SEQUENCE_BITS | sequence
}

/// A line's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Derived {
    /// The id.
    pub(crate) id: MessageId,
    /// The id has not the line's time, because too many lines have that millisecond.
    pub(crate) moved: bool,
}

/// The lines' times are in such disorder that not all ids that may collide can be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scattered;

/// Derives ids, line after line. Ids outside of the times still to come are forgotten, so a file that is
/// roughly in order of its times costs little, whatever its length. In other files each run of ids is
/// remembered, up to the bound of [`Taken`].
#[derive(Debug)]
pub(crate) struct ImportIds {
    taken: Taken,
    /// The range of times in each block and all blocks after it.
    to_come: Vec<Span>,
    messages: u64,
    /// Next id for a line before the epoch of ids: in a channel that is written oldest first, and in one that
    /// is written newest first.
    early: u64,
    early_down: u64,
    /// From this id on an id may be taken although it is not remembered.
    forgotten_from: Option<u64>,
}

impl ImportIds {
    /// For a file with this order of times and `before_epoch` lines before the epoch of ids.
    pub(crate) fn new(order: &Order, before_epoch: u64) -> Self {
        let mut taken = Taken::default();
        taken.take_below(before_epoch);
        Self {
            taken,
            to_come: order.to_come(),
            messages: 0,
            early: 0,
            early_down: before_epoch,
            forgotten_from: None,
        }
    }

    /// Returns the id of the file's next message, from its time and from whether its channel is written
    /// newest first.
    ///
    /// # Errors
    /// [`Scattered`] if it is not known which ids are free.
    pub(crate) fn next(&mut self, at_ms: i64, newest_first: bool) -> Result<Derived, Scattered> {
        if self.messages.is_multiple_of(BLOCK_MESSAGES) {
            self.forget();
        }
        self.messages += 1;
        if at_ms < EPOCH_MS as i64 {
            return Ok(Derived { id: self.early(newest_first).id(), moved: false });
        }
        let (first, last) = (Tick::first_of(at_ms), Tick::last_of(at_ms));
        let down = newest_first.then(|| self.taken.free_to(last.0)).flatten();
        let tick = match down.filter(|tick| *tick >= first.0) {
            Some(tick) => tick,
            None => self.taken.free_from(first.0),
        };
        if self.forgotten_from.is_some_and(|from| tick >= from) {
            return Err(Scattered);
        }
        self.taken.take(tick);
        if self.taken.forgot() {
            return Err(Scattered);
        }
        Ok(Derived { id: Tick(tick).id(), moved: tick > last.0 })
    }

    fn early(&mut self, newest_first: bool) -> Tick {
        if newest_first {
            self.early_down = self.early_down.saturating_sub(1);
            Tick(self.early_down)
        } else {
            self.early += 1;
            Tick(self.early - 1)
        }
    }

    /// Forgets the ids that no later line can collide with.
    fn forget(&mut self) {
        let block = usize::try_from(self.messages / BLOCK_MESSAGES).unwrap_or(usize::MAX);
        if let Some(span) = self.to_come.get(block) {
            let to = Tick::last_of(span.most_ms.saturating_add(CARRY_MS)).0;
            if self.taken.keep(Tick::first_of(span.least_ms).0, to) {
                self.forgotten_from = Some(to + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
