//! The reader of a gateway's stream. It is one task with a connection of its own, because a blocking XREAD
//! would keep a pooled connection from all other users.
//!
//! ```text
//! connect ──▶ known to this run? ─yes─▶ read from where it stopped ◀─┐
//!    ▲             │ no: a new id, all interests, a new epoch       │
//!    │             └──────────────▶ read from the beginning ────────┤
//!    └── any error: pause, longer each time ◀───────────────────────┘
//! ```

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use deadpool_redis::redis::{self, Client, RedisResult, aio::MultiplexedConnection};
use tokio::time::Instant;

use super::{RedisConfig, config::random_word, shared::Shared};

/// Most entries in one answer: at 1 KiB each, half a MiB.
const READ_ENTRIES_MAX: usize = 512;
/// Most topics registered in one call.
const CALL_TOPICS_MAX: usize = 1_000;

/// One entry of a stream: its id, then names and values in turn.
type Entry = (String, Vec<Vec<u8>>);
/// An answer of XREAD for one stream.
type Streams = Option<Vec<(String, Vec<Entry>)>>;

/// Follows the gateway's stream.
pub(super) struct Reader {
    shared: Arc<Shared>,
    config: RedisConfig,
    client: Client,
    /// Number of the last entry read under the current id.
    last: u64,
    /// When Redis last said that it knows the current id.
    known_at: Instant,
    /// False while the registration of the current id may be half done.
    registered: bool,
    /// The current outage was logged.
    outage: bool,
    /// Redis's `run_id` when it knew the current id. Another run may have an older copy of the inbox, in
    /// which numbers repeat.
    run: String,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, config: RedisConfig, client: Client) -> Self {
        Self {
            shared,
            config,
            client,
            last: 0,
            known_at: Instant::now(),
            registered: false,
            outage: false,
            run: String::new(),
        }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        let mut pause = self.config.backoff_min;
        loop {
            let began = Instant::now();
            // `follow` returns only with an error.
            let Err(error) = self.follow().await;
            // A connection that lasted for a while proves that Redis was well, so pauses begin short again.
            if began.elapsed() > self.config.backoff_max {
                pause = self.config.backoff_min;
            }
            self.shared.connected.store(false, Ordering::Release);
            // Each outage is logged once, not at each try.
            if !std::mem::replace(&mut self.outage, true) {
                tracing::warn!(%error, "the event bus is not reached; trying again until it is");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.config.backoff_max);
        }
    }

    /// Connects and follows the stream until something fails.
    async fn follow(&mut self) -> RedisResult<std::convert::Infallible> {
        let block = self.config.renew_every;
        let connection = self.config.connection(block + self.config.timeout);
        let mut redis = self.client.get_multiplexed_async_connection_with_config(&connection).await?;
        let run = server_run(&mut redis).await?;
        if run != self.run {
            self.registered = false;
            self.run = run;
        }
        loop {
            let id = self.registered(&mut redis).await?;
            self.shared.connected.store(true, Ordering::Release);
            if std::mem::take(&mut self.outage) {
                tracing::info!("the event bus is reached again");
            }
            let renew_at = Instant::now() + self.config.renew_every;
            while Instant::now() < renew_at {
                let left = renew_at.saturating_duration_since(Instant::now());
                self.read(&mut redis, &id, left).await?;
            }
        }
    }

    /// The id under which Redis knows this gateway: the one it had, or a new one.
    async fn registered(&mut self, redis: &mut MultiplexedConnection) -> RedisResult<String> {
        let id = self.shared.id.borrow().clone();
        if let Some(id) = id {
            let mut renew = self.shared.scripts.renew.prepare_invoke();
            renew.arg(&self.config.prefix).arg(&id).arg(self.config.gateway_life_seconds());
            if renew.invoke_async::<bool>(redis).await? && self.registered {
                self.known_at = Instant::now();
                return Ok(id);
            }
            // The window that publishers publish again does not reach back this far.
            if self.known_at.elapsed() > self.config.recovered_window {
                self.shared.ring.skip();
            }
        }
        self.register(redis).await
    }

    /// Registers under a new id. The order matters. The gateway's key comes first, or publishers would drop
    /// its interests. The epoch comes last: it makes publishers publish again, and they must find the
    /// interests in place.
    async fn register(&mut self, redis: &mut MultiplexedConnection) -> RedisResult<String> {
        let random = |error| redis::RedisError::from(std::io::Error::other(error));
        let id = random_word().map_err(random)?;
        self.registered = false;
        let prefix = &self.config.prefix;
        let again = self.shared.id.borrow().is_some();
        let life = self.config.gateway_life_seconds();
        redis::cmd("SET")
            .arg(format!("{prefix}gateway:{id}"))
            .arg(1)
            .arg("EX")
            .arg(life)
            .query_async::<()>(redis)
            .await?;
        // From here on interests are registered under the new id, by this task or by callers who add them.
        self.shared.id.send_replace(Some(id.clone()));
        self.last = 0;
        for topics in self.shared.topics().chunks(CALL_TOPICS_MAX) {
            let mut call = self.shared.scripts.interest.prepare_invoke();
            call.arg(prefix).arg(&id);
            for topic in topics {
                call.arg(topic.get());
            }
            call.invoke_async::<bool>(redis).await?;
        }
        if again {
            let epoch = random_word().map_err(random)?;
            redis::cmd("SET").arg(format!("{prefix}epoch")).arg(epoch).query_async::<()>(redis).await?;
            tracing::warn!("the event bus had forgotten this gateway: registered anew");
        }
        self.known_at = Instant::now();
        self.registered = true;
        Ok(id)
    }

    /// Waits at most `block` for entries and puts them into the ring.
    async fn read(
        &mut self,
        redis: &mut MultiplexedConnection,
        id: &str,
        block: Duration,
    ) -> RedisResult<()> {
        // Redis would block without end for 0.
        let block_ms = u64::try_from(block.as_millis()).unwrap_or(u64::MAX).max(1);
        let streams: Streams = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(READ_ENTRIES_MAX)
            .arg("BLOCK")
            .arg(block_ms)
            .arg("STREAMS")
            .arg(format!("{}inbox:{id}", self.config.prefix))
            .arg(format!("{}-0", self.last))
            .query_async(redis)
            .await?;
        let entries = streams.unwrap_or_default().into_iter().flat_map(|(_, entries)| entries);
        self.take_in(entries);
        Ok(())
    }

    /// Puts entries into the ring. An entry whose number does not follow the last one cuts readers off first.
    fn take_in(&mut self, entries: impl Iterator<Item = Entry>) {
        let mut records = Vec::new();
        for (id, fields) in entries {
            let Some((number, content)) = entry(&id, fields) else {
                tracing::error!(id, "an entry of the inbox is not one of ours");
                continue;
            };
            if number != self.last + 1 {
                tracing::error!(last = self.last, number, "the inbox overflowed: records are lost");
                self.shared.ring.append(std::mem::take(&mut records));
                self.shared.ring.skip();
            }
            self.last = number;
            match content {
                Content::Record(record) => records.push(record),
                Content::Ephemeral(record) => self.shared.ring.send_ephemeral(record),
                Content::Unknown => tracing::error!(id, "an entry of the inbox has an unknown kind"),
            }
        }
        self.shared.ring.append(records);
    }
}

/// The random `run_id` that a server gives itself at each start; empty if it states none.
async fn server_run(redis: &mut MultiplexedConnection) -> RedisResult<String> {
    let info: String = redis::cmd("INFO").arg("server").query_async(redis).await?;
    Ok(run_of(&info).to_owned())
}

/// The `run_id` in the text of `INFO server`.
fn run_of(info: &str) -> &str {
    info.lines().find_map(|line| line.trim_end().strip_prefix("run_id:")).unwrap_or_default()
}

/// What an entry of the inbox holds.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Record(Bytes),
    /// A record that is not kept.
    Ephemeral(Bytes),
    /// The entry is neither of these, or not one pair of kind and record.
    Unknown,
}

/// The number of an entry and what it holds; `None` if no publisher gives such an id.
fn entry(id: &str, fields: Vec<Vec<u8>>) -> Option<(u64, Content)> {
    let [kind, record] = <[Vec<u8>; 2]>::try_from(fields).unwrap_or_default();
    let content = match kind.as_slice() {
        b"r" => Content::Record(record.into()),
        b"e" => Content::Ephemeral(record.into()),
        _ => Content::Unknown,
    };
    Some((entry_number(id)?, content))
}

/// The number in an entry's id, `{number}-0`.
fn entry_number(id: &str) -> Option<u64> {
    id.strip_suffix("-0")?.parse().ok()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_run_is_found_among_its_facts() {
        assert_eq!(run_of("# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\ntcp_port:1\r\n"), "abc");
        assert_eq!(run_of("# Server\r\n"), "");
    }

    #[test]
    fn an_entrys_number_is_read_strictly() {
        assert_eq!(entry_number("17-0"), Some(17));
        for id in ["17-1", "17", "-0", "x-0"] {
            assert_eq!(entry_number(id), None, "{id}");
        }
    }
}
