//! A TCP relay whose connections can be cut from outside.
//!
//! twilight owns its socket and offers only a clean close. The relay stands between twilight and the gateway
//! for the first connection and can reset it: there is no close frame, and bytes on their way are lost, as
//! when a phone leaves its network.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A running relay. It ends with the runtime.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    cuts: watch::Sender<u32>,
}

impl Relay {
    /// Listens on a free port of 127.0.0.1 and relays to `target` (`HOST:PORT`).
    pub(crate) async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the relay")?;
        let address = listener.local_addr().context("the relay's address")?;
        let (cuts, cut) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, target.clone(), cut.clone()));
            }
        });
        Ok(Self { address, cuts })
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection that is open now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// Copies both ways until one side ends or the relay is cut. An error on either side ends the connection, as
/// a relay cannot do more about it.
async fn relay(mut client: TcpStream, target: String, mut cut: watch::Receiver<u32>) {
    cut.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    tokio::select! {
        _ended = io::copy_bidirectional(&mut client, &mut server) => {}
        _cut = cut.changed() => {
            // Without time to linger, closing sends RST instead of FIN.
            let _unsupported = (client.set_zero_linger(), server.set_zero_linger());
        }
    }
}
