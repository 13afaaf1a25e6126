//! Context for records that carry none, because they were recovered from the outbox or made by a caller other
//! than the api.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt, stream};
use weir_proto::{
    data::{EventContext, Member, Message, User},
    event::{Record, record::Change},
    id::{ChannelId, GuildId, MessageId, UserId},
};

use crate::{data::calls::DataCalls, fanout::entry::Publication};

/// Memberships asked for at once.
const LOOKUPS_AT_ONCE: usize = 16;
/// Users asked for at once: the data service's bound.
const USERS_MAX: usize = 1_000;

/// The message of a record whose context has no author.
fn unattributed(record: &Record) -> Option<&Message> {
    let (Change::MessageCreated(row) | Change::MessageEdited(row)) = record.change.as_ref()? else {
        return None;
    };
    let known = record.context.as_ref().is_some_and(|context| context.author.is_some());
    (!known).then_some(row)
}

/// True if [`enrich`] would rebuild the record's context.
pub(crate) fn is_missing_context(record: &Record) -> bool {
    unattributed(record).is_some()
}

/// Rebuilds missing context, for the whole batch in few calls.
///
/// What is not found in time stays missing: then the author is shown as a deleted user with the right id.
/// Order and completeness matter more than a name, so nothing waits longer than one call's timeout for it.
pub(crate) async fn enrich(calls: &DataCalls, batch: &mut [Box<Publication>]) {
    let rows: Vec<(u64, Message)> = batch
        .iter()
        .filter_map(|item| unattributed(&item.record).map(|row| (item.record.guild_id, row.clone())))
        .collect();
    if rows.is_empty() {
        return;
    }
    let referenced = referenced(calls, &rows).await;
    let ids = rows.iter().map(|(_, row)| row).chain(referenced.values());
    let ids: BTreeSet<UserId> = ids
        .flat_map(|row| row.mention_user_ids.iter().copied().chain([row.author_id]))
        .filter_map(|id| UserId::try_from(id).ok())
        .collect();
    let users = users(calls, ids).await;
    let members = members(calls, &rows).await;
    for item in batch {
        let Some(row) = unattributed(&item.record) else { continue };
        let quoted = referenced.get(&(row.channel_id, row.reply_to)).cloned();
        item.context = Some(EventContext {
            guild_id: item.record.guild_id,
            author: users.get(&row.author_id).cloned(),
            member: members.get(&(item.record.guild_id, row.author_id)).cloned(),
            referenced_author: quoted.as_ref().and_then(|quoted| users.get(&quoted.author_id).cloned()),
            referenced: quoted,
            mentions: row.mention_user_ids.iter().filter_map(|id| users.get(id).cloned()).collect(),
            recipients: Vec::new(),
            // The row does not say which it was, so the nonce of a record that was read back is text.
            nonce_is_integer: false,
            last_message_id: 0,
        });
    }
}

async fn referenced(calls: &DataCalls, rows: &[(u64, Message)]) -> HashMap<(u64, u64), Message> {
    let key = |row: &Message| {
        Some((ChannelId::try_from(row.channel_id).ok()?, MessageId::try_from(row.reply_to).ok()?))
    };
    let keys: BTreeSet<(ChannelId, MessageId)> = rows.iter().filter_map(|(_, row)| key(row)).collect();
    stream::iter(keys)
        .map(async |(channel_id, message_id)| {
            let found = calls.message(channel_id, message_id).await.ok()??;
            Some(((channel_id.get(), message_id.get()), found))
        })
        .buffer_unordered(LOOKUPS_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn users(calls: &DataCalls, ids: BTreeSet<UserId>) -> HashMap<u64, User> {
    let ids: Vec<UserId> = ids.into_iter().collect();
    let mut users = HashMap::new();
    for ids in ids.chunks(USERS_MAX) {
        match calls.users(ids).await {
            Ok(found) => users.extend(found.into_iter().map(|user| (user.id, user))),
            Err(error) => tracing::warn!(%error, "authors of recovered records are not known"),
        }
    }
    users
}

async fn members(calls: &DataCalls, rows: &[(u64, Message)]) -> HashMap<(u64, u64), Member> {
    let key = |guild_id: u64, row: &Message| {
        Some((GuildId::try_from(guild_id).ok()?, UserId::try_from(row.author_id).ok()?))
    };
    let keys: BTreeSet<(GuildId, UserId)> =
        rows.iter().filter_map(|(guild_id, row)| key(*guild_id, row)).collect();
    stream::iter(keys)
        .map(async |(guild_id, user_id)| {
            let found = calls.member(guild_id, user_id).await.ok()?;
            Some(((guild_id.get(), user_id.get()), found))
        })
        .buffer_unordered(LOOKUPS_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}
