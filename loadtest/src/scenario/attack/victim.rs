//! The process under attack: how it is started with limits, and how it is measured during the attack.

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

/// Pause between two checks of the process.
const POLL: Duration = Duration::from_millis(100);
/// Longest wait for a page of the admin listener. Probers in production wait about as long.
const PAGE_MAX: Duration = Duration::from_secs(3);
/// Size of the victim's caches. They are small, so that they are full when the attack begins.
const CACHE: &str = "16MiB";

/// Limits of the process.
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

/// Measurements of the process at one moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Look {
    pub(in crate::scenario) rss_mib: f64,
    /// Database reads since the process started.
    pub(in crate::scenario) database_reads: f64,
}

/// The highest measurements during an attack.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::scenario) struct Watched {
    pub(in crate::scenario) rss_mib: f64,
    pub(in crate::scenario) descriptors: usize,
    /// How often `/healthz` was asked and did not answer with 200 in time.
    pub(in crate::scenario) probes: u32,
    pub(in crate::scenario) probes_failed: u32,
}

impl Victim {
    /// Starts the process and waits until it is ready.
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

    /// Creates a bot and returns its token.
    pub(super) async fn bot(&self, name: &str) -> Result<String> {
        create_bot(&self.weir, &self.data, self.admin, name, None).await
    }

    /// Measures the process now.
    ///
    /// # Errors
    /// If the process is gone.
    pub(in crate::scenario) async fn look(&mut self) -> Result<Look> {
        let (rss_mib, _descriptors) = self.resources()?;
        let page = self.metrics().await?;
        Ok(Look { rss_mib, database_reads: target::sum_of(&page, "weir_data_db_reads_total") })
    }

    /// How full a part of the process's memory is, as a share of its bound.
    ///
    /// # Errors
    /// If `/metrics` is not answered.
    pub(super) async fn fullness(&self, part: &str) -> Result<f64> {
        let page = self.metrics().await?;
        let of = |series: &str| target::sum_of(&page, &format!("{series}{{part=\"{part}\"}}"));
        Ok(of("weir_memory_held_bytes") / of("weir_memory_held_max_bytes").max(f64::MIN_POSITIVE))
    }

    /// Bytes that each part of the process's memory holds.
    ///
    /// # Errors
    /// If `/metrics` is not answered.
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
        // A few gigabytes in KiB are exact in a double.
        Ok((kib as f64 / 1_024.0, descriptors))
    }

    /// Measures the process until `until`.
    ///
    /// # Errors
    /// If the process ends.
    pub(super) async fn watch(&mut self, until: Instant) -> Result<Watched> {
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

    /// Ends the process.
    ///
    /// # Errors
    /// If it had ended before.
    pub(in crate::scenario) fn stop(mut self) -> Result<()> {
        match self.process.kill()? {
            Some(ended) => bail!("{ended}"),
            None => Ok(()),
        }
    }
}
