//! The data service's side of the bus on Redis.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use deadpool_redis::{Pool, redis};

use super::{RedisConfig, RedisError, config::random_word, scripts::Scripts};
use crate::{EventBus, Outgoing, PublishError, Published, Topic};

/// Most records in one call of the script. Redis does nothing else meanwhile, and each record costs it about
/// 10 us for each gateway.
const CALL_RECORDS_MAX: usize = 128;
/// Bytes of records in one call.
const CALL_BYTES_MAX: usize = 512 * 1024;

/// Publishes records to the inboxes of gateways.
pub struct RedisBus {
    config: RedisConfig,
    pool: Pool,
    scripts: Scripts,
    epoch: Mutex<Epochs>,
    /// The epoch that this process sets if Redis has none.
    fresh_epoch: String,
}

impl std::fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBus").field("prefix", &self.config.prefix).finish_non_exhaustive()
    }
}

/// The epochs that answers carried. Calls overlap, so an answer may be older than one that arrived before it.
#[derive(Debug, Default)]
struct Epochs {
    /// Calls begun so far.
    begun: u64,
    /// The newest epoch; `None` before the first answer.
    current: Option<String>,
    /// The epoch before it, and how many calls had begun when it was replaced: answers to those calls may
    /// still carry it.
    previous: Option<(String, u64)>,
    /// A loss was found and not reported yet. The call that found it may fail later or be dropped; then the
    /// next call reports it.
    lost: bool,
}

impl Epochs {
    /// Begins a call and gives its number.
    fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// Notes the epoch that answered the call with this number.
    fn note(&mut self, call: u64, epoch: String) {
        let Some(current) = &mut self.current else {
            self.current = Some(epoch);
            return;
        };
        if *current == epoch {
            return;
        }
        // This answer was given before the last change of epochs and arrived after it. If the older epoch is
        // in force again (a failover to an older copy), the next call's answer shows that.
        if matches!(&self.previous, Some((previous, begun)) if *previous == epoch && call <= *begun) {
            return;
        }
        self.previous = Some((std::mem::replace(current, epoch), self.begun));
        self.lost = true;
    }

    /// What to report to the caller; each loss is reported once.
    fn report(&mut self) -> Published {
        if std::mem::take(&mut self.lost) { Published::Lost } else { Published::Kept }
    }
}

/// How an inbox treats a record.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The record takes a position.
    Record,
    /// The record takes no position.
    Ephemeral,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Record => "r",
            Self::Ephemeral => "e",
        }
    }
}

impl RedisBus {
    /// Makes a publisher, which connects when it first publishes.
    ///
    /// # Errors
    /// [`RedisError`]
    pub fn new(config: RedisConfig) -> Result<Self, RedisError> {
        let pool = config.pool()?;
        let fresh_epoch = random_word()?;
        Ok(Self { config, pool, scripts: Scripts::new(), epoch: Mutex::default(), fresh_epoch })
    }

    /// Asks Redis for an answer and changes nothing there. Waits at most as long as a publication does.
    ///
    /// # Errors
    /// [`PublishError::Unavailable`] with what Redis said, or with the fact that it did not answer in time.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ping(&self) -> Result<(), PublishError> {
        let unavailable = |reason: String| PublishError::Unavailable { reason };
        let asked = async {
            let mut connection = self.pool.get().await.map_err(|error| unavailable(error.to_string()))?;
            redis::cmd("PING")
                .query_async(&mut connection)
                .await
                .map_err(|error| unavailable(error.to_string()))
        };
        let elapsed = || unavailable(format!("no answer within {:?}", self.config.timeout));
        tokio::time::timeout(self.config.timeout, asked).await.unwrap_or_else(|_| Err(elapsed()))
    }

    /// Hands over some records and returns the epoch.
    async fn call(&self, kind: Kind, records: &[Outgoing]) -> Result<String, PublishError> {
        let unavailable = |reason: String| PublishError::Unavailable { reason };
        let mut call = self.scripts.publish.prepare_invoke();
        call.arg(&self.config.prefix)
            .arg(&self.fresh_epoch)
            .arg(self.config.inbox_records_max)
            .arg(self.config.gateway_life_seconds());
        for out in records {
            call.arg(kind.name()).arg(join_topics(&out.topics)).arg(out.record.as_ref());
        }
        let called = async {
            let mut connection = self.pool.get().await.map_err(|error| unavailable(error.to_string()))?;
            call.invoke_async(&mut connection).await.map_err(|error| unavailable(error.to_string()))
        };
        let elapsed = || unavailable(format!("no answer within {:?}", self.config.timeout));
        tokio::time::timeout(self.config.timeout, called).await.unwrap_or_else(|_| Err(elapsed()))
    }

    // Recovers a poisoned lock: it guards plain data that is consistent between any two statements.
    fn epochs(&self) -> MutexGuard<'_, Epochs> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins topics in the form that the script splits.
fn join_topics(topics: &[Topic]) -> String {
    topics.iter().map(Topic::to_string).collect::<Vec<_>>().join(",")
}

/// How many of the records the next call takes.
fn next_call(records: &[Outgoing]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take(CALL_RECORDS_MAX).take_while(|out| {
        bytes += out.record.len();
        bytes <= CALL_BYTES_MAX
    });
    // A record that is larger than a call's bound goes alone.
    fits.count().max(1).min(records.len())
}

#[async_trait]
impl EventBus for RedisBus {
    async fn publish(&self, records: Vec<Outgoing>) -> Result<Published, PublishError> {
        let mut rest = records.as_slice();
        loop {
            let (now, later) = rest.split_at(next_call(rest));
            let number = self.epochs().begin();
            let epoch = self.call(Kind::Record, now).await?;
            self.epochs().note(number, epoch);
            rest = later;
            if rest.is_empty() {
                return Ok(self.epochs().report());
            }
        }
    }

    async fn publish_ephemeral(&self, out: Outgoing) {
        // The epoch is left to `publish`, because only its caller can publish again after a loss.
        if let Err(error) = self.call(Kind::Ephemeral, &[out]).await {
            tracing::debug!(%error, "an ephemeral record is lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn out(bytes: usize) -> Outgoing {
        Outgoing { topics: vec![Topic::All], record: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn calls_are_bounded_in_records_and_bytes() {
        assert_eq!(next_call(&[]), 0);
        assert_eq!(next_call(&vec![out(1); CALL_RECORDS_MAX + 1]), CALL_RECORDS_MAX);
        assert_eq!(next_call(&[out(CALL_BYTES_MAX), out(1)]), 1);
        assert_eq!(next_call(&[out(CALL_BYTES_MAX + 1), out(1)]), 1);
    }

    /// Notes an answer and reports at once.
    fn note(epochs: &mut Epochs, call: u64, epoch: &str) -> Published {
        epochs.note(call, epoch.to_owned());
        epochs.report()
    }

    #[test]
    fn another_epoch_is_a_loss_once() {
        let mut epochs = Epochs::default();
        let reported = ["a", "a", "b", "b", "a"].map(|epoch| {
            let call = epochs.begin();
            note(&mut epochs, call, epoch)
        });
        use Published::{Kept, Lost};
        assert_eq!(reported, [Kept, Kept, Lost, Kept, Lost]);
    }

    #[test]
    fn a_loss_whose_finder_failed_later_is_reported_by_the_next_call() {
        let mut epochs = Epochs::default();
        for epoch in ["a", "b"] {
            let call = epochs.begin();
            epochs.note(call, epoch.to_owned());
        }
        // The second call had more records to hand over and failed there, so it reported nothing.
        let next = epochs.begin();
        assert_eq!(note(&mut epochs, next, "b"), Published::Lost);
        assert_eq!(epochs.report(), Published::Kept);
    }

    #[test]
    fn answers_that_are_heard_late_are_no_loss() {
        let mut epochs = Epochs::default();
        let first = epochs.begin();
        assert_eq!(note(&mut epochs, first, "a"), Published::Kept);
        let [early, late, last] = [(); 3].map(|()| epochs.begin());
        assert_eq!(note(&mut epochs, late, "b"), Published::Lost);
        assert_eq!(note(&mut epochs, early, "a"), Published::Kept, "answered before the change");
        assert_eq!(note(&mut epochs, last, "b"), Published::Kept, "and the change is not reported again");
        let next = epochs.begin();
        assert_eq!(note(&mut epochs, next, "a"), Published::Lost, "an older copy took over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_not_waited_for_longer_than_the_timeout() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = silent.local_addr().expect("bound");
        let config = RedisConfig::new(format!("redis://{address}"));
        let (bus, began) = (RedisBus::new(config.clone()).expect("a url"), tokio::time::Instant::now());
        assert!(matches!(bus.ping().await, Err(PublishError::Unavailable { .. })));
        assert!(began.elapsed() <= config.timeout + std::time::Duration::from_millis(10));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_at_start() {
        assert!(matches!(RedisBus::new(RedisConfig::new("http://x")), Err(RedisError::Url { .. })));
    }
}
