//! The ids in a path.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use weir_discord::error::{ApiError, Leaf};
use weir_proto::id::{ChannelId, GuildId, MessageId, RoleId, SnowflakeError, UserId};

use crate::{answer::error::Refused, request::caller::Caller};

/// The path's parameters by their names in the route's template.
pub(crate) struct PathIds(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        // This fails only for text that is not UTF-8 once it is percent-decoded, and no route has such a
        // path.
        let raw =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| ApiError::UnknownRoute)?;
        Ok(Self(raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl PathIds {
    /// The text of a parameter.
    ///
    /// # Panics
    /// If the route's template does not have the parameter.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).expect("the route's template has this parameter")
    }

    fn id<T: std::str::FromStr<Err = SnowflakeError>>(&self, name: &'static str) -> Result<T, Refused> {
        let text = self.text(name);
        text.parse().map_err(|_| match text.chars().next() {
            // No id begins with these characters, but the last word of a Discord route does that is not
            // served here (`messages/search`, `members/search`). Such a path is unknown like any other, and
            // not a wrong id.
            Some('a'..='z' | '@') => ApiError::UnknownRoute.into(),
            _ => Refused::field(name, Leaf::NotASnowflake),
        })
    }

    pub(crate) fn channel(&self) -> Result<ChannelId, Refused> {
        self.id("channel_id")
    }

    pub(crate) fn guild(&self) -> Result<GuildId, Refused> {
        self.id("guild_id")
    }

    pub(crate) fn message(&self) -> Result<MessageId, Refused> {
        self.id("message_id")
    }

    pub(crate) fn user(&self) -> Result<UserId, Refused> {
        self.id("user_id")
    }

    /// The id of a user, who may be named `@me`. A percent-encoded `@me` arrives here too, because the router
    /// does not match it with a static segment.
    pub(crate) fn user_or_me(&self, caller: &Caller) -> Result<UserId, Refused> {
        if self.text("user_id") == "@me" { Ok(caller.id) } else { self.user() }
    }

    /// The id of an application, which is the id of its bot.
    pub(crate) fn application(&self) -> Result<UserId, Refused> {
        self.id("application_id")
    }

    pub(crate) fn role(&self) -> Result<RoleId, Refused> {
        self.id("role_id")
    }
}
