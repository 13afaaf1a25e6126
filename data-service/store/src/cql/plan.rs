//! What a write sends: rows become statements, and statements become batches.
//!
//! A commit is one batch whenever it fits. Those of guilds with very many members do not, nor may the edit or
//! the pin of a very long message, whose record repeats it; they are cut. The guild's own row is the point at
//! which the step takes effect, so that no state in between looks complete:
//!
//! | step | order |
//! |--|--|
//! | delete a guild | its row and the records; then roles, channels, members |
//! | anything else | rows that belong to others; the guild's row; last the records |
//!
//! A cut commit that fails half way is `Unknown`, so it is repeated with the same revisions until all of it
//! is stored. If the owner dies before that, what was never acknowledged may stay half done (rows without
//! their guild, or a change that was not announced).

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use weir_proto::{bucket::Bucket, data::Message, id::GuildId};

use super::{
    columns::{self, Column, blob, ordered, small, text},
    statements::{Query, RowQuery},
};
use crate::{Commit, OutboxRecord, RowChange, Setting, WriteError, commit::pair_of, row::RowPut};

/// Bytes after which a batch of several partitions is cut. Cassandra refuses such batches above 50 KiB
/// (`batch_size_fail_threshold`), counted after encoding; ScyllaDB above 1 MiB.
pub(super) const BATCH_BYTES_MAX: usize = 32 * 1024;
/// Statements after which a batch is cut: the coordinator holds each as a mutation, and each cut costs a
/// round trip.
pub(super) const BATCH_STATEMENTS_MAX: usize = 512;
/// Most bytes of one partition's batch. It is one mutation, so only the node's largest mutation (16 MiB)
/// bounds it. The sequencer makes none larger.
pub(super) const PARTITION_BATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a statement beside its largest values.
const STATEMENT_BYTES: usize = 96;
/// Microseconds in a day, the span of a partition of `changes`.
const DAY_US: u64 = 86_400_000_000;

/// The place of a statement in a commit that must be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It comes first, and the step takes effect with it: a guild's deletion and its records.
    First,
    /// Rows that belong to others.
    Dependent,
    /// A guild's row, after all rows that belong to it.
    GuildRow,
    /// The records, last, so that everything that is announced is stored.
    Records,
}

/// A statement with its values.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    /// Which statement.
    pub(super) query: Query,
    /// Its values.
    pub(super) values: Vec<Column>,
    /// About how many bytes it takes.
    pub(super) bytes: usize,
    stage: Stage,
}

/// The day of a revision.
pub(super) fn day(rev_us: u64) -> u32 {
    u32::try_from(rev_us / DAY_US).unwrap_or(u32::MAX)
}

/// A plan that is being made.
struct Plan {
    bound: Vec<Bound>,
    /// Timestamp of rows that carry none.
    rev: u64,
    /// Whether messages are whole rows (bulk load) rather than creates and edits.
    load: bool,
}

impl Plan {
    fn push(&mut self, query: Query, stage: Stage, bytes: usize, values: Vec<Column>) {
        self.bound.push(Bound { query, values, bytes: bytes + STATEMENT_BYTES, stage });
    }

    /// Puts a row that is one blob under the ids `key`.
    fn put(
        &mut self,
        query: Query,
        stage: Stage,
        key: &[u64],
        row: &impl prost::Message,
        rev: u64,
    ) -> Result<(), WriteError> {
        let row = row.encode_to_vec();
        let bytes = row.len();
        let mut values = key.iter().map(|id| ordered(*id)).collect::<Result<Vec<_>, _>>()?;
        values.push(blob(row));
        values.push(ordered(rev)?);
        self.push(query, stage, bytes, values);
        Ok(())
    }

    /// Removes the row under the ids `key`.
    fn delete(&mut self, query: Query, stage: Stage, key: &[u64]) -> Result<(), WriteError> {
        let mut values = vec![ordered(self.rev)?];
        for id in key {
            values.push(ordered(*id)?);
        }
        self.push(query, stage, 0, values);
        Ok(())
    }

    /// The revision of a row, or the commit's if it has none. It is noted in the row, because later writes
    /// compare with it.
    fn rev_of(&self, rev: &mut u64) -> u64 {
        if *rev == 0 {
            *rev = self.rev;
        }
        *rev
    }

    fn message(&mut self, mut message: Message) -> Result<(), WriteError> {
        let rev = self.rev_of(&mut message.last_rev);
        let bytes = message.encoded_len();
        let timestamp = ordered(rev)?;
        if !self.load && message.last_rev > message.rev && message.rev != 0 {
            let mut values = vec![timestamp];
            values.extend(columns::edited_message(message)?);
            self.push(Query::EditMessage, Stage::Dependent, bytes, values);
        } else {
            let mut values = columns::whole_message(message)?;
            values.push(timestamp);
            self.push(Query::InsertMessage, Stage::Dependent, bytes, values);
        }
        Ok(())
    }

    fn row(&mut self, row: RowChange) -> Result<(), WriteError> {
        use Stage::{Dependent, First, GuildRow};
        match row {
            RowChange::Put(RowPut { table, key, rev, row }) => {
                let bytes = row.len();
                let mut values = key.ids().iter().map(|id| ordered(*id)).collect::<Result<Vec<_>, _>>()?;
                values.extend([blob(row), ordered(rev)?]);
                self.push(Query::Row(table, RowQuery::Put), Dependent, bytes, values);
                Ok(())
            }
            RowChange::Remove { table, key, rev } | RowChange::RemoveUnder { table, key, rev } => {
                let ids = key.ids();
                let mut values = vec![ordered(rev)?];
                for id in ids {
                    values.push(ordered(*id)?);
                }
                self.push(Query::Row(table, RowQuery::Delete(ids.len())), Dependent, 0, values);
                Ok(())
            }
            RowChange::PutMessage(message) => self.message(message),
            RowChange::MarkMessage(message) => {
                let mut values = vec![ordered(message.last_rev)?];
                values.extend(columns::marked_message(message)?);
                // Twenty emojis are a kilobyte.
                self.push(Query::MarkMessage, Dependent, 1_024, values);
                Ok(())
            }
            RowChange::DeleteMessage { channel_id, message_id, rev } => {
                let (channel_id, message_id) = (channel_id.get(), message_id.get());
                let bucket = small(Bucket::of_raw(message_id).0)?;
                let values = vec![ordered(rev)?, ordered(channel_id)?, bucket, ordered(message_id)?];
                self.push(Query::DeleteMessage, Dependent, 0, values);
                Ok(())
            }
            RowChange::PutUser(mut user) => {
                let rev = self.rev_of(&mut user.rev);
                self.put(Query::PutUser, Dependent, &[user.id], &user, rev)
            }
            RowChange::PutToken { hash, user_id } => {
                let values = vec![blob(hash), ordered(user_id.get())?, ordered(self.rev)?];
                self.push(Query::PutToken, Dependent, hash.len(), values);
                Ok(())
            }
            RowChange::PutGuild(mut guild) => {
                let rev = self.rev_of(&mut guild.rev);
                self.put(Query::PutGuild, GuildRow, &[guild.id], &guild, rev)
            }
            RowChange::DeleteGuild { guild_id, channel_ids, member_ids } => {
                let guild_id = guild_id.get();
                self.delete(Query::DeleteGuild, First, &[guild_id])?;
                self.delete(Query::DeleteRoles, Dependent, &[guild_id])?;
                self.delete(Query::DeleteChannelsOfGuild, Dependent, &[guild_id])?;
                self.delete(Query::DeleteMembers, Dependent, &[guild_id])?;
                for id in channel_ids {
                    self.delete(Query::DeleteChannel, Dependent, &[id.get()])?;
                }
                member_ids.iter().try_for_each(|id| {
                    self.delete(Query::DeleteGuildOfUser, Dependent, &[id.get(), guild_id])
                })
            }
            RowChange::PutChannel(mut channel) => {
                let rev = self.rev_of(&mut channel.rev);
                self.put(Query::PutChannel, Dependent, &[channel.id], &channel, rev)?;
                self.put(Query::PutChannelOfGuild, Dependent, &[channel.guild_id, channel.id], &channel, rev)
            }
            RowChange::PutDirect(mut channel) => {
                let rev = self.rev_of(&mut channel.rev);
                let pair = pair_of(&channel)?;
                self.put(Query::PutChannel, Dependent, &[channel.id], &channel, rev)?;
                let [low, high] = pair.ids();
                let values = vec![ordered(low)?, ordered(high)?, ordered(channel.id)?, ordered(rev)?];
                self.push(Query::PutDirect, Dependent, 0, values);
                Ok(())
            }
            RowChange::DeleteChannel { guild_id, channel_id } => {
                let (guild_id, channel_id) = (guild_id.get(), channel_id.get());
                self.delete(Query::DeleteChannel, Dependent, &[channel_id])?;
                self.delete(Query::DeleteChannelOfGuild, Dependent, &[guild_id, channel_id])
            }
            RowChange::PutRole(mut role) => {
                let rev = self.rev_of(&mut role.rev);
                self.put(Query::PutRole, Dependent, &[role.guild_id, role.id], &role, rev)
            }
            RowChange::DeleteRole { guild_id, role_id } => {
                self.delete(Query::DeleteRole, Dependent, &[guild_id.get(), role_id.get()])
            }
            RowChange::PutMember(mut member) => {
                let rev = self.rev_of(&mut member.rev);
                self.put(Query::PutMember, Dependent, &[member.guild_id, member.user_id], &member, rev)?;
                let values = vec![ordered(member.user_id)?, ordered(member.guild_id)?, ordered(rev)?];
                self.push(Query::PutGuildOfUser, Dependent, 0, values);
                Ok(())
            }
            RowChange::DeleteMember { guild_id, user_id } => {
                let (guild_id, user_id) = (guild_id.get(), user_id.get());
                self.delete(Query::DeleteMember, Dependent, &[guild_id, user_id])?;
                self.delete(Query::DeleteGuildOfUser, Dependent, &[user_id, guild_id])
            }
        }
    }

    fn record(&mut self, scope_id: u64, out: OutboxRecord, stage: Stage) -> Result<(), WriteError> {
        let bytes = out.record.len();
        let values = vec![
            ordered(scope_id)?,
            small(day(out.rev))?,
            ordered(out.rev)?,
            ordered(out.guild_id.map_or(0, GuildId::get))?,
            blob(out.record),
            ordered(out.rev)?,
        ];
        self.push(Query::AddChange, stage, bytes, values);
        Ok(())
    }
}

/// A commit's batches, in the order in which they must be sent; usually there is one.
pub(super) fn commit(commit: Commit) -> Result<Vec<Vec<Bound>>, WriteError> {
    let deletes_guild = commit.rows.iter().any(|row| matches!(row, RowChange::DeleteGuild { .. }));
    let mut plan = Plan { bound: Vec::new(), rev: commit.rev, load: false };
    commit.rows.into_iter().try_for_each(|row| plan.row(row))?;
    if commit.rows_are_outbox {
        // One partition is one mutation, so it is never cut, whatever its size.
        return Ok(if plan.bound.is_empty() { Vec::new() } else { vec![plan.bound] });
    }
    let stage = if deletes_guild { Stage::First } else { Stage::Records };
    commit.records.into_iter().try_for_each(|record| plan.record(commit.scope_id.get(), record, stage))?;
    if fits(&plan.bound) {
        return Ok(if plan.bound.is_empty() { Vec::new() } else { vec![plan.bound] });
    }
    // The sort is stable: rows of one stage keep the order in which they were given.
    plan.bound.sort_by_key(|bound| bound.stage);
    Ok(cut(plan.bound))
}

/// The statements of settings that are written in one step.
pub(super) fn settings(settings: Vec<Setting>, timestamp: u64) -> Result<Vec<Bound>, WriteError> {
    let timestamp = ordered(timestamp)?;
    let bound = settings.into_iter().map(|Setting { kind, key, value }| {
        let bytes = kind.len() + key.len() + value.as_ref().map_or(0, Bytes::len) + STATEMENT_BYTES;
        let (kind, key) = (text(kind), blob(key));
        let (query, values) = match value {
            Some(value) => (Query::PutSetting, vec![kind, key, blob(value), timestamp.clone()]),
            None => (Query::DeleteSetting, vec![timestamp.clone(), kind, key]),
        };
        Bound { query, values, bytes, stage: Stage::GuildRow }
    });
    Ok(bound.collect())
}

/// A partition to which many rows of a load belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Partition {
    Messages(u64, Bucket),
    Members(u64),
}

/// Batches of a bulk load, in any order; each batch is of one partition. Rows of one partition share its
/// batches wherever they come in the load. A row's statements after its first are sent by themselves.
pub(super) fn load(rows: Vec<RowChange>, rev: u64) -> Result<Vec<Vec<Bound>>, WriteError> {
    let mut batches: Vec<Vec<Bound>> = Vec::new();
    // For each partition, the batch that is being filled, and its bytes.
    let mut open: HashMap<Partition, (usize, usize)> = HashMap::new();
    for row in rows {
        let partition = match &row {
            RowChange::PutMessage(message) => {
                Some(Partition::Messages(message.channel_id, Bucket::of_raw(message.id)))
            }
            RowChange::PutMember(member) => Some(Partition::Members(member.guild_id)),
            _ => None,
        };
        let mut plan = Plan { bound: Vec::new(), rev, load: true };
        plan.row(row)?;
        let mut bound = plan.bound.into_iter();
        if let Some((partition, first)) = partition.and_then(|partition| Some((partition, bound.next()?))) {
            let bytes = first.bytes;
            let filling = open.get(&partition).filter(|(batch, filled)| {
                filled + bytes <= PARTITION_BATCH_BYTES_MAX && batches[*batch].len() < BATCH_STATEMENTS_MAX
            });
            let (batch, filled) = filling.copied().unwrap_or_else(|| {
                batches.push(Vec::new());
                (batches.len() - 1, 0)
            });
            batches[batch].push(first);
            open.insert(partition, (batch, filled + bytes));
        }
        batches.extend(bound.map(|bound| vec![bound]));
    }
    Ok(batches)
}

fn fits(bound: &[Bound]) -> bool {
    bound.len() <= BATCH_STATEMENTS_MAX
        && bound.iter().map(|bound| bound.bytes).sum::<usize>() <= BATCH_BYTES_MAX
}

/// Cuts statements in order. A batch never holds two stages, because the order of stages is what makes a cut
/// harmless.
fn cut(bound: Vec<Bound>) -> Vec<Vec<Bound>> {
    let mut batches: Vec<Vec<Bound>> = Vec::new();
    let mut bytes = 0;
    for next in bound {
        bytes += next.bytes;
        match batches.last_mut() {
            Some(batch)
                if bytes <= BATCH_BYTES_MAX
                    && batch.len() < BATCH_STATEMENTS_MAX
                    && batch.first().is_some_and(|first| first.stage == next.stage) =>
            {
                batch.push(next);
            }
            Some(_) | None => {
                bytes = next.bytes;
                batches.push(vec![next]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests;
