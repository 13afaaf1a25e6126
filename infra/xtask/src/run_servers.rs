//! Servers for a run of tests: our own, in the run's folder, or those that the environment names.

use std::{
    env,
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use weir_testkit::any_free_addresses;

use crate::{
    cassandra::{self, Jars, Node},
    process::{Children, Running},
    redis,
    steps::Setup,
    workspace::Workspace,
};

/// Variable that names a CQL server (`host:port`) for the tests.
pub(crate) const CQL_VARIABLE: &str = "WEIR_TEST_CQL";

/// Variable that names a Redis server (`redis://host:port`) for the tests.
pub(crate) const REDIS_VARIABLE: &str = "WEIR_TEST_REDIS";

/// A server for the tests: ours, or one that the environment names.
#[derive(Debug)]
pub(crate) struct Server {
    /// The server's address as the tests are given it.
    name: String,
    /// Keeps our own server running.
    _running: Option<Running>,
}

impl Server {
    /// The address as the tests are given it: `host:port` of a CQL node, the URL of Redis.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Starts servers in the folder of a run.
#[derive(Clone, Copy)]
pub(crate) struct Servers<'a> {
    workspace: &'a Workspace,
    children: &'a Children,
    folder: &'a Path,
}

impl<'a> Servers<'a> {
    /// `folder` is the result of [`Workspace::run_folder`].
    pub(crate) fn new(workspace: &'a Workspace, children: &'a Children, folder: &'a Path) -> Self {
        Self { workspace, children, folder }
    }

    /// Returns a Redis server, or the reason why there is none.
    pub(crate) fn redis(&self) -> Result<Setup<Server>> {
        if let Ok(name) = env::var(REDIS_VARIABLE) {
            eprintln!("xtask: using {name}");
            return Ok(Setup::Ready(Server { name, _running: None }));
        }
        if let Setup::Skipped(reason) = redis::ensure_installed(self.children)? {
            return Ok(Setup::Skipped(reason));
        }
        let [address] = any_free_addresses()?;
        let server = redis::Server::new(self.workspace.own(&self.below("redis"))?, address.port());
        let running = server.start(self.children)?;
        Ok(Setup::Ready(Server { name: server.url(), _running: Some(running) }))
    }

    /// Returns a Cassandra node, or the reason why there is none.
    pub(crate) fn cassandra(&self) -> Result<Setup<Server>> {
        if let Ok(name) = env::var(CQL_VARIABLE) {
            let address: Option<SocketAddr> =
                name.to_socket_addrs().with_context(|| format!("look up {CQL_VARIABLE}={name}"))?.next();
            if !address.is_some_and(cassandra::answers) {
                bail!("no CQL server answers at {CQL_VARIABLE}={name}");
            }
            return Ok(Setup::Ready(Server { name, _running: None }));
        }
        let jars = match Jars::ensure(self.workspace, self.children)? {
            Setup::Ready(jars) => jars,
            Setup::Skipped(reason) => return Ok(Setup::Skipped(reason)),
        };
        let [cql, storage] = any_free_addresses()?;
        let node = Node::new(self.workspace.own(&self.below("cassandra"))?, cql.port(), storage.port());
        let running = node.start(&jars, self.children)?;
        Ok(Setup::Ready(Server { name: node.cql().to_string(), _running: Some(running) }))
    }

    /// The name of a part of `folder`, as [`Workspace::own`] expects it.
    pub(crate) fn below(&self, name: &str) -> String {
        let run = self.folder.file_name().unwrap_or_default().to_string_lossy();
        format!("{run}/{name}")
    }
}
