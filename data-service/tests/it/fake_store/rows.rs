//! The scripted store's rows and the rules for changing them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
    id::ScopeId,
    pair::UserPair,
};
use weir_store::{
    Commit, Lease, LeaseAnswer, OutboxRecord, PartitionRange, RowChange, RowOrder,
    row::{RowKey, RowRange, Table},
};

/// One message's place: its row, and the revision of its removal.
#[derive(Debug, Default, Clone)]
struct Cell {
    row: Option<Message>,
    removed: u64,
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    messages: BTreeMap<(u64, u64), Cell>,
    pub(crate) buckets: BTreeSet<(u64, u32)>,
    pub(crate) users: BTreeMap<u64, User>,
    pub(crate) tokens: HashMap<[u8; 32], u64>,
    guilds: BTreeMap<u64, Guild>,
    roles: BTreeMap<(u64, u64), Role>,
    pub(crate) channels: BTreeMap<u64, Channel>,
    /// Channel and revision of each pair.
    pub(crate) direct: BTreeMap<UserPair, (u64, u64)>,
    pub(crate) members: BTreeMap<(u64, u64), Member>,
    /// Rows of described tables with their revisions, and revisions of removals.
    pub(crate) described: BTreeMap<(&'static Table, RowKey), (u64, Option<Bytes>)>,
    pub(crate) settings: BTreeMap<(String, Vec<u8>), Bytes>,
    pub(crate) leases: HashMap<String, Lease>,
    /// When each scope was noted.
    pub(crate) active: BTreeMap<ScopeId, u64>,
    changes: BTreeMap<(u64, u64), OutboxRecord>,
    /// Like the embedded store: creates are among the changes.
    pub(crate) logs_creates: bool,
}

impl Rows {
    pub(crate) fn read_buckets(
        &self,
        channel_id: u64,
        from: Bucket,
        to: Bucket,
        order: RowOrder,
        limit: usize,
    ) -> Vec<Bucket> {
        let mut found: Vec<Bucket> = self
            .buckets
            .range((channel_id, from.0)..=(channel_id, to.0))
            .map(|(_, bucket)| Bucket(*bucket))
            .collect();
        if order == RowOrder::NewestFirst {
            found.reverse();
        }
        found.truncate(limit);
        found
    }

    pub(crate) fn read_partition(
        &self,
        channel_id: u64,
        bucket: Bucket,
        range: PartitionRange,
    ) -> Vec<Message> {
        let Some(ids) = range.ids() else { return Vec::new() };
        let from = bucket.first_raw().max(*ids.start());
        if from > *ids.end() {
            return Vec::new();
        }
        let cells = self.messages.range((channel_id, from)..=(channel_id, *ids.end()));
        let live = cells.take_while(|((_, id), _)| Bucket::of_raw(*id) == bucket);
        let mut rows: Vec<Message> = live.filter_map(|(_, cell)| cell.row.clone()).collect();
        if range.order == RowOrder::NewestFirst {
            rows.reverse();
        }
        rows.truncate(range.limit);
        rows
    }

    pub(crate) fn read_message(&self, channel_id: u64, message_id: u64) -> Option<Message> {
        self.messages.get(&(channel_id, message_id)).and_then(|cell| cell.row.clone())
    }

    /// Live rows of a channel, oldest first, whatever the index of buckets says.
    pub(crate) fn history(&self, channel_id: u64) -> Vec<Message> {
        let all = self.messages.range((channel_id, 0)..=(channel_id, u64::MAX));
        all.filter_map(|(_, cell)| cell.row.clone()).collect()
    }

    pub(crate) fn read_guild(&self, guild_id: u64) -> Option<(Guild, Vec<Role>, Vec<Channel>)> {
        let guild = self.guilds.get(&guild_id)?.clone();
        let roles = self.roles.range((guild_id, 0)..=(guild_id, u64::MAX)).map(|(_, row)| row.clone());
        let channels = self.channels.values().filter(|row| row.guild_id == guild_id).cloned();
        Some((guild, roles.collect(), channels.collect()))
    }

    pub(crate) fn read_row(&self, table: &'static Table, key: RowKey) -> Option<Bytes> {
        self.described.get(&(table, key)).and_then(|(_, row)| row.clone())
    }

    pub(crate) fn read_rows(&self, table: &'static Table, range: RowRange) -> Vec<Bytes> {
        let within = |key: &RowKey| {
            let last = key.ids().last().copied().unwrap_or(0);
            key.is_under(&range.under) && last > range.after && last < range.before
        };
        let of_table = self.described.iter().filter(|((of, key), _)| *of == table && within(key));
        of_table.filter_map(|(_, (_, row))| row.clone()).take(range.limit).collect()
    }

    pub(crate) fn read_changes(&self, scope_id: u64, after_rev: u64, limit: usize) -> Vec<OutboxRecord> {
        let above = self.changes.range((scope_id, after_rev.saturating_add(1))..=(scope_id, u64::MAX));
        above.take(limit).map(|(_, record)| record.clone()).collect()
    }

    pub(crate) fn commit(&mut self, commit: &Commit) {
        for row in &commit.rows {
            self.apply(row, commit.rev, false);
        }
        if !commit.rows_are_outbox || self.logs_creates {
            for record in &commit.records {
                self.changes.entry((commit.scope_id.get(), record.rev)).or_insert_with(|| record.clone());
            }
        }
    }

    /// `whole`: a row of an import, not an edit.
    pub(crate) fn apply(&mut self, change: &RowChange, rev: u64, whole: bool) {
        match change {
            RowChange::Put(put) => {
                let cell = self.described.entry((put.table, put.key)).or_default();
                if cell.0 < put.rev || (cell.0 == put.rev && cell.1.is_some()) {
                    *cell = (put.rev, Some(put.row.clone()));
                }
            }
            RowChange::Remove { table, key, rev } => {
                let cell = self.described.entry((table, *key)).or_default();
                if cell.0 <= *rev {
                    *cell = (*rev, None);
                }
            }
            RowChange::RemoveUnder { table, key, rev } => {
                for ((of, at), cell) in &mut self.described {
                    if of == table && at.is_under(key) && cell.0 <= *rev {
                        *cell = (*rev, None);
                    }
                }
            }
            RowChange::PutMessage(row) | RowChange::MarkMessage(row) => {
                let cell = self.messages.entry((row.channel_id, row.id)).or_default();
                let known = cell.row.as_ref().map(|row| row.last_rev);
                let edit = !whole && row.last_rev > row.rev;
                let wins = match known {
                    Some(known) => row.last_rev > known,
                    None => !edit && row.last_rev > cell.removed,
                };
                if wins {
                    cell.row = Some(row.clone());
                }
            }
            RowChange::DeleteMessage { channel_id, message_id, rev } => {
                let cell = self.messages.entry((channel_id.get(), message_id.get())).or_default();
                cell.removed = cell.removed.max(*rev);
                if cell.row.as_ref().is_some_and(|row| row.last_rev <= *rev) {
                    cell.row = None;
                }
            }
            RowChange::PutUser(row) => {
                let rev = if row.rev == 0 { rev } else { row.rev };
                if self.users.get(&row.id).is_none_or(|known| known.rev <= rev) {
                    self.users.insert(row.id, User { rev, ..row.clone() });
                }
            }
            RowChange::PutToken { hash, user_id } => drop(self.tokens.insert(*hash, user_id.get())),
            RowChange::PutGuild(row) => drop(self.guilds.insert(row.id, Guild { rev, ..row.clone() })),
            RowChange::DeleteGuild { guild_id, channel_ids, member_ids } => {
                self.guilds.remove(&guild_id.get());
                self.roles.retain(|(guild, _), _| *guild != guild_id.get());
                for channel in channel_ids {
                    self.channels.remove(&channel.get());
                }
                for member in member_ids {
                    self.members.remove(&(guild_id.get(), member.get()));
                }
            }
            RowChange::PutChannel(row) => drop(self.channels.insert(row.id, row.clone())),
            RowChange::PutDirect(row) => {
                let pair = UserPair::of_channel(row).expect("a direct message is between two users");
                let entry = self.direct.entry(pair).or_insert((row.id, row.rev));
                if entry.1 <= row.rev {
                    *entry = (row.id, row.rev);
                }
                self.channels.insert(row.id, row.clone());
            }
            RowChange::DeleteChannel { channel_id, .. } => drop(self.channels.remove(&channel_id.get())),
            RowChange::PutRole(row) => drop(self.roles.insert((row.guild_id, row.id), row.clone())),
            RowChange::DeleteRole { guild_id, role_id } => {
                drop(self.roles.remove(&(guild_id.get(), role_id.get())));
            }
            RowChange::PutMember(row) => drop(self.members.insert((row.guild_id, row.user_id), row.clone())),
            RowChange::DeleteMember { guild_id, user_id } => {
                drop(self.members.remove(&(guild_id.get(), user_id.get())))
            }
        }
    }

    pub(crate) fn take_lease(&mut self, wanted: Lease, expected: Option<Lease>) -> LeaseAnswer {
        match self.leases.get(&wanted.name) {
            Some(held) if held.holder != wanted.holder && expected.as_ref() != Some(held) => {
                LeaseAnswer::HeldBy(held.clone())
            }
            there => {
                let own = there.is_some_and(|held| held.holder == wanted.holder);
                self.leases.insert(wanted.name.clone(), wanted);
                if own { LeaseAnswer::Renewed } else { LeaseAnswer::Held }
            }
        }
    }
}
