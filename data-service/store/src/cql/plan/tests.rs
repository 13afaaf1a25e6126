//! Which statements each write becomes, and where they are cut.

use super::*;
use bytes::Bytes;
use weir_proto::{
    data::{Channel, Guild, Member, User},
    id::{ChannelId, ScopeId, UserId},
};

const REV: u64 = 1_700_000_000_000_000;

fn guild() -> GuildId {
    GuildId::try_from(1).expect("not 0")
}

fn whole(rows: Vec<RowChange>) -> Commit {
    let records = vec![OutboxRecord { guild_id: Some(guild()), rev: REV, record: Bytes::from_static(b"r") }];
    Commit { scope_id: ScopeId::Guild(guild()), rev: REV, rows, records, rows_are_outbox: false }
}

fn queries(batch: &[Bound]) -> Vec<Query> {
    batch.iter().map(|bound| bound.query).collect()
}

#[test]
fn a_commit_that_fits_is_one_batch_with_its_records() {
    let message = Message {
        id: 1 << 40,
        channel_id: 2,
        author_id: 3,
        rev: REV - 1,
        last_rev: REV,
        ..Message::default()
    };
    let batches = commit(whole(vec![RowChange::PutMessage(message)])).expect("in range");
    assert_eq!(
        batches.iter().map(|batch| queries(batch)).collect::<Vec<_>>(),
        vec![vec![Query::EditMessage, Query::AddChange]]
    );
}

#[test]
fn a_direct_channel_is_one_batch_with_its_pair_and_its_record_and_in_no_guild() {
    let channel = Channel { id: 5, r#type: 1, recipient_ids: vec![3, 4], ..Channel::default() };
    let batches = commit(whole(vec![RowChange::PutDirect(channel)])).expect("in range");
    assert_eq!(
        batches.iter().map(|batch| queries(batch)).collect::<Vec<_>>(),
        vec![vec![Query::PutChannel, Query::PutDirect, Query::AddChange]]
    );
}

#[test]
fn a_large_guild_becomes_visible_last_and_is_announced_after_that() {
    let member = |user_id| RowChange::PutMember(Member { guild_id: 1, user_id, ..Member::default() });
    let mut rows = vec![RowChange::PutGuild(Guild { id: 1, ..Guild::default() })];
    rows.extend((1..=1_000).map(member));
    let batches = commit(whole(rows)).expect("in range");
    assert!(batches.len() > 3 && batches.iter().all(|batch| fits(batch)));
    let sent: Vec<Query> = batches.iter().flat_map(|batch| queries(batch)).collect();
    assert_eq!(&sent[sent.len() - 2..], [Query::PutGuild, Query::AddChange]);
    assert_eq!(sent.len(), 2_002);
}

#[test]
fn a_large_guild_is_gone_with_the_first_batch() {
    let channel_ids = vec![ChannelId::try_from(2).expect("not 0")];
    let member_ids = (1..=1_000).map(|id| UserId::try_from(id).expect("not 0")).collect();
    let rows = vec![RowChange::DeleteGuild { guild_id: guild(), channel_ids, member_ids }];
    let batches = commit(whole(rows)).expect("in range");
    assert_eq!(queries(&batches[0]), [Query::DeleteGuild, Query::AddChange]);
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 1_006);
}

#[test]
fn a_load_is_batched_by_partition_and_never_edits() {
    let message = |channel_id, id, text: &str| {
        let content = text.to_owned();
        RowChange::PutMessage(Message {
            id,
            channel_id,
            author_id: 3,
            content,
            rev: 1,
            last_rev: 2,
            ..Message::default()
        })
    };
    let large = "x".repeat(PARTITION_BATCH_BYTES_MAX);
    let rows = vec![
        message(1, 10, ""),
        message(1, 11, ""),
        message(2, 12, ""),
        message(1, 13, ""),
        message(1, 14, &large),
        message(1, 15, ""),
    ];
    let batches = load(rows, REV).expect("in range");
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), vec![3, 1, 1, 1]);
    assert!(batches.iter().flatten().all(|bound| bound.query == Query::InsertMessage));
}

#[test]
fn loaded_members_share_batches_and_their_users_go_alone() {
    let rows = (1..=600).flat_map(|user_id| {
        let user = User { id: user_id, ..User::default() };
        let member = Member { guild_id: 1, user_id, ..Member::default() };
        [RowChange::PutUser(user), RowChange::PutMember(member)]
    });
    let batches = load(rows.collect(), REV).expect("in range");
    let (members, alone): (Vec<_>, Vec<_>) =
        batches.iter().partition(|batch| batch[0].query == Query::PutMember);
    assert_eq!(members.iter().map(|batch| batch.len()).collect::<Vec<_>>(), vec![512, 88]);
    assert!(members.iter().flat_map(|batch| batch.iter()).all(|bound| bound.query == Query::PutMember));
    assert!(alone.iter().all(|batch| batch.len() == 1));
    assert_eq!(alone.len(), 1_200, "a user's row and its place among the user's guilds");
}

#[test]
fn days_follow_revisions() {
    assert_eq!((day(0), day(DAY_US - 1), day(DAY_US)), (0, 0, 1));
}
