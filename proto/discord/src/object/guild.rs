//! Guilds: the REST form, the GUILD_CREATE form, and the short forms of lists and of READY.

use serde::{Serialize, Serializer};
use weir_proto::data::{Channel, Guild, GuildState, Member, Role, User};

use super::{channel::ChannelObject, member::MemberObject, role::RoleObject};
use crate::{
    permission::Permissions,
    wire::{Empty, Id, Null, Timestamp},
};

/// Discord calls a guild with more members than this large, at the default `large_threshold`.
const LARGE_MEMBERS: u32 = 50;

/// A guild as REST shows it, and the base of GUILD_CREATE.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GuildObject<'a> {
    id: Id,
    name: &'a str,
    icon: Null,
    description: Null,
    home_header: Null,
    splash: Null,
    discovery_splash: Null,
    features: Empty,
    banner: Null,
    owner_id: Id,
    application_id: Null,
    region: &'static str,
    afk_channel_id: Null,
    afk_timeout: u32,
    system_channel_id: Null,
    system_channel_flags: u32,
    widget_enabled: bool,
    widget_channel_id: Null,
    verification_level: u32,
    roles: Roles<'a>,
    emojis: Empty,
    stickers: Empty,
    default_message_notifications: u32,
    mfa_level: u32,
    explicit_content_filter: u32,
    max_presences: Null,
    max_members: u32,
    max_video_channel_users: u32,
    max_stage_video_channel_users: u32,
    vanity_url_code: Null,
    premium_tier: u32,
    premium_subscription_count: u32,
    premium_progress_bar_enabled: bool,
    preferred_locale: &'static str,
    rules_channel_id: Null,
    safety_alerts_channel_id: Null,
    public_updates_channel_id: Null,
    hub_type: Null,
    nsfw: bool,
    nsfw_level: u32,
    incidents_data: Null,
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate_member_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate_presence_count: Option<u32>,
}

impl<'a> GuildObject<'a> {
    /// The guild of a state; `None` if the state lacks its guild row.
    #[must_use]
    pub fn new(state: &'a GuildState) -> Option<Self> {
        state.guild.as_ref().map(|guild| Self::of(guild, &state.roles))
    }

    /// The same with approximate counts (`with_counts`).
    #[must_use]
    pub fn with_counts(self, members: u32, presences: u32) -> Self {
        Self { approximate_member_count: Some(members), approximate_presence_count: Some(presences), ..self }
    }

    fn of(guild: &'a Guild, roles: &'a [Role]) -> Self {
        Self {
            id: Id(guild.id),
            name: &guild.name,
            icon: (),
            description: (),
            home_header: (),
            splash: (),
            discovery_splash: (),
            features: [],
            banner: (),
            owner_id: Id(guild.owner_id),
            application_id: (),
            region: "deprecated",
            afk_channel_id: (),
            // Strict clients have an enum of 60, 300, 900, 1800 and 3600.
            afk_timeout: 300,
            system_channel_id: (),
            system_channel_flags: 0,
            widget_enabled: false,
            widget_channel_id: (),
            verification_level: 0,
            roles: Roles(roles),
            emojis: [],
            stickers: [],
            default_message_notifications: 0,
            mfa_level: 0,
            explicit_content_filter: 0,
            max_presences: (),
            max_members: 500_000,
            max_video_channel_users: 25,
            max_stage_video_channel_users: 50,
            vanity_url_code: (),
            premium_tier: 0,
            premium_subscription_count: 0,
            premium_progress_bar_enabled: false,
            preferred_locale: "en-US",
            rules_channel_id: (),
            safety_alerts_channel_id: (),
            public_updates_channel_id: (),
            hub_type: (),
            nsfw: false,
            nsfw_level: 0,
            incidents_data: (),
            approximate_member_count: None,
            approximate_presence_count: None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Roles<'a>(&'a [Role]);

impl Serialize for Roles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(RoleObject::new))
    }
}

/// Why a session receives GUILD_CREATE. By the key `unavailable`, clients distinguish "available again" from
/// "joined".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// READY listed the guild as unavailable, and it follows now: `unavailable: false`.
    Backfill,
    /// The user joined the guild just now: the key is absent.
    Joined,
}

/// The parts of a GUILD_CREATE.
#[derive(Debug, Clone, Copy)]
pub struct GuildCreateParts<'a> {
    /// The guild, its roles and its channels.
    pub state: &'a GuildState,
    /// Why it is sent.
    pub availability: Availability,
    /// Milliseconds since 1970-01-01T00:00Z at which the receiving user joined.
    pub joined_at_ms: u64,
    /// The members to list, with their users; at least the receiving user. Bounded by the session's
    /// `large_threshold` (50 to 250) plus itself.
    pub members: &'a [(Member, User)],
    /// The channels to list with their newest message id (0 if none or unknown), as the receiver may see
    /// them.
    pub channels: &'a [(&'a Channel, u64)],
}

/// The `d` of GUILD_CREATE.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GuildCreateEvent<'a> {
    #[serde(flatten)]
    guild: GuildObject<'a>,
    joined_at: Timestamp,
    large: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<bool>,
    member_count: u32,
    voice_states: Empty,
    members: Members<'a>,
    channels: Channels<'a>,
    threads: Empty,
    presences: Empty,
    stage_instances: Empty,
    guild_scheduled_events: Empty,
    soundboard_sounds: Empty,
}

impl<'a> GuildCreateEvent<'a> {
    /// The event of its parts; `None` if the state lacks its guild row.
    #[must_use]
    pub fn new(parts: &GuildCreateParts<'a>) -> Option<Self> {
        let guild = GuildObject::new(parts.state)?;
        Some(Self {
            guild,
            joined_at: Timestamp(parts.joined_at_ms),
            large: parts.state.member_count > LARGE_MEMBERS,
            unavailable: match parts.availability {
                Availability::Backfill => Some(false),
                Availability::Joined => None,
            },
            member_count: parts.state.member_count,
            voice_states: [],
            members: Members(parts.members),
            channels: Channels(parts.channels),
            threads: [],
            presences: [],
            stage_instances: [],
            guild_scheduled_events: [],
            soundboard_sounds: [],
        })
    }

    /// The same with `large` as the receiver's own `large_threshold` decides it. Libraries assume that a
    /// guild that is not large has every member listed, and ask for no more.
    #[must_use]
    pub fn with_large(self, large: bool) -> Self {
        Self { large, ..self }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a>(pub(super) &'a [(Member, User)]);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(member, user)| MemberObject::full(member, Some(user))))
    }
}

#[derive(Debug, Clone, Copy)]
struct Channels<'a>(&'a [(&'a Channel, u64)]);

impl Serialize for Channels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|&(channel, last)| ChannelObject::new(channel, last)))
    }
}

/// A guild in READY, which its GUILD_CREATE must follow.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct UnavailableGuildObject {
    id: Id,
    unavailable: bool,
}

impl UnavailableGuildObject {
    /// The unavailable guild of an id.
    #[must_use]
    pub fn new(guild_id: u64) -> Self {
        Self { id: Id(guild_id), unavailable: true }
    }
}

/// A guild in the list of a user's guilds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PartialGuildObject<'a> {
    id: Id,
    name: &'a str,
    icon: Null,
    banner: Null,
    owner: bool,
    permissions: Permissions,
    features: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate_member_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate_presence_count: Option<u32>,
}

impl<'a> PartialGuildObject<'a> {
    /// The guild as one member sees it. `permissions` are those of the member in the guild, before any
    /// channel.
    #[must_use]
    pub fn new(guild: &'a Guild, user_id: u64, permissions: Permissions) -> Self {
        Self {
            id: Id(guild.id),
            name: &guild.name,
            icon: (),
            banner: (),
            owner: guild.owner_id == user_id,
            permissions,
            features: [],
            approximate_member_count: None,
            approximate_presence_count: None,
        }
    }

    /// The same with approximate counts (`with_counts`).
    #[must_use]
    pub fn with_counts(self, members: u32, presences: u32) -> Self {
        Self { approximate_member_count: Some(members), approximate_presence_count: Some(presences), ..self }
    }
}
