//! Receivers of a record. Pure.

use weir_proto::event::{Record, record::Change};

use super::record::Audience;

/// The guild or the users of a direct message, and users whose membership a record changes.
pub(super) fn topics(record: &Record) -> Vec<u64> {
    let audience = Audience { guild_id: record.guild_id, recipient_ids: record.recipient_ids.clone() };
    let mut topics = audience.topics();
    match &record.change {
        Some(Change::GuildCreated(created)) => topics.extend(&created.member_ids),
        Some(Change::MemberAdded(changed)) => topics.extend(changed.user.as_ref().map(|user| user.id)),
        Some(Change::MemberRemoved(removed)) => topics.extend(removed.user.as_ref().map(|user| user.id)),
        _ => {}
    }
    topics
}
