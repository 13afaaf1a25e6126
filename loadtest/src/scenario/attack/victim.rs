//! The process under attack: started with limits, looked at while it is attacked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};
use weir_testkit::{Process, Program, Ready};

use crate::{
    process::{self, Listeners},
    scenario::kills::target::create_bot,
    target,
};

/// Pause between two looks at the process.
const POLL: Duration = Duration::from_millis(100);
/// Patience with a page of the admin listener. A prober in production has about this much.
const PAGE_MAX: Duration = Duration::from_secs(3);
/// Caches of the victim, small, so that they are full when the attack begins.
const CACHE: &str = "16MiB";

/// What the process may have.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Limits {
    pub(in crate::scenario) descriptors: u64,
    pub(in crate::scenario) memory_mib: u64,
}

/// A `weir` with a limit on descriptors and address space.
pub(in crate::scenario) struct Victim {
    process: Process,
    pub(in crate::scenario) api: SocketAddr,
    pub(in crate::scenario) gateway: SocketAddr,
    pub(in crate::scenario) data_service: SocketAddr,
    pub(in crate::scenario) admin: SocketAddr,
    weir: PathBuf,
    data: PathBuf,
}

/// What the process holds at one moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Look {
    pub(in crate::scenario) rss_mib: f64,
    /// Since its start.
    pub(in crate::scenario) database_reads: f64,
}

/// The most of it during an attack.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::scenario) struct Watched {
    pub(in crate::scenario) rss_mib: f64,
    pub(in crate::scenario) descriptors: usize,
    /// Times that `/healthz` was asked, and was not answered with 200 in time.
    pub(in crate::scenario) probes: u32,
    pub(in crate::scenario) probes_failed: u32,
}

impl Victim {
    /// Starts it and waits until it is ready.
    pub(in crate::scenario) fn start(
        directory: &Path,
        profile: Option<&str>,
        limits: Limits,
    ) -> Result<Self> {
        let mut random = Rng::with_seed(u64::from(std::process::id()));
        let listeners = Listeners::free(&mut random)?;
        let weir = process::binary("weir", profile)?;
        let data = directory.join("data");
        let script = format!(
            "ulimit -n {} && ulimit -v {} && exec \"$0\" \"$@\"",
            limits.descriptors,
            limits.memory_mib << 10
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).arg(&weir).args(listeners.flags()).arg("--data").arg(&data);
        for cache in ["WEIR_DATA__CACHE", "WEIR_DATA__TAILS", "WEIR_STORE__CACHE"] {
            command.env(cache, CACHE);
        }
        command.env("WEIR_LOG__FILTER", "warn");
        let Listeners { api, gateway, data_service, admin } = listeners;
        let log = Some(directory.join("weir.log"));
        let mut process = Process::start(Program { name: "weir", command, ready: Ready::Admin(admin), log })?;
        process.ready()?;
        Ok(Self { process, api, gateway, data_service, admin, weir, data })
    }

    /// A new bot's token.
    pub(in crate::scenario) async fn bot(&self, name: &str) -> Result<String> {
        create_bot(&self.weir, &self.data, self.admin, name, None).await
    }

    /// What it holds now.
    ///
    /// # Errors
    /// When the process is gone.
    pub(in crate::scenario) async fn look(&mut self) -> Result<Look> {
        let (rss_mib, _descriptors) = self.resources()?;
        let page = self.metrics().await?;
        Ok(Look { rss_mib, database_reads: target::sum_of(&page, "weir_data_db_reads_total") })
    }

    /// How full a part of its memory is, as a share of its bound.
    ///
    /// # Errors
    /// When `/metrics` is not answered.
    pub(in crate::scenario) async fn fullness(&self, part: &str) -> Result<f64> {
        let page = self.metrics().await?;
        let of = |series: &str| target::sum_of(&page, &format!("{series}{{part=\"{part}\"}}"));
        Ok(of("weir_memory_held_bytes") / of("weir_memory_held_max_bytes").max(f64::MIN_POSITIVE))
    }

    /// Bytes that each part of its memory holds.
    ///
    /// # Errors
    /// When `/metrics` is not answered.
    pub(in crate::scenario) async fn parts(&self) -> Result<BTreeMap<String, f64>> {
        let page = self.metrics().await?;
        let part = |line: &str| {
            let (part, bytes) = line.strip_prefix("weir_memory_held_bytes{part=\"")?.split_once("\"} ")?;
            Some((part.to_owned(), bytes.parse().ok()?))
        };
        Ok(page.lines().filter_map(part).collect())
    }

    async fn metrics(&self) -> Result<String> {
        let page = timeout(PAGE_MAX, target::get(&self.admin.to_string(), "/metrics")).await;
        page.context("/metrics was not answered in time")?
    }

    fn resources(&mut self) -> Result<(f64, usize)> {
        if let Some(ended) = self.process.ended()? {
            bail!("{ended}");
        }
        let id = self.process.id();
        let kib = process::rss_kib(id).context("the process is gone")?;
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).context("the process is gone")?.count();
        // A few gigabytes in KiB: exact in a double.
        Ok((kib as f64 / 1_024.0, descriptors))
    }

    /// Looks at it until then.
    ///
    /// # Errors
    /// When the process ends.
    pub(in crate::scenario) async fn watch(&mut self, until: Instant) -> Result<Watched> {
        let mut watched = Watched::default();
        while Instant::now() < until {
            let (rss_mib, descriptors) = self.resources()?;
            watched.rss_mib = watched.rss_mib.max(rss_mib);
            watched.descriptors = watched.descriptors.max(descriptors);
            watched.probes += 1;
            let health = timeout(PAGE_MAX, target::get(&self.admin.to_string(), "/healthz")).await;
            if !matches!(health, Ok(Ok(_))) {
                watched.probes_failed += 1;
            }
            sleep(POLL).await;
        }
        Ok(watched)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it had ended before.
    pub(in crate::scenario) fn stop(mut self) -> Result<()> {
        match self.process.kill()? {
            Some(ended) => bail!("{ended}"),
            None => Ok(()),
        }
    }
}
