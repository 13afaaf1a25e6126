//! The start of a turn: the right to change the scope, and its head. Each kind of turn has a file beside this
//! one.

use std::sync::Arc;

use weir_proto::{
    data::Message,
    id::{ChannelId, MessageId, ScopeId},
};
use weir_store::ReadError;

use super::{
    Sequencer,
    commit::Begun,
    error::{ChangeError, Refused},
    mailbox::Work,
    op::Op,
};
use crate::{
    live::scope::{Head, Scope},
    ownership::{NotOwner, mint::MintError},
};

impl From<MintError> for ChangeError {
    fn from(error: MintError) -> Self {
        match error {
            MintError::Ahead { .. } => Refused::ClockBehind(error).into(),
            MintError::LeaseEnded => Refused::NotOwner.into(),
        }
    }
}

impl From<NotOwner> for ChangeError {
    fn from(error: NotOwner) -> Self {
        match error {
            NotOwner::Elsewhere | NotOwner::Worker => Refused::NotOwner.into(),
            NotOwner::Clock { .. } | NotOwner::ClockJumped { .. } => Refused::ClockOff(error).into(),
        }
    }
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        Refused::Database(error.to_string()).into()
    }
}

impl Sequencer {
    pub(super) async fn turn(self: &Arc<Self>, scope: &Scope, work: Work) {
        match (scope.id, work) {
            (ScopeId::Channel(id), Work::Creates(creates)) => self.create_turn(scope, id, creates).await,
            (ScopeId::Channel(id), Work::Imports(imports)) => self.import_turn(scope, id, imports).await,
            (ScopeId::Channel(id), Work::One(Op::Create(op))) => self.create_turn(scope, id, vec![*op]).await,
            (ScopeId::Channel(id), Work::One(Op::Alter(op))) => self.alter_turn(scope, id, *op).await,
            (ScopeId::Channel(id), Work::One(Op::Bulk(op))) => self.bulk_turn(scope, id, *op).await,
            (ScopeId::Channel(id), Work::One(Op::Import(op))) => self.import_turn(scope, id, vec![op]).await,
            (ScopeId::Channel(id), Work::One(Op::Make(op))) => self.make_turn(scope, id, *op).await,
            (ScopeId::Guild(id), Work::One(Op::ImportGuild(op))) => {
                self.import_guild_turn(scope, id, *op).await;
            }
            (ScopeId::Guild(id), Work::One(Op::Guild(op))) => self.guild_turn(scope, id, *op).await,
            (ScopeId::User(_), Work::One(Op::Open(op))) => self.open_turn(scope, op).await,
            // A defect of the caller. Nothing is done, and who waits for an answer is told of a doubt.
            (ScopeId::Channel(_) | ScopeId::Guild(_) | ScopeId::User(_), _) => {
                tracing::error!(scope = scope.id.get(), "a change came to the turn of another kind of scope");
            }
        }
    }

    /// The right to change the scope, and its head.
    pub(super) async fn begin(&self, scope: &Scope) -> Result<Begun, ChangeError> {
        let tenure = self.tenure_to_change(Some(scope.id))?;
        let head = self.live.load(scope, tenure, self.clock.wall_us()).await?;
        Ok(Begun { tenure, head })
    }

    /// Reads a row as the owner sees it: from the tail, else from the store.
    pub(super) async fn row(
        &self,
        scope: &Scope,
        channel_id: ChannelId,
        message_id: MessageId,
    ) -> Result<Option<Message>, ChangeError> {
        {
            let state = scope.lock();
            if let Some(row) = state.tail.as_ref().and_then(|tail| tail.get(message_id.get())) {
                return Ok(Some(row.0.clone()));
            }
        }
        Ok(self.store.read_message(channel_id, message_id).await?)
    }
}

impl Begun {
    /// The head after a change at `rev` that makes a record and no message.
    pub(super) fn head_at(&self, rev: u64) -> Head {
        Head { last_rev: rev, recorded_rev: rev, epoch: self.tenure.epoch, ..self.head }
    }

    /// The first of `count` (at least 1) revisions in a row, as [`Begun::next_rev`].
    pub(super) fn next_revs(&self, now_us: u64, rows_rev: u64, count: usize) -> Result<u64, ChangeError> {
        let first = self.next_rev(now_us, rows_rev)?;
        let last = first + (count as u64).saturating_sub(1);
        if last >= self.tenure.mint_until_us && first != last {
            return Err(Refused::NotOwner.into());
        }
        Ok(first)
    }

    /// The revision of the scope's next change: the clock's, or the one after the last. It also exceeds those
    /// of the rows that it changes.
    pub(super) fn next_rev(&self, now_us: u64, rows_rev: u64) -> Result<u64, ChangeError> {
        let above = self.head.last_rev.max(rows_rev).max(self.tenure.mint_above_us);
        let rev = now_us.max(above + 1);
        if rev >= self.tenure.mint_until_us { Err(Refused::NotOwner.into()) } else { Ok(rev) }
    }
}
