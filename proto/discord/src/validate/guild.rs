//! The bodies about guilds, channels and roles. An absent field is `None`: a creation then takes a default,
//! and a change leaves the value as it is.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use weir_proto::data::{Channel, Overwrite, Role};

use super::body::{Fields, parse_fields};
use crate::{
    error::{FormErrors, Leaf},
    permission::Permissions,
};

/// Shortest guild name, in code points. All bounds here are Discord's.
pub const GUILD_NAME_MIN: usize = 2;
/// Longest guild name, in code points.
pub const GUILD_NAME_MAX: usize = 100;
/// Longest channel name, in code points.
pub const CHANNEL_NAME_MAX: usize = 100;
/// Longest channel topic, in code points.
pub const TOPIC_MAX: usize = 1_024;
/// Longest role name, in code points.
pub const ROLE_NAME_MAX: usize = 100;
/// Longest nickname, in code points.
pub const NICK_MAX: usize = 32;
/// Most overwrites of a channel.
pub const OVERWRITES_MAX: usize = 1_000;
/// Longest slow mode, in seconds: six hours.
const SLOW_MODE_MAX: u32 = 21_600;
/// Greatest position. A choice: positions are 16 bits in some client libraries.
const POSITION_MAX: u32 = 65_535;
/// Greatest colour: 24 bits.
const COLOR_MAX: u32 = 0xFF_FFFF;
/// Name of a role that is created without one.
const ROLE_NAME_DEFAULT: &str = "new role";
/// Channel types that can be created here: text, voice, category, announcement. Threads, stages and forums do
/// not exist yet.
const CHANNEL_TYPES: [u32; 4] = [0, 2, 4, 5];
/// Of those, the types whose names have neither capitals nor spaces.
const SLUG_TYPES: [u32; 2] = [0, 5];

/// `POST /guilds` and `PATCH /guilds/{g}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuildForm {
    /// 2 to 100 code points, without surrounding whitespace.
    pub name: Option<String>,
}

impl GuildForm {
    /// The form of a creation, which must have the name.
    ///
    /// # Errors
    /// All form errors at once.
    pub fn parse_create(body: &Map<String, Value>) -> Result<Self, FormErrors> {
        parse_fields(body, |fields| {
            fields.require("name");
            Self::read(fields)
        })
    }

    /// The form of a change.
    ///
    /// # Errors
    /// All form errors at once.
    pub fn parse_change(body: &Map<String, Value>) -> Result<Self, FormErrors> {
        parse_fields(body, Self::read)
    }

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self { name: trimmed(fields, "name", GUILD_NAME_MIN, GUILD_NAME_MAX) }
    }
}

/// Text whose length counts without the surrounding whitespace.
fn trimmed(fields: &mut Fields<'_, '_>, key: &str, min: usize, max: usize) -> Option<String> {
    // Untrimmed text may be longer; the body's own bound holds anyway.
    let text = fields.name(key, 0..=usize::MAX)?.trim();
    if (min..=max).contains(&text.chars().count()) {
        return Some(text.to_owned());
    }
    fields.fail(key, Leaf::BadLength { min, max });
    None
}

/// `POST /guilds/{g}/channels` and `PATCH /channels/{c}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChannelForm {
    /// 1 to 100 code points, in the form of the channel's type.
    pub name: Option<String>,
    /// One of Discord's channel types that can be created here.
    pub kind: Option<u32>,
    /// At most 1,024 code points; null clears it.
    pub topic: Option<String>,
    /// Order in the list.
    pub position: Option<u32>,
    /// The category; 0 for none. The caller checks whether it exists.
    pub parent_id: Option<u64>,
    /// Whether the channel is age-restricted.
    pub nsfw: Option<bool>,
    /// Slow mode in seconds.
    pub rate_limit_per_user: Option<u32>,
    /// All overwrites. The caller checks whether they may be granted.
    pub overwrites: Option<Vec<Overwrite>>,
}

impl ChannelForm {
    /// The form of a creation, which must have the name and the type.
    ///
    /// # Errors
    /// All form errors at once.
    pub fn parse_create(body: &Map<String, Value>) -> Result<Self, FormErrors> {
        parse_fields(body, |fields| {
            fields.require("name");
            let kind = channel_type(fields).unwrap_or(0);
            Self { kind: Some(kind), ..Self::read(fields, kind) }
        })
    }

    /// The form of a change of a channel of type `kind`, which cannot change.
    ///
    /// # Errors
    /// All form errors at once.
    pub fn parse_change(body: &Map<String, Value>, kind: u32) -> Result<Self, FormErrors> {
        parse_fields(body, |fields| Self::read(fields, kind))
    }

    fn read(fields: &mut Fields<'_, '_>, kind: u32) -> Self {
        let cleared = |fields: &Fields<'_, '_>, key: &str| fields.is_null(key);
        Self {
            name: fields.value("name").and_then(|_| read_channel_name(fields, kind)),
            kind: None,
            topic: match fields.text("topic", 0..=TOPIC_MAX) {
                Some(topic) => Some(topic.to_owned()),
                None => cleared(fields, "topic").then(String::new),
            },
            position: fields.integer("position", 0..=POSITION_MAX),
            parent_id: match fields.id("parent_id") {
                Some(id) => Some(id),
                None => cleared(fields, "parent_id").then_some(0),
            },
            nsfw: fields.boolean("nsfw"),
            rate_limit_per_user: fields.integer("rate_limit_per_user", 0..=SLOW_MODE_MAX),
            overwrites: read_overwrites(fields),
        }
    }

    /// Writes the present fields into a row.
    pub fn apply(self, row: &mut Channel) {
        set(&mut row.name, self.name);
        set(&mut row.r#type, self.kind);
        set(&mut row.topic, self.topic);
        set(&mut row.position, self.position);
        set(&mut row.parent_id, self.parent_id);
        set(&mut row.nsfw, self.nsfw);
        set(&mut row.rate_limit_per_user, self.rate_limit_per_user);
        set(&mut row.overwrites, self.overwrites);
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn channel_type(fields: &mut Fields<'_, '_>) -> Option<u32> {
    let kind = fields.integer("type", 0..=u32::MAX)?;
    if !CHANNEL_TYPES.contains(&kind) {
        fields.fail("type", Leaf::Choices("(0, 2, 4, 5)"));
    }
    Some(kind)
}

fn read_channel_name(fields: &mut Fields<'_, '_>, kind: u32) -> Option<String> {
    let name = channel_name(fields.name("name", 0..=usize::MAX)?, kind);
    if name.is_none() {
        fields.fail("name", Leaf::BadLength { min: 1, max: CHANNEL_NAME_MAX });
    }
    name
}

/// A channel's name in the form of its type: for text channels it is in small letters, with `-` for each run
/// of whitespace. `None` unless the result has 1 to 100 code points.
#[must_use]
pub fn channel_name(name: &str, kind: u32) -> Option<String> {
    let name = if SLUG_TYPES.contains(&kind) {
        name.to_lowercase().split_whitespace().collect::<Vec<_>>().join("-")
    } else {
        name.trim().to_owned()
    };
    (1..=CHANNEL_NAME_MAX).contains(&name.chars().count()).then_some(name)
}

/// The list of overwrites, with each id once: an id is either a role's or a member's, so of two entries with
/// different types one would be wrong.
fn read_overwrites(fields: &mut Fields<'_, '_>) -> Option<Vec<Overwrite>> {
    let mut ids = BTreeSet::new();
    let read = fields.objects("permission_overwrites", OVERWRITES_MAX, |fields| {
        let overwrite = read_overwrite(fields)?;
        if !ids.insert(overwrite.id) {
            fields.fail("id", Leaf::Repeated);
        }
        Some(overwrite)
    })?;
    Some(read.into_iter().flatten().collect())
}

fn read_overwrite(fields: &mut Fields<'_, '_>) -> Option<Overwrite> {
    fields.require("id");
    // Old clients give the type as a word.
    let kind = match fields.value("type").and_then(Value::as_str) {
        Some("role" | "0") => Some(0),
        Some("member" | "1") => Some(1),
        Some(_) => {
            fields.fail("type", Leaf::Choices("(0, 1)"));
            None
        }
        None => fields.integer("type", 0..=1),
    };
    let allow = fields.permissions("allow").unwrap_or_default();
    let deny = fields.permissions("deny").unwrap_or_default();
    Some(Overwrite { id: fields.id("id")?, r#type: kind.unwrap_or(0), allow: allow.0, deny: deny.0 })
}

/// `POST /guilds/{g}/roles` and `PATCH /guilds/{g}/roles/{r}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleForm {
    /// At most 100 code points.
    pub name: Option<String>,
    /// The bits. The caller checks that it holds them.
    pub permissions: Option<Permissions>,
    /// RGB; 0 for none.
    pub color: Option<u32>,
    /// Whether the role is shown apart in the member list.
    pub hoist: Option<bool>,
    /// Whether all may mention it.
    pub mentionable: Option<bool>,
}

impl RoleForm {
    /// The form of a creation or a change.
    ///
    /// # Errors
    /// All form errors at once.
    pub fn parse(body: &Map<String, Value>) -> Result<Self, FormErrors> {
        parse_fields(body, |fields| Self {
            name: fields.name("name", 0..=ROLE_NAME_MAX).map(str::to_owned),
            permissions: fields.permissions("permissions"),
            // The newer `colors` takes precedence over `color`, which it replaces.
            color: {
                let newer = fields.object("colors", |fields| fields.integer("primary_color", 0..=COLOR_MAX));
                newer.flatten().or_else(|| fields.integer("color", 0..=COLOR_MAX))
            },
            hoist: fields.boolean("hoist"),
            mentionable: fields.boolean("mentionable"),
        })
    }

    /// Writes the present fields into a row. A role without a name gets Discord's default.
    pub fn apply(self, row: &mut Role) {
        set(&mut row.name, self.name.filter(|name| !name.is_empty()));
        if row.name.is_empty() {
            ROLE_NAME_DEFAULT.clone_into(&mut row.name);
        }
        set(&mut row.permissions, self.permissions.map(|permissions| permissions.0));
        set(&mut row.color, self.color);
        set(&mut row.hoist, self.hoist);
        set(&mut row.mentionable, self.mentionable);
    }
}
