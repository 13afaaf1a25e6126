//! `weir.data.v1.MessageService`.

use prost::Message as _;
use weir_connect::{ConnectError, Context, Reply, Router};
use weir_protect::tail::TailAnchor;
use weir_proto::{
    data::{
        CreateMessageRequest, CreateMessageResponse, DeleteMessageRequest, DeleteMessageResponse,
        DeleteMessagesRequest, DeleteMessagesResponse, EditMessageRequest, EditMessageResponse,
        GetMessageRequest, GetMessageResponse, ImportMessagesRequest, ListChangesRequest,
        ListChangesResponse, ListMessagesRequest, ListMessagesResponse, Message, TypingRequest,
        TypingResponse,
    },
    event::{Record, Typing, record::Change},
    id::{ChannelId, GuildId, IMPORT_WORKER, MessageId, ScopeId, Snowflake, UserId, is_imported, unix_ms},
};

use super::{
    alter::{alter, audience_of},
    call::{
        Paths, accepted_at, change_headers, deadline, limit, optional, options, refused, reply_headers,
        required,
    },
};
use crate::{
    outbox::rebuild,
    read::page::{PAGE_DEFAULT, PAGE_MAX},
    rpc::error,
    write::{
        op::{BulkOp, CreateOp, ImportOp, Op},
        plan::delete::Delete,
    },
};

/// Code points in a message's content: Discord's bound for the most privileged accounts; the api's own is
/// 2,000.
const CONTENT_MAX: usize = 4_000;
/// Code points of a nonce: Discord's bound.
const NONCE_MAX: usize = 25;
/// Bytes of embeds as JSON: the api's bound. With the longest content, of 16,000 bytes, one row stays below
/// the 64 KiB of a batch.
const EMBEDS_MAX: usize = 48 << 10;
/// Users and roles that a message may mention.
const MENTIONS_MAX: usize = 500;
/// Messages that one call removes: Discord's bound, and small for one commit.
const DELETIONS_MAX: usize = 100;
/// Rows and bytes of one batch of an import.
const IMPORT_ROWS_MAX: usize = 1_000;
const IMPORT_BYTES_MAX: usize = 1 << 20;
/// Records in one reply of `ListChanges`, at most and by default.
const CHANGES_MAX: usize = 1_000;
const CHANGES_DEFAULT: usize = 200;
/// Bytes of one reply's records, at most beside the first one: a quarter of what the client takes, and more
/// than a gap usually holds.
const CHANGES_BYTES_MAX: usize = 4 << 20;

/// Adds the methods to a router.
pub(super) fn methods(router: Router, paths: &Paths) -> Router {
    methods! { router, paths, "weir.data.v1.MessageService":
        "ListMessages" => list,
        "GetMessage" => get,
        "CreateMessage" => create,
        "EditMessage" => edit,
        "DeleteMessage" => delete,
        "DeleteMessages" => delete_many,
        "ListChanges" => list_changes,
        "Typing" => typing,
    }
}

fn anchor(request: &ListMessagesRequest) -> Result<TailAnchor, ConnectError> {
    match (request.before, request.after, request.around) {
        (None, None, None) => Ok(TailAnchor::Latest),
        (Some(position), None, None) => Ok(TailAnchor::Before(position)),
        (None, Some(position), None) => Ok(TailAnchor::After(position)),
        (None, None, Some(position)) => Ok(TailAnchor::Around(position)),
        _ => Err(ConnectError::invalid_argument("at most one of before, after and around may be set")),
    }
}

/// Which page of which channel is asked for, and how many rows.
pub(super) fn page_of(request: &ListMessagesRequest) -> Result<(ChannelId, TailAnchor, usize), ConnectError> {
    let channel_id = required("channel_id", request.channel_id)?;
    let anchor = anchor(request)?;
    Ok((channel_id, anchor, limit(request.limit, PAGE_DEFAULT, PAGE_MAX)?))
}

async fn list(
    paths: Paths,
    context: Context,
    request: ListMessagesRequest,
) -> Result<Reply<ListMessagesResponse>, ConnectError> {
    let (channel_id, anchor, limit) = page_of(&request)?;
    let page = paths.reads.page(channel_id, anchor, limit, options(&context)).await;
    let page = page.map_err(|failure| refused(&context, failure))?;
    let mut reply = Reply::encoded(page.encoded.bytes);
    reply.headers = reply_headers(&paths, &context, channel_id, page.rev, &page.served);
    Ok(reply)
}

async fn get(
    paths: Paths,
    context: Context,
    request: GetMessageRequest,
) -> Result<Reply<GetMessageResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let message_id: MessageId = required("message_id", request.message_id)?;
    let found = async {
        let mut reading = paths.reads.admit_history(channel_id, options(&context)).await?;
        let Some(row) = paths.reads.message_part(&mut reading, channel_id, message_id).await? else {
            return Ok(None);
        };
        let own = match optional(request.viewer_id).filter(|_| !row.reactions.is_empty()) {
            None => None,
            Some(viewer_id) => {
                paths.reads.own_reactions_part(&mut reading, (channel_id, viewer_id), &[row.id]).await?.pop()
            }
        };
        Ok(Some((row, own, reading.served)))
    };
    let found = found.await.map_err(|failure| refused(&context, failure))?;
    let (row, own, served) = found.ok_or_else(|| ConnectError::not_found("message not found"))?;
    let headers = reply_headers(&paths, &context, channel_id, row.last_rev, &served);
    let mut reply = Reply::message(GetMessageResponse { message: Some((*row).clone()), own });
    reply.headers = headers;
    Ok(reply)
}

/// Checks the form of a row that is to be stored.
fn check(message: &Message) -> Result<(), ConnectError> {
    let problem = if message.author_id == 0 {
        "author_id is missing".to_owned()
    } else if message.content.chars().count() > CONTENT_MAX {
        format!("content has more than {CONTENT_MAX} code points")
    } else if message.nonce.chars().count() > NONCE_MAX {
        format!("nonce has more than {NONCE_MAX} code points")
    } else if message.embeds_json.len() > EMBEDS_MAX {
        format!("embeds_json has more than {EMBEDS_MAX} bytes")
    } else if [&message.content, &message.nonce, &message.embeds_json].iter().any(|text| text.contains('\0'))
    {
        "content, nonce and embeds_json hold no U+0000".to_owned()
    } else if message.mention_user_ids.len() + message.mention_role_ids.len() > MENTIONS_MAX {
        format!("more than {MENTIONS_MAX} mentions")
    } else {
        return Ok(());
    };
    Err(ConnectError::invalid_argument(problem))
}

async fn create(
    paths: Paths,
    context: Context,
    request: CreateMessageRequest,
) -> Result<Reply<CreateMessageResponse>, ConnectError> {
    let message = request.message.ok_or_else(|| ConnectError::invalid_argument("message is missing"))?;
    let channel_id: ChannelId = required("message.channel_id", message.channel_id)?;
    check(&message)?;
    paths.charge_write(Some(channel_id)).await.map_err(|error| error::of_change(&error))?;
    paths.observer.on_write("CreateMessage", Some(channel_id));
    let told = request.context.as_ref().map(|context| context.guild_id);
    let audience = audience_of(&paths, channel_id, told).await?;
    let (deadline, accepted_at_us) = (deadline(&context), accepted_at(&context.headers));
    let (deduplicate, event_context) = (!request.allow_duplicate_nonce, request.context);
    let created = paths.sequencer.submit(ScopeId::Channel(channel_id), |answer| {
        let context = event_context;
        Op::Create(Box::new(CreateOp {
            message,
            deduplicate,
            context,
            audience,
            accepted_at_us,
            deadline,
            answer,
        }))
    });
    let created = created.await.map_err(|error| error::of_change(&error))?;
    let headers = change_headers(channel_id, created.message.rev);
    let mut reply = Reply::message(CreateMessageResponse {
        message: Some(created.message),
        deduplicated: created.deduplicated,
    });
    reply.headers = headers;
    Ok(reply)
}

async fn edit(
    paths: Paths,
    context: Context,
    request: EditMessageRequest,
) -> Result<Reply<EditMessageResponse>, ConnectError> {
    check(&Message {
        author_id: 1,
        content: request.content.clone().unwrap_or_default(),
        embeds_json: request.embeds_json.clone().unwrap_or_default(),
        mention_user_ids: request.mention_user_ids.clone(),
        mention_role_ids: request.mention_role_ids.clone(),
        ..Message::default()
    })?;
    let mut request = request;
    let of = (request.channel_id, request.message_id, request.context.take());
    let altered = alter(&paths, &context, of, request).await?;
    Ok(altered.reply(EditMessageResponse { message: Some(altered.outcome.message.clone()) }))
}

async fn delete(
    paths: Paths,
    context: Context,
    request: DeleteMessageRequest,
) -> Result<Reply<DeleteMessageResponse>, ConnectError> {
    let of = (request.channel_id, request.message_id, request.context);
    let altered = alter(&paths, &context, of, Delete).await?;
    Ok(altered.reply(DeleteMessageResponse { rev: altered.outcome.rev }))
}

async fn delete_many(
    paths: Paths,
    context: Context,
    request: DeleteMessagesRequest,
) -> Result<Reply<DeleteMessagesResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let wrong = || ConnectError::invalid_argument(format!("message_ids must be 1 to {DELETIONS_MAX} ids"));
    let message_ids = request.message_ids.into_iter().map(MessageId::try_from);
    let mut message_ids = message_ids.collect::<Result<Vec<MessageId>, _>>().map_err(|_| wrong())?;
    message_ids.sort_unstable();
    message_ids.dedup();
    if message_ids.is_empty() || message_ids.len() > DELETIONS_MAX {
        return Err(wrong());
    }
    // As many writes as if each went by itself: a limit is not to be passed by asking in bulk. The ids are
    // few.
    let writes = message_ids.len() as u32;
    paths.charge_writes(Some(channel_id), writes).await.map_err(|error| error::of_change(&error))?;
    for _ in &message_ids {
        paths.observer.on_write("DeleteMessage", Some(channel_id));
    }
    let event_context = request.context;
    let audience =
        audience_of(&paths, channel_id, event_context.as_ref().map(|context| context.guild_id)).await?;
    let (deadline, accepted_at_us) = (deadline(&context), accepted_at(&context.headers));
    let removed = paths.sequencer.submit(ScopeId::Channel(channel_id), |answer| {
        let context = event_context;
        Op::Bulk(Box::new(BulkOp { message_ids, context, audience, accepted_at_us, deadline, answer }))
    });
    let removed = removed.await.map_err(|error| error::of_change(&error))?;
    let message_ids = removed.message_ids.into_iter().map(MessageId::get).collect();
    let mut reply = Reply::message(DeleteMessagesResponse { rev: removed.rev, message_ids });
    reply.headers = change_headers(channel_id, removed.rev);
    Ok(reply)
}

async fn list_changes(
    paths: Paths,
    context: Context,
    request: ListChangesRequest,
) -> Result<Reply<ListChangesResponse>, ConnectError> {
    let scope_id: Snowflake = required("scope_id", request.scope_id)?;
    let limit = limit(request.limit, CHANGES_DEFAULT, CHANGES_MAX)?;
    if !rebuild::is_kept(request.after_rev, paths.clock.wall_us()) {
        return Ok(ListChangesResponse { records: Vec::new(), more: false, truncated: true }.into());
    }
    let found = paths.reads.changes(scope_id, request.after_rev, limit, options(&context)).await;
    let found = found.map_err(|failure| refused(&context, failure))?;
    let records = fitting(&found.records, CHANGES_BYTES_MAX);
    let more = found.more || records.len() < found.records.len();
    Ok(ListChangesResponse { records, more, truncated: false }.into())
}

/// The first of the records, encoded: as many as fit into `bytes_max`, and one if none does.
fn fitting(records: &[Record], bytes_max: usize) -> Vec<Vec<u8>> {
    let mut bytes = 0;
    let mut encoded = Vec::new();
    for record in records {
        bytes += record.encoded_len();
        if bytes > bytes_max && !encoded.is_empty() {
            break;
        }
        encoded.push(record.encode_to_vec());
    }
    encoded
}

/// Writes rows with ids of the caller's into one channel.
pub(crate) async fn write_import(paths: &Paths, request: ImportMessagesRequest) -> Result<u32, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let bytes: usize = request.messages.iter().map(prost::Message::encoded_len).sum();
    if request.messages.len() > IMPORT_ROWS_MAX || bytes > IMPORT_BYTES_MAX {
        return Err(ConnectError::invalid_argument(format!(
            "a batch has at most {IMPORT_ROWS_MAX} messages and {IMPORT_BYTES_MAX} bytes"
        )));
    }
    for message in &request.messages {
        check(message)?;
    }
    if !request.messages.is_sorted_by(|a, b| a.id < b.id)
        || request.messages.first().is_some_and(|row| row.id == 0)
    {
        return Err(ConnectError::invalid_argument("ids must be set and rise strictly"));
    }
    // Another may be, or become, that of a message which was said here; and by its number a row is known not
    // to be an event.
    if !request.messages.iter().all(|row| is_imported(row.id)) {
        let problem = format!("ids must have the worker number of imports, {IMPORT_WORKER}");
        return Err(ConnectError::invalid_argument(problem));
    }
    // An id of the future would stop the channel until then: its next message must come after it.
    let now_ms = paths.clock.wall_ms();
    if request.messages.last().is_some_and(|row| unix_ms(row.id) > now_ms) {
        return Err(ConnectError::invalid_argument("an id lies in the future"));
    }
    let messages = request.messages;
    let written = paths
        .sequencer
        .submit(ScopeId::Channel(channel_id), |answer| Op::Import(ImportOp { messages, answer }));
    written.await.map_err(|error| error::of_change(&error))
}

async fn typing(
    paths: Paths,
    context: Context,
    request: TypingRequest,
) -> Result<Reply<TypingResponse>, ConnectError> {
    let channel_id: ChannelId = required("channel_id", request.channel_id)?;
    let user_id: UserId = required("user_id", request.user_id)?;
    paths.charge_write(Some(channel_id)).await.map_err(|error| error::of_change(&error))?;
    let told = request.context.as_ref().map(|context| context.guild_id);
    let audience = audience_of(&paths, channel_id, told).await?;
    let change = Change::Typing(Typing {
        channel_id: channel_id.get(),
        user_id: user_id.get(),
        timestamp_ms: request.timestamp_ms,
    });
    let topics = audience.topics();
    let record = Record {
        scope_id: channel_id.get(),
        guild_id: audience.guild_id().map_or(0, GuildId::get),
        recipient_ids: audience.recipient_ids(),
        context: request.context,
        accepted_at_us: accepted_at(&context.headers),
        change: Some(change),
        ..Record::default()
    };
    paths.outbox.publish_ephemeral(topics, record.encode_to_vec().into()).await;
    Ok(TypingResponse {}.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_changes_is_bounded_in_bytes_and_never_empty() {
        let record = |bytes: usize| {
            let message = Message { embeds_json: "x".repeat(bytes), ..Message::default() };
            Record { change: Some(Change::MessageCreated(message)), ..Record::default() }
        };
        let records = [record(600), record(600), record(200)];
        assert_eq!([1, 1_000, 1_300, 10_000].map(|max| fitting(&records, max).len()), [1, 1, 2, 3]);
        assert!(fitting(&[], 1).is_empty());
    }
}
