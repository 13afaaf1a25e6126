//! The conditions that every store checks before it takes a commit.

use weir_proto::{bucket::Bucket, data::Channel, pair::UserPair};

use crate::{Commit, RowChange, WriteError};

/// The users of a direct message's channel.
///
/// # Errors
/// [`WriteError::NotApplied`] if its recipients are not a pair of users.
pub(crate) fn pair_of(channel: &Channel) -> Result<UserPair, WriteError> {
    let no_pair = || WriteError::NotApplied {
        reason: format!("channel {}: its recipients are not two users, ascending", channel.id),
    };
    UserPair::of_recipients(&channel.recipient_ids).ok_or_else(no_pair)
}

impl Commit {
    /// Checks the conditions that the types cannot express.
    ///
    /// # Errors
    /// [`WriteError::NotApplied`] if revisions of records do not rise, a direct message is not between two
    /// users, or the rows are their own outbox but not new messages of one partition.
    pub(crate) fn check(&self) -> Result<(), WriteError> {
        let refused = |reason: &str| Err(WriteError::NotApplied { reason: reason.to_owned() });
        if !self.records.is_sorted_by(|one, next| one.rev < next.rev) {
            return refused("the records of a commit must rise in revision");
        }
        for row in &self.rows {
            if let RowChange::PutDirect(channel) = row {
                pair_of(channel)?;
            }
        }
        if !self.rows_are_outbox {
            return Ok(());
        }
        let mut partition = None;
        for row in &self.rows {
            let RowChange::PutMessage(message) = row else {
                return refused("rows that are their own outbox must be messages");
            };
            let of = (message.channel_id, Bucket::of_raw(message.id));
            if message.last_rev > message.rev || *partition.get_or_insert(of) != of {
                return refused("rows that are their own outbox must be new messages of one partition");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OutboxRecord;
    use bytes::Bytes;
    use weir_proto::{
        data::Message,
        id::{GuildId, RoleId, ScopeId},
    };

    fn guild() -> GuildId {
        GuildId::try_from(1).expect("not 0")
    }

    fn message(id: u64, rev: u64, last_rev: u64) -> RowChange {
        RowChange::PutMessage(Message {
            id,
            channel_id: 1,
            author_id: 2,
            rev,
            last_rev,
            ..Message::default()
        })
    }

    fn commit(rows: Vec<RowChange>, revs: &[u64]) -> Commit {
        let record = |rev: &u64| OutboxRecord { guild_id: Some(guild()), rev: *rev, record: Bytes::new() };
        let records = revs.iter().map(record).collect();
        Commit { scope_id: ScopeId::Guild(guild()), rev: 9, rows, records, rows_are_outbox: true }
    }

    #[test]
    fn only_new_messages_of_one_partition_are_their_own_outbox() {
        assert!(commit(vec![message(1, 5, 5), message(2, 6, 6)], &[5, 6]).check().is_ok());
        assert!(commit(vec![message(1, 5, 6)], &[]).check().is_err());
        assert!(commit(vec![message(1, 5, 5), message(Bucket(1).first_raw(), 6, 6)], &[]).check().is_err());
        let role_id = RoleId::try_from(1).expect("not 0");
        assert!(commit(vec![RowChange::DeleteRole { guild_id: guild(), role_id }], &[]).check().is_err());
    }

    #[test]
    fn records_must_rise() {
        assert!(commit(vec![], &[1, 2, 9]).check().is_ok());
        assert!(commit(vec![], &[1, 1]).check().is_err());
        assert!(commit(vec![], &[2, 1]).check().is_err());
    }
}
