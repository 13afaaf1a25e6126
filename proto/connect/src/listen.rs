//! Listening sockets: every listener of every tier is bound here, so that all have the same accept queue.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the operating system completes and keeps before they are accepted. One more waits for its
/// second SYN, a second or longer. 4,096 is the default of `net.core.somaxconn`, to which the system cuts any
/// larger value. A guild whose members all connect again after an outage fills the 128 of the standard
/// library within a millisecond.
pub const ACCEPT_QUEUE: u32 = 4096;

/// Binds `addr` with an accept queue of [`ACCEPT_QUEUE`]; port 0 chooses a free one. The port of a process
/// that has just ended can be bound at once.
///
/// # Errors
/// Those of binding.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As in tokio's own bind: connections of the previous process in TIME_WAIT must not keep the next one
    // out.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(ACCEPT_QUEUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    /// More than the standard library's queue of 128, and more than 256, which an administrator may have set.
    const CONNECTS: usize = 400;

    #[tokio::test]
    async fn hundreds_of_connects_complete_before_one_is_accepted() {
        // Nothing accepts: a connect that finds the queue full never completes.
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut open = Vec::with_capacity(CONNECTS);
        for _ in 0..CONNECTS {
            open.push(TcpStream::connect(addr).await.unwrap());
        }
        assert_eq!(open.len(), CONNECTS);
    }

    #[tokio::test]
    async fn an_address_in_use_is_refused() {
        let first = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let again = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }
}
