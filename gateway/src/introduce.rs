//! What a session begins with: READY, then each of its guilds.

use std::{pin::pin, sync::Arc, time::Duration};

use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, Semaphore, SemaphorePermit},
    time::timeout,
};
use weir_connect::{
    Budget,
    budget::{Account, Hold},
};
use weir_discord::object::{
    Availability, GuildCreateEvent, GuildCreateParts, ReadyEvent, ReadyParts, to_json,
};
use weir_proto::data::{Channel, Member, User};

use crate::{
    Close, GatewayConfig, Metrics,
    deliver::{BATCH_BYTES, Delivery, Stop},
    guild::Snapshot,
    payload,
    roster::{GUILDS_AT_ONCE, Roster},
    sequence::Numbering,
};

/// Bytes of JSON for each byte of a row, at most: small numbers become keys and values in quotes, a control character six.
const JSON_FACTOR: usize = 6;
/// Bytes of JSON for each channel, role or member beyond its row: keys whose values are empty.
const JSON_EACH: usize = 512;

/// The bytes that are rendered for sessions being introduced and that their clients have not read. A guild is as large as its owner made it,
/// and a client that does not read holds it until the write timeout.
pub(crate) struct Introductions {
    bytes: Arc<Semaphore>,
    /// Somebody gave back a part of its share.
    freed: Notify,
    bytes_max: u32,
    /// Whoever holds bytes gives them back within one write timeout; two are waited for.
    patience: Duration,
    metrics: Metrics,
}

/// Bytes in use by one introduction.
struct Rendered<'a> {
    permit: SemaphorePermit<'a>,
    share: OwnShare<'a>,
    metrics: &'a Metrics,
}

/// What an introduction has of its token's share. However it ends, those who wait for the share hear of it.
struct OwnShare<'a> {
    hold: Hold,
    freed: &'a Notify,
}

impl OwnShare<'_> {
    fn give_back(&mut self, bytes: usize) {
        self.hold.shrink(bytes);
        self.freed.notify_waiters();
    }
}

impl Drop for OwnShare<'_> {
    fn drop(&mut self) {
        self.give_back(self.hold.bytes());
    }
}

impl Introductions {
    pub(crate) fn new(config: &GatewayConfig, metrics: &Metrics, budget: &Budget) -> Self {
        let bytes_max = u32::try_from(config.introduction_bytes_max).unwrap_or(u32::MAX).max(1);
        let bytes = Arc::new(Semaphore::new(bytes_max as usize));
        let seen = Arc::clone(&bytes);
        budget.watch("gateway_introductions", bytes_max as usize, move || {
            (bytes_max as usize).saturating_sub(seen.available_permits())
        });
        Self {
            bytes,
            freed: Notify::new(),
            bytes_max,
            patience: config.write_timeout * 2,
            metrics: metrics.clone(),
        }
    }

    /// Waits until so many bytes may be rendered for `account`: first for its own share, with others of the same token only, then in the line of
    /// all. So sessions of one token that do not read keep each other waiting, and nobody else.
    ///
    /// # Errors
    /// 4000 if that takes too long.
    async fn room(&self, bytes: usize, account: Account) -> Result<Rendered<'_>, Close> {
        let mut share = OwnShare { hold: account.nothing(), freed: &self.freed };
        // What is larger than all that one may have waits for all of it, and what is larger than all there is for that.
        let of_share = bytes.min(share.hold.bounds().token);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                // Before the look, so that what is given back after it is heard of.
                freed.as_mut().enable();
                if share.hold.grow(of_share).is_ok() {
                    break;
                }
                freed.await;
            }
            self.bytes.acquire_many(bytes).await.ok()
        };
        let busy = || Close::fault("too many sessions are being introduced");
        let permit = timeout(self.patience, room).await.map_err(|_| busy())?.ok_or_else(busy)?;
        self.metrics.introduction_bytes.inc_by(i64::from(bytes));
        Ok(Rendered { permit, share, metrics: &self.metrics })
    }
}

impl Rendered<'_> {
    /// Gives back what turned out not to be needed.
    fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes);
        if let Some(back) = self.permit.split(surplus) {
            self.metrics.introduction_bytes.dec_by(i64::try_from(back.num_permits()).unwrap_or(i64::MAX));
            self.share.give_back(self.share.hold.bytes().saturating_sub(bytes));
        }
    }
}

impl Drop for Rendered<'_> {
    fn drop(&mut self) {
        let bytes = i64::try_from(self.permit.num_permits()).unwrap_or(i64::MAX);
        self.metrics.introduction_bytes.dec_by(bytes);
    }
}

/// The most bytes that GUILD_CREATE may take, without rendering it.
fn rendered_max(snapshot: &Snapshot, roster: &Roster) -> usize {
    let (rows, bytes) = snapshot.weight();
    let members: usize =
        roster.others.iter().map(|(member, user)| member.encoded_len() + user.encoded_len()).sum();
    (bytes + members) * JSON_FACTOR + (rows + roster.others.len() + 1) * JSON_EACH
}

impl<S: AsyncRead + AsyncWrite + Unpin> Delivery<'_, S> {
    /// READY and the guilds of the introduction.
    pub(crate) async fn introduce(&mut self, snapshots: &[(u64, Arc<Snapshot>)]) -> Result<(), Stop> {
        let session = &self.attached.session;
        let ready = to_json(&ReadyEvent::new(&ReadyParts {
            version: session.version,
            user: &session.user,
            guild_ids: &session.intro,
            session_id: &session.id,
            resume_gateway_url: &self.shared.config.public_url,
            shard: (session.listener.shard.0, session.listener.shard.1.get()),
        }));
        self.socket.queue(&payload::dispatch("READY", 1, &ready))?;
        // Ascending by id, and as many as a session has guilds.
        let at_head = |id| snapshots.binary_search_by_key(&id, |(id, _)| *id).ok();
        self.introduce_guilds(0, |id| at_head(id).map(|found| snapshots[found].1.clone())).await
    }

    /// The guilds of the introduction from an index on, as they are now.
    pub(crate) async fn introduce_rest(&mut self, from: usize) -> Result<(), Stop> {
        let shared = self.shared;
        self.introduce_guilds(from, |id| shared.fanout.present(id)).await
    }

    /// The guilds of the introduction from an index on. One that the user has left meanwhile leaves its number unused; its GUILD_DELETE is
    /// among the records.
    async fn introduce_guilds(
        &mut self,
        from: usize,
        state: impl Fn(u64) -> Option<Arc<Snapshot>>,
    ) -> Result<(), Stop> {
        let session = self.attached.session.clone();
        for first in (from..session.intro.len()).step_by(GUILDS_AT_ONCE) {
            let numbered = (first..session.intro.len()).take(GUILDS_AT_ONCE);
            let here = numbered.filter_map(|index| {
                let guild_id = session.intro[index];
                let member = self.attached.progress.guilds.get(&guild_id)?.clone();
                Some((index, member, (guild_id, state(guild_id)?)))
            });
            let here: Vec<_> = here.collect();
            let guilds: Vec<_> = here.iter().map(|(.., guild)| guild.clone()).collect();
            let read = self.rosters.of(self.shared, &session, &guilds).await;
            for ((index, member, (_, snapshot)), roster) in here.into_iter().zip(read) {
                let shared = self.shared;
                let bytes = rendered_max(&snapshot, &roster);
                let mut room = None;
                // A small one is bounded by the number of connections, as every batch is.
                if bytes > BATCH_BYTES {
                    // First out with what is there: who waits for room holds none.
                    self.flush().await?;
                    let account = self.socket.introductions();
                    room = Some(shared.introductions.room(bytes, account).await?);
                }
                let shown = guild_create(&snapshot, (member, &session.user), roster, Availability::Backfill);
                if let Some(d) = shown {
                    self.socket.queue(&payload::dispatch("GUILD_CREATE", Numbering::of_guild(index), &d))?;
                }
                if let Some(mut room) = room {
                    room.shrink_to(self.socket.queued());
                    self.flush().await?;
                }
                self.flush_if_full().await?;
            }
        }
        self.flush().await
    }
}

/// GUILD_CREATE's `d` for one member. Bots see all channels there, as at Discord; what happens in them is filtered.
pub(crate) fn guild_create(
    snapshot: &Snapshot,
    (member, user): (Member, &User),
    roster: Roster,
    availability: Availability,
) -> Option<String> {
    let state = snapshot.state();
    let joined_at_ms = member.joined_at_ms;
    let mut members = vec![(member, user.clone())];
    members.extend(roster.others);
    let newest = |channel: &Channel| snapshot.newest_message(channel.id);
    let channels: Vec<(&Channel, u64)> =
        state.channels.iter().map(|channel| (channel, newest(channel))).collect();
    let event = GuildCreateEvent::new(&GuildCreateParts {
        state: &state,
        availability,
        joined_at_ms,
        members: &members,
        channels: &channels,
    })?;
    Some(to_json(&event.with_large(roster.large)))
}
