//! What was acknowledged, and the verdict on opening a damaged store.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, path::Path, sync::Arc};

use bytes::Bytes;
use weir_bus::Inbox as _;
use weir_proto::{bucket::Bucket, data::Message};
use weir_store::{
    PartitionRange, ReadError, RowOrder, Setting, Store,
    embedded::{EmbeddedConfig, EmbeddedStore, OpenError},
};

use super::image::Image;
use crate::fixture::{as_id, creates, message, next_id};

/// Kind of the small rows.
const KIND: &str = "damage";
/// Rows read at once.
const PAGE: usize = 1_000;

/// The rows that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    messages: BTreeMap<u64, Vec<Message>>,
    settings: BTreeMap<Vec<u8>, Bytes>,
    records: Vec<Bytes>,
}

/// The verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The start was refused with this message.
    Refused(String),
    /// The store opened, and a read reported that its data is damaged.
    Reported(String),
    /// Every acknowledged row is there.
    Harmless,
    /// Something is missing or wrong without an error.
    Silent(String),
}

/// A store that soon writes tables.
pub(super) fn config(directory: &Path) -> EmbeddedConfig {
    let mut config = EmbeddedConfig::new(directory);
    config.messages_buffer_bytes = 48 << 10;
    config.log_buffer_bytes = 48 << 10;
    config.small_buffer_bytes = 16 << 10;
    config.ring_records_max = 16;
    config
}

impl Acknowledged {
    /// Writes `count` messages of `bytes` each in `channels` new channels, a small row after each, and notes
    /// what was acknowledged.
    pub(super) async fn write(
        &mut self,
        store: &Arc<EmbeddedStore>,
        channels: u64,
        count: u64,
        bytes: usize,
    ) {
        for _ in 0..channels {
            let (channel, base) = (next_id(), next_id());
            for n in 1..=count {
                let row = message(channel, base + n, &format!("{n} {}", "x".repeat(bytes)));
                store.commit(creates(channel, std::slice::from_ref(&row))).await.expect("committed");
                self.records.push(Bytes::from(row.content.clone()));
                self.messages.entry(channel).or_default().push(row);
                let (key, value) = (format!("{channel}-{n}").into_bytes(), Bytes::from(format!("{n}")));
                let setting = Setting { kind: KIND.to_owned(), key: key.clone(), value: Some(value.clone()) };
                store.write_settings(vec![setting]).await.expect("written");
                self.settings.insert(key, value);
            }
        }
    }

    /// Opens the store in a directory and compares.
    pub(super) async fn judge(&self, directory: &Path) -> Verdict {
        let before = Image::read(directory);
        let config = config(directory);
        let opened = tokio::task::spawn_blocking(move || {
            std::panic::catch_unwind(AssertUnwindSafe(|| EmbeddedStore::open(config)))
        });
        match opened.await.expect("it does not panic itself") {
            Err(_panic) => Verdict::Silent("the start panicked".to_owned()),
            Ok(Err(error)) => self.refused(&error, &before, directory),
            Ok(Ok(store)) => {
                let verdict = match self.compare(&store).await {
                    Ok(None) => Verdict::Harmless,
                    Ok(Some(difference)) => Verdict::Silent(difference),
                    Err(ReadError::Corrupt { reason }) => Verdict::Reported(reason),
                    Err(ReadError::Unavailable { reason }) => {
                        Verdict::Silent(format!("not reported: {reason}"))
                    }
                    Err(ReadError::Timeout) => Verdict::Silent("a read hangs".to_owned()),
                };
                store.close().await;
                verdict
            }
        }
    }

    fn refused(&self, error: &OpenError, before: &Image, directory: &Path) -> Verdict {
        let after = Image::read(directory);
        for (name, content) in &before.0 {
            // These files hold the lock and how far the journals reach at least; they hold no rows.
            if ["weir.lock", "JOURNAL", "SEAL"].contains(&name.as_str()) {
                continue;
            }
            if after.0.get(name).is_none_or(|now| now.bytes != content.bytes) {
                return Verdict::Silent(format!("refused ({error}), and {name} was changed"));
            }
        }
        Verdict::Refused(error.to_string())
    }

    /// The first difference.
    async fn compare(&self, store: &EmbeddedStore) -> Result<Option<String>, ReadError> {
        for (channel, rows) in &self.messages {
            let mut found = Vec::new();
            loop {
                let after = found.last().map(|message: &Message| as_id(message.id));
                let range = PartitionRange { after, before: None, order: RowOrder::OldestFirst, limit: PAGE };
                let page = store.read_partition(as_id(*channel), Bucket::of_raw(rows[0].id), range).await?;
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            if found != *rows {
                return Ok(Some(format!("{} of {} messages", found.len(), rows.len())));
            }
            // Rows are also read by key, because filters are used only then.
            for row in rows.iter().step_by(7) {
                if store.read_message(as_id(*channel), as_id(row.id)).await?.as_ref() != Some(row) {
                    return Ok(Some(format!("message {} by its id", row.id)));
                }
            }
        }
        let settings = store.read_settings(KIND, usize::MAX).await?;
        if settings.into_iter().collect::<BTreeMap<_, _>>() != self.settings {
            return Ok(Some("small rows".to_owned()));
        }
        let mut records = Vec::new();
        while (records.len() as u64) < store.head() {
            let after = records.len() as u64;
            let page = match store.read(after, PAGE).await {
                Ok(page) => page.records,
                Err(error) => return reported(&error.to_string()),
            };
            if page.is_empty() {
                break;
            }
            records.extend(page.into_iter().map(|(_position, record)| record));
        }
        if records != self.records {
            return Ok(Some(format!("{} of {} records", records.len(), self.records.len())));
        }
        Ok(None)
    }
}

/// An error of the log's reader, which carries the store's error as text.
fn reported(reason: &str) -> Result<Option<String>, ReadError> {
    Err(ReadError::Corrupt { reason: reason.to_owned() })
}
