//! Which routes share a bucket, and how the buckets of one caller are told apart.

use std::{num::NonZeroU32, time::Duration};

use super::rate::Rate;

/// A group of routes with one quota for each caller and major parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RouteBucket {
    /// Reading a page of messages.
    ListMessages,
    /// Reading one message.
    GetMessage,
    /// Creating a message.
    CreateMessage,
    /// Editing a message.
    EditMessage,
    /// Deleting a message.
    DeleteMessage,
    /// Showing that the caller is typing.
    Typing,
    /// Reading a channel.
    GetChannel,
    /// Changing or deleting a channel.
    ChangeChannel,
    /// Creating a guild.
    CreateGuild,
    /// Reading a guild, its channels or its roles.
    GetGuild,
    /// Deleting or leaving a guild, and creating its channels and roles.
    ChangeGuild,
    /// Reading members.
    GetMembers,
    /// Adding members.
    ChangeMembers,
    /// Reading users, the caller's own included, and the caller's guilds and application.
    Users,
    /// Asking for the gateway's address.
    Gateway,
    /// `POST /messages`.
    ShortMessages,
    /// `GET /history`.
    ShortHistory,
    /// Opening direct messages.
    OpenDirect,
}

impl RouteBucket {
    /// Every bucket, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::ListMessages,
        Self::GetMessage,
        Self::CreateMessage,
        Self::EditMessage,
        Self::DeleteMessage,
        Self::Typing,
        Self::GetChannel,
        Self::ChangeChannel,
        Self::CreateGuild,
        Self::GetGuild,
        Self::ChangeGuild,
        Self::GetMembers,
        Self::ChangeMembers,
        Self::Users,
        Self::Gateway,
        Self::ShortMessages,
        Self::ShortHistory,
        Self::OpenDirect,
    ];

    /// The value of `X-RateLimit-Bucket`. It is opaque to clients and the same on every node, and it never
    /// changes, because clients key their own queues with it.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::ListMessages => "weir-list-messages",
            Self::GetMessage => "weir-get-message",
            Self::CreateMessage => "weir-create-message",
            Self::EditMessage => "weir-edit-message",
            Self::DeleteMessage => "weir-delete-message",
            Self::Typing => "weir-typing",
            Self::GetChannel => "weir-get-channel",
            Self::ChangeChannel => "weir-change-channel",
            Self::CreateGuild => "weir-create-guild",
            Self::GetGuild => "weir-get-guild",
            Self::ChangeGuild => "weir-change-guild",
            Self::GetMembers => "weir-get-members",
            Self::ChangeMembers => "weir-change-members",
            Self::Users => "weir-users",
            Self::Gateway => "weir-gateway",
            Self::ShortMessages => "weir-short-messages",
            Self::ShortHistory => "weir-short-history",
            Self::OpenDirect => "weir-open-direct",
        }
    }

    /// The rate unless the operator sets another. The rates of message routes and typing are what client
    /// authors have long observed at Discord, who publishes no numbers. The others are guesses below the
    /// global limit, wide enough for a bot's start.
    #[must_use]
    pub(crate) const fn default_rate(self) -> Rate {
        match self {
            Self::CreateMessage | Self::EditMessage | Self::Typing => rate(5, 5),
            Self::DeleteMessage | Self::ListMessages | Self::GetMessage => rate(5, 1),
            Self::ChangeChannel | Self::ChangeGuild | Self::ChangeMembers | Self::OpenDirect => rate(10, 10),
            Self::CreateGuild => rate(10, 60),
            Self::GetChannel | Self::GetGuild | Self::GetMembers => rate(10, 5),
            Self::Users => rate(30, 30),
            Self::Gateway => rate(5, 5),
            // The paths of these routes name no channel, so one bucket spans all channels of a caller. It is
            // as wide as the global limit; each channel is protected by the data service's own limits.
            Self::ShortMessages | Self::ShortHistory => rate(50, 1),
        }
    }
}

const fn rate(requests: u32, seconds: u64) -> Rate {
    Rate::new(NonZeroU32::new(requests).expect("written above, never 0"), Duration::from_secs(seconds))
}

/// The part of a bucket's key besides the caller and the routes: the channel or guild in the path, 0 if there
/// is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Major(pub(crate) u64);

impl Major {
    /// Takes the first path parameter that is a channel or a guild. All values that are no id share one
    /// bucket: such a request fails anyway, and must not make a bucket of its own.
    pub(crate) fn of<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let major = parameters.into_iter().find(|(name, _)| matches!(*name, "channel_id" | "guild_id"));
        Self(major.and_then(|(_, value)| value.parse().ok()).unwrap_or(0))
    }
}
