//! Over loopback, with the clock running: the listener and several sessions at once.

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weir_gateway::{Gateway, GatewayConfig, IdentifyLimits, Stopped};

use crate::{
    client::{Client, INTENTS},
    world::{BOT, OPEN, World},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_receive_every_message_in_order_over_tcp() {
    let world = World::new(false, 100_000);
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    // One token for all of them, which Discord would let in one every five seconds.
    let config = GatewayConfig { identify_limits: IdentifyLimits::Off, ..GatewayConfig::default() };
    let gateway = Gateway::start(config, world.deps(), listener, stop.clone()).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client =
            Client::ready_over(TcpStream::connect(addr).await.unwrap(), "/?v=10", BOT, INTENTS).await;
        client.dispatch("GUILD_CREATE").await;
        clients.push(client);
    }
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                for i in 0..500 {
                    assert_eq!(client.message().await, i.to_string());
                }
                client
            })
        })
        .collect();
    for i in 0..500 {
        world.say(OPEN, &i.to_string()).await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    stop.cancel();
    assert_eq!(gateway.stopped().await, Stopped::Clean);
}
