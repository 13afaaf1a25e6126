//! Roles.

use serde::Serialize;
use weir_proto::data::Role;

use crate::{
    permission::Permissions,
    wire::{Id, Null},
};

/// A role of a guild.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RoleObject<'a> {
    id: Id,
    name: &'a str,
    color: u32,
    colors: Colors,
    hoist: bool,
    icon: Null,
    unicode_emoji: Null,
    position: u32,
    permissions: Permissions,
    managed: bool,
    mentionable: bool,
    flags: u32,
}

/// A role's gradient; Weir's roles have one colour.
#[derive(Debug, Clone, Copy, Serialize)]
struct Colors {
    primary_color: u32,
    secondary_color: Null,
    tertiary_color: Null,
}

impl<'a> RoleObject<'a> {
    /// The role of a row.
    #[must_use]
    pub fn new(role: &'a Role) -> Self {
        Self {
            id: Id(role.id),
            name: &role.name,
            color: role.color,
            colors: Colors { primary_color: role.color, secondary_color: (), tertiary_color: () },
            hoist: role.hoist,
            icon: (),
            unicode_emoji: (),
            position: role.position,
            permissions: Permissions(role.permissions),
            managed: role.managed,
            mentionable: role.mentionable,
            flags: 0,
        }
    }
}
