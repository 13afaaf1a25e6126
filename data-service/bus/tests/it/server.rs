//! Redis servers for tests.

use std::{env, net::SocketAddr, time::Duration};

use weir_bus::{
    Inbox, Outgoing, Topic,
    redis::{RedisConfig, RedisInbox},
};
use weir_proto::id::GuildId;
use weir_testkit::{Process, Program, Ready, any_free_addresses, redis_server};

/// Longest wait for anything that a healthy server does; a busy machine takes well below it.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A prefix that no other test uses.
fn unique_prefix(test: &str) -> String {
    format!("weir-test:{}:{test}:", std::process::id())
}

/// The shared server. Where none is configured, the test says so and gets `None`; in CI it must be there.
pub(crate) fn shared(test: &str) -> Option<RedisConfig> {
    match env::var("WEIR_TEST_REDIS") {
        Ok(url) => {
            let mut config = RedisConfig::new(url);
            config.prefix = unique_prefix(test);
            // The keys expire soon after the test.
            config.gateway_life = Duration::from_secs(10);
            Some(config)
        }
        Err(_) if env::var_os("CI").is_some() => panic!("CI must set WEIR_TEST_REDIS"),
        Err(_) => {
            eprintln!("skipped: WEIR_TEST_REDIS is not set");
            None
        }
    }
}

/// A server of the test's own, which is killed with it.
pub(crate) struct Server {
    address: SocketAddr,
    process: Process,
}

impl Server {
    /// Starts a server on a free port. Gives `None` without `redis-server`, which must be there in CI.
    pub(crate) fn start() -> Option<Self> {
        let [address] = any_free_addresses().expect("a free port");
        let program = Program {
            name: "redis-server",
            command: redis_server(address, &env::temp_dir()),
            ready: Ready::Connects(address),
            log: None,
        };
        match Process::start(program) {
            Ok(mut process) => {
                process.ready().expect("it takes connections");
                Some(Self { address, process })
            }
            Err(error) if env::var_os("CI").is_some() => panic!("CI must have redis-server: {error:#}"),
            Err(error) => {
                eprintln!("skipped: {error:#}");
                None
            }
        }
    }

    /// The configuration to reach it, with short pauses, so that tests are quick.
    pub(crate) fn config(&self) -> RedisConfig {
        let mut config = RedisConfig::new(format!("redis://{}", self.address));
        config.timeout = Duration::from_millis(500);
        config.renew_every = Duration::from_millis(100);
        config.backoff_max = Duration::from_millis(200);
        config
    }

    /// Kills the server, which loses all it remembers.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it is ours");
    }

    /// Starts the server again on its port, empty.
    pub(crate) fn restart(&mut self) {
        self.process.restart().expect("it started before");
        self.process.ready().expect("it takes connections");
    }
}

/// Runs one command on a connection of its own.
pub(crate) async fn command<T: deadpool_redis::redis::FromRedisValue>(
    config: &RedisConfig,
    words: &[&str],
) -> T {
    use deadpool_redis::redis;
    let client = redis::Client::open(config.url.as_str()).expect("a url");
    let mut connection = client.get_multiplexed_async_connection().await.expect("the server is there");
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query_async(&mut connection).await.expect("the command is right")
}

/// A guild's topic.
pub(crate) fn topic(guild_id: u64) -> Topic {
    Topic::Guild(GuildId::try_from(guild_id).expect("not 0"))
}

/// A record.
pub(crate) fn out(guild_id: u64, text: &str) -> Outgoing {
    about(&[guild_id], text)
}

/// A record of several topics.
pub(crate) fn about(topics: &[u64], text: &str) -> Outgoing {
    Outgoing { topics: topics.iter().map(|id| topic(*id)).collect(), record: text.as_bytes().to_vec().into() }
}

/// Registers interest in a guild, again and again until Redis has it.
pub(crate) async fn interested(inbox: &RedisInbox, guild_id: u64) {
    eventually("interest", async || inbox.add_interest(topic(guild_id)).await.is_ok()).await;
}

/// Tries until an attempt succeeds, or fails the test.
pub(crate) async fn eventually(what: &str, mut attempt: impl AsyncFnMut() -> bool) {
    let tries = async {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        loop {
            pause.tick().await;
            if attempt().await {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, tries).await.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"));
}

/// The texts of the records above a position, once there are `count` of them.
pub(crate) async fn texts(inbox: &RedisInbox, after: u64, count: u64) -> Vec<String> {
    let arrived = tokio::time::timeout(SOON, inbox.wait(after + count - 1)).await;
    arrived.unwrap_or_else(|_| {
        panic!("{count} records after {after} did not come: the head is {}", inbox.head())
    });
    let batch = inbox.read(after, 4_096).await.expect("the ring holds them");
    for (place, (position, _)) in (after + 1..).zip(&batch.records) {
        assert_eq!(place, *position, "positions are dense");
    }
    batch.records.iter().map(|(_, record)| String::from_utf8_lossy(record).into_owned()).collect()
}
