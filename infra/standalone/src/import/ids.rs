//! Ids of imported messages: a function of the file alone, so that a repeated import gives the same ids.
//!
//! An id's milliseconds are the line's, in whatever order the lines come, and no two lines of a file have the same id. Lines of the same
//! millisecond count up; in a channel that is written newest first they count down, so that its order is kept there too. After 4,096 of a
//! millisecond the next free id is taken, and the line counts as moved. Times before ids begin cannot be in one: those lines take the first
//! ids there are, in their channel's order.

use weir_proto::id::{EPOCH_MS, IMPORT_WORKER, MessageId, SEQUENCE_BITS, Snowflake, WORKER_BITS};

use super::{
    order::{BLOCK_MESSAGES, Order, Span},
    taken::Taken,
};

/// Milliseconds that are remembered above the latest time to come, for lines that do not fit into theirs: four million of one millisecond.
const CARRY_MS: i64 = 1_000;

/// Milliseconds since [`EPOCH_MS`] and sequence in one number, so that counting up carries by itself.
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

/// The `index`th id of a row that was minted together: ids of one worker count up in sequence and millisecond, not as plain numbers,
/// between which other workers' lie. The service counts a job's authors so.
pub(crate) fn nth(first: Snowflake, index: u64) -> u64 {
    let tick =
        (first.get() >> (WORKER_BITS + SEQUENCE_BITS) << SEQUENCE_BITS | u64::from(first.sequence())) + index;
    let (ms, sequence) = (tick >> SEQUENCE_BITS, tick & ((1 << SEQUENCE_BITS) - 1));
    ms << (WORKER_BITS + SEQUENCE_BITS) | u64::from(first.worker()) << SEQUENCE_BITS | sequence
}

/// A line's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Derived {
    /// It.
    pub(crate) id: MessageId,
    /// Its time is not the line's: there are too many lines of that millisecond.
    pub(crate) moved: bool,
}

/// The lines' times are in such disorder that not all ids can be remembered that may be taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scattered;

/// Derives ids, line after line. What lies outside of the times to come is forgotten, so a file in about the order of its times costs
/// little whatever its length; in others each run of ids is remembered, up to the bound of [`Taken`].
#[derive(Debug)]
pub(crate) struct ImportIds {
    taken: Taken,
    /// Times of each block and all after it.
    to_come: Vec<Span>,
    messages: u64,
    /// Next for a line before ids begin, in a channel that is written oldest first, and in one that is written newest first.
    early: u64,
    early_down: u64,
    /// What lies from here on may be taken without it being known.
    forgotten_from: Option<u64>,
}

impl ImportIds {
    /// For a file with this order of times, of which so many lie before ids begin.
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

    /// The id of the file's next message: its time, and whether its channel is written newest first.
    ///
    /// # Errors
    /// [`Scattered`]: it cannot be told which ids are free.
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

    /// Forgets what no line to come can meet.
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
