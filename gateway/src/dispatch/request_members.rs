//! Request Guild Members (op 8): members by id, by name, or all of them, in chunks of at most 1,000.
//!
//! What a request costs the database is charged to the session's user. If the user's allowance is used up and
//! a second is enough to refill it, the request waits, unless another session of the user takes the allowance
//! meanwhile. Otherwise RATE_LIMITED tells the client when to ask again; Discord sends it for requests for
//! all members of a guild.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep},
};
use weir_data_client::DataError;
use weir_discord::{
    intent::Intents,
    object::{MembersChunkEvent, RateLimitedEvent, to_json},
};
use weir_proto::{
    data::{Member, User},
    id::{GuildId, UserId},
};

use crate::{
    Close,
    limits::allowances,
    session::start::Attached,
    shared::Shared,
    socket::{
        payload::{self, RequestMembers},
        stream::{Socket, SocketError},
    },
};

/// Members in a chunk. Discord's number.
const CHUNK_MAX: u32 = 1_000;
/// Ids of one request, or members found by name. Discord's number.
const PICKED_MAX: usize = 100;
/// Bytes of a nonce; a longer one is not echoed. Discord's number.
const NONCE_MAX: usize = 32;
/// Chunks of members that are searched by name, so that a request costs a bounded number of calls.
const SEARCH_CHUNKS: u32 = 20;
/// How long a request waits for its user's allowance. It is short, because dispatches wait with it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Members looked up at once.
const LOOKUPS_AT_ONCE: usize = 8;

/// Answers a request. The answers are not in the log and repeat the last `s`.
pub(crate) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    attached: &Attached,
    socket: &mut Socket<S>,
    request: &RequestMembers,
) -> Result<(), SocketError> {
    let guild_id = GuildId::try_from(request.guild_id).ok();
    let Some(guild_id) = guild_id.filter(|guild_id| attached.progress.guilds.contains_key(guild_id)) else {
        // As at Discord, there is no answer about guilds that the session is not in.
        return Ok(());
    };
    let nonce = request.nonce.as_deref().filter(|nonce| nonce.len() <= NONCE_MAX);
    let mut answer = Answer { shared, attached, socket, guild_id, nonce };
    let whole_guild = request.query.as_deref() == Some("");
    let answered = if let Some(user_ids) = &request.user_ids {
        answer.by_id(user_ids).await
    } else if !whole_guild {
        answer.by_name(request.query.as_deref().unwrap_or_default(), request.limit).await
    } else if !attached.session.intents.contains(Intents::GUILD_MEMBERS) {
        // This is refused, but with an answer: a client that waits for a chunk would wait for ever.
        answer.chunk(&[], (0, 1), &[]).await
    } else {
        answer.all(request.limit).await
    };
    match answered {
        Ok(()) => Ok(()),
        Err(AnswerError::NoAllowance(wait)) => answer.refuse(wait).await,
        Err(AnswerError::Socket(error)) => Err(error),
        Err(AnswerError::Data(error)) => {
            tracing::warn!(%error, "a request for members could not be answered");
            Err(Close::fault("a part of the service does not answer").into())
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the user may ask again in {0:?}")]
    NoAllowance(Duration),
}

struct Answer<'a, S> {
    shared: &'a Shared,
    attached: &'a Attached,
    socket: &'a mut Socket<S>,
    guild_id: GuildId,
    nonce: Option<&'a str>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Answer<'_, S> {
    fn user_id(&self) -> UserId {
        self.attached.session.user_id()
    }

    /// Number of members of the guild.
    fn known(&self) -> u32 {
        self.shared.fanout.present(self.guild_id).map_or(0, |snapshot| snapshot.state().member_count)
    }

    /// Tells the client when it may ask again.
    async fn refuse(&mut self, wait: Duration) -> Result<(), SocketError> {
        let op = payload::op::REQUEST_GUILD_MEMBERS;
        self.dispatch(
            "RATE_LIMITED",
            &to_json(&RateLimitedEvent::new(op, wait, self.guild_id.get(), self.nonce)),
        )
        .await
    }

    async fn by_id(&mut self, ids: &[u64]) -> Result<(), AnswerError> {
        let ids = &ids[..ids.len().min(PICKED_MAX)];
        charge(self.shared, self.user_id(), ids.len()).await?;
        let (calls, guild_id) = (&self.shared.calls, self.guild_id);
        let looked_up: Vec<Option<(Member, User)>> = stream::iter(ids.iter().copied())
            .map(async |user_id| {
                // 0 is nobody's id, and the data service refuses it.
                let Ok(user_id) = UserId::try_from(user_id) else { return Ok(None) };
                calls.member_with_user(guild_id, user_id).await
            })
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await?;
        let missing: Vec<u64> =
            ids.iter().zip(&looked_up).filter(|(_, found)| found.is_none()).map(|(id, _)| *id).collect();
        let found: Vec<(Member, User)> = looked_up.into_iter().flatten().collect();
        self.chunk(&found, (0, 1), &missing).await
    }

    async fn by_name(&mut self, prefix: &str, limit: u32) -> Result<(), AnswerError> {
        let prefix = prefix.to_lowercase();
        // At Discord 0 stands for all members only with an empty query.
        let limit = if limit == 0 { PICKED_MAX } else { PICKED_MAX.min(limit as usize) };
        let (mut hits, mut after) = (Vec::new(), 0);
        for chunk in 0..SEARCH_CHUNKS {
            let left = self.known().saturating_sub(chunk * CHUNK_MAX);
            charge(self.shared, self.user_id(), allowances::of_list(left.min(CHUNK_MAX))).await?;
            let page = self.shared.calls.members(self.guild_id, after, CHUNK_MAX).await?;
            let Some((last, _)) = page.last() else { break };
            after = last.user_id;
            hits.extend(page.into_iter().filter(|(member, user)| {
                [&member.nick, &user.username, &user.global_name]
                    .iter()
                    .any(|name| name.to_lowercase().starts_with(&prefix))
            }));
            if hits.len() >= limit {
                break;
            }
        }
        hits.truncate(limit);
        self.chunk(&hits, (0, 1), &[]).await
    }

    /// The first chunk says how many chunks there are, so this follows from the guild's member count. Members
    /// who come or go meanwhile make chunks shorter, or are announced by events of their own.
    async fn all(&mut self, limit: u32) -> Result<(), AnswerError> {
        let known = self.known();
        let mut left = if limit == 0 { known } else { limit.min(known) };
        let count = left.div_ceil(CHUNK_MAX).max(1);
        // All chunks are charged at once: a client that has some of them waits for the rest.
        charge(self.shared, self.user_id(), allowances::of_list(left)).await?;
        let mut after = 0;
        for index in 0..count {
            let mut page = self.shared.calls.members(self.guild_id, after, CHUNK_MAX).await?;
            page.truncate(left.min(CHUNK_MAX) as usize);
            // A page is at most as long as `left`, by the line above.
            left -= page.len() as u32;
            after = page.last().map_or(u64::MAX, |(member, _)| member.user_id);
            self.chunk(&page, (index, count), &[]).await?;
        }
        Ok(())
    }

    async fn chunk(
        &mut self,
        members: &[(Member, User)],
        place: (u32, u32),
        not_found: &[u64],
    ) -> Result<(), AnswerError> {
        let d = to_json(&MembersChunkEvent::new(self.guild_id.get(), members, place, not_found, self.nonce));
        Ok(self.dispatch("GUILD_MEMBERS_CHUNK", &d).await?)
    }

    async fn dispatch(&mut self, name: &'static str, d: &str) -> Result<(), SocketError> {
        let s = self.attached.session.last_s(&self.attached.progress);
        self.socket.send(&payload::dispatch(name, s, d)).await
    }
}

/// Charges a user for so many look-ups. If the allowance does not suffice, this waits once, for at most
/// [`PATIENCE`].
async fn charge(shared: &Shared, user_id: UserId, count: usize) -> Result<(), AnswerError> {
    let charge = || shared.allowances.look_up(user_id, count, Instant::now());
    let charged = match charge() {
        Err(wait) if wait <= PATIENCE => {
            sleep(wait).await;
            charge()
        }
        charged => charged,
    };
    charged.map_err(AnswerError::NoAllowance)
}
