//! Durations and sizes in text: whole numbers and their units, both ways. A number without a unit is never
//! understood. The form of a WebSocket server's URL stands here too.

use std::time::Duration;

/// Duration units, smallest first, in nanoseconds.
const DURATIONS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Size units, in bytes. There are no decimal units, on purpose: memory and files are budgeted in powers of
/// two, and readers disagree on what "64MB" means.
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// What a duration must look like.
pub(super) const DURATION_FIX: &str = "write whole numbers and units (ns, us, ms, s, m, h, d), the longest first, such as \"250ms\" or \"1h30m\"";

/// The form that a size must have.
pub(super) const SIZE_FIX: &str =
    "write a whole number and a unit (B, KiB, MiB, GiB, TiB), such as \"64MiB\"";

/// What the URL of a WebSocket server must look like.
pub(super) const WEB_SOCKET_RULE: &str =
    "it must be ws:// or wss://, a host and perhaps a port, without a path";

/// What to write for the URL of a WebSocket server.
pub(super) const WEB_SOCKET_FIX: &str = "write for example \"wss://gateway.example.org\"";

/// True for the URL of a WebSocket server that clients may be told. Client libraries append a path and a
/// query of their own, so the URL has none; it may end with a slash.
pub(super) fn is_web_socket_url(text: &str) -> bool {
    let host = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
    let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ', '@']))
}

/// Reads a duration: whole numbers, each with its unit, each unit at most once and the longest first (`90s`,
/// `1h30m`). Gives `None` if the text is not one, or longer than 584 years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut nanos) = (text, 0_u64);
    let mut shorter: &[(&str, u64)] = &DURATIONS;
    loop {
        let (amount, place, after) = first(rest, shorter)?;
        nanos = nanos.checked_add(amount)?;
        if after.is_empty() {
            return Some(Duration::from_nanos(nanos));
        }
        (rest, shorter) = (after, &shorter[..place]);
    }
}

/// Reads a size in bytes; `None` if it is not one or does not fit.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    first(text, &SIZES).filter(|(_, _, after)| after.is_empty()).map(|(bytes, _, _)| bytes)
}

/// Writes a duration with the largest unit that keeps it a whole number. Durations beyond 584 years are
/// written as 584 years.
pub(super) fn format_duration(duration: Duration) -> String {
    format(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), &DURATIONS, "s")
}

/// Writes a size with the largest unit that keeps it a whole number.
pub(super) fn format_size(bytes: u64) -> String {
    format(bytes, &SIZES, "B")
}

/// The number and unit that the text begins with: what they amount to, the unit's place, and the text behind
/// them.
fn first<'a>(text: &'a str, units: &[(&str, u64)]) -> Option<(u64, usize, &'a str)> {
    let (number, after) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let (unit, after) = after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
    let place = units.iter().position(|(name, _)| *name == unit)?;
    let amount = number.parse::<u64>().ok()?.checked_mul(units[place].1)?;
    Some((amount, place, after))
}

fn format(amount: u64, units: &[(&str, u64)], zero_unit: &str) -> String {
    if amount == 0 {
        return format!("0{zero_unit}");
    }
    let whole = units.iter().rev().find(|(_, factor)| amount.is_multiple_of(*factor));
    // The smallest unit has factor 1 and divides everything.
    let (unit, factor) = whole.copied().unwrap_or(("", 1));
    format!("{}{unit}", amount / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_forms() {
        let durations = [
            ("250ms", 250_000_000),
            ("5s", 5_000_000_000),
            ("90s", 90_000_000_000),
            ("2m", 120_000_000_000),
            ("1d", 86_400_000_000_000),
            ("90m", 5_400_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1d1h1m1s", 90_061_000_000_000),
            ("1s1ms1us1ns", 1_001_001_001),
            ("0s", 0),
        ];
        for (text, ns) in durations {
            assert_eq!(parse_duration(text), Some(Duration::from_nanos(ns)), "{text}");
        }
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(format_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(format_duration(Duration::from_secs(120)), "2m");
        assert_eq!(format_size(0), "0B");
        assert_eq!(format_size(3 << 30), "3GiB");
    }

    #[test]
    fn refused_forms() {
        for text in ["", "5", "s", "5 s", " 5s", "-5s", "1.5s", "5S", "5sec", "1e3s", "99999999999d", "5s "] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in
            ["10min", "30m1h", "1h1h", "1h 30m", "1h30", "1hm", "213503d1d", "200000d1000000h", "ä5s", "5sä"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in ["64", "64MB", "64mib", "64 MiB", "MiB", "20000000TiB", "1GiB1MiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn web_socket_urls_are_a_scheme_a_host_and_perhaps_a_port() {
        for good in
            ["ws://127.0.0.1:8081", "ws://[::1]:8081", "wss://gateway.example.org", "wss://g.example.org/"]
        {
            assert!(is_web_socket_url(good), "{good}");
        }
        for bad in [
            "",
            "ws://",
            "http://a",
            "gateway.example.org",
            "wss://a/b",
            "wss://a//",
            "wss://a?v=10",
            "wss://a/#b",
            "wss://u@a",
            "ws:// a",
        ] {
            assert!(!is_web_socket_url(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn durations_round_trip(ns in any::<u64>()) {
            let duration = Duration::from_nanos(ns);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }

        #[test]
        fn sizes_round_trip(bytes in any::<u64>()) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
