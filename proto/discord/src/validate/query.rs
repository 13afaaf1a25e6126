//! Query parameters and ids in paths.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::{FormErrors, Leaf};

/// Messages of a history page if the client gives no number. Discord's default.
pub const HISTORY_LIMIT_DEFAULT: u32 = 50;
/// Most messages of a history page. Discord's bound.
pub const HISTORY_LIMIT_MAX: u32 = 100;

/// A `limit` between 1 and `max`.
///
/// # Errors
/// A form error if it is not a number in that range.
pub fn parse_limit(raw: Option<&str>, default: u32, max: u32) -> Result<u32, FormErrors> {
    let Some(raw) = raw else { return Ok(default) };
    let fail = |leaf| Err(FormErrors::field("limit", leaf));
    match raw.parse::<i64>() {
        Err(_) => fail(Leaf::NotAnInteger),
        Ok(number) if number < 1 => fail(Leaf::Min(1)),
        Ok(number) => match u32::try_from(number) {
            Ok(number) if number <= max => Ok(number),
            _ => fail(Leaf::Max(i64::from(max))),
        },
    }
}

/// An id in a query parameter. 0 is allowed, because clients page "after 0", but it is never the id of
/// anything.
///
/// # Errors
/// A form error if it is not a decimal number below 2^64.
pub fn parse_query_snowflake(key: &str, raw: Option<&str>) -> Result<Option<u64>, FormErrors> {
    let Some(raw) = raw else { return Ok(None) };
    let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
    match raw.parse::<u64>() {
        Ok(id) if digits => Ok(Some(id)),
        _ => Err(FormErrors::field(key, Leaf::NotASnowflake)),
    }
}

/// A time in a query parameter, as milliseconds since 1970-01-01T00:00Z. It is RFC 3339 with a `T`; an offset
/// may be left out, which means UTC, because one client library writes times so.
///
/// # Errors
/// A form error if it is no such time, or lies before 1970.
pub fn parse_query_timestamp(key: &str, raw: Option<&str>) -> Result<Option<u64>, FormErrors> {
    let Some(raw) = raw else { return Ok(None) };
    let bad = || FormErrors::field(key, Leaf::BadTimestamp);
    // In a query a plus sign stands for a space.
    let text = raw.replace(' ', "+");
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339);
    let at = parse(&text).or_else(|_| parse(&format!("{text}Z"))).map_err(|_| bad())?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).map(Some).map_err(|_| bad())
}

/// An id in a path.
///
/// # Errors
/// A form error under the parameter's name.
pub fn parse_path_snowflake(name: &str, raw: &str) -> Result<u64, FormErrors> {
    match raw.parse::<weir_proto::id::Snowflake>() {
        Ok(id) => Ok(id.get()),
        Err(_) => Err(FormErrors::field(name, Leaf::NotASnowflake)),
    }
}

/// A flag in a query: `True`, `true`, `1`, `False`, `false`, `0`.
///
/// # Errors
/// A form error if it is something else.
pub fn parse_query_bool(key: &str, raw: Option<&str>) -> Result<Option<bool>, FormErrors> {
    let Some(raw) = raw else { return Ok(None) };
    truth(raw).map(Some).ok_or_else(|| FormErrors::field(key, Leaf::NotABoolean))
}

/// A truth value's text; `None` if the text is none.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "True" | "true" | "1" => Some(true),
        "False" | "false" | "0" => Some(false),
        _ => None,
    }
}

/// Which page of history is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The newest messages.
    Newest,
    /// The newest below an id.
    Before(u64),
    /// The oldest above an id.
    After(u64),
    /// Half below, half above, and the id itself.
    Around(u64),
}

/// A query for a page of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Which page.
    pub anchor: Anchor,
    /// How many messages: 1 to [`HISTORY_LIMIT_MAX`].
    pub limit: u32,
}

impl HistoryQuery {
    /// The page that query parameters ask for. Of a repeated key the last counts; unknown keys are ignored.
    ///
    /// # Errors
    /// A form error for a malformed number, or for more than one of `before`, `after`, `around`.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, FormErrors> {
        let (mut limit, mut before, mut after, mut around) = (None, None, None, None);
        for (key, value) in pairs {
            match key {
                "limit" => limit = Some(value),
                "before" => before = Some(value),
                "after" => after = Some(value),
                "around" => around = Some(value),
                _ => {}
            }
        }
        let limit = parse_limit(limit, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX)?;
        let before = parse_query_snowflake("before", before)?;
        let after = parse_query_snowflake("after", after)?;
        let around = parse_query_snowflake("around", around)?;
        let anchor = match (before, after, around) {
            (None, None, None) => Anchor::Newest,
            (Some(id), None, None) => Anchor::Before(id),
            (None, Some(id), None) => Anchor::After(id),
            (None, None, Some(id)) => Anchor::Around(id),
            _ => {
                let key = if after.is_some() { "after" } else { "around" };
                return Err(FormErrors::field(key, Leaf::Exclusive("before, after, around")));
            }
        };
        Ok(Self { anchor, limit })
    }
}
