//! The beginning of a session: READY, then each of its initial guilds.

use std::sync::Arc;

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use weir_discord::object::{Availability, ReadyEvent, ReadyParts, to_json};
use weir_proto::id::GuildId;

use super::{
    deliver::{BATCH_BYTES, Delivery},
    guild_create::guild_create,
    member_list::{GUILDS_AT_ONCE, MemberList},
    stop::Stop,
};
use crate::{fanout::snapshot::Snapshot, session::numbering::Numbering, socket::payload};

/// Bytes of JSON for each byte of a row, at most: small numbers become keys and values in quotes, and a
/// control character becomes six bytes.
const JSON_FACTOR: usize = 6;
/// Bytes of JSON for each channel, role or member beyond its row: the keys of empty values.
const JSON_EACH: usize = 512;

/// An upper bound on the bytes of GUILD_CREATE, found without rendering it.
fn rendered_max(snapshot: &Snapshot, list: &MemberList) -> usize {
    let (rows, bytes) = snapshot.weight();
    let members: usize =
        list.others.iter().map(|(member, user)| member.encoded_len() + user.encoded_len()).sum();
    (bytes + members) * JSON_FACTOR + (rows + list.others.len() + 1) * JSON_EACH
}

impl<S: AsyncRead + AsyncWrite + Unpin> Delivery<'_, S> {
    /// Sends READY and the initial guilds.
    pub(crate) async fn send_ready(&mut self, snapshots: &[(GuildId, Arc<Snapshot>)]) -> Result<(), Stop> {
        let session = &self.attached.session;
        let guild_ids: Vec<u64> = session.initial_guilds.iter().map(|id| id.get()).collect();
        let ready = to_json(&ReadyEvent::new(&ReadyParts {
            version: session.version,
            user: &session.user,
            guild_ids: &guild_ids,
            session_id: &session.id,
            resume_gateway_url: &self.shared.config.public_url,
            shard: (session.subscriber.shard.0, session.subscriber.shard.1.get()),
        }));
        self.socket.queue(&payload::dispatch("READY", 1, &ready))?;
        // They are ascending by id, and as many as the guilds of a session.
        let at_head = |id| snapshots.binary_search_by_key(&id, |(id, _)| *id).ok();
        self.send_initial_guilds(0, |id| at_head(id).map(|found| snapshots[found].1.clone())).await
    }

    /// Sends the initial guilds from an index on, as they are now.
    pub(crate) async fn send_remaining_guilds(&mut self, from: usize) -> Result<(), Stop> {
        let shared = self.shared;
        self.send_initial_guilds(from, |id| shared.fanout.present(id)).await
    }

    /// Sends the initial guilds from an index on. A guild that the user has left meanwhile leaves its number
    /// unused; its GUILD_DELETE is among the records.
    async fn send_initial_guilds(
        &mut self,
        from: usize,
        state: impl Fn(GuildId) -> Option<Arc<Snapshot>>,
    ) -> Result<(), Stop> {
        let session = self.attached.session.clone();
        for first in (from..session.initial_guilds.len()).step_by(GUILDS_AT_ONCE) {
            let numbered = (first..session.initial_guilds.len()).take(GUILDS_AT_ONCE);
            let here = numbered.filter_map(|index| {
                let guild_id = session.initial_guilds[index];
                let member = self.attached.progress.guilds.get(&guild_id)?.clone();
                Some((index, member, (guild_id, state(guild_id)?)))
            });
            let here: Vec<_> = here.collect();
            let guilds: Vec<_> = here.iter().map(|(.., guild)| guild.clone()).collect();
            let read = self.member_lists.of(self.shared, &session, &guilds).await;
            for ((index, member, (_, snapshot)), list) in here.into_iter().zip(read) {
                let shared = self.shared;
                let bytes = rendered_max(&snapshot, &list);
                let mut room = None;
                // Small guilds are bounded by the number of connections, as every batch is.
                if bytes > BATCH_BYTES {
                    // What is queued goes out first: a session that waits for room must hold none.
                    self.flush().await?;
                    let account = self.socket.introductions();
                    room = Some(shared.introductions.room(bytes, account).await?);
                }
                let shown = guild_create(&snapshot, (member, &session.user), list, Availability::Backfill);
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
