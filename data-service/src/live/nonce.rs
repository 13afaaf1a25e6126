//! Five minutes of (author, nonce) for one channel, which make creates idempotent.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use weir_proto::{
    data::Message,
    id::{MessageId, UserId},
};

/// Time for which a nonce is remembered: "the past few minutes" of Discord's reference, taken as five.
pub const REMEMBER_US: u64 = 5 * 60 * 1_000_000;
/// Nonces remembered for a channel. Above this bound the oldest are dropped early: it lasts five minutes at
/// 200 creates a second with nonces in one channel. A faster channel remembers for less, with about 16 MiB at
/// most (with 25 ASCII characters each 12 MiB).
pub const NONCES_MAX: usize = 65_536;
/// Bytes of one remembered nonce beside its text: an entry of 32 bytes in each table, of which up to half is
/// empty, the text's reference counts, and what the allocator adds.
const NONCE_BYTES: usize = 160;

/// The nonces of one channel.
#[derive(Debug, Default)]
pub struct Nonces {
    /// Message id by author and nonce. Both tables share a nonce's text.
    ids: HashMap<(UserId, Arc<str>), MessageId>,
    /// Time of each entry, oldest first; every entry of `ids` is here once.
    order: VecDeque<(u64, UserId, Arc<str>)>,
    /// Bytes of all texts: the 25 code points of one take up to 100 bytes.
    text_bytes: usize,
}

impl Nonces {
    /// The message that this author's nonce made, if it is remembered at `now_us`.
    #[must_use]
    pub fn get(&mut self, author: UserId, nonce: &str, now_us: u64) -> Option<MessageId> {
        self.expire(now_us);
        // A tuple key with an owned part must be built for the look-up; a nonce has at most 25 code points.
        self.ids.get(&(author, nonce.into())).copied()
    }

    /// Remembers a message's nonce from `now_us` on. A row without an author or id has none.
    pub(crate) fn insert_row(&mut self, row: &Message, now_us: u64) {
        if let (Ok(author), Ok(id)) = (UserId::try_from(row.author_id), MessageId::try_from(row.id)) {
            self.insert(author, &row.nonce, id, now_us);
        }
    }

    /// Remembers a nonce from `now_us` on. An empty nonce is ignored.
    pub fn insert(&mut self, author: UserId, nonce: &str, message_id: MessageId, now_us: u64) {
        if nonce.is_empty() {
            return;
        }
        let text: Arc<str> = nonce.into();
        if self.ids.insert((author, Arc::clone(&text)), message_id).is_some() {
            return;
        }
        self.text_bytes += text.len();
        self.order.push_back((now_us, author, text));
        if self.order.len() > NONCES_MAX {
            self.pop();
        }
    }

    /// Forgets all nonces.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.order.clear();
        self.text_bytes = 0;
    }

    /// Number of remembered nonces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Bytes of the remembered nonces.
    pub(crate) fn bytes(&self) -> usize {
        self.order.len() * NONCE_BYTES + self.text_bytes
    }

    /// True if no nonce is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn expire(&mut self, now_us: u64) {
        while self.order.front().is_some_and(|(at, ..)| at + REMEMBER_US <= now_us) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, author, nonce)) = self.order.pop_front() {
            self.text_bytes -= nonce.len();
            self.ids.remove(&(author, nonce));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> UserId {
        UserId::try_from(id).expect("not 0")
    }

    fn message(id: u64) -> MessageId {
        MessageId::try_from(id).expect("not 0")
    }

    #[test]
    fn a_nonce_belongs_to_its_author_and_ends_after_five_minutes() {
        let mut nonces = Nonces::default();
        nonces.insert(user(1), "n", message(100), 0);
        assert_eq!(nonces.get(user(1), "n", REMEMBER_US - 1), Some(message(100)));
        assert_eq!(nonces.get(user(2), "n", 0), None);
        assert_eq!(nonces.get(user(1), "n", REMEMBER_US), None);
        assert!(nonces.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_both_tables_agree() {
        let mut nonces = Nonces::default();
        for index in 0..NONCES_MAX as u64 + 10 {
            nonces.insert(user(1), &index.to_string(), message(index + 1), 0);
        }
        assert_eq!((nonces.len(), nonces.ids.len()), (NONCES_MAX, NONCES_MAX));
        assert_eq!(nonces.get(user(1), "9", 0), None);
        assert_eq!(nonces.get(user(1), "10", 0), Some(message(11)));
    }

    #[test]
    fn a_nonce_weighs_its_entries_and_its_text() {
        let mut nonces = Nonces::default();
        let longest = |index: u32| format!("{index:02}{}", "\u{1D7D8}".repeat(23));
        for index in 0..10 {
            nonces.insert(user(1), &longest(index), message(100), 0);
        }
        let entries = size_of::<((UserId, Arc<str>), MessageId)>() + size_of::<(u64, UserId, Arc<str>)>();
        assert!(nonces.bytes() >= 10 * (entries + longest(0).len()), "{}", nonces.bytes());
        assert_eq!(nonces.get(user(1), "", REMEMBER_US), None);
        assert_eq!(nonces.bytes(), 0);
    }

    #[test]
    fn the_first_message_keeps_the_nonce() {
        let mut nonces = Nonces::default();
        nonces.insert(user(1), "n", message(100), 0);
        nonces.insert(user(1), "n", message(200), 5);
        nonces.insert(user(1), "", message(300), 5);
        // The second insert replaced the id but not its age; a turn never inserts one while the first is
        // remembered.
        assert_eq!(nonces.len(), 1);
    }
}
