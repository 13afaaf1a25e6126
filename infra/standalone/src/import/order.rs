//! The order of a file's times, which must be known before the first id is made.

/// Messages of a block. For each block 16 bytes hold the range of the times still to come. A hundred million
/// messages have some 1,500 blocks.
pub(crate) const BLOCK_MESSAGES: u64 = 65_536;

/// A range of times, in milliseconds since 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The earliest.
    pub(crate) least_ms: i64,
    /// The latest.
    pub(crate) most_ms: i64,
}

impl Span {
    fn with(self, other: Self) -> Self {
        Self { least_ms: self.least_ms.min(other.least_ms), most_ms: self.most_ms.max(other.most_ms) }
    }
}

/// How often a channel's time rises, and how often it falls.
#[derive(Debug, Clone, Copy)]
struct Course {
    last_ms: i64,
    rises: u64,
    falls: u64,
}

/// The order of a file's times.
#[derive(Debug, Default)]
pub(crate) struct Order {
    blocks: Vec<Span>,
    messages: u64,
    /// Indexed by channel number.
    channels: Vec<Course>,
}

impl Order {
    /// Notes the file's next message.
    pub(crate) fn note(&mut self, channel: usize, at_ms: i64) {
        let span = Span { least_ms: at_ms, most_ms: at_ms };
        match self.blocks.last_mut() {
            Some(block) if !self.messages.is_multiple_of(BLOCK_MESSAGES) => *block = block.with(span),
            Some(_) | None => self.blocks.push(span),
        }
        self.messages += 1;
        match self.channels.get_mut(channel) {
            Some(course) => {
                course.rises += u64::from(at_ms > course.last_ms);
                course.falls += u64::from(at_ms < course.last_ms);
                course.last_ms = at_ms;
            }
            // Channels are numbered in order of their first appearance.
            None => self.channels.push(Course { last_ms: at_ms, rises: 0, falls: 0 }),
        }
    }

    /// True if the channel is written newest first, as Discord's API returns it. Of two lines with the same
    /// time the first is then the later message.
    pub(crate) fn is_newest_first(&self, channel: usize) -> bool {
        self.channels.get(channel).is_some_and(|course| course.falls > course.rises)
    }

    /// For each block, the range of times in it and all blocks after it.
    pub(crate) fn to_come(&self) -> Vec<Span> {
        let mut spans = self.blocks.clone();
        for index in (1..spans.len()).rev() {
            spans[index - 1] = spans[index - 1].with(spans[index]);
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_course_and_level_times_have_none() {
        let mut order = Order::default();
        for (channel, at_ms) in [(0, 5), (1, 5), (0, 6), (1, 4), (0, 3), (0, 9), (2, 1), (2, 1)] {
            order.note(channel, at_ms);
        }
        assert_eq!([0, 1, 2, 3].map(|channel| order.is_newest_first(channel)), [false, true, false, false]);
    }

    #[test]
    fn what_is_to_come_is_known_by_blocks() {
        let mut order = Order::default();
        (0..BLOCK_MESSAGES).for_each(|at_ms| order.note(0, at_ms as i64));
        order.note(0, 7);
        let last = Span { least_ms: 7, most_ms: 7 };
        assert_eq!(order.to_come(), [Span { least_ms: 0, most_ms: BLOCK_MESSAGES as i64 - 1 }, last]);
    }
}
