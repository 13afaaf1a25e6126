//! `weir.data.v1.UserService`.

use weir_connect::{ConnectError, Context, Reply, Router};
use weir_proto::{
    data::{
        Channel, CreateUserRequest, CreateUserResponse, GetUsersRequest, GetUsersResponse, OpenDirectRequest,
        OpenDirectResponse, ResolveTokenRequest, ResolveTokenResponse,
    },
    id::{MessageId, ScopeId, UserId},
    pair::UserPair,
};
use weir_store::RowChange;

use super::{
    call::{Paths, accepted_at, deadline, optional, options, required},
    form,
};
use crate::{
    key::Key,
    rpc::error,
    write::{
        error::ChangeError,
        op::{Op, OpenOp},
        rows::RowWriter,
    },
};

/// Ids in one `GetUsers`.
const USERS_MAX: usize = 1_000;
/// Concurrent writes of new users, including those in doubt: each holds a row of some hundred bytes (a
/// request, at most) and a task. At two milliseconds a write this is half a million a second; only a database
/// that does not answer lets so many gather.
const CREATES_MAX: usize = 1_024;

/// The service's methods.
pub(super) fn router(paths: &Paths) -> Router {
    let (writer, its) = (RowWriter::new(CREATES_MAX), paths.clone());
    let router = Router::new(weir_proto::contract())
        .unary("/weir.data.v1.UserService/CreateUser", move |_, request| {
            create(its.clone(), writer.clone(), request)
        });
    methods! { router, paths, "weir.data.v1.UserService":
        "GetUsers" => get,
        "ResolveToken" => resolve,
        "OpenDirect" => open_direct,
    }
}

fn hash(bytes: &[u8]) -> Result<[u8; 32], ConnectError> {
    bytes.try_into().map_err(|_| ConnectError::invalid_argument("token_hash must have 32 bytes"))
}

async fn create(
    paths: Paths,
    writer: RowWriter,
    request: CreateUserRequest,
) -> Result<Reply<CreateUserResponse>, ConnectError> {
    let mut user = request.user.ok_or_else(|| ConnectError::invalid_argument("user is missing"))?;
    form::check_user(&user)?;
    let token = if request.token_hash.is_empty() { None } else { Some(hash(&request.token_hash)?) };
    paths.charge_write(None).await.map_err(|error| error::of_change(&error))?;
    paths.observer.on_write("User", None);
    let sequencer = &paths.sequencer;
    let tenure = sequencer.tenure_to_change(None).map_err(|error| error::of_change(&error.into()))?;
    let now_us = paths.clock.wall_us();
    let user_id = match optional(user.id) {
        Some(user_id) => user_id,
        None => UserId(sequencer.mint(tenure).map_err(|error| error::of_change(&error))?),
    };
    (user.id, user.rev) = (user_id.get(), now_us);
    let mut rows = vec![RowChange::PutUser(user.clone())];
    rows.extend(token.map(|hash| RowChange::PutToken { hash, user_id }));
    // No turn is needed: a fresh id has no earlier state, and writing the same rows again changes nothing.
    let touched = [Key::User(user_id)].into_iter().chain(token.map(Key::Token)).collect();
    let written = writer.write(sequencer, tenure, rows, now_us, touched).await;
    written.map_err(|error| error::of_change(&error))?;
    Ok(CreateUserResponse { user: Some(user) }.into())
}

async fn get(
    paths: Paths,
    context: Context,
    request: GetUsersRequest,
) -> Result<Reply<GetUsersResponse>, ConnectError> {
    if request.ids.len() > USERS_MAX {
        return Err(ConnectError::invalid_argument(format!("at most {USERS_MAX} ids")));
    }
    let ids = request.ids.iter().map(|id| required("ids", *id)).collect::<Result<Vec<UserId>, _>>()?;
    // Nobody was asked for.
    let Some(first) = ids.first() else { return Ok(GetUsersResponse::default().into()) };
    let reading = paths.reads.admit(Key::User(*first), options(&context)).map_err(error::of_read)?;
    let users = paths.reads.users_part(&reading, &ids).await.map_err(error::of_read)?;
    Ok(GetUsersResponse { users }.into())
}

async fn resolve(
    paths: Paths,
    context: Context,
    request: ResolveTokenRequest,
) -> Result<Reply<ResolveTokenResponse>, ConnectError> {
    let hash = hash(&request.token_hash)?;
    let mut reading = paths.reads.admit(Key::Token(hash), options(&context)).map_err(error::of_read)?;
    let unknown = || ConnectError::not_found("token not found");
    let user_id =
        paths.reads.token_part(&mut reading, hash).await.map_err(error::of_read)?.ok_or_else(unknown)?;
    let user =
        paths.reads.user_part(&mut reading, user_id).await.map_err(error::of_read)?.ok_or_else(unknown)?;
    Ok(ResolveTokenResponse { user: Some((*user).clone()) }.into())
}

async fn open_direct(
    paths: Paths,
    context: Context,
    request: OpenDirectRequest,
) -> Result<Reply<OpenDirectResponse>, ConnectError> {
    let user_id: UserId = required("user_id", request.user_id)?;
    let pair = UserPair::of(user_id, required("recipient_id", request.recipient_id)?);
    let pair = pair.ok_or_else(|| ConnectError::invalid_argument("direct messages are between two users"))?;
    let mut reading = paths.reads.admit(Key::Direct(pair), options(&context)).map_err(error::of_read)?;
    let known = paths.reads.direct_part(&mut reading, pair).await.map_err(error::of_read)?;
    let there = match known {
        Some(id) => paths.reads.channel_part(&mut reading, id).await.map_err(error::of_read)?,
        None => None,
    };
    let channel = match there {
        Some(channel) => (*channel).clone(),
        None => open(&paths, &context, pair).await.map_err(|error| error::of_change(&error))?,
    };
    let newest = optional(channel.id).and_then(|id| paths.live.last_message_id(id));
    let last_message_id = newest.map_or(0, MessageId::get);
    Ok(OpenDirectResponse { channel: Some(channel), last_message_id }.into())
}

async fn open(paths: &Paths, context: &Context, pair: UserPair) -> Result<Channel, ChangeError> {
    paths.charge_write(None).await?;
    paths.observer.on_write("Direct", None);
    let (deadline, accepted_at_us) = (deadline(context), accepted_at(&context.headers));
    let opened = paths.sequencer.submit(ScopeId::User(pair.low()), |answer| {
        Op::Open(OpenOp { pair, accepted_at_us, deadline, answer })
    });
    opened.await
}
