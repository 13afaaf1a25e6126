//! Which routes share a bucket, and how the buckets of one caller are told apart.

use std::{num::NonZeroU32, time::Duration};

use super::rate::Rate;

/// Makes [`RouteBucket`] of one list: each bucket's id, and its rate as requests in so many seconds.
macro_rules! buckets {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $requests:literal, $seconds:literal;)*) => {
        /// A group of routes with one quota for each caller and major parameter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum RouteBucket {
            $($(#[$doc])* $name,)*
        }

        impl RouteBucket {
            /// Every bucket, in the order of their numbers.
            pub const ALL: [Self; [$($id),*].len()] = [$(Self::$name),*];

            /// The value of `X-RateLimit-Bucket`. It is opaque to clients and the same on every node, and it
            /// never changes, because clients key their own queues with it.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id),* }
            }

            /// The rate unless the operator sets another. The rates of message routes and typing are what
            /// client authors have long observed at Discord, who publishes no numbers. The others are guesses
            /// below the global limit, wide enough for a bot's start.
            #[must_use]
            pub(crate) const fn default_rate(self) -> Rate {
                match self { $(Self::$name => rate($requests, $seconds)),* }
            }
        }
    };
}

buckets! {
    /// Reading a page of messages.
    ListMessages = "weir-list-messages", 5, 1;
    /// Reading one message.
    GetMessage = "weir-get-message", 5, 1;
    /// Creating a message.
    CreateMessage = "weir-create-message", 5, 5;
    /// Editing a message.
    EditMessage = "weir-edit-message", 5, 5;
    /// Deleting a message.
    DeleteMessage = "weir-delete-message", 5, 1;
    /// Showing that the caller is typing.
    Typing = "weir-typing", 5, 5;
    /// Reading a channel.
    GetChannel = "weir-get-channel", 10, 5;
    /// Changing or deleting a channel.
    ChangeChannel = "weir-change-channel", 10, 10;
    /// Creating a guild.
    CreateGuild = "weir-create-guild", 10, 60;
    /// Reading a guild, its channels or its roles.
    GetGuild = "weir-get-guild", 10, 5;
    /// Deleting or leaving a guild, and creating its channels and roles.
    ChangeGuild = "weir-change-guild", 10, 10;
    /// Reading members.
    GetMembers = "weir-get-members", 10, 5;
    /// Adding members.
    ChangeMembers = "weir-change-members", 10, 10;
    /// Reading users, the caller's own included, and the caller's guilds and application.
    Users = "weir-users", 30, 30;
    /// Asking for the gateway's address.
    Gateway = "weir-gateway", 5, 5;
    // The paths of the two short routes name no channel, so one bucket spans all channels of a caller. It is
    // as wide as the global limit; each channel is protected by the data service's own limits.
    /// `POST /messages`.
    ShortMessages = "weir-short-messages", 50, 1;
    /// `GET /history`.
    ShortHistory = "weir-short-history", 50, 1;
    /// Opening direct messages.
    OpenDirect = "weir-open-direct", 10, 10;
    /// Reading who reacted to a message.
    ListReactions = "weir-list-reactions", 5, 1;
    /// Reacting to messages: Discord's one in a quarter of a second.
    ChangeReactions = "weir-change-reactions", 4, 1;
    /// Reading pinned messages.
    ListPins = "weir-list-pins", 5, 1;
    /// Pinning and unpinning messages.
    ChangePins = "weir-change-pins", 5, 5;
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
