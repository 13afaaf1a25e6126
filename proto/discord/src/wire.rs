//! The text form of scalar values: ids and bit sets are decimal strings, times have six fraction digits and a
//! numeric offset.

use std::fmt;

use serde::{Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset};

/// A snowflake as Discord writes it: always a decimal string, because JavaScript cannot hold 64 bits in a
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

impl Id {
    /// The id, or `None` for a row's 0, which stands for "none".
    #[must_use]
    pub fn nonzero(raw: u64) -> Option<Self> {
        (raw != 0).then_some(Self(raw))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A borrowed list of raw ids, written as an array of decimal strings.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a>(pub &'a [u64]);

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().copied().map(Id))
    }
}

/// Milliseconds since 1970-01-01T00:00Z, written as `2017-07-11T17:27:07.299000+00:00`.
///
/// Every client library parses this form: some refuse `Z`, some refuse fractions of other lengths, one needs
/// 25 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time at which a snowflake was minted.
    #[must_use]
    pub(crate) fn of_snowflake(raw: u64) -> Self {
        Self(weir_proto::id::unix_ms(raw))
    }

    /// The timestamp, or `None` for a row's 0, which stands for "never".
    #[must_use]
    pub fn nonzero(unix_ms: u64) -> Option<Self> {
        (unix_ms != 0).then_some(Self(unix_ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 3339 cannot express times beyond year 9999. A row with such a time is shown at the epoch rather
        // than not at all.
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Moment(at).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Any time of the years 0 to 9999, written as [`Timestamp`] is: UTC, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) OffsetDateTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.to_offset(UtcOffset::UTC);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second, milli) = at.time().as_hms_milli();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}000+00:00")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An array that is always empty: the key of a feature without rows, which strict clients still demand.
pub(crate) type Empty = [(); 0];

/// A value that is always null, for the same reason.
pub(crate) type Null = ();

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).expect("plain values serialise")
    }

    #[test]
    fn times_have_six_digits_and_a_numeric_offset() {
        assert_eq!(json(Timestamp(1_499_794_027_299)), "\"2017-07-11T17:27:07.299000+00:00\"");
        assert_eq!(json(Timestamp(1_420_070_400_000)), "\"2015-01-01T00:00:00.000000+00:00\"");
        assert_eq!(
            json(Timestamp::of_snowflake(175_928_847_299_117_063)),
            "\"2016-04-30T11:18:25.796000+00:00\""
        );
    }

    #[test]
    fn ids_are_strings_and_zero_is_none() {
        assert_eq!(json(Id(u64::MAX)), "\"18446744073709551615\"");
        assert_eq!(json(Ids(&[1, 2])), "[\"1\",\"2\"]");
        assert_eq!((Id::nonzero(0), Id::nonzero(7)), (None, Some(Id(7))));
    }

    proptest! {
        #[test]
        fn every_time_parses_back_to_itself(ms in 0..253_402_300_800_000_u64) {
            let text = Timestamp(ms).to_string();
            let parsed = OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339).expect("RFC 3339");
            prop_assert_eq!(parsed.unix_timestamp_nanos(), i128::from(ms) * 1_000_000);
            prop_assert_eq!(text.len(), 32);
        }

        #[test]
        fn any_number_is_written_without_panic(ms in any::<u64>()) {
            prop_assert!(Timestamp(ms).to_string().ends_with("000+00:00"));
        }
    }
}
