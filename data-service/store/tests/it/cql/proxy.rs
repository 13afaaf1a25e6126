//! A proxy before the database. It can stop passing bytes on, as a frozen server does, or cut its
//! connections.
//!
//! The driver learns a node's port from the contact point, so with one node every connection goes through
//! here.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
};

/// The proxy's treatment of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It passes them both ways.
    Pass,
    /// It passes them to the server, but holds answers back.
    HoldAnswers,
    /// It closes connections, and new ones too.
    Cut,
}

/// The proxy; it ends with the value.
pub(super) struct Proxy {
    address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    listener: AbortHandle,
}

impl Proxy {
    /// Starts a proxy before `server`.
    pub(super) async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let shared = mode.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, shared.subscribe(), false));
                tokio::spawn(pass(from_server, to_client, shared.subscribe(), true));
            }
        });
        Self { address, mode, listener: accepting.abort_handle() }
    }

    /// The address to which clients connect.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes the treatment of bytes, for open connections too.
    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Passes bytes one way until an end closes or the proxy cuts.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    answers: bool,
) {
    let mut bytes = vec![0; 16 * 1_024];
    loop {
        let count = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            cut = mode.wait_for(|mode| *mode == Mode::Cut) => { drop(cut); 0 }
        };
        if count == 0 {
            return;
        }
        let open = mode.wait_for(|mode| !answers || *mode != Mode::HoldAnswers).await.map(|mode| *mode);
        if !matches!(open, Ok(Mode::Pass | Mode::HoldAnswers)) {
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
