//! Every statement, prepared once for each connection: only a prepared statement has a known partition, and
//! so a node and a shard.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use scylla::{client::session::Session, errors::PrepareError, statement::prepared::PreparedStatement};

use crate::row::{TABLES, Table};

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident => $text:expr;)*) => {
        /// A statement of the store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Query {
            $($(#[$doc])* $name,)*
            /// A statement of a described table.
            Row(&'static Table, RowQuery),
        }

        impl Query {
            /// The statements that are written below.
            const WRITTEN: &'static [Self] = &[$(Self::$name),*];

            /// The statement's text; `{keyspace}` stands for the keyspace.
            fn text(self) -> String {
                match self {
                    $(Self::$name => $text.to_owned(),)*
                    Self::Row(table, query) => query.text(table),
                }
            }
        }
    };
}

statements! {
    /// Channel, from, to, limit.
    BucketsNewest => "SELECT bucket FROM {keyspace}.buckets WHERE channel_id = ? AND bucket >= ? AND bucket <= ? \
        ORDER BY bucket DESC LIMIT ?";
    /// Channel, from, to, limit.
    BucketsOldest => "SELECT bucket FROM {keyspace}.buckets WHERE channel_id = ? AND bucket >= ? AND bucket <= ? \
        ORDER BY bucket ASC LIMIT ?";
    /// Channel, bucket.
    AddBucket => "INSERT INTO {keyspace}.buckets (channel_id, bucket) VALUES (?, ?)";
    /// Channel, bucket, least id, greatest id, limit.
    PageNewest => "SELECT message_id, author_id, content, nonce, type, flags, reply_to, edited_at_ms, mention_user_ids, \
        mention_role_ids, mention_everyone, embeds_json, tts, rev, last_rev, more FROM {keyspace}.messages \
        WHERE channel_id = ? AND bucket = ? AND message_id >= ? AND message_id <= ? ORDER BY message_id DESC LIMIT ?";
    /// Channel, bucket, least id, greatest id, limit.
    PageOldest => "SELECT message_id, author_id, content, nonce, type, flags, reply_to, edited_at_ms, mention_user_ids, \
        mention_role_ids, mention_everyone, embeds_json, tts, rev, last_rev, more FROM {keyspace}.messages \
        WHERE channel_id = ? AND bucket = ? AND message_id >= ? AND message_id <= ? ORDER BY message_id ASC LIMIT ?";
    /// All columns, then the timestamp. A column without a value stays unbound, which writes nothing.
    InsertMessage => "INSERT INTO {keyspace}.messages (channel_id, bucket, message_id, author_id, content, nonce, type, flags, \
        reply_to, edited_at_ms, mention_user_ids, mention_role_ids, mention_everyone, embeds_json, tts, rev, last_rev, \
        more) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    /// Timestamp, the editable columns, key. It does not write the author, so an edit that comes after a
    /// delete leaves a row that is never shown.
    EditMessage => "UPDATE {keyspace}.messages USING TIMESTAMP ? SET content = ?, flags = ?, edited_at_ms = ?, mention_user_ids = ?, \
        mention_role_ids = ?, mention_everyone = ?, embeds_json = ?, more = ?, last_rev = ? \
        WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    /// Timestamp, the fields without columns, the last revision, key.
    MarkMessage => "UPDATE {keyspace}.messages USING TIMESTAMP ? SET more = ?, last_rev = ? \
        WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    /// Timestamp, key.
    DeleteMessage => "DELETE FROM {keyspace}.messages USING TIMESTAMP ? WHERE channel_id = ? AND bucket = ? AND message_id = ?";

    /// Scope, day, revision, guild, record, timestamp. The table's default time to live applies.
    AddChange => "INSERT INTO {keyspace}.changes (scope_id, day, rev, guild_id, record) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
    /// Scope, day, after, limit.
    Changes => "SELECT rev, guild_id, record FROM {keyspace}.changes WHERE scope_id = ? AND day = ? AND rev > ? LIMIT ?";
    /// Shard, scope, whether it is a channel.
    NoteActive => "INSERT INTO {keyspace}.active_scopes (shard, scope_id, is_channel) VALUES (?, ?, ?)";
    /// Shard, limit.
    Active => "SELECT scope_id, is_channel, WRITETIME(is_channel) FROM {keyspace}.active_scopes WHERE shard = ? LIMIT ?";

    /// User.
    User => "SELECT row FROM {keyspace}.users WHERE user_id = ?";
    /// User, row, timestamp.
    PutUser => "INSERT INTO {keyspace}.users (user_id, row) VALUES (?, ?) USING TIMESTAMP ?";
    /// Hash.
    Token => "SELECT user_id FROM {keyspace}.tokens WHERE hash = ?";
    /// Hash, user, timestamp.
    PutToken => "INSERT INTO {keyspace}.tokens (hash, user_id) VALUES (?, ?) USING TIMESTAMP ?";
    /// Guild.
    Guild => "SELECT row FROM {keyspace}.guilds WHERE guild_id = ?";
    /// Guild, row, timestamp.
    PutGuild => "INSERT INTO {keyspace}.guilds (guild_id, row) VALUES (?, ?) USING TIMESTAMP ?";
    /// Timestamp, guild.
    DeleteGuild => "DELETE FROM {keyspace}.guilds USING TIMESTAMP ? WHERE guild_id = ?";
    /// Guild.
    Roles => "SELECT row FROM {keyspace}.roles WHERE guild_id = ?";
    /// Guild, role, row, timestamp.
    PutRole => "INSERT INTO {keyspace}.roles (guild_id, role_id, row) VALUES (?, ?, ?) USING TIMESTAMP ?";
    /// Timestamp, guild, role.
    DeleteRole => "DELETE FROM {keyspace}.roles USING TIMESTAMP ? WHERE guild_id = ? AND role_id = ?";
    /// Timestamp, guild.
    DeleteRoles => "DELETE FROM {keyspace}.roles USING TIMESTAMP ? WHERE guild_id = ?";
    /// Channel.
    Channel => "SELECT row FROM {keyspace}.channels WHERE channel_id = ?";
    /// Guild.
    ChannelsOfGuild => "SELECT row FROM {keyspace}.channels_by_guild WHERE guild_id = ?";
    /// Channel, row, timestamp.
    PutChannel => "INSERT INTO {keyspace}.channels (channel_id, row) VALUES (?, ?) USING TIMESTAMP ?";
    /// Guild, channel, row, timestamp.
    PutChannelOfGuild => "INSERT INTO {keyspace}.channels_by_guild (guild_id, channel_id, row) VALUES (?, ?, ?) USING TIMESTAMP ?";
    /// Low user, high user.
    Direct => "SELECT channel_id FROM {keyspace}.direct_channels WHERE low_user_id = ? AND high_user_id = ?";
    /// Low user, high user, channel, timestamp.
    PutDirect => "INSERT INTO {keyspace}.direct_channels (low_user_id, high_user_id, channel_id) VALUES (?, ?, ?) USING TIMESTAMP ?";
    /// Timestamp, channel.
    DeleteChannel => "DELETE FROM {keyspace}.channels USING TIMESTAMP ? WHERE channel_id = ?";
    /// Timestamp, guild, channel.
    DeleteChannelOfGuild => "DELETE FROM {keyspace}.channels_by_guild USING TIMESTAMP ? WHERE guild_id = ? AND channel_id = ?";
    /// Timestamp, guild.
    DeleteChannelsOfGuild => "DELETE FROM {keyspace}.channels_by_guild USING TIMESTAMP ? WHERE guild_id = ?";
    /// Guild, user.
    Member => "SELECT row FROM {keyspace}.members WHERE guild_id = ? AND user_id = ?";
    /// Guild, after, limit.
    Members => "SELECT row FROM {keyspace}.members WHERE guild_id = ? AND user_id > ? LIMIT ?";
    /// Guild.
    CountMembers => "SELECT count(*) FROM {keyspace}.members WHERE guild_id = ?";
    /// Guild, user, row, timestamp.
    PutMember => "INSERT INTO {keyspace}.members (guild_id, user_id, row) VALUES (?, ?, ?) USING TIMESTAMP ?";
    /// Timestamp, guild, user.
    DeleteMember => "DELETE FROM {keyspace}.members USING TIMESTAMP ? WHERE guild_id = ? AND user_id = ?";
    /// Timestamp, guild.
    DeleteMembers => "DELETE FROM {keyspace}.members USING TIMESTAMP ? WHERE guild_id = ?";
    /// User, after, limit.
    GuildsOfUser => "SELECT guild_id FROM {keyspace}.user_guilds WHERE user_id = ? AND guild_id > ? LIMIT ?";
    /// User, guild, timestamp.
    PutGuildOfUser => "INSERT INTO {keyspace}.user_guilds (user_id, guild_id) VALUES (?, ?) USING TIMESTAMP ?";
    /// Timestamp, user, guild.
    DeleteGuildOfUser => "DELETE FROM {keyspace}.user_guilds USING TIMESTAMP ? WHERE user_id = ? AND guild_id = ?";

    /// Kind, limit.
    Settings => "SELECT key, value FROM {keyspace}.settings WHERE kind = ? LIMIT ?";
    /// Kind, key.
    Setting => "SELECT value FROM {keyspace}.settings WHERE kind = ? AND key = ?";
    /// Kind, key, value, timestamp.
    PutSetting => "INSERT INTO {keyspace}.settings (kind, key, value) VALUES (?, ?, ?) USING TIMESTAMP ?";
    /// Timestamp, kind, key.
    DeleteSetting => "DELETE FROM {keyspace}.settings USING TIMESTAMP ? WHERE kind = ? AND key = ?";

    /// Name, holder, end.
    NewLease => "INSERT INTO {keyspace}.leases (name, holder, mint_until_us) VALUES (?, ?, ?) IF NOT EXISTS";
    /// New end, name, holder.
    RenewLease => "UPDATE {keyspace}.leases SET mint_until_us = ? WHERE name = ? IF holder = ?";
    /// New holder, new end, name, expected holder, expected end.
    ReplaceLease => "UPDATE {keyspace}.leases SET holder = ?, mint_until_us = ? WHERE name = ? IF holder = ? AND mint_until_us = ?";
    /// Name; read at the serial level.
    Lease => "SELECT holder, mint_until_us FROM {keyspace}.leases WHERE name = ?";

    /// The coordinator's clock.
    Clock => "SELECT now() FROM system.local";
    /// Whether a node answers.
    Ping => "SELECT key FROM system.local";
}

/// What a statement does to a described table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RowQuery {
    /// Key.
    Get,
    /// All ids of the key but the last, after, before, limit.
    List,
    /// Key, row, timestamp.
    Put,
    /// Timestamp, then so many ids of the key.
    Delete(usize),
}

impl RowQuery {
    fn of(table: &Table) -> impl Iterator<Item = Self> {
        let deletes = (table.partition.len()..=table.key_len()).map(Self::Delete);
        [Self::Get, Self::List, Self::Put].into_iter().chain(deletes)
    }

    fn text(self, table: &Table) -> String {
        let (name, columns) = (table.name, table.columns().collect::<Vec<_>>());
        let equal = |columns: &[&str]| {
            columns.iter().map(|column| format!("{column} = ?")).collect::<Vec<_>>().join(" AND ")
        };
        match self {
            Self::Get => format!("SELECT row FROM {{keyspace}}.{name} WHERE {}", equal(&columns)),
            Self::List => {
                let (last, first) = columns.split_last().expect("a table has columns");
                format!(
                    "SELECT row FROM {{keyspace}}.{name} WHERE {} AND {last} > ? AND {last} < ? LIMIT ?",
                    equal(first)
                )
            }
            Self::Put => format!(
                "INSERT INTO {{keyspace}}.{name} ({}, row) VALUES ({}?) USING TIMESTAMP ?",
                columns.join(", "),
                "?, ".repeat(columns.len())
            ),
            Self::Delete(ids) => {
                format!("DELETE FROM {{keyspace}}.{name} USING TIMESTAMP ? WHERE {}", equal(&columns[..ids]))
            }
        }
    }
}

/// The prepared statements.
#[derive(Debug)]
pub(super) struct Statements(HashMap<Query, PreparedStatement>);

impl Statements {
    /// Prepares all statements for a keyspace whose name was checked.
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, PrepareError> {
        let of_tables =
            TABLES.iter().flat_map(|table| RowQuery::of(table).map(|query| Query::Row(table, query)));
        let prepared = Query::WRITTEN.iter().copied().chain(of_tables).map(|query| async move {
            let mut prepared = session.prepare(query.text().replace("{keyspace}", keyspace)).await?;
            // This informs only the driver's bookkeeping; none of our policies lets it repeat anything.
            prepared.set_is_idempotent(!matches!(
                query,
                Query::NewLease | Query::RenewLease | Query::ReplaceLease
            ));
            Ok::<_, PrepareError>((query, prepared))
        });
        Ok(Self(try_join_all(prepared).await?.into_iter().collect()))
    }

    /// A statement.
    pub(super) fn get(&self, query: Query) -> &PreparedStatement {
        &self.0[&query]
    }

    /// A statement, to set its options before it is used.
    pub(super) fn get_mut(&mut self, query: Query) -> &mut PreparedStatement {
        self.0.get_mut(&query).expect("every statement was prepared")
    }
}
