//! A Redis server of the scenario's own, which is killed and comes back empty.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use weir_testkit::{Process, Program, Ready, free_addresses, redis_server};

/// The server; it is killed when this value is dropped.
pub(super) struct Redis {
    address: SocketAddr,
    process: Process,
}

impl Redis {
    /// Starts `redis-server` on a free port of the loopback, with its log in `directory`.
    pub(super) fn start(directory: &Path, random: &mut Rng) -> Result<Self> {
        let [address] = free_addresses(random)?;
        let process = Process::start(Program {
            name: "redis-server",
            command: redis_server(address, directory),
            ready: Ready::Connects(address),
            log: Some(directory.join("redis.log")),
        });
        let mut redis = Self { address, process: process.context("is Redis installed?")? };
        redis.process.ready()?;
        Ok(redis)
    }

    /// The address in the form that `--bus` takes.
    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sends SIGKILL to this process alone. Returns when it is gone, with all its data.
    pub(super) fn kill(&mut self) -> Result<()> {
        match self.process.kill()? {
            Some(ended) => bail!("{ended}"),
            None => Ok(()),
        }
    }

    /// Starts it again on its port, empty, and waits until it takes connections.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.process.restart()?;
        self.process.ready().map(drop)
    }
}
