//! Ids of imported messages: a pure function of the lines before, so that a repeated import gives the same ids.
//!
//! An id's milliseconds are the line's; lines of the same millisecond count up, and after 4,096 carry into the next. Within a channel ids
//! rise strictly in the file's order, also where the file's time goes back: then the line follows its channel's last one directly. In a file
//! whose time never goes back ids are unique over all channels too; in others, two channels may use the same id, which nothing forbids.

use weir_proto::id::{EPOCH_MS, MessageId, SEQUENCE_BITS, Snowflake, WORKER_BITS};

/// Worker number of every imported message, one that no live worker has: between live ids and imported ones of the same millisecond
/// nothing else tells them apart.
pub(crate) const WORKER: u16 = 1_022;

/// Milliseconds since [`EPOCH_MS`] and sequence in one number, so that counting up carries by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(u64);

impl Tick {
    fn first_of(unix_ms: u64) -> Self {
        Self(unix_ms.saturating_sub(EPOCH_MS) << SEQUENCE_BITS)
    }

    fn after(self) -> Self {
        Self(self.0 + 1)
    }

    fn id(self) -> MessageId {
        let sequence = (self.0 & ((1 << SEQUENCE_BITS) - 1)) as u16;
        let unix_ms = (self.0 >> SEQUENCE_BITS) + EPOCH_MS;
        let snowflake = Snowflake::from_parts(unix_ms, WORKER, sequence);
        MessageId(snowflake.expect("times are at most a day ahead of now, and ids last until 2154"))
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

/// Derives ids, line after line. Eight bytes for each channel.
#[derive(Debug, Default)]
pub(crate) struct ImportIds {
    /// The line before: its time and what it took.
    before: Option<(u64, Tick)>,
    /// Last of each channel, by its number in the file.
    channels: Vec<Option<Tick>>,
}

impl ImportIds {
    /// The id of the next line of the file, in the channel with this number.
    pub(crate) fn next(&mut self, channel: usize, unix_ms: u64) -> MessageId {
        let own = Tick::first_of(unix_ms);
        let tick = match self.before {
            Some((before_ms, tick)) if unix_ms >= before_ms => own.max(tick.after()),
            // Time went back: begin again at the line's own.
            Some(_) | None => own,
        };
        // Before the channel's own order moves it: one line that lags a year in its channel must not move the next line of another.
        self.before = Some((unix_ms, tick));
        if self.channels.len() <= channel {
            self.channels.resize(channel + 1, None);
        }
        let tick = match self.channels[channel] {
            Some(last) => tick.max(last.after()),
            None => tick,
        };
        self.channels[channel] = Some(tick);
        tick.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use weir_proto::id::SEQUENCES;

    fn derive(lines: &[(usize, u64)]) -> Vec<u64> {
        let mut ids = ImportIds::default();
        lines.iter().map(|(channel, offset)| ids.next(*channel, EPOCH_MS + offset).get()).collect()
    }

    fn lines() -> impl Strategy<Value = Vec<(usize, u64)>> {
        proptest::collection::vec((0_usize..5, 0_u64..50), 0..400)
    }

    proptest! {
        #[test]
        fn each_channel_rises_whatever_time_does(lines in lines()) {
            let ids = derive(&lines);
            for channel in 0..5 {
                let own: Vec<u64> = lines.iter().zip(&ids).filter(|(line, _)| line.0 == channel).map(|(_, id)| *id).collect();
                prop_assert!(own.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }

        #[test]
        fn in_order_every_id_is_unique_and_not_before_its_time(mut lines in lines()) {
            lines.sort_by_key(|line| line.1);
            let ids = derive(&lines);
            prop_assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
            for (line, id) in lines.iter().zip(&ids) {
                let id = Snowflake::try_from(*id).expect("never 0");
                prop_assert_eq!(id.worker(), WORKER);
                // 400 lines never fill a millisecond, so nothing is carried.
                prop_assert_eq!(id.unix_ms(), EPOCH_MS + line.1);
            }
        }

        #[test]
        fn the_start_of_a_file_decides_the_ids_of_its_start(lines in lines(), cut in 0_usize..400) {
            let part = &lines[..cut.min(lines.len())];
            prop_assert_eq!(derive(part), derive(&lines)[..part.len()].to_vec());
        }
    }

    #[test]
    fn a_full_millisecond_carries_into_the_next() {
        let full = usize::from(SEQUENCES);
        let mut lines = vec![(0, 10); full + 1];
        lines.push((0, 11));
        let ids: Vec<_> =
            derive(&lines).into_iter().map(|id| Snowflake::try_from(id).expect("never 0")).collect();
        let parts = |index: usize| (ids[index].unix_ms() - EPOCH_MS, ids[index].sequence());
        assert_eq!((parts(0), parts(full - 1)), ((10, 0), (10, SEQUENCES - 1)));
        assert_eq!((parts(full), parts(full + 1)), ((11, 0), (11, 1)));
    }

    #[test]
    fn a_row_of_ids_keeps_its_worker_and_carries_into_the_next_millisecond() {
        let first = Snowflake::from_parts(EPOCH_MS + 7, 3, SEQUENCES - 2).expect("in range");
        let parts = |index| {
            let id = Snowflake::try_from(nth(first, index)).expect("never 0");
            (id.unix_ms() - EPOCH_MS, id.worker(), id.sequence())
        };
        assert_eq!((parts(0), parts(1)), ((7, 3, SEQUENCES - 2), (7, 3, SEQUENCES - 1)));
        assert_eq!((parts(2), parts(2 + 4_096)), ((8, 3, 0), (9, 3, 0)));
    }

    #[test]
    fn a_channel_that_lags_does_not_move_the_others() {
        let ids = derive(&[(0, 1_000_000), (0, 5), (1, 6)]);
        let ms = |id: u64| weir_proto::id::unix_ms(id) - EPOCH_MS;
        assert_eq!((ms(ids[1]), ms(ids[2])), (1_000_000, 6));
    }
}
