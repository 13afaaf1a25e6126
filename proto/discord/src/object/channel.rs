//! Channels of a guild and of direct messages.

use serde::{Serialize, Serializer};
use weir_proto::data::{Channel, Overwrite};

use super::{message::UserSource, user::UserObject};
use crate::{
    permission::Permissions,
    wire::{Id, Null},
};

/// Discord's channel type of voice channels.
const VOICE: u32 = 2;
/// Discord's channel type of stage channels.
const STAGE: u32 = 13;

/// A channel. The keys of text channels are always present; voice channels have more.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ChannelObject<'a> {
    id: Id,
    #[serde(rename = "type")]
    kind: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
    name: &'a str,
    position: u32,
    permission_overwrites: Overwrites<'a>,
    parent_id: Option<Id>,
    topic: Option<&'a str>,
    nsfw: bool,
    last_message_id: Option<Id>,
    rate_limit_per_user: u32,
    last_pin_timestamp: Null,
    flags: u32,
    #[serde(flatten)]
    voice: Option<Voice>,
}

/// The further keys of voice and stage channels, at Discord's defaults: Weir carries no voice.
#[derive(Debug, Clone, Copy, Serialize)]
struct Voice {
    bitrate: u32,
    user_limit: u32,
    rtc_region: Null,
    video_quality_mode: u32,
}

impl<'a> ChannelObject<'a> {
    /// The channel of a row. `last_message_id` is not part of the row, because a hot channel would rewrite it
    /// with each message. 0 means that there is none or it is not known.
    #[must_use]
    pub fn new(channel: &'a Channel, last_message_id: u64) -> Self {
        Self {
            id: Id(channel.id),
            kind: channel.r#type,
            guild_id: Id::nonzero(channel.guild_id),
            name: &channel.name,
            position: channel.position,
            permission_overwrites: Overwrites(&channel.overwrites),
            parent_id: Id::nonzero(channel.parent_id),
            topic: (!channel.topic.is_empty()).then_some(&channel.topic),
            nsfw: channel.nsfw,
            last_message_id: Id::nonzero(last_message_id),
            rate_limit_per_user: channel.rate_limit_per_user,
            last_pin_timestamp: (),
            flags: 0,
            voice: matches!(channel.r#type, VOICE | STAGE).then_some(Voice {
                bitrate: 64_000,
                user_limit: 0,
                rtc_region: (),
                video_quality_mode: 1,
            }),
        }
    }
}

/// The channel of direct messages, as one of its two users sees it.
#[derive(Debug, Clone, Serialize)]
pub struct DirectChannelObject<'a> {
    id: Id,
    #[serde(rename = "type")]
    kind: u32,
    last_message_id: Option<Id>,
    last_pin_timestamp: Null,
    flags: u32,
    recipients: Vec<UserObject<'a>>,
}

impl<'a> DirectChannelObject<'a> {
    /// The channel of a row for `viewer`, who is shown the other user. For `last_message_id` see
    /// [`ChannelObject::new`].
    #[must_use]
    pub fn new(channel: &Channel, viewer: u64, users: &'a dyn UserSource, last_message_id: u64) -> Self {
        let others = channel.recipient_ids.iter().filter(|id| **id != viewer);
        let user = |id: &u64| UserObject::of(*id, users.user(*id));
        Self {
            id: Id(channel.id),
            kind: channel.r#type,
            last_message_id: Id::nonzero(last_message_id),
            last_pin_timestamp: (),
            flags: 0,
            recipients: others.map(user).collect(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Overwrites<'a>(&'a [Overwrite]);

#[derive(Serialize)]
struct OverwriteObject {
    id: Id,
    #[serde(rename = "type")]
    kind: u32,
    allow: Permissions,
    deny: Permissions,
}

impl Serialize for Overwrites<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|overwrite| OverwriteObject {
            id: Id(overwrite.id),
            kind: overwrite.r#type,
            allow: Permissions(overwrite.allow),
            deny: Permissions(overwrite.deny),
        }))
    }
}
