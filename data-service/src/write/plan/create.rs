//! The plan of a batch of creates: finds repetitions, mints ids, chooses the bucket. Pure.

use weir_proto::{
    bucket::Bucket,
    data::Message,
    id::{ChannelId, MessageId, ScopeId, UserId},
};
use weir_store::RowChange;

use crate::{
    live::{nonce::Nonces, scope::Head},
    outbox::record::{Announced, Origin, created},
    ownership::{
        Tenure,
        mint::{MintError, Minter},
    },
    write::{
        error::ChangeError,
        op::{CreateOp, Created},
    },
};

/// Plan of a batch of creates.
pub(crate) struct CreatePlan {
    /// Creates to commit, each with its finished row; all are in one bucket.
    pub(crate) fresh: Vec<(CreateOp, Message)>,
    /// Repetitions of remembered nonces, each with the id of the existing message.
    pub(crate) repeated: Vec<(CreateOp, MessageId)>,
    /// Repetitions of a create in the same batch, each with its index into `fresh`.
    pub(crate) twins: Vec<(CreateOp, usize)>,
    /// Creates for the next turn: they belong to the next bucket, or repeat one that does.
    pub(crate) later: Vec<CreateOp>,
    /// Creates for which no id could be minted.
    pub(crate) refused: Vec<(CreateOp, MintError)>,
    pub(crate) bucket: Option<Bucket>,
}

/// Mints ids and revisions for a batch.
pub(crate) fn plan(
    creates: Vec<CreateOp>,
    channel_id: ChannelId,
    nonces: &mut Nonces,
    head: Head,
    minter: &Minter,
    tenure: Tenure,
    now_us: u64,
) -> CreatePlan {
    let mut plan = CreatePlan {
        fresh: Vec::with_capacity(creates.len()),
        repeated: Vec::new(),
        twins: Vec::new(),
        later: Vec::new(),
        refused: Vec::new(),
        bucket: None,
    };
    let mut last_id = head.last_message_id.map(|id| id.0);
    let mut last_rev = head.last_rev.max(tenure.mint_above_us);
    let mut creates = creates.into_iter();
    for create in creates.by_ref() {
        let nonce = create.message.nonce.as_str();
        if create.deduplicate && !nonce.is_empty() {
            let author = UserId::try_from(create.message.author_id).ok();
            if let Some(id) = author.and_then(|author| nonces.get(author, nonce, now_us)) {
                plan.repeated.push((create, id));
                continue;
            }
            let same = |(_, row): &(CreateOp, Message)| {
                row.author_id == create.message.author_id && row.nonce == nonce
            };
            if let Some(index) = plan.fresh.iter().position(same) {
                plan.twins.push((create, index));
                continue;
            }
        }
        let id = match minter.mint(now_us, last_id, tenure) {
            Ok(id) => id,
            Err(error) => {
                plan.refused.push((create, error));
                continue;
            }
        };
        let bucket = Bucket::of(id);
        if *plan.bucket.get_or_insert(bucket) != bucket {
            // The id is used up, which costs nothing; the create gets another one in its own commit.
            plan.later.push(create);
            break;
        }
        last_id = Some(id);
        last_rev = now_us.max(last_rev + 1);
        let mut row = create.message.clone();
        row.id = id.get();
        row.channel_id = channel_id.get();
        row.rev = last_rev;
        row.last_rev = last_rev;
        row.edited_at_ms = 0;
        row.pinned_at_ms = 0;
        row.reactions.clear();
        plan.fresh.push((create, row));
    }
    plan.later.extend(creates);
    plan
}

impl CreatePlan {
    /// Rows and records of the commit; the first record follows `prev_rev`.
    pub(crate) fn commit(&self, channel_id: ChannelId, prev_rev: u64) -> (Vec<RowChange>, Vec<Announced>) {
        let mut prev_rev = prev_rev;
        let mut rows = Vec::with_capacity(self.fresh.len());
        let mut records = Vec::with_capacity(self.fresh.len());
        for (create, row) in &self.fresh {
            let origin = Origin {
                scope_id: ScopeId::Channel(channel_id),
                audience: create.audience,
                context: create.context.clone(),
                accepted_at_us: create.accepted_at_us,
            };
            records.push(origin.record(row.rev, prev_rev, created(row.clone())));
            prev_rev = row.rev;
            rows.push(RowChange::PutMessage(row.clone()));
        }
        (rows, records)
    }

    /// Acknowledges the committed rows and their twins.
    pub(crate) fn acknowledge(self) {
        let messages: Vec<Message> = self.fresh.iter().map(|(_, row)| row.clone()).collect();
        for (twin, index) in self.twins {
            let message = messages[index].clone();
            drop(twin.answer.send(Ok(Created { message, deduplicated: true })));
        }
        for (create, message) in self.fresh {
            drop(create.answer.send(Ok(Created { message, deduplicated: false })));
        }
    }

    /// Sends the error to every caller whose row was in the commit.
    pub(crate) fn fail(self, error: &ChangeError) {
        for (create, _) in self.fresh {
            drop(create.answer.send(Err(error.clone())));
        }
        for (twin, _) in self.twins {
            drop(twin.answer.send(Err(error.clone())));
        }
    }
}
