//! Reactions of `weir.data.v1.MessageService`, and a viewer's own on a page.

use std::collections::BTreeSet;

use weir_connect::{ConnectError, Context, Reply};
use weir_proto::{
    bucket::Bucket,
    data::{
        AddReactionRequest, ChangeReactionsResponse, ClearReactionsRequest, Emoji, ListReactionsRequest,
        ListReactionsResponse, OwnReactions, Reaction, RemoveReactionRequest,
    },
    id::{ChannelId, MessageId, UserId},
};
use weir_store::row::{RowKey, RowRange};

use super::{
    Paths,
    alter::{Done, alter},
    options, refused, reply_headers, required,
};
use crate::{
    read::{Failure, ReadPath, Reading},
    write::plan::react::{Clear, React, Unreact, count_of, own_in},
};

/// Bytes of an emoji's name: the longest of Unicode's have 35, and names of a guild's own 32 characters.
const EMOJI_MAX: usize = 128;
/// Users in a reply at most, and if the caller does not say; Discord's.
const USERS_MAX: usize = 100;
const USERS_DEFAULT: usize = 25;
/// Ids of one day. A viewer's own reactions are read by days, whichever messages of the day are asked for, so
/// that what was read stays in the cache when others react.
const DAY_IDS: u64 = 86_400_000 << 22;
/// Days that are looked at for one page's own reactions: a page of a channel in which somebody writes at least
/// each other day or so has fewer.
const DAYS_MAX: usize = 32;
/// Rows of one read of the store, its bound.
const ROWS_MAX: usize = 1_000;

fn checked(emoji: Option<Emoji>) -> Result<Emoji, ConnectError> {
    let emoji = emoji.ok_or_else(|| ConnectError::invalid_argument("emoji is missing"))?;
    if emoji.name.is_empty() || emoji.name.len() > EMOJI_MAX || emoji.name.contains('\0') {
        let message = format!("emoji.name has 1 to {EMOJI_MAX} bytes and no U+0000");
        return Err(ConnectError::invalid_argument(message));
    }
    Ok(emoji)
}

fn reply(done: &Done) -> Reply<ChangeReactionsResponse> {
    done.reply(ChangeReactionsResponse { changed: done.outcome.changed })
}

pub(super) async fn add_reaction(
    paths: Paths,
    context: Context,
    request: AddReactionRequest,
) -> Result<Reply<ChangeReactionsResponse>, ConnectError> {
    let user_id = required("user_id", request.user_id)?;
    let plan = React { user_id, emoji: checked(request.emoji)?, only_join: request.only_join };
    let of = (request.channel_id, request.message_id, request.context);
    Ok(reply(&alter(&paths, &context, of, plan).await?))
}

pub(super) async fn remove_reaction(
    paths: Paths,
    context: Context,
    request: RemoveReactionRequest,
) -> Result<Reply<ChangeReactionsResponse>, ConnectError> {
    let user_id = required("user_id", request.user_id)?;
    let plan = Unreact { user_id, emoji: checked(request.emoji)? };
    let of = (request.channel_id, request.message_id, request.context);
    Ok(reply(&alter(&paths, &context, of, plan).await?))
}

pub(super) async fn clear_reactions(
    paths: Paths,
    context: Context,
    request: ClearReactionsRequest,
) -> Result<Reply<ChangeReactionsResponse>, ConnectError> {
    let emoji = request.emoji.map(|emoji| checked(Some(emoji))).transpose()?;
    let of = (request.channel_id, request.message_id, request.context);
    Ok(reply(&alter(&paths, &context, of, Clear(emoji)).await?))
}

pub(super) async fn list_reactions(
    paths: Paths,
    context: Context,
    request: ListReactionsRequest,
) -> Result<Reply<ListReactionsResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let message_id: MessageId = required("message_id", request.message_id)?;
    let emoji = checked(request.emoji)?;
    let limit = match request.limit as usize {
        0 => USERS_DEFAULT,
        limit if limit <= USERS_MAX => limit,
        _ => return Err(ConnectError::invalid_argument(format!("limit must be 1 to {USERS_MAX}"))),
    };
    let found = async {
        let mut reading = paths.reads.admit_history(channel_id, options(&context)).await?;
        let Some(row) = paths.reads.message_part(&mut reading, channel_id, message_id).await? else {
            return Ok(None);
        };
        let users = match count_of(&row, &emoji) {
            Some(count) => {
                let under = RowKey::new([channel_id.get(), message_id.get(), count.slot]);
                let range = RowRange { under, after: request.after, before: u64::MAX, limit };
                paths.reads.list_part::<Reaction>(&mut reading, range).await?
            }
            None => Vec::new(),
        };
        Ok(Some((users, row.last_rev, reading.served)))
    };
    let found = found.await.map_err(|failure| refused(&context, failure))?;
    let (users, rev, served) = found.ok_or_else(|| ConnectError::not_found("message not found"))?;
    let user_ids = users.into_iter().map(|row| row.user_id).collect();
    let mut reply = Reply::message(ListReactionsResponse { user_ids });
    reply.headers = reply_headers(&paths, &context, channel_id, rev, &served);
    Ok(reply)
}

/// What a viewer reacted to these messages of a channel with, ascending by message. They are all that have
/// reactions on one page; of those of more than 32 days, the newest ones are looked at.
pub(super) async fn own_on(
    reads: &ReadPath,
    reading: &mut Reading,
    (channel_id, viewer_id): (ChannelId, UserId),
    message_ids: &[u64],
) -> Result<Vec<OwnReactions>, Failure> {
    let days: BTreeSet<u64> = message_ids.iter().map(|id| id / DAY_IDS).collect();
    let skipped = days.len().saturating_sub(DAYS_MAX);
    let mut own = Vec::new();
    for day in days.into_iter().skip(skipped) {
        let first = day * DAY_IDS;
        // A bucket is ten days.
        let under = own_in(channel_id, Bucket::of_raw(first), viewer_id);
        let (mut after, before) = (first.saturating_sub(1), first.saturating_add(DAY_IDS));
        loop {
            let range = RowRange { under, after, before, limit: ROWS_MAX };
            let rows = reads.list_part::<OwnReactions>(reading, range).await?;
            let last = rows.last().filter(|_| rows.len() == ROWS_MAX).map(|row| row.message_id);
            own.extend(rows.into_iter().filter(|row| message_ids.contains(&row.message_id)));
            // Rows of deleted messages may fill a read.
            let Some(last) = last else { break };
            after = last;
        }
    }
    Ok(own)
}
