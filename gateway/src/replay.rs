//! Reading a durable log again, for a session that the ring no longer serves.

use std::sync::Arc;

use weir_bus::{InboxError, Position};

use crate::{
    Close,
    chain::Chains,
    deliver::Stop,
    entry::{Body, Entry},
    follow::{Logged, read_logged},
    hydrate::hydrate,
    shared::Shared,
};

/// Records read from the log at once.
const PAGE: usize = 256;

/// The next page of the log above `after`, and the position up to which it was read: never beyond what the follower has published, because
/// the guilds' present states are of that position. The entries carry no states: they are judged by the present ones.
///
/// # Errors
/// [`Stop::Invalid`] if the log has nothing directly above `after` or is damaged there, 4000 if it does not answer.
///
/// # Cancel safety
/// Safe: reading changes nothing but `chains`, which belong to this replay.
pub(crate) async fn read(
    shared: &Shared,
    after: Position,
    chains: &mut Chains,
) -> Result<(Vec<Arc<Entry>>, Position), Stop> {
    let inbox = &shared.loader.inbox;
    if !inbox.durable() {
        return Err(Stop::Invalid);
    }
    let head = shared.fanout.ring.head();
    let batch = match inbox.read(after, PAGE).await {
        Ok(batch) => batch,
        Err(InboxError::Truncated { .. }) => return Err(Stop::Invalid),
        Err(InboxError::Unavailable { reason }) => {
            tracing::warn!(reason, "the log could not be read for a resume");
            return Err(Close::fault("the log does not answer").into());
        }
    };
    let records: Vec<_> = batch.records.into_iter().take_while(|(position, _)| *position <= head).collect();
    let up_to = records.last().map_or(head, |(position, _)| *position);
    let (mut positions, mut publications) = (Vec::new(), Vec::new());
    for (position, bytes) in records {
        match read_logged(chains, &bytes) {
            Logged::Record(publication) => {
                positions.push(position);
                publications.push(publication);
            }
            Logged::Nothing => {}
            Logged::Undecodable => return Err(Stop::Invalid),
        }
    }
    hydrate(&shared.loader, &mut publications).await;
    let entries = positions.into_iter().zip(publications).map(|(position, publication)| {
        let guild_id = publication.record.guild_id;
        let body = Body::Change(publication);
        Arc::new(Entry::new(position, guild_id, body, (None, None), &shared.replayed))
    });
    Ok((entries.collect(), up_to))
}
