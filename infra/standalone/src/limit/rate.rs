//! Rates: `50/s`, `3000/m`, `100/h`; and, for concurrency, a plain number.

use std::ops::RangeInclusive;

use super::GrammarError;

/// Units of time and their seconds.
const UNITS: [(&str, f64); 4] = [("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];

/// Rates that the service can keep beside 0, in requests a second. They are those of `weir_protect`'s
/// limiter.
const RANGE: RangeInclusive<f64> = 0.001..=10_000_000.0;

/// Parses a rate in requests a second. 0 refuses everything.
///
/// # Errors
/// [`GrammarError::Rate`], [`GrammarError::RateRange`]
pub(crate) fn per_second(text: &str) -> Result<f64, GrammarError> {
    let wrong = || GrammarError::Rate { text: text.to_owned() };
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let rate = plain(number).ok_or_else(wrong)? / seconds;
    if rate != 0.0 && !RANGE.contains(&rate) {
        return Err(GrammarError::RateRange { text: text.to_owned() });
    }
    Ok(rate)
}

/// Parses a number of reads at once.
///
/// # Errors
/// [`GrammarError::Concurrency`]
pub(crate) fn at_once(text: &str) -> Result<f64, GrammarError> {
    let number: Option<u32> = text.parse().ok().filter(|number| *number > 0);
    number.map(f64::from).ok_or_else(|| GrammarError::Concurrency { text: text.to_owned() })
}

/// Parses digits and perhaps a point. `f64`'s own grammar also accepts signs, exponents and infinities.
fn plain(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let edges = text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit());
    if digits && edges { text.parse().ok() } else { None }
}

/// Formats a rate as an operator would write it.
pub(crate) fn show(per_second: f64) -> String {
    let whole = |rate: f64| (rate - rate.round()).abs() < 1e-6 && rate >= 1.0;
    let fitting = UNITS.iter().find(|(_, seconds)| whole(per_second * seconds));
    match fitting {
        Some((unit, seconds)) => format!("{:.0}/{unit}", per_second * seconds),
        None => format!("{per_second}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_have_a_number_and_a_unit() {
        for (text, rate) in
            [("50/s", 50.0), ("0.5/s", 0.5), ("3000/m", 50.0), ("36/h", 0.01), ("0/s", 0.0), ("1.25/s", 1.25)]
        {
            assert_eq!(per_second(text), Ok(rate), "{text}");
        }
        for text in [
            "", "50", "/s", "50/", "50/sec", "-1/s", "+1/s", "1e3/s", "inf/s", "NaN/s", ".5/s", "5./s",
            "1.2.3/s", "5 /s", "5/ s",
        ] {
            assert_eq!(per_second(text), Err(GrammarError::Rate { text: text.to_owned() }));
        }
    }

    #[test]
    fn a_rate_that_the_service_would_not_keep_is_refused_with_the_one_range() {
        for text in ["0.0009/s", "1/d", "10000001/s"] {
            assert_eq!(per_second(text), Err(GrammarError::RateRange { text: text.to_owned() }));
        }
        for text in ["0/d", "0.001/s", "10000000/s"] {
            assert!(per_second(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn concurrency_is_a_whole_number_of_at_least_one() {
        assert_eq!(at_once("8"), Ok(8.0));
        for text in ["", "0", "1.5", "-1", "8/s", "4294967296"] {
            assert_eq!(at_once(text), Err(GrammarError::Concurrency { text: text.to_owned() }));
        }
    }

    #[test]
    fn rates_are_shown_in_the_unit_that_keeps_them_whole() {
        for (rate, text) in [
            (50.0, "50/s"),
            (0.5, "30/m"),
            (0.01, "36/h"),
            (0.0, "0/s"),
            (1.25, "75/m"),
            (1.0 / 7.0, "0.14285714285714285/s"),
        ] {
            assert_eq!(show(rate), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(number in 0_u32..1_000_000, unit in 0_usize..4) {
            let rate = f64::from(number) / UNITS[unit].1;
            prop_assume!(rate == 0.0 || RANGE.contains(&rate));
            let read = per_second(&show(rate)).expect("our own form");
            prop_assert!((read - rate).abs() <= 1e-6 * rate.max(1.0), "{rate} became {read}");
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = (per_second(&text), at_once(&text));
        }
    }
}
