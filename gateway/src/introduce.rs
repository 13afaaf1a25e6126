//! What a session begins with: READY, then each of its guilds.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use weir_discord::object::{
    Availability, GuildCreateEvent, GuildCreateParts, ReadyEvent, ReadyParts, to_json,
};
use weir_proto::data::{Channel, Member, User};

use crate::{
    deliver::{Delivery, Stop},
    guild::Snapshot,
    payload,
    roster::{GUILDS_AT_ONCE, Roster},
    sequence::Numbering,
};

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
                let shown = guild_create(&snapshot, (member, &session.user), roster, Availability::Backfill);
                if let Some(d) = shown {
                    self.socket.queue(&payload::dispatch("GUILD_CREATE", Numbering::of_guild(index), &d))?;
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
    let channels: Vec<(&Channel, u64)> = state.channels.iter().map(|channel| (channel, 0)).collect();
    let event = GuildCreateEvent::new(&GuildCreateParts {
        state: &state,
        availability,
        joined_at_ms,
        members: &members,
        channels: &channels,
    })?;
    Some(to_json(&event.with_large(roster.large)))
}
