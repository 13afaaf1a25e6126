//! Converts between rows and columns.
//!
//! CQL's integers are signed. Ids, revisions and positions order rows, so they must lie below 2^63
//! (snowflakes do until 2084). Flags are bits, which keep their pattern.

use std::mem::take;

use prost::Message as _;
use scylla::{
    DeserializeRow,
    value::{CqlValue, MaybeUnset},
};
use weir_proto::{bucket::Bucket, data::Message};

use crate::{ReadError, WriteError};

/// A value to bind. An unset one writes nothing, where a null would write a tombstone.
pub(super) type Column = MaybeUnset<CqlValue>;

/// A set value.
fn set(value: CqlValue) -> Column {
    MaybeUnset::Set(value)
}

/// A value that is written only if it is not its type's default.
fn unless_default<T: Default + PartialEq>(value: T, column: impl FnOnce(T) -> Column) -> Column {
    if value == T::default() { MaybeUnset::Unset } else { column(value) }
}

/// An id, revision or time, which orders rows.
pub(super) fn ordered(number: u64) -> Result<Column, WriteError> {
    let too_large =
        |_| WriteError::NotApplied { reason: format!("{number} is beyond 2^63, which CQL cannot order") };
    i64::try_from(number).map(CqlValue::BigInt).map(set).map_err(too_large)
}

/// A bit pattern.
fn bits(number: u64) -> Column {
    set(CqlValue::BigInt(number.cast_signed()))
}

/// Text.
pub(super) fn text(text: impl Into<String>) -> Column {
    set(CqlValue::Text(text.into()))
}

/// Bytes.
pub(super) fn blob(bytes: impl Into<Vec<u8>>) -> Column {
    set(CqlValue::Blob(bytes.into()))
}

/// A truth value.
pub(super) fn boolean(value: bool) -> Column {
    set(CqlValue::Boolean(value))
}

/// A small number: a bucket, day or shard.
pub(super) fn small(number: u32) -> Result<Column, WriteError> {
    let too_large = |_| WriteError::NotApplied { reason: format!("{number} is beyond 2^31") };
    i32::try_from(number).map(CqlValue::Int).map(set).map_err(too_large)
}

/// A list of ids; an empty one is a value, not a tombstone, because the list is frozen.
fn ids(ids: Vec<u64>) -> Column {
    set(CqlValue::List(ids.into_iter().map(|id| CqlValue::BigInt(id.cast_signed())).collect()))
}

/// A border of a range of rows: everything beyond CQL's numbers is beyond every row.
pub(super) fn border(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The fields of a message that have no column, encoded; empty if none is set. A new field of the contract is
/// one of them by itself.
fn more(message: Message) -> Vec<u8> {
    let rest = Message {
        id: 0,
        channel_id: 0,
        author_id: 0,
        content: String::new(),
        nonce: String::new(),
        r#type: 0,
        flags: 0,
        reply_to: 0,
        edited_at_ms: 0,
        mention_user_ids: Vec::new(),
        mention_role_ids: Vec::new(),
        mention_everyone: false,
        embeds_json: String::new(),
        tts: false,
        rev: 0,
        last_rev: 0,
        ..message
    };
    rest.encode_to_vec()
}

/// Columns of a whole row in the order of `InsertMessage`, without its timestamp. Defaults are left out.
pub(super) fn whole_message(mut message: Message) -> Result<Vec<Column>, WriteError> {
    Ok(vec![
        ordered(message.channel_id)?,
        small(Bucket::of_raw(message.id).0)?,
        ordered(message.id)?,
        unless_default(message.author_id, bits),
        unless_default(take(&mut message.content), text),
        unless_default(take(&mut message.nonce), text),
        unless_default(u64::from(message.r#type), |number| set(CqlValue::Int(kind(number)))),
        unless_default(message.flags, bits),
        unless_default(message.reply_to, bits),
        unless_default(message.edited_at_ms, bits),
        unless_default(take(&mut message.mention_user_ids), ids),
        unless_default(take(&mut message.mention_role_ids), ids),
        unless_default(message.mention_everyone, boolean),
        unless_default(take(&mut message.embeds_json), text),
        unless_default(message.tts, boolean),
        ordered(message.rev)?,
        ordered(message.last_rev)?,
        unless_default(more(message), blob),
    ])
}

/// A message type; Discord's are below 100.
fn kind(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Columns of an edit in the order of `EditMessage`, without its timestamp. Defaults are written too: an edit
/// may clear a column.
pub(super) fn edited_message(mut message: Message) -> Result<Vec<Column>, WriteError> {
    let Message { channel_id, id, last_rev, .. } = message;
    Ok(vec![
        text(take(&mut message.content)),
        bits(message.flags),
        bits(message.edited_at_ms),
        ids(take(&mut message.mention_user_ids)),
        ids(take(&mut message.mention_role_ids)),
        boolean(message.mention_everyone),
        text(take(&mut message.embeds_json)),
        blob(more(message)),
        ordered(last_rev)?,
        ordered(channel_id)?,
        small(Bucket::of_raw(id).0)?,
        ordered(id)?,
    ])
}

/// Columns of what hangs on a message, in the order of `MarkMessage`, without its timestamp.
pub(super) fn marked_message(message: Message) -> Result<Vec<Column>, WriteError> {
    let Message { channel_id, id, last_rev, .. } = message;
    Ok(vec![
        blob(more(message)),
        ordered(last_rev)?,
        ordered(channel_id)?,
        small(Bucket::of_raw(id).0)?,
        ordered(id)?,
    ])
}

/// A row of `messages` as it is read. An absent column was never set.
#[derive(Debug, DeserializeRow)]
pub(super) struct MessageRow {
    message_id: i64,
    author_id: Option<i64>,
    content: Option<String>,
    nonce: Option<String>,
    r#type: Option<i32>,
    flags: Option<i64>,
    reply_to: Option<i64>,
    edited_at_ms: Option<i64>,
    mention_user_ids: Option<Vec<i64>>,
    mention_role_ids: Option<Vec<i64>>,
    mention_everyone: Option<bool>,
    embeds_json: Option<String>,
    tts: Option<bool>,
    rev: Option<i64>,
    last_rev: Option<i64>,
    more: Option<Vec<u8>>,
}

impl MessageRow {
    /// Its id.
    pub(super) fn id(&self) -> i64 {
        self.message_id
    }

    /// The message, or `None` if the row has no author. Such a row is left by an edit that lost its race, or
    /// by other writers.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if the fields without columns cannot be decoded.
    pub(super) fn into_message(self, channel_id: u64) -> Result<Option<Message>, ReadError> {
        let number = |column: Option<i64>| column.unwrap_or(0).cast_unsigned();
        let list = |column: Option<Vec<i64>>| {
            column.unwrap_or_default().into_iter().map(i64::cast_unsigned).collect()
        };
        let author_id = number(self.author_id);
        if author_id == 0 {
            return Ok(None);
        }
        let rev = number(self.rev);
        let more = self.more.map_or_else(|| Ok(Message::default()), |more| decode("messages", Some(more)))?;
        Ok(Some(Message {
            id: self.message_id.cast_unsigned(),
            channel_id,
            author_id,
            content: self.content.unwrap_or_default(),
            nonce: self.nonce.unwrap_or_default(),
            r#type: u32::try_from(self.r#type.unwrap_or(0)).unwrap_or(0),
            flags: number(self.flags),
            reply_to: number(self.reply_to),
            edited_at_ms: number(self.edited_at_ms),
            mention_user_ids: list(self.mention_user_ids),
            mention_role_ids: list(self.mention_role_ids),
            mention_everyone: self.mention_everyone.unwrap_or(false),
            embeds_json: self.embeds_json.unwrap_or_default(),
            tts: self.tts.unwrap_or(false),
            rev,
            last_rev: number(self.last_rev).max(rev),
            ..more
        }))
    }
}

/// Decodes a row that is one encoded message.
pub(super) fn decode<T: prost::Message + Default>(table: &str, row: Option<Vec<u8>>) -> Result<T, ReadError> {
    let corrupt = |reason: String| ReadError::Corrupt { reason: format!("{table}: {reason}") };
    let row = row.ok_or_else(|| corrupt("a row has no content".to_owned()))?;
    T::decode(row.as_slice()).map_err(|error| corrupt(error.to_string()))
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_binds_only_what_is_set_and_an_edit_clears() {
        let message =
            Message { id: 1 << 30, channel_id: 2, author_id: 3, rev: 4, last_rev: 4, ..Message::default() };
        let columns = whole_message(message.clone()).expect("in range");
        let unset = columns.iter().filter(|column| matches!(column, MaybeUnset::Unset)).count();
        assert_eq!((columns.len(), unset), (18, 12));
        let columns = edited_message(message).expect("in range");
        assert!(columns.iter().all(|column| matches!(column, MaybeUnset::Set(_))));
    }

    #[test]
    fn numbers_that_cql_cannot_order_are_refused_and_borders_clamped() {
        assert!(matches!(ordered(1 << 63), Err(WriteError::NotApplied { .. })));
        assert_eq!((border(u64::MAX), border(5)), (i64::MAX, 5));
        assert!(matches!(bits(u64::MAX), MaybeUnset::Set(CqlValue::BigInt(-1))));
    }
}
