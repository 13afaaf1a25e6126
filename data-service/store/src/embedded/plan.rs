//! Works out what each kind of write does to rows.
//!
//! Revisions decide as timestamps do in CQL: a row is replaced only by one of the same or a higher revision,
//! and a removal holds against everything up to its own. So loading an old export again neither undoes an
//! edit nor brings back a deleted message.

use fjall::Slice;
use prost::Message as _;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    id::{ChannelId, UserId},
};

use super::{
    draft::{Draft, NewestRevs, PlanError},
    keys,
    tables::Table,
};
use crate::{Commit, RowChange, commit::pair_of, row::RowPut};

/// The origin of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A new message under an id that was never used, so there is nothing to compare with.
    Created,
    /// A change by the sequencer.
    Changed,
    /// A row of a bulk load.
    Loaded,
}

/// A row that carries its revision.
trait Revised: prost::Message + Default {
    /// Revision of the last change.
    fn revision(&self) -> u64;
    /// Sets the revision.
    fn set_revision(&mut self, rev: u64);
}

macro_rules! revised {
    ($($row:ident . $field:ident),*) => {$(
        impl Revised for $row {
            fn revision(&self) -> u64 {
                self.$field
            }
            fn set_revision(&mut self, rev: u64) {
                self.$field = rev;
            }
        }
    )*};
}
revised!(Message.last_rev, User.rev, Guild.rev, Channel.rev, Role.rev, Member.rev);

/// Plans a scope's commit.
pub(super) fn commit(
    draft: &mut Draft<'_>,
    commit: Commit,
    newest: &mut NewestRevs,
) -> Result<(), PlanError> {
    let origin = if commit.rows_are_outbox { Origin::Created } else { Origin::Changed };
    for row in commit.rows {
        change(draft, row, commit.rev, origin)?;
    }
    draft.append(commit.scope_id.get(), commit.records, newest)
}

/// Plans rows of a bulk load.
pub(super) fn load(draft: &mut Draft<'_>, rows: Vec<RowChange>, rev: u64) -> Result<(), PlanError> {
    let messages = rows.iter().filter_map(|row| match row {
        RowChange::PutMessage(row) => Some(keys::message(row.channel_id, Bucket::of_raw(row.id), row.id)),
        _ => None,
    });
    look_ahead(draft, Table::Messages, messages)?;
    let users = rows.iter().filter_map(|row| match row {
        RowChange::PutUser(row) => Some(keys::one(row.id)),
        _ => None,
    });
    look_ahead(draft, Table::Users, users)?;
    let members = rows.iter().filter_map(|row| match row {
        RowChange::PutMember(row) => Some(keys::two(row.guild_id, row.user_id)),
        _ => None,
    });
    look_ahead(draft, Table::Members, members)?;
    rows.into_iter().try_for_each(|row| change(draft, row, rev, Origin::Loaded))
}

/// Fewest rows of one table for which looking ahead pays: a look at a range costs about as much as this many
/// looks at single rows.
const LOOK_AHEAD_MIN: usize = 16;

/// A load's rows are neighbours and usually new: one look at their range saves a look at each.
fn look_ahead<const N: usize>(
    draft: &mut Draft<'_>,
    table: Table,
    keys: impl Iterator<Item = [u8; N]> + Clone,
) -> Result<(), PlanError> {
    if keys.clone().take(LOOK_AHEAD_MIN).count() < LOOK_AHEAD_MIN {
        return Ok(());
    }
    let Some((first, last)) = keys.clone().min().zip(keys.max()) else { return Ok(()) };
    draft.look_ahead(table, &first, &last)
}

/// Plans one row.
fn change(draft: &mut Draft<'_>, row: RowChange, rev: u64, origin: Origin) -> Result<(), PlanError> {
    match row {
        RowChange::Put(row) => put_row(draft, row),
        RowChange::Remove { table, key, rev } => remove_row(draft, Table::Row(table), &keys::row(&key), rev),
        RowChange::RemoveUnder { table, key, rev } => {
            let table = Table::Row(table);
            let keys = draft.keys_under(table, &keys::row(&key), draft.removable)?;
            draft.removable = draft.removable.saturating_sub(keys.len());
            keys.iter().try_for_each(|key| remove_row(draft, table, key, rev))
        }
        RowChange::PutMessage(message) => put_message(draft, message, rev, origin),
        RowChange::MarkMessage(message) => put_message(draft, message, rev, Origin::Changed),
        RowChange::DeleteMessage { channel_id, message_id, rev } => {
            let (channel_id, message_id) = (channel_id.get(), message_id.get());
            let key = keys::message(channel_id, Bucket::of_raw(message_id), message_id);
            remove::<Message>(draft, Table::Messages, &key, rev).map(drop)
        }
        RowChange::PutUser(user) => {
            let key = keys::one(user.id);
            put(draft, Table::Users, &key, user, rev).map(drop)
        }
        RowChange::PutToken { hash, user_id } => {
            draft.put(Table::Tokens, hash, keys::one(user_id.get()));
            Ok(())
        }
        RowChange::PutGuild(guild) => {
            let key = keys::one(guild.id);
            put(draft, Table::Guilds, &key, guild, rev).map(drop)
        }
        RowChange::DeleteGuild { guild_id, channel_ids, member_ids } => {
            let channel_ids: Vec<u64> = channel_ids.into_iter().map(ChannelId::get).collect();
            let member_ids: Vec<u64> = member_ids.into_iter().map(UserId::get).collect();
            delete_guild(draft, guild_id.get(), &channel_ids, &member_ids, rev)
        }
        RowChange::PutChannel(channel) => {
            let (guild_id, id) = (channel.guild_id, channel.id);
            if put(draft, Table::Channels, &keys::one(id), channel, rev)?.written {
                draft.put(Table::ChannelsByGuild, keys::two(guild_id, id), Slice::empty());
            }
            Ok(())
        }
        RowChange::PutDirect(channel) => put_direct(draft, channel, rev),
        RowChange::DeleteChannel { guild_id, channel_id } => {
            delete_channel(draft, guild_id.get(), channel_id.get(), rev)
        }
        RowChange::PutRole(role) => {
            let key = keys::two(role.guild_id, role.id);
            put(draft, Table::Roles, &key, role, rev).map(drop)
        }
        RowChange::DeleteRole { guild_id, role_id } => {
            remove::<Role>(draft, Table::Roles, &keys::two(guild_id.get(), role_id.get()), rev).map(drop)
        }
        RowChange::PutMember(member) => put_member(draft, member, rev),
        RowChange::DeleteMember { guild_id, user_id } => {
            delete_member(draft, guild_id.get(), user_id.get(), rev)
        }
    }
}

/// Puts a row of a described table; its revision stands before it.
fn put_row(draft: &mut Draft<'_>, put: RowPut) -> Result<(), PlanError> {
    let (table, key) = (Table::Row(put.table), keys::row(&put.key));
    let found = draft.get(table, &key)?.and_then(|row| keys::number_at(&row, 0));
    let removed = draft.get(Table::Removals, &keys::removal(table, &key))?;
    let removed = removed.and_then(|row| keys::number_at(&row, 0));
    if found.is_none_or(|found| found <= put.rev) && removed.is_none_or(|removed| removed < put.rev) {
        draft.put(table, key, [&keys::one(put.rev)[..], &put.row[..]].concat());
    }
    Ok(())
}

fn remove_row(draft: &mut Draft<'_>, table: Table, key: &[u8], rev: u64) -> Result<(), PlanError> {
    let found = draft.get(table, key)?.and_then(|row| keys::number_at(&row, 0));
    if found.is_none_or(|found| found <= rev) {
        note_removal(draft, table, key, rev)?;
    }
    Ok(())
}

/// Removes a row and notes at which revision.
fn note_removal(draft: &mut Draft<'_>, table: Table, key: &[u8], rev: u64) -> Result<(), PlanError> {
    let marker = keys::removal(table, key);
    let earlier = draft.get(Table::Removals, &marker)?.and_then(|row| keys::number_at(&row, 0));
    draft.remove(table, key);
    draft.put(Table::Removals, marker, keys::one(rev.max(earlier.unwrap_or(0))));
    Ok(())
}

/// An edit never creates a row: an edit that lost its race with a delete would leave half a message.
fn put_message(
    draft: &mut Draft<'_>,
    mut message: Message,
    rev: u64,
    origin: Origin,
) -> Result<(), PlanError> {
    if message.last_rev == 0 {
        message.last_rev = rev;
    }
    let key = keys::message(message.channel_id, Bucket::of_raw(message.id), message.id);
    match origin {
        Origin::Created => draft.put(Table::Messages, key, message.encode_to_vec()),
        Origin::Changed if message.last_rev > message.rev && draft.get(Table::Messages, &key)?.is_none() => {}
        Origin::Changed | Origin::Loaded => {
            put(draft, Table::Messages, &key, message, rev)?;
        }
    }
    Ok(())
}

/// The pair keeps the channel with the highest revision, as a timestamp decides in CQL.
fn put_direct(draft: &mut Draft<'_>, mut channel: Channel, rev: u64) -> Result<(), PlanError> {
    let pair = pair_of(&channel).map_err(|error| PlanError::Refused(error.to_string()))?;
    if channel.rev == 0 {
        channel.rev = rev;
    }
    let [low, high] = pair.ids();
    let (key, row) = (keys::two(low, high), keys::two(channel.id, channel.rev));
    let found = draft.get(Table::DirectChannels, &key)?.and_then(|row| keys::number_at(&row, 8));
    if found.is_none_or(|found| found <= channel.rev) {
        draft.put(Table::DirectChannels, key, row);
    }
    put(draft, Table::Channels, &keys::one(channel.id), channel, rev).map(drop)
}

/// Also keeps the number of members, so that counting does not read them all.
fn put_member(draft: &mut Draft<'_>, member: Member, rev: u64) -> Result<(), PlanError> {
    let (guild_id, user_id) = (member.guild_id, member.user_id);
    let done = put(draft, Table::Members, &keys::two(guild_id, user_id), member, rev)?;
    if done.written {
        draft.put(Table::UserGuilds, keys::two(user_id, guild_id), Slice::empty());
        if !done.existed {
            let count = member_count(draft, guild_id)?.saturating_add(1);
            draft.put(Table::MemberCounts, keys::one(guild_id), keys::one(count));
        }
    }
    Ok(())
}

fn delete_member(draft: &mut Draft<'_>, guild_id: u64, user_id: u64, rev: u64) -> Result<(), PlanError> {
    let done = remove::<Member>(draft, Table::Members, &keys::two(guild_id, user_id), rev)?;
    if done.written {
        draft.remove(Table::UserGuilds, keys::two(user_id, guild_id));
        if done.existed {
            let count = member_count(draft, guild_id)?.saturating_sub(1);
            draft.put(Table::MemberCounts, keys::one(guild_id), keys::one(count));
        }
    }
    Ok(())
}

fn member_count(draft: &Draft<'_>, guild_id: u64) -> Result<u64, PlanError> {
    let row = draft.get(Table::MemberCounts, &keys::one(guild_id))?;
    Ok(row.and_then(|row| keys::number_at(&row, 0)).unwrap_or(0))
}

fn delete_channel(draft: &mut Draft<'_>, guild_id: u64, channel_id: u64, rev: u64) -> Result<(), PlanError> {
    if remove::<Channel>(draft, Table::Channels, &keys::one(channel_id), rev)?.written {
        draft.remove(Table::ChannelsByGuild, keys::two(guild_id, channel_id));
    }
    Ok(())
}

/// Removes the rows that the caller named and those that the tables have, all in one batch: about 10 us for
/// each member.
fn delete_guild(
    draft: &mut Draft<'_>,
    guild_id: u64,
    channel_ids: &[u64],
    member_ids: &[u64],
    rev: u64,
) -> Result<(), PlanError> {
    let known = |draft: &Draft<'_>, table, named: &[u64]| -> Result<Vec<u64>, PlanError> {
        let keys = draft.keys_under(table, &keys::one(guild_id), usize::MAX)?;
        Ok(keys.iter().filter_map(|key| keys::number_at(key, 8)).chain(named.iter().copied()).collect())
    };
    for channel_id in known(draft, Table::ChannelsByGuild, channel_ids)? {
        delete_channel(draft, guild_id, channel_id, rev)?;
    }
    for role_id in known(draft, Table::Roles, &[])? {
        remove::<Role>(draft, Table::Roles, &keys::two(guild_id, role_id), rev)?;
    }
    for user_id in known(draft, Table::Members, member_ids)? {
        delete_member(draft, guild_id, user_id, rev)?;
    }
    remove::<Guild>(draft, Table::Guilds, &keys::one(guild_id), rev)?;
    Ok(())
}

/// The result of putting a row.
struct Done {
    /// False if a row of a higher revision stays.
    written: bool,
    /// Whether there was a row before.
    existed: bool,
}

/// Puts a row, unless one of a higher revision is there or the row was removed at this revision or later.
fn put<R: Revised>(
    draft: &mut Draft<'_>,
    table: Table,
    key: &[u8],
    mut row: R,
    rev: u64,
) -> Result<Done, PlanError> {
    if row.revision() == 0 {
        row.set_revision(rev);
    }
    if draft.put_fresh(table, key, || row.encode_to_vec().into()) {
        return Ok(Done { written: true, existed: false });
    }
    let found = stored_rev::<R>(draft, table, key)?;
    let removed = draft.get(Table::Removals, &keys::removal(table, key))?;
    let removed = removed.and_then(|row| keys::number_at(&row, 0));
    let written = found.is_none_or(|found| found <= row.revision())
        && removed.is_none_or(|removed| removed < row.revision());
    if written {
        draft.put(table, key, row.encode_to_vec());
    }
    Ok(Done { written, existed: found.is_some() })
}

/// Removes a row, unless one of a higher revision is there, and notes the revision of the removal.
fn remove<R: Revised>(draft: &mut Draft<'_>, table: Table, key: &[u8], rev: u64) -> Result<Done, PlanError> {
    let found = stored_rev::<R>(draft, table, key)?;
    let written = found.is_none_or(|found| found <= rev);
    if written {
        note_removal(draft, table, key, rev)?;
    }
    Ok(Done { written, existed: found.is_some() })
}

/// Revision of the stored row.
fn stored_rev<R: Revised>(draft: &Draft<'_>, table: Table, key: &[u8]) -> Result<Option<u64>, PlanError> {
    let Some(row) = draft.get(table, key)? else { return Ok(None) };
    match R::decode(&*row) {
        Ok(row) => Ok(Some(row.revision())),
        Err(error) => {
            Err(PlanError::Refused(format!("a stored row of {} cannot be decoded: {error}", table.name())))
        }
    }
}
