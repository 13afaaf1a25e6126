//! Opens direct messages: each pair of users has one channel.
//!
//! Two turns are nested. The outer one is that of the pair's lower user: of several callers that open the
//! same pair one is first, and the others find the channel that it made. The inner turn is the new channel's,
//! as for every change of a channel. In one step it commits the channel's row, the pair's row that leads to
//! it, and the creation as the first record of the channel. So nobody hears of a message before its channel.
//! A process that dies in between leaves a complete channel or none that counts: a channel to which its
//! pair's row does not lead does not exist (`read/directory.rs`), and the next caller makes another.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};
use weir_protect::Change as Barrier;
use weir_proto::{
    data::{Channel, EventContext, User},
    event::record::Change,
    id::{ChannelId, ScopeId, UserId},
    pair::UserPair,
};
use weir_store::RowChange;

use super::{
    Sequencer,
    commit::{Begun, Prepared},
    error::ChangeError,
    op::{MakeOp, Op, OpenOp},
};
use crate::{
    key::Key,
    live::{Effect, scope::Scope},
    outbox::{
        Pending,
        record::{Announced, Audience, Origin},
    },
};

/// Discord's type of direct messages.
const DIRECT: u32 = 1;

/// Result of the outer turn's look-up.
enum Found {
    There(Channel),
    /// No channel exists: an id for the new one, and both users.
    Nothing(ChannelId, Vec<User>),
}

impl Sequencer {
    /// The outer turn. It lasts until the fate of the new channel is known, so that the next turn finds that
    /// channel or makes its own.
    pub(super) async fn open_turn(self: &Arc<Self>, scope: &Scope, op: OpenOp) {
        let OpenOp { pair, accepted_at_us, deadline, answer } = op;
        let (id, users) = match self.find_direct(scope, pair, deadline).await {
            Ok(Found::There(channel)) => return drop(answer.send(Ok(channel))),
            Ok(Found::Nothing(id, users)) => (id, users),
            Err(error) => return drop(answer.send(Err(error))),
        };
        let (over, ended) = oneshot::channel();
        let made = self.submit(ScopeId::Channel(id), |answer| {
            Op::Make(Box::new(MakeOp { pair, users, accepted_at_us, deadline, answer, over }))
        });
        drop(answer.send(made.await));
        // Nothing is sent on this channel: the inner turn drops its end when it is over, however it ends.
        let _ = ended.await;
    }

    async fn find_direct(
        &self,
        scope: &Scope,
        pair: UserPair,
        deadline: Instant,
    ) -> Result<Found, ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let tenure = self.tenure_to_change(Some(scope.id))?;
        if let Some(id) = self.store.read_direct(pair).await?
            && let Some(channel) = self.store.read_channel(id).await?
        {
            return Ok(Found::There(channel));
        }
        let ids: [UserId; 2] = [pair.low(), pair.high()];
        let users = self.store.read_users(&ids).await?;
        if users.len() < ids.len() {
            return Err(ChangeError::NotFound("user"));
        }
        let id = self.minter.mint(self.clock.wall_us(), None, tenure)?;
        Ok(Found::Nothing(ChannelId(id), users))
    }

    /// The inner turn.
    pub(super) async fn make_turn(&self, scope: &Scope, channel_id: ChannelId, op: MakeOp) {
        let MakeOp { pair, users, accepted_at_us, deadline, answer, over } = op;
        let (begun, pending, rev) = match self.plan_make(scope, deadline).await {
            Ok(planned) => planned,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let (channel, record) = made(channel_id, pair, users, (begun.head.recorded_rev, rev), accepted_at_us);
        let prepared = Prepared {
            rows: vec![RowChange::PutDirect(channel.clone())],
            records: vec![record],
            rows_are_outbox: false,
            head: begun.head_at(rev),
            effect: Effect::Nothing,
            barriers: vec![(Key::Channel(channel_id), Barrier::Both), (Key::Direct(pair), Barrier::Both)],
            pending,
        };
        self.commit(scope, begun, prepared, |outcome| drop(answer.send(outcome.map(|()| channel)))).await;
        drop(over);
    }

    async fn plan_make(
        &self,
        scope: &Scope,
        deadline: Instant,
    ) -> Result<(Begun, Pending, u64), ChangeError> {
        if deadline <= Instant::now() {
            return Err(ChangeError::Deadline);
        }
        let begun = self.begin(scope).await?;
        let pending = self.outbox.begin(scope.id);
        let rev = begun.next_rev(pending.began_us(), 0)?;
        Ok((begun, pending, rev))
    }
}

/// Row and record of a new channel. The record contains both users, so that a gateway need not read them.
fn made(
    id: ChannelId,
    pair: UserPair,
    users: Vec<User>,
    (prev_rev, rev): (u64, u64),
    accepted_at_us: u64,
) -> (Channel, Announced) {
    let channel =
        Channel { id: id.get(), r#type: DIRECT, recipient_ids: pair.ids().into(), rev, ..Channel::default() };
    let origin = Origin {
        scope_id: ScopeId::Channel(id),
        audience: Audience::Direct(pair),
        context: Some(EventContext { recipients: users, ..EventContext::default() }),
        accepted_at_us,
    };
    let record = origin.record(rev, prev_rev, Change::ChannelCreated(channel.clone()));
    (channel, record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use weir_bus::Topic;
    use weir_proto::event::Record;

    #[test]
    fn the_creation_is_the_first_record_of_the_channels_chain_and_goes_to_both() {
        let user = |id| UserId::try_from(id).expect("not 0");
        let pair = UserPair::of(user(8), user(3)).expect("two users");
        let users = vec![User { id: 3, ..User::default() }, User { id: 8, ..User::default() }];
        let (channel, announced) =
            made(ChannelId::try_from(70).expect("not 0"), pair, users.clone(), (0, 500), 400);
        assert_eq!((channel.r#type, channel.guild_id, &channel.recipient_ids), (1, 0, &vec![3, 8]));
        assert_eq!(announced.topics, [3, 8].map(|id| Topic::User(user(id))));
        let record = Record::decode(announced.outbox.record).expect("just encoded");
        assert_eq!((record.scope_id, record.rev, record.prev_rev), (70, 500, 0));
        assert_eq!((record.guild_id, record.recipient_ids), (0, vec![3, 8]));
        assert_eq!(record.context.expect("there").recipients, users);
        assert_eq!(record.change, Some(Change::ChannelCreated(channel)));
    }
}
