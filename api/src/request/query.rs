//! The decoded pairs of the query.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use weir_discord::{
    error::FormErrors,
    validate::{parse_limit, parse_query_bool, parse_query_snowflake, parse_query_timestamp},
};

use crate::answer::error::Refused;

/// Key and value pairs of the query, in their order.
pub(crate) struct QueryPairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for QueryPairs {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let pairs = Query::try_from_uri(&parts.uri).map_err(|_| FormErrors::new())?;
        Ok(Self(pairs.0))
    }
}

impl QueryPairs {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The last value of a key.
    fn value(&self, key: &str) -> Option<&str> {
        self.iter().filter(|(known, _)| *known == key).last().map(|(_, value)| value)
    }

    /// A `limit` from 1 to `max`.
    pub(crate) fn limit(&self, default: u32, max: u32) -> Result<u32, FormErrors> {
        parse_limit(self.value("limit"), default, max)
    }

    /// An id, or 0, after which clients begin to page.
    pub(crate) fn id(&self, key: &str) -> Result<Option<u64>, FormErrors> {
        parse_query_snowflake(key, self.value(key))
    }

    /// A time, as milliseconds since 1970-01-01T00:00Z.
    pub(crate) fn timestamp(&self, key: &str) -> Result<Option<u64>, FormErrors> {
        parse_query_timestamp(key, self.value(key))
    }

    /// A truth value; false if the key is absent.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, FormErrors> {
        Ok(parse_query_bool(key, self.value(key))?.unwrap_or(false))
    }
}
