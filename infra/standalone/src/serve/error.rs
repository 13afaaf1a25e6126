//! Why the server did not start, or ended by itself.

use std::{io, net::SocketAddr, path::PathBuf};

use weir_data_service::{backend::BackendError, node::OpenError};
use weir_gateway::StartError;
use weir_runtime::{admin::AdminTokenError, running::FileError};

/// Why the server did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// A listener could not be bound.
    #[error("cannot listen on {address} for the {tier}")]
    Bind {
        /// The tier of the listener.
        tier: &'static str,
        /// Its address.
        address: SocketAddr,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The signal handlers could not be set.
    #[error("signals cannot be handled")]
    Signals(#[source] io::Error),
    /// The listeners' threads could not be started.
    #[error("the threads of the listeners cannot be started")]
    Threads(#[source] io::Error),
    /// The data directory could not be made.
    #[error("cannot make the data directory {}", path.display())]
    Directory {
        /// Its path.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The store or the bus failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The data service could not start.
    #[error("the data service cannot start")]
    DataService(#[from] OpenError),
    /// The gateway could not start.
    #[error("the gateway cannot start")]
    Gateway(#[from] StartError),
    /// The operators' token could not be read or created.
    #[error(transparent)]
    Token(#[from] AdminTokenError),
    /// The file that tells other commands the server's addresses could not be written.
    #[error(transparent)]
    AddressFile(#[from] FileError),
    /// Standard output is closed.
    #[error("the addresses cannot be printed")]
    Print(#[source] io::Error),
    /// A tier's task ended unexpectedly.
    #[error("the {tier} ended by itself")]
    Ended {
        /// The tier.
        tier: &'static str,
    },
    /// The store can no longer guarantee what is on disk.
    #[error(
        "the store is lost to this process and takes no more writes: {reason}; nothing was acknowledged since: look at the disk, then start again"
    )]
    StoreLost {
        /// The store's first error.
        reason: String,
    },
}
