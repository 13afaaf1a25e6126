//! Receivers of a record. Pure.

use weir_bus::Topic;
use weir_proto::{
    event::{Record, record::Change},
    id::{GuildId, UserId},
};

/// The guild or the users of a direct message, and users whose membership a record changes. The record is as
/// it was stored, so an id of 0 in it is skipped.
pub(super) fn topics(record: &Record) -> Vec<Topic> {
    let mut topics = match GuildId::try_from(record.guild_id) {
        Ok(guild_id) => vec![Topic::Guild(guild_id)],
        Err(_) => users(&record.recipient_ids).collect(),
    };
    match &record.change {
        Some(Change::GuildCreated(created)) => topics.extend(users(&created.member_ids)),
        Some(Change::MemberAdded(changed)) => {
            topics.extend(users(changed.user.as_ref().map(|user| &user.id)))
        }
        Some(Change::MemberRemoved(removed)) => {
            topics.extend(users(removed.user.as_ref().map(|user| &user.id)));
        }
        _ => {}
    }
    topics
}

fn users<'a>(ids: impl IntoIterator<Item = &'a u64>) -> impl Iterator<Item = Topic> {
    ids.into_iter().filter_map(|id| UserId::try_from(*id).ok()).map(Topic::User)
}
