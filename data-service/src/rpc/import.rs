//! `weir.admin.v1.ImportService`: resumable bulk loading.
//!
//! A job is identified by its file's hash. Its ids are minted once, at its first start, and stored before
//! they are used; message ids are the caller's, derived from the file. So every step may be repeated and ends
//! with the same rows.

use prost::Message as _;
use tokio::time::Instant;
use weir_connect::{ConnectError, Context, Reply, Router};
use weir_proto::{
    admin::{
        BeginImportRequest, BeginImportResponse, FinishImportRequest, FinishImportResponse,
        WriteImportRequest, WriteImportResponse,
    },
    data::{Channel, Guild, ImportMessagesRequest, Member, Role, User},
    id::{GuildId, ScopeId},
};

use super::{
    call::{Paths, deadline},
    form,
    message::write_import,
};
use crate::{
    ownership::mint::Minter,
    rpc::error,
    write::op::{ImportGuildOp, Op},
};

/// Kind of the job rows in the store's settings.
const JOB: &str = "import";
/// Maximum authors of a file. Ids are reserved for all of them at once: 2^20 are 256 ms of ids.
const AUTHORS_MAX: u64 = 1 << 20;
/// Maximum channels of a file.
const CHANNELS_MAX: usize = 500;
/// Names in one call.
const NAMES_MAX: usize = 5_000;
/// Permissions of @everyone in an imported guild: view channels, send messages, read history (bits 10, 11,
/// 16), and the ones that Discord adds for reactions, embeds, files and invites (bits 6, 14, 15, 0).
const EVERYONE: u64 = 1 << 10 | 1 << 11 | 1 << 16 | 1 << 6 | 1 << 14 | 1 << 15 | 1;

/// The service's methods.
pub(super) fn router(paths: &Paths) -> Router {
    methods! { Router::new(weir_proto::contract()), paths, "weir.admin.v1.ImportService":
        "BeginImport" => begin,
        "WriteImport" => write,
        "FinishImport" => finish,
    }
}

/// Reads a job's row, which is the answer to its beginning, unchanged.
async fn load(paths: &Paths, job: &[u8]) -> Result<Option<BeginImportResponse>, ConnectError> {
    let row = paths.store.read_setting(JOB, job).await;
    let row = row.map_err(|error| ConnectError::unavailable(error.to_string()))?;
    row.map(|row| BeginImportResponse::decode(row).map_err(|error| ConnectError::internal(error.to_string())))
        .transpose()
}

async fn keep(paths: &Paths, job: &[u8], state: &BeginImportResponse) -> Result<(), ConnectError> {
    let kept = paths.store.write_setting(JOB, job, Some(state.encode_to_vec().into())).await;
    kept.map_err(|error| ConnectError::unavailable(error.to_string()))
}

/// Writes what an import makes of the guild, in the guild's turn.
async fn put(
    paths: &Paths,
    (guild_id, deadline): (GuildId, Instant),
    founding: Option<(Guild, Role, Vec<Channel>)>,
    authors: Vec<(User, Member)>,
) -> Result<(), ConnectError> {
    let written = paths.sequencer.submit(ScopeId::Guild(guild_id), |answer| {
        Op::ImportGuild(Box::new(ImportGuildOp { founding, authors, deadline, answer }))
    });
    written.await.map_err(|error| error::of_change(&error))
}

async fn begin(
    paths: Paths,
    context: Context,
    request: BeginImportRequest,
) -> Result<Reply<BeginImportResponse>, ConnectError> {
    if request.job.len() != 32 {
        return Err(ConnectError::invalid_argument("job must be the SHA-256 of the file, 32 bytes"));
    }
    if request.channel_names.len() > CHANNELS_MAX || request.author_names.len() > NAMES_MAX {
        return Err(ConnectError::invalid_argument(format!(
            "at most {CHANNELS_MAX} channels, and {NAMES_MAX} authors a call"
        )));
    }
    form::check_imported(&request.guild_name, &request.channel_names)?;
    request.author_names.iter().try_for_each(|name| form::check_username(name))?;
    let last_author = request.first_author + request.author_names.len() as u64;
    if request.authors_total == 0
        || request.authors_total > AUTHORS_MAX
        || last_author > request.authors_total
    {
        return Err(ConnectError::invalid_argument(format!(
            "authors_total must be 1 to {AUTHORS_MAX} and cover the names"
        )));
    }
    let state = match load(&paths, &request.job).await? {
        Some(state) => state,
        None => {
            let state = first_start(&paths, &request).await?;
            keep(&paths, &request.job, &state).await?;
            state
        }
    };
    if state.finished {
        return Ok(state.into());
    }
    if state.channel_ids.len() != request.channel_names.len() {
        return Err(ConnectError::invalid_argument("the job was begun with other channels"));
    }
    let founding = (request.first_author == 0).then(|| founding(&request, &state));
    let guild_id = GuildId::try_from(state.guild_id)
        .map_err(|error| ConnectError::internal(format!("the job's guild: {error}")))?;
    put(&paths, (guild_id, deadline(&context)), founding, authors(&request, &state)).await?;
    Ok(state.into())
}

/// Longest distance of ids ahead of the clock for which we wait: a large job's own. A greater one means a
/// wrong clock, and may last hours.
const AHEAD_WAITED_MS: u64 = 5_000;

/// Mints the job's ids. Nothing uses them before they are stored.
async fn first_start(
    paths: &Paths,
    request: &BeginImportRequest,
) -> Result<BeginImportResponse, ConnectError> {
    let sequencer = &paths.sequencer;
    let tenure = sequencer.tenure_to_change(None).map_err(|error| error::of_change(&error.into()))?;
    // Ids may run at most half a second ahead of the clock, which is two million of them; for a row of
    // authors we wait.
    let reserve = async |count: u64| {
        loop {
            match sequencer.reserve(tenure, count) {
                Ok(first) => return Ok(first),
                Err(crate::ownership::mint::MintError::Ahead { ahead_ms }) if ahead_ms < AHEAD_WAITED_MS => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                Err(error) => {
                    let error = error.into();
                    sequencer.note_refusal(&error);
                    return Err(error::of_change(&error));
                }
            }
        }
    };
    let guild = reserve(1 + request.channel_names.len() as u64).await?;
    let authors = reserve(request.authors_total).await?;
    Ok(BeginImportResponse {
        guild_id: guild.get(),
        channel_ids: (1..=request.channel_names.len() as u64)
            .map(|index| Minter::nth(guild, index))
            .collect(),
        author_id_base: authors.get(),
        lines_done: 0,
        finished: false,
    })
}

/// The id of the job's `index`th author.
fn author_id(base: u64, index: u64) -> u64 {
    // `reserve` minted it, so it is never 0.
    weir_proto::id::Snowflake::try_from(base).map_or(0, |first| Minter::nth(first, index))
}

/// The guild's own rows: itself, @everyone and its channels.
fn founding(request: &BeginImportRequest, state: &BeginImportResponse) -> (Guild, Role, Vec<Channel>) {
    let guild_id = state.guild_id;
    let owner_id = author_id(state.author_id_base, 0);
    let guild = Guild { id: guild_id, name: request.guild_name.clone(), owner_id, rev: 0 };
    let everyone = Role {
        id: guild_id,
        guild_id,
        name: "@everyone".to_owned(),
        permissions: EVERYONE,
        ..Role::default()
    };
    let channels = (0..).zip(request.channel_names.iter().zip(&state.channel_ids));
    let channels = channels.map(|(position, (name, id))| Channel {
        id: *id,
        guild_id,
        name: name.clone(),
        position,
        ..Channel::default()
    });
    (guild, everyone, channels.collect())
}

/// The authors that the call names, by rising id.
fn authors(request: &BeginImportRequest, state: &BeginImportResponse) -> Vec<(User, Member)> {
    let guild_id = state.guild_id;
    let joined_at_ms = weir_proto::id::unix_ms(guild_id);
    let authors = (request.first_author..).zip(&request.author_names).map(|(index, name)| {
        let user_id = author_id(state.author_id_base, index);
        let user = User { id: user_id, username: name.clone(), ..User::default() };
        (user, Member { guild_id, user_id, joined_at_ms, ..Member::default() })
    });
    authors.collect()
}

async fn write(
    paths: Paths,
    _: Context,
    request: WriteImportRequest,
) -> Result<Reply<WriteImportResponse>, ConnectError> {
    let mut state =
        load(&paths, &request.job).await?.ok_or_else(|| ConnectError::not_found("the job was not begun"))?;
    let mut batches = Vec::with_capacity(request.batches.len());
    for batch in &request.batches {
        let batch = ImportMessagesRequest::decode(batch.as_slice())
            .map_err(|error| ConnectError::invalid_argument(format!("a batch does not decode: {error}")))?;
        if !state.channel_ids.contains(&batch.channel_id) {
            return Err(ConnectError::invalid_argument(format!(
                "channel {} is not the job's",
                batch.channel_id
            )));
        }
        batches.push(batch);
    }
    // Channels run concurrently: each is its own turn. The lines are those of earlier answered calls, so they
    // need not wait for this one's.
    let progress = async {
        if request.lines_done > state.lines_done {
            state.lines_done = request.lines_done;
            keep(&paths, &request.job, &state).await?;
        }
        Ok(())
    };
    let writes = batches.into_iter().map(|batch| write_import(&paths, batch));
    let ((), written) =
        futures_util::future::try_join(progress, futures_util::future::try_join_all(writes)).await?;
    Ok(WriteImportResponse { written: written.into_iter().map(u64::from).sum() }.into())
}

async fn finish(
    paths: Paths,
    _: Context,
    request: FinishImportRequest,
) -> Result<Reply<FinishImportResponse>, ConnectError> {
    let mut state =
        load(&paths, &request.job).await?.ok_or_else(|| ConnectError::not_found("the job was not begun"))?;
    state.finished = true;
    keep(&paths, &request.job, &state).await?;
    Ok(FinishImportResponse {}.into())
}
