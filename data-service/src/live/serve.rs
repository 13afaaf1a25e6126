//! Serves reads from memory: tails, heads, guilds. Nothing here changes a row.

use std::sync::Arc;

use weir_protect::tail::{TailAnchor, TailQuery};
use weir_proto::{
    data::{GuildState, Message},
    id::{ChannelId, GuildId, MessageId, ScopeId},
};

use super::{
    Live,
    page::{EncodedPage, encode_page},
    scope::TailMessage,
};
use crate::{freshness::Freshness, ownership::Tenure};

/// The right to seed a channel's tail with rows that are read from now on, unless something changes
/// meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeedTicket {
    version: u64,
    epoch: u64,
}

/// Inspection of a scope, for operators.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ScopeSight {
    pub(crate) last_message_id: Option<MessageId>,
    pub(crate) last_rev: u64,
    pub(crate) tail_rows: usize,
    pub(crate) tail_warm: bool,
    pub(crate) unresolved: bool,
}

impl Live {
    /// Highest revision of the scope whose outcome is known; 0 if it is not in memory.
    pub(crate) fn resolved_rev(&self, scope: impl Into<ScopeId>) -> u64 {
        let head = self.scopes.get(scope.into()).and_then(|scope| scope.lock().head);
        head.map_or(0, |head| head.last_rev)
    }

    /// Caps a token's claim at the known revision. Every reply carries the revision that its scope's owner
    /// had resolved by then, so a greater claim is not from here. Uncapped, no cached value could satisfy it,
    /// and each read with it would reach the database.
    ///
    /// A scope in which nothing was written under this tenure, or that was evicted since its last change, has
    /// no known revision to compare with. There the claim is dropped: cached values were read under this
    /// tenure, after all commits of other owners, and a change under this tenure bumps the generation before
    /// it is acknowledged. In doubt the claim stays.
    pub(crate) fn attainable(&self, token: Freshness) -> Freshness {
        let scopes = self.scopes.with_id(token.scope_id);
        let Ok(tenure) = self.ownership.tenure(scopes.first().map(|scope| scope.id)) else { return token };
        let mut known_rev = 0;
        for scope in scopes {
            let state = scope.lock();
            if state.unresolved {
                return token;
            }
            let known = state.head.filter(|head| head.epoch == tenure.epoch);
            known_rev = known.map_or(0, |head| head.last_rev).max(known_rev);
        }
        Freshness { rev: token.rev.min(known_rev), ..token }
    }

    /// Greatest committed message id of a channel under the present tenure; `None` if it is not known.
    pub(crate) fn last_message_id(&self, channel_id: ChannelId) -> Option<MessageId> {
        let id = ScopeId::Channel(channel_id);
        let tenure = self.ownership.tenure(Some(id)).ok()?;
        let scope = self.scopes.get(id)?;
        let state = scope.lock();
        // In doubt, the database may already hold a greater id.
        let known = state.head.filter(|head| head.epoch == tenure.epoch && !state.unresolved);
        known.and_then(|head| head.last_message_id)
    }

    /// The encoded page from the channel's tail, and the revision that it contains, if the tail is certain.
    pub(crate) fn serve_tail(&self, channel_id: ChannelId, query: TailQuery) -> Option<(EncodedPage, u64)> {
        let id = ScopeId::Channel(channel_id);
        let tenure = self.ownership.tenure(Some(id)).ok()?;
        let scope = self.scopes.get(id)?;
        let (rows, version, rev) = {
            let mut state = scope.lock();
            let rev = state.head.map_or(0, |head| head.last_rev);
            if state.tail_under(tenure.epoch).is_none() {
                state.tail_missed |= query.anchor == TailAnchor::Latest;
            }
            let tail = state.tail_under(tenure.epoch)?;
            if let Some(encoded) = state.encoded(query) {
                drop(state);
                self.scopes.touch(id);
                return self.remembered_under(id, tenure).then_some((encoded, rev));
            }
            (tail.serve(&query)?, state.version, rev)
        };
        // The page is encoded outside the lock, so that writers of a hot channel do not wait. It is kept only
        // if nothing changed meanwhile.
        let encoded = encode_page(rows.iter().map(|row: &Arc<TailMessage>| &row.0));
        scope.lock().keep_encoded(version, query, encoded.clone());
        self.scopes.trim(&scope);
        // The tenure is checked again after the answer was made (rule 3).
        self.remembered_under(id, tenure).then_some((encoded, rev))
    }

    /// One message from the tail, `None` if the tail is certain that it does not exist, and the revision that
    /// the tail contains.
    pub(crate) fn tail_row(
        &self,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Option<(Option<Arc<Message>>, u64)> {
        let around = TailQuery { anchor: TailAnchor::Around(message_id.get()), limit: 1 };
        let id = ScopeId::Channel(channel_id);
        let tenure = self.ownership.tenure(Some(id)).ok()?;
        let scope = self.scopes.get(id)?;
        let row = {
            let state = scope.lock();
            let tail = state.tail_under(tenure.epoch)?;
            tail.serve(&around)?;
            let rev = state.head.map_or(0, |head| head.last_rev);
            (tail.get(message_id.get()).map(|row| Arc::new(row.0.clone())), rev)
        };
        self.remembered_under(id, tenure).then_some(row)
    }

    /// The revision known before a read of the channel's newest rows begins, and the right to seed the tail
    /// from that read.
    pub(crate) fn seed_ticket(&self, channel_id: ChannelId) -> (u64, Option<SeedTicket>) {
        let id = ScopeId::Channel(channel_id);
        let Ok(tenure) = self.ownership.tenure(Some(id)) else { return (0, None) };
        let Some(scope) = self.scopes.get_or_insert(id) else { return (0, None) };
        let state = scope.lock();
        let rev = state.head.map_or(0, |head| head.last_rev);
        let seedable = state.tail_under(tenure.epoch).is_none() && state.idle();
        (rev, seedable.then_some(SeedTicket { version: state.version, epoch: tenure.epoch }))
    }

    /// Seeds a channel's tail with its newest rows, newest first, if nothing changed since the ticket.
    /// `asked`: the number of rows requested; a shorter result means that there are no more.
    ///
    /// An id without rows or any other known state gets no tail: anybody can make up such ids, and they would
    /// push out existing channels. An existing empty channel is answered by the page cache, like any other
    /// page.
    pub(crate) fn seed(&self, channel_id: ChannelId, ticket: SeedTicket, rows: Vec<Message>, asked: usize) {
        let Some(scope) = self.scopes.get(channel_id.into()) else { return };
        if rows.is_empty() && scope.lock().is_blank() {
            self.scopes.drop_unused(&scope);
            return;
        }
        let complete = rows.len() < asked;
        let floor = if complete { 0 } else { rows.last().map_or(0, |row| row.id - 1) };
        let tail = self.tail_of(rows, floor, complete);
        let seeded = scope.lock().seed(ticket.version, ticket.epoch, tail);
        if seeded {
            self.scopes.trim(&scope);
        }
    }

    /// Ends the read of a ticket that failed: a channel without known state leaves memory.
    pub(crate) fn unseeded(&self, channel_id: ChannelId) {
        if let Some(scope) = self.scopes.get(channel_id.into()) {
            self.scopes.drop_unused(&scope);
        }
    }

    /// Inspects a channel.
    pub(crate) fn sight(&self, channel_id: ChannelId) -> ScopeSight {
        let Some(scope) = self.scopes.get(channel_id.into()) else { return ScopeSight::default() };
        let state = scope.lock();
        ScopeSight {
            last_message_id: state.head.and_then(|head| head.last_message_id),
            last_rev: state.head.map_or(0, |head| head.last_rev),
            tail_rows: state.tail_rows(),
            tail_warm: state.tail.is_some(),
            unresolved: state.unresolved,
        }
    }

    /// A guild as its turn left it and the revision of its last change, if it is in memory and this node owns
    /// it.
    pub(crate) fn guild_in_memory(&self, guild_id: GuildId) -> Option<(Arc<GuildState>, u64)> {
        let id = ScopeId::Guild(guild_id);
        let tenure = self.ownership.tenure(Some(id)).ok()?;
        let scope = self.scopes.get(id)?;
        let (guild, rev) = {
            let state = scope.lock();
            let head = state.head.filter(|head| head.epoch == tenure.epoch && !state.unresolved)?;
            (state.guild.clone()?, head.last_rev)
        };
        self.remembered_under(id, tenure).then_some((guild, rev))
    }
}

impl Live {
    /// True if state read under a tenure may be returned now that the answer is made (rule 3).
    fn remembered_under(&self, scope: ScopeId, tenure: Tenure) -> bool {
        self.ownership.still(Some(scope), tenure)
    }
}
