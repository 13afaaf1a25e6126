//! Clients that take what all share, places and turns, and what is left for the others.

use std::time::Duration;

use tokio::time::Instant;
use weir_gateway::GatewayConfig;

use crate::{
    client::{Client, INTENTS},
    world::{ALICE, BOT, GUILD, World},
};

#[tokio::test(start_paused = true)]
async fn who_takes_over_a_session_that_does_not_read_waits_for_nothing_and_holds_up_nobody() {
    let world = World::new(false, 1_000);
    world.overwrite(GUILD, 2_000);
    let gateway = world.gateway(GatewayConfig { admissions_max: 1, ..GatewayConfig::default() }).await;
    let mut slow = Client::over(gateway.pipe(4 << 10), "/?v=10").await;
    slow.hello().await;
    slow.identify(BOT, INTENTS).await;
    slow.dispatch("READY").await;
    // The guild does not fit into the pipe.
    let began = Instant::now();
    let mut taken = Client::resuming(&gateway, BOT, &slow.session_id, 1).await;
    Client::identified(&gateway, ALICE).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    taken.dispatch("GUILD_CREATE").await;
    taken.dispatch("RESUMED").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
