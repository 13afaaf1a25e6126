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
        for index in 0..self.attached.session.intro.len() {
            let guild_id = self.attached.session.intro[index];
            let snapshot =
                snapshots.iter().find(|(id, _)| *id == guild_id).map(|(_, snapshot)| snapshot.clone());
            self.introduce_guild(index, snapshot).await?;
        }
        self.flush().await
    }

    /// The guilds of the introduction from an index on, as they are now.
    pub(crate) async fn introduce_rest(&mut self, from: usize) -> Result<(), Stop> {
        for index in from..self.attached.session.intro.len() {
            let snapshot = self.shared.fanout.present(self.attached.session.intro[index]);
            self.introduce_guild(index, snapshot).await?;
        }
        self.flush().await
    }

    /// A guild that the user has left meanwhile leaves its number unused; its GUILD_DELETE is among the records.
    async fn introduce_guild(&mut self, index: usize, snapshot: Option<Arc<Snapshot>>) -> Result<(), Stop> {
        let session = &self.attached.session;
        let member = self.attached.progress.guilds.get(&session.intro[index]);
        if let (Some(snapshot), Some(member)) = (snapshot, member)
            && let Some(d) = guild_create(&snapshot, member, &session.user, Availability::Backfill)
        {
            self.socket.queue(&payload::dispatch("GUILD_CREATE", Numbering::of_guild(index), &d))?;
        }
        self.flush_if_full().await
    }
}

/// GUILD_CREATE's `d` for one member. Bots see all channels there, as at Discord; what happens in them is filtered.
pub(crate) fn guild_create(
    snapshot: &Snapshot,
    member: &Member,
    user: &User,
    availability: Availability,
) -> Option<String> {
    let state = snapshot.state();
    let members = [(member.clone(), user.clone())];
    let channels: Vec<(&Channel, u64)> = state.channels.iter().map(|channel| (channel, 0)).collect();
    let event = GuildCreateEvent::new(&GuildCreateParts {
        state: &state,
        availability,
        joined_at_ms: member.joined_at_ms,
        members: &members,
        channels: &channels,
    })?;
    Some(to_json(&event))
}
