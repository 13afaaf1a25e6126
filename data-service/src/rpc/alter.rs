//! What the methods that change one message have in common.

use weir_connect::{ConnectError, Context, Reply};
use weir_proto::{
    data::EventContext,
    id::{ChannelId, GuildId, MessageId, ScopeId},
};

use super::{
    call::{Paths, accepted_at, change_headers, deadline, optional, required},
    error,
};
use crate::{
    outbox::record::Audience,
    write::{
        op::{AlterOp, Altered, Op},
        plan::Alteration,
    },
};

/// Whom a change's events go to: the guild by the caller's word, else whom the channel's row tells.
pub(super) async fn audience_of(
    paths: &Paths,
    channel_id: ChannelId,
    told: Option<u64>,
) -> Result<Audience, ConnectError> {
    match told.and_then(optional::<GuildId>) {
        Some(guild_id) => Ok(Audience::Guild(guild_id)),
        None => {
            let channel = paths.reads.channel_row(channel_id).await.map_err(error::of_read)?;
            Ok(Audience::of(channel.as_deref()))
        }
    }
}

/// A change of one message that was made.
pub(super) struct Done {
    channel_id: ChannelId,
    pub(super) outcome: Altered,
}

impl Done {
    /// The reply, with the revision of the change.
    pub(super) fn reply<T: prost::Message>(&self, message: T) -> Reply<T> {
        let mut reply = Reply::message(message);
        reply.headers = change_headers(self.channel_id, self.outcome.rev);
        reply
    }
}

/// Changes one message: charges the write to its channel, and makes the change in the channel's turn.
pub(super) async fn alter(
    paths: &Paths,
    context: &Context,
    (channel_id, message_id, event_context): (u64, u64, Option<EventContext>),
    plan: impl Alteration + 'static,
) -> Result<Done, ConnectError> {
    let channel_id: ChannelId = required("channel_id", channel_id)?;
    let message_id: MessageId = required("message_id", message_id)?;
    paths.charge_write(Some(channel_id)).await.map_err(|error| error::of_change(&error))?;
    paths.observer.on_write(plan.label(), Some(channel_id));
    let told = event_context.as_ref().map(|context| context.guild_id);
    let audience = audience_of(paths, channel_id, told).await?;
    let (deadline, accepted_at_us) = (deadline(context), accepted_at(&context.headers));
    let altered = paths.sequencer.submit(ScopeId::Channel(channel_id), |answer| {
        let (plan, context) = (Box::new(plan), event_context);
        Op::Alter(Box::new(AlterOp { message_id, plan, context, audience, accepted_at_us, deadline, answer }))
    });
    let outcome = altered.await.map_err(|error| error::of_change(&error))?;
    Ok(Done { channel_id, outcome })
}
