//! How a subcommand reaches the data service: through the admin listener of a running server, or, if none
//! runs on the data directory, by opening the embedded store in this process. The calls are the same either
//! way.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use weir_connect::{ClientConfig, ClientError, Code, HttpClient, UnaryRequest, UnaryResponse};
use weir_data_client::{
    DataClient, Transport, TransportError,
    transport::{Http, InProcess},
};
use weir_data_service::{
    backend::{Backend, BackendError, StoreChoice, VERSION_FILE},
    clock::SystemClock,
    node::{DataService, OpenError, Parts},
};
use weir_runtime::{
    AdminToken, Readiness, Registry,
    admin::AdminTokenError,
    running::{FileError, Running, reachable, token_file},
};
use weir_store::embedded;

use crate::config::Config;

/// Time limit for the first call to a server, which shows whether it exists and accepts the token.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits for a directory that a process holds which cannot be called. A starting server
/// needs a second, and another command seldom more.
const HELD_WAIT: Duration = Duration::from_secs(5);
/// Pause between two attempts.
const HELD_LOOK: Duration = Duration::from_millis(100);

/// Why there is no service to call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReachError {
    /// No server was found.
    #[error("no server runs on {}: start one with `weir serve`, or name one with --admin ADDR:PORT", directory.display())]
    NoServer {
        /// The data directory.
        directory: PathBuf,
    },
    /// No server was found, and there is no store that could be opened instead.
    #[error(
        "no server runs on {} and there is no store in it: name the right directory with --data, or start a server with `weir serve`",
        directory.display()
    )]
    NoStore {
        /// The data directory.
        directory: PathBuf,
    },
    /// The server does not answer.
    #[error("the server at {address} does not answer: {reason}")]
    Silent {
        /// Its admin listener.
        address: SocketAddr,
        /// The transport's error.
        reason: String,
    },
    /// A process holds the data directory, but cannot be called.
    #[error("process {pid} uses {}, but its admin listener is not to be reached (is it starting or stopping?)", directory.display())]
    Held {
        /// The data directory.
        directory: PathBuf,
        /// The process.
        pid: String,
    },
    /// The server does not accept the token.
    #[error("the server at {address} does not accept the token of {}: name the right one with --admin-token-file", file.display())]
    Denied {
        /// Its admin listener.
        address: SocketAddr,
        /// The token's file.
        file: PathBuf,
    },
    /// There is no usable token.
    #[error(transparent)]
    Token(#[from] AdminTokenError),
    /// The file that names the server's address cannot be used.
    #[error(transparent)]
    AddressFile(#[from] FileError),
    /// Something answers, but it is not Weir.
    #[error("what listens at {address} is no admin listener of Weir: {reason}")]
    Answer {
        /// The address.
        address: SocketAddr,
        /// Its answer.
        reason: String,
    },
    /// The store could not be opened in this process.
    #[error(transparent)]
    Backend(BackendError),
    /// The data service over that store could not start.
    #[error("the data service cannot start")]
    DataService(#[from] OpenError),
}

/// True if the directory holds a store, or possible remains of one.
fn is_there(directory: &Path) -> bool {
    !matches!(embedded::inspect(directory), Ok(None))
}

/// True if a server has used the directory, but without an embedded store in it.
fn of_a_cluster(directory: &Path) -> bool {
    token_file(directory).exists() && !directory.join(VERSION_FILE).exists()
}

/// The process that holds a data directory's lock. The check itself does not keep the lock.
pub(crate) fn holder(directory: &Path) -> Option<String> {
    let path = directory.join("weir.lock");
    let lock = fs::File::open(&path).ok()?;
    match lock.try_lock_shared() {
        Err(fs::TryLockError::WouldBlock) => fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned()),
        Ok(()) | Err(fs::TryLockError::Error(_)) => None,
    }
}

/// What a command does if no server runs and there is no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfAbsent {
    /// The command fails: what it needs is in another directory.
    Refuse,
    /// The command creates a store, because it may bring the first content.
    Make,
}

/// A data service to call.
pub(crate) struct Service {
    /// Makes calls of `weir.data.v1` and `weir.admin.v1`.
    pub(crate) client: DataClient,
    /// Address of the server's REST listener, if it has one and it is known.
    pub(crate) api: Option<SocketAddr>,
    local: Option<Local>,
}

/// A service that runs in this process, for this command.
struct Local {
    directory: PathBuf,
    /// True if there was no store before.
    made: bool,
    backend: Backend,
    data: Arc<DataService>,
    stop: CancellationToken,
}

/// Where to look for the service.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// The configuration.
    pub(crate) config: &'a Config,
    /// True if `--admin` was given. Then only that server is considered.
    pub(crate) admin_given: bool,
    /// The value of `--admin-token-file`.
    pub(crate) token_file: Option<&'a Path>,
}

impl Service {
    /// Finds the running server.
    ///
    /// # Errors
    /// [`ReachError`]
    pub(crate) async fn server(target: &Target<'_>) -> Result<Self, ReachError> {
        if target.admin_given {
            return Self::at(target, reachable(target.config.listen.admin), None).await;
        }
        let directory = &target.config.backend.directory;
        match Running::read(directory)? {
            Some(running) => match Self::at(target, reachable(running.address), running.api.map(reachable))
                .await
            {
                // A killed server left the file behind.
                Err(ReachError::Silent { .. }) => Err(ReachError::NoServer { directory: directory.clone() }),
                reached => reached,
            },
            None => Err(ReachError::NoServer { directory: directory.clone() }),
        }
    }

    /// Finds the running server, or else opens the embedded store in this process; `absent` says what to do
    /// if there is none.
    ///
    /// A server on a cluster holds no lock on its directory. So a running server is looked for first, and a
    /// directory that only such servers have used never gets an embedded store. Otherwise the process that
    /// holds the store's lock is the server, so a file that was left behind cannot mislead.
    ///
    /// # Errors
    /// [`ReachError`]
    pub(crate) async fn server_or_store(target: &Target<'_>, absent: IfAbsent) -> Result<Self, ReachError> {
        if target.admin_given || target.config.backend.store != StoreChoice::Embedded {
            return Self::server(target).await;
        }
        let started = Instant::now();
        loop {
            let directory = &target.config.backend.directory;
            match Self::server(target).await {
                Err(ReachError::NoServer { .. }) if !of_a_cluster(directory) => {}
                reached => return reached,
            }
            let there = is_there(directory);
            let pid = match (there, absent, holder(directory)) {
                // A server that starts here for the first time is about to create the store.
                (false, IfAbsent::Refuse, Some(pid)) => pid,
                (false, IfAbsent::Refuse, None) if !is_there(directory) => {
                    return Err(ReachError::NoStore { directory: directory.clone() });
                }
                _ => match Self::open(target.config, !there).await {
                    Err(ReachError::Backend(error)) => match error.in_use_by() {
                        Some((_, pid)) => pid.to_owned(),
                        None => return Err(ReachError::Backend(error)),
                    },
                    opened => return opened,
                },
            };
            // The process that holds the lock is starting or stopping, or is a command like this one.
            if started.elapsed() >= HELD_WAIT {
                return Err(ReachError::Held { directory: directory.clone(), pid });
            }
            sleep(HELD_LOOK).await;
        }
    }

    /// Opens the store in this process.
    async fn open(config: &Config, made: bool) -> Result<Self, ReachError> {
        let directory = config.backend.directory.clone();
        let stop = CancellationToken::new();
        let clock = Arc::new(SystemClock);
        let backend = Backend::open(config.backend.clone(), clock.clone(), &stop, &Readiness::default())
            .await
            .map_err(ReachError::Backend)?;
        let parts = Parts::over(&backend, clock, Registry::new(), Readiness::default());
        let data = DataService::open(config.data.clone(), parts, stop.clone()).await?;
        let client = DataClient::new(Arc::new(InProcess::new(data.admin_dispatch())));
        Ok(Self { client, api: None, local: Some(Local { directory, made, backend, data, stop }) })
    }

    /// Connects to the server at an address, if it accepts the token.
    async fn at(
        target: &Target<'_>,
        address: SocketAddr,
        api: Option<SocketAddr>,
    ) -> Result<Self, ReachError> {
        let own = token_file(&target.config.backend.directory);
        let file = target.token_file.unwrap_or(&own);
        let authorization = AdminToken::load(file)?.authorization();
        let silent = |reason: String| ReachError::Silent { address, reason };
        let client = HttpClient::new(ClientConfig {
            connections: 1,
            ..ClientConfig::new(format!("http://{address}"))
        })
        .map_err(|error| silent(error.to_string()))?;
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.clone())]);
        let probe = client.unary(
            "/weir.admin.v1.LimitService/ListLimits",
            headers,
            Some(PROBE_TIMEOUT),
            Bytes::new(),
        );
        match probe.await {
            Ok(_) => {}
            Err(ClientError::NotSent(reason)) => return Err(silent(reason.to_string())),
            Err(ClientError::Unknown(reason)) => return Err(silent(reason.to_string())),
            Err(ClientError::Connect(error)) => {
                return Err(match error.code {
                    Code::Unauthenticated | Code::PermissionDenied => {
                        ReachError::Denied { address, file: file.to_owned() }
                    }
                    Code::Unimplemented | Code::NotFound => {
                        ReachError::Answer { address, reason: error.message }
                    }
                    // The server exists. Any other error will reappear in the call itself.
                    _ => return Ok(Self::remote(client, authorization, api)),
                });
            }
        }
        Ok(Self::remote(client, authorization, api))
    }

    fn remote(client: HttpClient, authorization: HeaderValue, api: Option<SocketAddr>) -> Self {
        let transport = Authorized { inner: Http::new(client), authorization };
        Self { client: DataClient::new(Arc::new(transport)), api, local: None }
    }

    /// The remark to print if the service runs in this process. Otherwise the operator might believe that a
    /// server received the call.
    pub(crate) fn note(&self) -> Option<String> {
        let Local { directory, made, .. } = self.local.as_ref()?;
        let directory = directory.display();
        Some(if *made {
            format!("no server runs on {directory} and there was no store in it: a new one was made")
        } else {
            format!("no server runs on {directory}: its store was opened for this command")
        })
    }

    /// Completes with the reason once the service can never work again in this process. It never completes if
    /// another process serves.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn lost(&self) -> String {
        match &self.local {
            Some(local) => local.backend.watch().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the service if it runs in this process: waits for changes under way and closes the store.
    pub(crate) async fn close(self) {
        if let Some(Local { backend, data, stop, .. }) = self.local {
            stop.cancel();
            data.closed().await;
            drop(data);
            backend.close().await;
        }
    }
}

/// Adds the operator's token to each call.
struct Authorized {
    inner: Http,
    authorization: HeaderValue,
}

#[async_trait]
impl Transport for Authorized {
    async fn unary(&self, mut request: UnaryRequest) -> Result<UnaryResponse, TransportError> {
        request.headers.insert(header::AUTHORIZATION, self.authorization.clone());
        self.inner.unary(request).await
    }
}
