//! When a limit ends: `--for 10m`, `--until 18:00`, `--until 2026-01-31T18:00:00Z`. The functions are pure:
//! the caller gives the current time and the offset.

use std::{ops::RangeInclusive, time::Duration};

use time::{
    OffsetDateTime, Time, UtcOffset, format_description::BorrowedFormatItem,
    format_description::well_known::Rfc3339, macros::format_description,
};
use weir_runtime::config::parse_duration;

use super::GrammarError;

/// Durations that make sense. A permanent limit has no end, and nobody notices a limit of less than a second,
/// so anything outside is a typing error.
const DURATIONS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);
/// A time of day.
const TIME_OF_DAY: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]");
/// The form in which an end is shown.
const SHOWN: &[BorrowedFormatItem<'_>] = format_description!(
    "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory]:[offset_minute]"
);

/// Parses a duration in the configuration's form; see [`parse_duration`].
///
/// # Errors
/// [`GrammarError::Duration`]
pub(crate) fn duration(text: &str) -> Result<Duration, GrammarError> {
    let understood = parse_duration(text).filter(|duration| DURATIONS.contains(duration));
    understood.ok_or_else(|| GrammarError::Duration { text: text.to_owned() })
}

/// Parses an end: a time of day, which is its next occurrence, or an instant. Returns milliseconds since
/// 1970-01-01T00:00Z.
///
/// # Errors
/// [`GrammarError::Until`], [`GrammarError::Past`] for an instant that is over.
pub(crate) fn instant(text: &str, now: OffsetDateTime) -> Result<u64, GrammarError> {
    let end = match (Time::parse(text, TIME_OF_DAY), OffsetDateTime::parse(text, &Rfc3339)) {
        (Ok(of_day), _) => {
            let today = now.replace_time(of_day);
            // If the time of day is over, tomorrow's is meant.
            if today > now { today } else { today + time::Duration::DAY }
        }
        (Err(_), Ok(instant)) => instant,
        (Err(_), Err(_)) => return Err(GrammarError::Until { text: text.to_owned() }),
    };
    if end <= now {
        return Err(GrammarError::Past { text: text.to_owned() });
    }
    Ok(unix_ms(end))
}

/// Milliseconds since 1970-01-01T00:00Z; 0 for an earlier time.
pub(crate) fn unix_ms(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// Formats a time for people, in their offset.
pub(crate) fn show(unix_ms: u64, offset: UtcOffset) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok();
    let shown = at.and_then(|at| at.checked_to_offset(offset)).and_then(|at| at.format(SHOWN).ok());
    shown.unwrap_or_else(|| format!("{unix_ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    #[test]
    fn durations_are_neither_too_short_nor_too_long_to_be_meant() {
        for (text, seconds) in [("1s", 1), ("1h30m", 5_400), ("366d", 366 * 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "30m1h", "0s", "999ms", "366d1s", "367d", "99999999999999999999d"] {
            assert_eq!(duration(text), Err(GrammarError::Duration { text: text.to_owned() }));
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one_of_the_operators_clock() {
        let now = datetime!(2026-03-01 17:30:00 +2);
        assert_eq!(instant("18:00", now), Ok(unix_ms(datetime!(2026-03-01 16:00:00 UTC))));
        assert_eq!(instant("17:30", now), Ok(unix_ms(datetime!(2026-03-02 15:30:00 UTC))));
        assert_eq!(instant("00:00", now), Ok(unix_ms(datetime!(2026-03-01 22:00:00 UTC))));
        assert_eq!(instant("2026-03-01T18:00:00Z", now), Ok(unix_ms(datetime!(2026-03-01 18:00:00 UTC))));
        assert!(matches!(instant("2026-03-01T15:00:00Z", now), Err(GrammarError::Past { .. })));
        for text in ["", "18", "25:00", "18:60", "6pm", "2026-03-01", "tomorrow"] {
            assert_eq!(instant(text, now), Err(GrammarError::Until { text: text.to_owned() }));
        }
    }

    #[test]
    fn times_are_shown_with_their_offset() {
        let ms = unix_ms(datetime!(2026-03-01 16:00:00 UTC));
        let offset = UtcOffset::from_hms(2, 0, 0).expect("an offset");
        assert_eq!(show(ms, offset), "2026-03-01 18:00:00 +02:00");
        assert_eq!(show(u64::MAX, offset), format!("{} ms", u64::MAX));
    }

    proptest! {
        #[test]
        fn the_next_time_of_day_is_within_a_day(hour in 0_u8..24, minute in 0_u8..60, second in 0_i64..86_400) {
            let now = datetime!(2026-03-01 00:00:00 UTC) + time::Duration::seconds(second);
            let end = instant(&format!("{hour:02}:{minute:02}"), now).expect("a time of day");
            let ahead = end - unix_ms(now);
            prop_assert!(ahead > 0 && ahead <= 86_400_000);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = (duration(&text), instant(&text, datetime!(2026-03-01 00:00:00 UTC)));
        }
    }
}
