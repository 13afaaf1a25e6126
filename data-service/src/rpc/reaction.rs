//! Reactions of `weir.data.v1.MessageService`.

use weir_connect::{ConnectError, Context, Reply, Router};
use weir_proto::{
    data::{
        AddReactionRequest, ChangeReactionsResponse, ClearReactionsRequest, Emoji, ListReactionsRequest,
        ListReactionsResponse, Reaction, RemoveReactionRequest,
    },
    id::{ChannelId, MessageId},
};
use weir_store::row::{RowRange, reactions_in};

use super::{
    alter::{Done, alter},
    call::{Paths, limit, options, refused, reply_headers, required},
};
use crate::write::plan::react::{Clear, React, Unreact, count_of};

/// Bytes of an emoji's name: the longest of Unicode's have 35, and names of a guild's own 32 characters.
const EMOJI_MAX: usize = 128;
/// Users in a reply at most, and if the caller does not say; Discord's.
const USERS_MAX: usize = 100;
const USERS_DEFAULT: usize = 25;

/// Adds the methods to a router.
pub(super) fn methods(router: Router, paths: &Paths) -> Router {
    methods! { router, paths, "weir.data.v1.MessageService":
        "AddReaction" => add_reaction,
        "RemoveReaction" => remove_reaction,
        "ClearReactions" => clear_reactions,
        "ListReactions" => list_reactions,
    }
}

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

async fn add_reaction(
    paths: Paths,
    context: Context,
    request: AddReactionRequest,
) -> Result<Reply<ChangeReactionsResponse>, ConnectError> {
    let user_id = required("user_id", request.user_id)?;
    let plan = React { user_id, emoji: checked(request.emoji)?, only_join: request.only_join };
    let of = (request.channel_id, request.message_id, request.context);
    Ok(reply(&alter(&paths, &context, of, plan).await?))
}

async fn remove_reaction(
    paths: Paths,
    context: Context,
    request: RemoveReactionRequest,
) -> Result<Reply<ChangeReactionsResponse>, ConnectError> {
    let user_id = required("user_id", request.user_id)?;
    let plan = Unreact { user_id, emoji: checked(request.emoji)? };
    let of = (request.channel_id, request.message_id, request.context);
    Ok(reply(&alter(&paths, &context, of, plan).await?))
}

async fn clear_reactions(
    paths: Paths,
    context: Context,
    request: ClearReactionsRequest,
) -> Result<Reply<ChangeReactionsResponse>, ConnectError> {
    let emoji = request.emoji.map(|emoji| checked(Some(emoji))).transpose()?;
    let of = (request.channel_id, request.message_id, request.context);
    Ok(reply(&alter(&paths, &context, of, Clear(emoji)).await?))
}

async fn list_reactions(
    paths: Paths,
    context: Context,
    request: ListReactionsRequest,
) -> Result<Reply<ListReactionsResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let message_id: MessageId = required("message_id", request.message_id)?;
    let emoji = checked(request.emoji)?;
    let limit = limit(request.limit, USERS_DEFAULT, USERS_MAX)?;
    let found = async {
        let mut reading = paths.reads.admit_history(channel_id, options(&context)).await?;
        let Some(row) = paths.reads.message_part(&mut reading, channel_id, message_id).await? else {
            return Ok(None);
        };
        let users = match count_of(&row, &emoji) {
            Some(count) => {
                let under = reactions_in(channel_id, message_id, count.slot);
                let range = RowRange { after: request.after, limit, ..RowRange::whole(under) };
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
