//! The members that GUILD_CREATE lists. They are the session's own user and, if the session has the intent
//! for presences and the guild is not large, all others. In a large guild only those who are online would be
//! added, and no user is known to be online.
//!
//! A list is read after the session has subscribed to the guild, and after the position of the state that it
//! is sent with. So it includes every change up to that position, and every later change is sent as a
//! dispatch of its own. A member who comes or goes meanwhile may be in the list and announced again, or
//! missing from the list and then announced as gone. Clients accept both. No member who has left stays
//! listed.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use weir_discord::intent::Intents;
use weir_proto::{
    data::{Member, User},
    id::GuildId,
};

use crate::{fanout::snapshot::Snapshot, limits::allowances, session::Session, shared::Shared};

/// Lists being read at once, by all sessions. This bounds what a storm of identifies asks of the data
/// service, as the bound of admissions does for everything else. It is a bound of its own, so that sessions
/// that need no lists do not wait behind those that do.
pub(crate) const READS_MAX: usize = 64;
/// Guilds of one session whose lists are read at once and then held until they are written. With 250 members
/// each, they are as much as one chunk of an answer to a request for members.
pub(crate) const GUILDS_AT_ONCE: usize = 4;

/// What GUILD_CREATE says of a guild's members besides the session's own.
#[derive(Debug, PartialEq)]
pub(crate) struct MemberList {
    /// The other members with their users, ascending by id. At most as many as the session's threshold.
    pub(crate) others: Vec<(Member, User)>,
    /// True if the list is not complete: a client that wants all members has to ask.
    pub(crate) large: bool,
}

/// Reads the lists for one delivery: those of the initial guilds, or those of guilds that were joined.
#[derive(Clone, Copy)]
pub(crate) struct MemberLists {
    /// Time that reading lists may still take.
    left: Duration,
    /// Whether lists are charged to the session's user.
    charged: bool,
}

impl MemberLists {
    /// Lists that take no longer than `time` in all. The client's heartbeats are not answered meanwhile.
    pub(crate) fn within(time: Duration) -> Self {
        Self { left: time, charged: false }
    }

    /// From here on lists are charged to the session's user: an identify is rare, but a client may resume as
    /// often as it likes. A list for which the user has no allowance is not read.
    pub(crate) fn charge_user(&mut self) {
        self.charged = true;
    }

    /// The member lists of guilds, in their order; at most [`GUILDS_AT_ONCE`]. After a list could not be
    /// read, or when time is over, no more are asked for. Such a guild is sent as large, with the session's
    /// own member alone, so that the client asks for the others when it needs them.
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

/// One guild's list; `None` if it should have been read and was not.
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
