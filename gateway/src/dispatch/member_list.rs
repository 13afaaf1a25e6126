//! The members that GUILD_CREATE lists: the session's own user, and for a session that hears of presences everybody, if the guild is not large.
//! In a large one the others would be those who are online, and nobody is known to be.
//!
//! A list is asked for after the session listens to the guild and after the position of the state that it is shown with. So it includes
//! every change up to there, and every later one is told by its own dispatch: who comes or goes meanwhile may be listed and told, or gone
//! from the list and told, which clients take; nobody stays listed who left.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use weir_discord::intent::Intents;
use weir_proto::{
    data::{Member, User},
    id::GuildId,
};

use crate::{fanout::snapshot::Snapshot, limits::allowances, session::Session, shared::Shared};

/// Lists being read at once, by all sessions: what a storm of identifies may ask of the data service, as the bound of admissions for the rest
/// of it. A bound of its own, so that sessions that are shown no lists do not wait behind those that are.
pub(crate) const READS_MAX: usize = 64;
/// Guilds of one session whose lists are read at once, and then held until they are written: with 250 members each as much as one chunk of
/// an answer to a request for members.
pub(crate) const GUILDS_AT_ONCE: usize = 4;

/// What GUILD_CREATE says of a guild's members besides the session's own.
#[derive(Debug, PartialEq)]
pub(crate) struct MemberList {
    /// With their users, ascending by id, without the session's own user. At most as many as the session's threshold.
    pub(crate) others: Vec<(Member, User)>,
    /// True if they are not all: a client that wants them has to ask.
    pub(crate) large: bool,
}

/// The lists that one delivery reads: of an introduction, or of guilds that were joined.
#[derive(Clone, Copy)]
pub(crate) struct MemberLists {
    /// Time that they may still take.
    left: Duration,
    /// Whether they are charged to the session's user.
    charged: bool,
}

impl MemberLists {
    /// Lists that take no longer than this in all: meanwhile the client's heartbeats are not answered.
    pub(crate) fn within(time: Duration) -> Self {
        Self { left: time, charged: false }
    }

    /// From here on lists are charged to the session's user: an identify comes once in a while, and a resume as often as its client likes. What
    /// it has no allowance for is not read.
    pub(crate) fn charge_user(&mut self) {
        self.charged = true;
    }

    /// The member lists of guilds, in their order; at most [`GUILDS_AT_ONCE`]. Once one cannot be read, or time is over, no more are asked for:
    /// a guild of which only the session's own member is known is shown as large, so that its client asks for the others when it needs them.
    ///
    /// # Cancel safety
    /// Safe: reading changes nothing.
    pub(crate) async fn of(
        &mut self,
        shared: &Shared,
        session: &Session,
        guilds: &[(GuildId, Arc<Snapshot>)],
    ) -> Vec<MemberList> {
        let began = Instant::now();
        let read = guilds.iter().map(|(guild_id, guild)| read(shared, session, (*guild_id, guild), *self));
        let read = join_all(read).await;
        let failed = read.iter().any(Option::is_none);
        self.left = if failed { Duration::ZERO } else { self.left.saturating_sub(began.elapsed()) };
        read.into_iter().map(|list| list.unwrap_or(MemberList { others: Vec::new(), large: true })).collect()
    }
}

/// One guild's list; `None` if it was not read although it should have been.
async fn read(
    shared: &Shared,
    session: &Session,
    (guild_id, guild): (GuildId, &Snapshot),
    MemberLists { left, charged }: MemberLists,
) -> Option<MemberList> {
    let threshold = session.large_threshold.get();
    let large = guild.member_count() > threshold;
    if large || !session.intents.contains(Intents::GUILD_PRESENCES) {
        return Some(MemberList { others: Vec::new(), large });
    }
    let spent = || {
        let cost = allowances::of_list(guild.member_count());
        charged && shared.allowances.look_up(session.user_id(), cost, Instant::now()).is_err()
    };
    if left.is_zero() || spent() {
        return None;
    }
    let page = async {
        let _turn = shared.member_list_reads.acquire().await.ok()?;
        let page = shared.calls.members(guild_id, 0, threshold).await;
        page.inspect_err(|error| tracing::warn!(%guild_id, %error, "a guild is shown without its members"))
            .ok()
    };
    let mut others = timeout(left, page).await.ok().flatten()?;
    others.retain(|(member, _)| member.user_id != session.user.id);
    Some(MemberList { others, large })
}
