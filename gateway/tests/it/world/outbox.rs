//! What the world's data service does with records: it applies them to its rows, and makes them again of what
//! it kept.

use std::collections::{HashMap, HashSet};

use weir_proto::{
    data::Member,
    event::{Record, record::Change},
};

use super::State;

/// The records above a revision as the real data service makes them of its rows: chained to where the reading
/// began, without context, and without the creates of messages that are gone; those that were edited show
/// their newest content.
pub(super) fn rebuilt(all: &[Record], after_rev: u64) -> Vec<Record> {
    let (mut edited, mut gone) = (HashMap::new(), HashSet::new());
    for later in all {
        match later.change.as_ref().unwrap() {
            Change::MessageEdited(row) => drop(edited.insert(row.id, row.content.clone())),
            Change::MessageDeleted(row) => drop(gone.insert(row.id)),
            Change::MessagesDeleted(rows) => gone.extend(&rows.ids),
            _ => {}
        }
    }
    let mut prev_rev = after_rev;
    let mut records = Vec::new();
    for record in all.iter().filter(|record| record.rev > after_rev) {
        let mut record = Record { recovered: true, context: None, prev_rev, ..record.clone() };
        if let Some(Change::MessageCreated(row)) = &mut record.change {
            if gone.contains(&row.id) {
                continue;
            }
            if let Some(newest) = edited.get(&row.id) {
                row.content.clone_from(newest);
            }
        }
        prev_rev = record.rev;
        records.push(record);
    }
    records
}

/// Applies a record of a guild to the rows.
pub(super) fn apply(state: &mut State, record: &Record) {
    let guild_id = record.guild_id;
    let guild = state.guilds.get_mut(&guild_id);
    if record.scope_id != guild_id {
        return;
    }
    if let Some(guild) = guild {
        // As in the database: rows of members, and what is gone, do not show in it.
        if matches!(record.change, Some(Change::ChannelCreated(_) | Change::ChannelUpdated(_))) {
            guild.rev = record.rev;
        }
        match record.change.as_ref().unwrap() {
            Change::ChannelCreated(row) | Change::ChannelUpdated(row) => {
                guild.channels.retain(|old| old.id != row.id);
                guild.channels.push(row.clone());
            }
            Change::ChannelDeleted(row) => guild.channels.retain(|old| old.id != row.id),
            Change::MemberAdded(_) => guild.member_count += 1,
            Change::MemberRemoved(_) => guild.member_count -= 1,
            _ => {}
        }
    }
    match record.change.as_ref().unwrap() {
        Change::MemberAdded(change) | Change::MemberUpdated(change) => {
            let member = Member { rev: record.rev, ..change.member.clone().unwrap() };
            state.members.insert((guild_id, member.user_id), member);
        }
        Change::MemberRemoved(change) => {
            state.members.remove(&(guild_id, change.user.as_ref().unwrap().id));
        }
        Change::GuildDeleted(_) => {
            state.guilds.remove(&guild_id);
            state.members.retain(|(guild, _), _| *guild != guild_id);
        }
        _ => {}
    }
}

/// The newest message of a channel; 0 if it has none.
pub(super) fn newest(state: &State, channel_id: u64) -> u64 {
    let ids = state.outbox.get(&channel_id).into_iter().flatten().filter_map(|record| match &record.change {
        Some(Change::MessageCreated(row)) => Some(row.id),
        _ => None,
    });
    ids.max().unwrap_or(0)
}
