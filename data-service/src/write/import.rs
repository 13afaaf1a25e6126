//! The turn of an import: rows with ids of the caller's, written unchanged and without events.

use std::collections::BTreeSet;

use weir_protect::Change as Barrier;
use weir_proto::{
    bucket::Bucket,
    data::{Channel, Guild, Member, Message, Role, User},
};
use weir_store::RowChange;

use super::{
    Sequencer,
    commit::{Begun, Resolved, Sent},
    op::{ChangeError, ImportGuildOp, ImportOp, Refused},
};
use crate::{
    key::Key,
    live::{
        Effect, Known,
        scope::{Head, Scope, ScopeKind},
    },
};

/// Members read at once.
const MEMBERS_PAGE: usize = 1_000;

/// An import that is ready to send.
struct Planned {
    begun: Begun,
    rows: Vec<RowChange>,
    /// Head after the import; its `last_rev` is the greatest revision of the rows.
    head: Head,
    barriers: Vec<(Key, Barrier)>,
}

impl Sequencer {
    pub(super) async fn import_turn(&self, scope: &Scope, imports: Vec<ImportOp>) {
        let mut messages = Vec::with_capacity(imports.iter().map(|op| op.messages.len()).sum());
        let mut answers = Vec::with_capacity(imports.len());
        for op in imports {
            answers.push((u32::try_from(op.messages.len()).unwrap_or(u32::MAX), op.answer));
            messages.extend(op.messages);
        }
        let answer = |outcome: Result<(), ChangeError>| {
            for (count, answer) in answers {
                drop(answer.send(outcome.clone().map(|()| count)));
            }
        };
        match self.plan_import(scope, messages).await {
            Ok(planned) => self.write_import(scope, planned, answer).await,
            Err(error) => {
                self.live.forget(scope);
                answer(Err(error));
            }
        }
    }

    async fn plan_import(&self, scope: &Scope, messages: Vec<Message>) -> Result<Planned, ChangeError> {
        let begun = self.begin(scope).await?;
        let mut rev = begun.next_rev(self.clock.wall_us(), 0)?;
        let last_message_id = messages.iter().map(|message| message.id).max().unwrap_or(0);
        let mut buckets: Vec<Bucket> = messages.iter().map(|message| Bucket::of_raw(message.id)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        self.index_buckets(scope, &buckets).await?;
        let rows = messages.into_iter().map(|mut row| {
            (row.channel_id, row.rev, row.last_rev) = (scope.id, rev, rev);
            rev += 1;
            RowChange::PutMessage(row)
        });
        let rows = rows.collect();
        let keys = scope.kind.keys(scope.id).into_iter();
        let keys = keys.chain(buckets.iter().map(|bucket| Key::Rows(scope.id, *bucket)));
        let head = Head {
            epoch: begun.tenure.epoch,
            last_rev: rev,
            // Imported rows are not events: the next record follows the record before them.
            recorded_rev: begun.head.recorded_rev,
            last_message_id: begun.head.last_message_id.max(last_message_id),
            bucket: begun.head.bucket.max(buckets.last().copied()),
        };
        Ok(Planned { begun, rows, head, barriers: keys.map(|key| (key, Barrier::Both)).collect() })
    }

    /// Writes buckets into the channel's index, except one that the previous import wrote: imports are in the
    /// order of their buckets.
    async fn index_buckets(&self, scope: &Scope, buckets: &[Bucket]) -> Result<(), ChangeError> {
        let mut indexed = scope.lock().imported_bucket;
        for bucket in buckets {
            if indexed != Some(*bucket) {
                let added = self.store.add_bucket(scope.id, *bucket).await;
                added.map_err(|error| Refused::Database(error.to_string()))?;
                indexed = Some(*bucket);
            }
        }
        scope.lock().imported_bucket = indexed;
        Ok(())
    }

    /// The turn of a guild that an import makes, or adds authors to. A job that begins again repeats it, and finds what it made before as
    /// it is now: rows that exist are not written.
    pub(super) async fn import_guild_turn(&self, scope: &Scope, op: ImportGuildOp) {
        let ImportGuildOp { founding, authors, answer } = op;
        let answer = |outcome| drop(answer.send(outcome));
        match self.plan_import_guild(scope, founding, authors).await {
            Ok(planned) if planned.rows.is_empty() => answer(Ok(())),
            Ok(planned) => self.write_import(scope, planned, answer).await,
            Err(error) => answer(Err(error)),
        }
    }

    async fn plan_import_guild(
        &self,
        scope: &Scope,
        founding: Option<(Guild, Role, Vec<Channel>)>,
        authors: Vec<(User, Member)>,
    ) -> Result<Planned, ChangeError> {
        let begun = self.begin(scope).await?;
        let rev = begun.next_rev(self.clock.wall_us(), 0)?;
        let state = scope.lock().guild.clone();
        let state = state.as_deref();
        let (mut rows, mut keys) = (Vec::new(), vec![Key::Guild(scope.id)]);
        if let Some((guild, role, channels)) = founding {
            if state.is_none() {
                rows.push(RowChange::PutGuild(guild));
            }
            if !state.is_some_and(|state| state.roles.iter().any(|row| row.id == role.id)) {
                rows.push(RowChange::PutRole(role));
            }
            for channel in channels {
                if !state.is_some_and(|state| state.channels.iter().any(|row| row.id == channel.id)) {
                    keys.push(Key::Channel(channel.id));
                    rows.push(RowChange::PutChannel(channel));
                }
            }
        }
        let there = self.members_between(scope.id, &authors).await?;
        for (user, member) in authors.into_iter().filter(|(user, _)| !there.contains(&user.id)) {
            let id = user.id;
            keys.extend([
                Key::Members(scope.id),
                Key::User(id),
                Key::Member(scope.id, id),
                Key::UserGuilds(id),
            ]);
            rows.extend([RowChange::PutUser(user), RowChange::PutMember(member)]);
        }
        let head = Head { last_rev: rev, epoch: begun.tenure.epoch, ..begun.head };
        Ok(Planned {
            begun,
            rows,
            head,
            barriers: keys.into_iter().map(|key| (key, Barrier::Both)).collect(),
        })
    }

    /// Which of the authors, by rising id, are members already.
    async fn members_between(
        &self,
        guild_id: u64,
        authors: &[(User, Member)],
    ) -> Result<BTreeSet<u64>, ChangeError> {
        let (Some((first, _)), Some((last, _))) = (authors.first(), authors.last()) else {
            return Ok(BTreeSet::new());
        };
        let (mut there, mut after) = (BTreeSet::new(), first.id - 1);
        loop {
            let page = self.store.read_members(guild_id, after, MEMBERS_PAGE).await?;
            there.extend(page.iter().map(|member| member.user_id));
            match page.last() {
                Some(member) if page.len() == MEMBERS_PAGE && member.user_id < last.id => {
                    after = member.user_id;
                }
                Some(_) | None => return Ok(there),
            }
        }
    }

    /// Sends the rows until their outcome is known. An import is idempotent by its ids: after any failure the
    /// caller sends the same rows again.
    async fn write_import(
        &self,
        scope: &Scope,
        planned: Planned,
        answer: impl FnOnce(Result<(), ChangeError>) + Send,
    ) {
        let Planned { begun: Begun { tenure, .. }, rows, head, barriers } = planned;
        self.live.take_in_hand(scope, barriers.iter().map(|(key, _)| *key));
        let write = || self.store.put_rows(rows.clone(), head.last_rev);
        let sent = self.send(scope.id, write()).await;
        let lost = matches!(sent, Sent::Lost);
        match sent {
            Sent::Committed => {
                self.live.committed(scope, (head, Effect::Imported), &barriers, Known::InTime);
                if scope.kind == ScopeKind::Guild {
                    // Its state in memory is another now, and is read again by whoever needs it.
                    self.live.forget(scope);
                }
                if self.ownership.still(scope.id, tenure) {
                    answer(Ok(()));
                } else {
                    self.live.forget(scope);
                    answer(Err(ChangeError::OutcomeUnknown));
                }
            }
            Sent::NotCommitted(error) => {
                self.live.not_committed(&barriers);
                self.live.forget(scope);
                answer(Err(error));
            }
            Sent::InDoubt | Sent::Lost => {
                self.in_doubt(scope, &barriers);
                answer(Err(ChangeError::OutcomeUnknown));
                let resolved =
                    if lost { Resolved::Lost } else { self.resolve(scope.id, tenure, write).await };
                match resolved {
                    Resolved::Committed => {
                        self.live.committed(scope, (head, Effect::Imported), &barriers, Known::Late);
                    }
                    Resolved::Superseded => self.live.superseded(scope, &barriers),
                    Resolved::Lost => {}
                }
                self.live.forget(scope);
            }
        }
    }
}
