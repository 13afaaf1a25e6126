//! Any interleaving of changes, disconnects, resumes and restarts: every visible record is received once, in
//! order.

use proptest::{prelude::*, test_runner::TestRunner};
use tokio::runtime::Builder;
use weir_gateway::GatewayConfig;

use crate::{
    client::{Client, Received},
    world::{ALICE, BOT, Fate, HIDDEN, OPEN, OWNER, Running, World},
};

#[derive(Debug, Clone)]
enum Step {
    /// This many messages, in the channel that is seen or in one that is not, with a fate on the bus.
    Say(usize, bool, Fate),
    /// The client reads at most this many messages.
    Read(usize),
    /// The client drops its connection and resumes from what it read.
    Resume,
    /// The same, but messages are committed while it resumes.
    RacingResume(usize),
    /// The gateway ends and another begins.
    Restart,
}

fn steps(durable: bool) -> impl Strategy<Value = Vec<Step>> {
    let fate = if durable {
        // A log is never wrong.
        Just(Fate::Once).boxed()
    } else {
        prop_oneof![4 => Just(Fate::Once), 1 => Just(Fate::Twice), 1 => Just(Fate::Lost)].boxed()
    };
    let step = prop_oneof![
        6 => (1..40_usize, any::<bool>(), fate).prop_map(|(n, seen, fate)| Step::Say(n, seen, fate)),
        4 => (1..30_usize).prop_map(Step::Read),
        2 => Just(Step::Resume),
        2 => (1..30_usize).prop_map(Step::RacingResume),
        1 => Just(if durable { Step::Restart } else { Step::Resume }),
    ];
    prop::collection::vec(step, 1..25)
}

/// Direct messages of the bot with Alice, and of others.
const OWN: u64 = 500 << 22;
const OTHERS: u64 = 501 << 22;

struct Run {
    /// Where what is seen is said, and where what is not.
    channels: [u64; 2],
    world: std::sync::Arc<World>,
    gateway: Running,
    client: Client,
    said: usize,
    heard: usize,
}

impl Run {
    async fn say(&mut self, count: usize, seen: bool, fate: Fate) {
        for _ in 0..count {
            if seen {
                self.world.say_as(self.channels[0], ALICE, &self.said.to_string(), fate).await;
                self.said += 1;
            } else {
                self.world.say_as(self.channels[1], ALICE, "unseen", fate).await;
            }
        }
    }

    /// Reads one payload; false if it was RESUMED.
    async fn hear(&mut self) -> bool {
        match self.client.receive().await {
            Received::Payload(payload) if payload["t"] == "RESUMED" => false,
            Received::Payload(payload) => {
                assert_eq!(payload["d"]["content"], self.heard.to_string(), "once and in order");
                self.heard += 1;
                true
            }
            other => panic!("{other:?}"),
        }
    }

    async fn resume(&mut self, racing: usize) {
        let (id, seq) = (self.client.session_id.clone(), self.client.last_seq());
        // A narrow pipe: connections end in the middle of writes.
        self.client = Client::resuming_over(self.gateway.pipe(2 << 10), BOT, &id, seq).await;
        for _ in 0..racing {
            self.say(1, true, Fate::Once).await;
            tokio::task::yield_now().await;
        }
        while self.hear().await {}
    }
}

async fn run(durable: bool, channels: [u64; 2], steps: Vec<Step>) {
    let world = World::new(durable, 100_000);
    // Small, so that a log is needed for longer absences; without one the ring must hold everything.
    let ring_records_max = if durable { 64 } else { 100_000 };
    let config = GatewayConfig { ring_records_max, ..GatewayConfig::default() };
    let gateway = world.gateway(config.clone()).await;
    let client = Client::identified(&gateway, BOT).await;
    world.open_direct(OTHERS, [ALICE, OWNER], Fate::Once).await;
    world.open_direct(OWN, [BOT, ALICE], Fate::Once).await;
    // Its creation is not for bots.
    let mut run = Run { channels, world, gateway, client, said: 0, heard: 0 };
    for step in steps {
        match step {
            Step::Say(count, seen, fate) => run.say(count, seen, fate).await,
            Step::Read(count) => {
                // The last record, lost, is found out only by a later one.
                run.say(1, true, Fate::Once).await;
                for _ in 0..count.min(run.said - run.heard) {
                    match run.client.receive().await {
                        Received::Payload(payload) => {
                            assert_eq!(payload["d"]["content"], run.heard.to_string());
                            run.heard += 1;
                        }
                        // A ring of 64 may be too short for what was said at once.
                        Received::Closed(4000) => {
                            run.resume(0).await;
                            break;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            Step::Resume => run.resume(0).await,
            Step::RacingResume(count) => run.resume(count).await,
            Step::Restart => {
                let stopping = std::mem::replace(&mut run.gateway, run.world.gateway(config.clone()).await);
                // The new process begins while the old one still drains, as in a rolling restart of one log.
                stopping.stop().await;
                run.gateway.stop.cancel();
                run.gateway = run.world.gateway(config.clone()).await;
                run.resume(0).await;
            }
        }
    }
    run.say(1, true, Fate::Once).await;
    run.resume(0).await;
    while run.heard < run.said {
        run.hear().await;
    }
    run.client.quiet().await;
}

fn check(durable: bool, channels: [u64; 2], cases: u32) {
    // More with PROPTEST_CASES in the environment.
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| ProptestConfig::default().cases);
    let cases = asked.unwrap_or(cases);
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&steps(durable), |steps| {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(durable, channels, steps));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn with_a_log_every_visible_record_is_received_once_in_order() {
    check(true, [OPEN, HIDDEN], 40);
}

#[test]
fn on_a_bus_that_repeats_and_loses_every_visible_record_is_received_once_in_order() {
    check(false, [OPEN, HIDDEN], 40);
}

#[test]
fn with_a_log_every_direct_message_is_received_once_in_order() {
    check(true, [OWN, OTHERS], 40);
}

#[test]
fn on_a_bus_that_repeats_and_loses_every_direct_message_is_received_once_in_order() {
    check(false, [OWN, OTHERS], 40);
}

/// At whatever moment of identify a message is committed: the session hears an unbroken run of messages that
/// includes every one committed after READY was seen.
#[test]
fn a_session_that_begins_among_messages_misses_none() {
    for head_start in 0..40 {
        for (durable, channel) in [(false, OPEN), (true, OPEN), (false, OWN), (true, OWN)] {
            let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let world = World::new(durable, 10_000);
                world.open_direct(OWN, [BOT, ALICE], Fate::Once).await;
                let gateway = world.gateway(GatewayConfig::default()).await;
                let mut client = Client::connect(&gateway).await;
                client.hello().await;
                let talking = tokio::spawn({
                    let world = world.clone();
                    async move {
                        for i in 0..200_usize {
                            world.say(channel, &i.to_string()).await;
                            for _ in 0..=(i + head_start) % 3 {
                                tokio::task::yield_now().await;
                            }
                        }
                    }
                });
                for _ in 0..head_start {
                    tokio::task::yield_now().await;
                }
                client.identify(BOT, crate::client::INTENTS).await;
                client.dispatch("READY").await;
                client.dispatch("GUILD_CREATE").await;
                talking.await.unwrap();
                world.say(channel, "200").await;
                let first = client.payload().await;
                let mut next: usize = first["d"]["content"].as_str().unwrap().parse().unwrap();
                while next < 200 {
                    next += 1;
                    assert_eq!(client.message().await, next.to_string());
                }
                client.quiet().await;
            });
        }
    }
}

/// At whatever moment of identify the user's roles change: afterwards the session sees what they show.
#[test]
fn roles_that_change_while_a_session_begins_are_known() {
    for delay in 0..60 {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (world, gateway) = World::with_gateway(false, 10_000).await;
            let mut client = Client::connect(&gateway).await;
            client.hello().await;
            let changing = tokio::spawn({
                let world = world.clone();
                async move {
                    for _ in 0..delay {
                        tokio::task::yield_now().await;
                    }
                    world.set_roles(crate::world::GUILD, BOT, &[crate::world::SEER]).await;
                }
            });
            client.identify(BOT, crate::client::INTENTS).await;
            client.dispatch("READY").await;
            client.dispatch("GUILD_CREATE").await;
            changing.await.unwrap();
            world.say(HIDDEN, "seen").await;
            let first = client.payload().await;
            if first["t"] == "GUILD_MEMBER_UPDATE" {
                assert_eq!(client.message().await, "seen");
            } else {
                assert_eq!(first["d"]["content"], "seen");
            }
        });
    }
}
