//! What an attack cost, and whether that is allowed.

use std::fmt::{self, Write as _};

use super::{
    attacks::Attack,
    victim::{Look, Watched},
};
use crate::recorder::Numbers;

/// Most memory above steady that somebody without a token may make the process hold, in MiB.
const STRANGER_MIB: f64 = 64.0;
/// The same with one token.
const TOKEN_MIB: f64 = 256.0;
/// Memory after the attack over steady, at most.
const SETTLED: f64 = 1.10;
/// Below this a process's steady memory is so small that a tenth of it is noise, in MiB.
const SETTLED_FLOOR_MIB: f64 = 16.0;

/// One attack's outcome.
pub(in crate::scenario) struct Row {
    pub(in crate::scenario) attack: Attack,
    /// What the attacker counted.
    pub(in crate::scenario) did: String,
    pub(in crate::scenario) steady: Look,
    pub(in crate::scenario) watched: Watched,
    pub(in crate::scenario) database_reads: f64,
    pub(in crate::scenario) after: Look,
    /// Processors that the attackers used.
    pub(in crate::scenario) share: f64,
    pub(in crate::scenario) alone: Numbers,
    /// Without an attack, while as much processor time is spent on nothing.
    pub(in crate::scenario) busy: Numbers,
    pub(in crate::scenario) attacked: Numbers,
    /// What the innocents of the neighbour saw meanwhile, whom nobody attacks: it shares the machine and no process.
    pub(in crate::scenario) neighbour: Numbers,
}

impl Row {
    fn memory_goal(&self) -> f64 {
        if self.attack.has_token() { TOKEN_MIB } else { STRANGER_MIB }
    }

    fn p99_goal(&self) -> f64 {
        if self.attack.has_token() { 1.5 } else { 1.25 }
    }

    /// How many times their usual latency the innocents saw, on a machine as busy.
    fn ratio(&self) -> f64 {
        self.attacked.p99_us as f64 / self.busy.p99_us.max(1) as f64
    }

    /// Whether they saw what the goal allows.
    fn is_fast(&self) -> bool {
        self.ratio() <= self.p99_goal()
    }

    /// Whether they saw no more than the goal allows above what the neighbour's saw: then it is the machine that is short of processors.
    fn is_as_fast_as_neighbour(&self) -> bool {
        self.attacked.p99_us as f64 <= self.p99_goal() * self.neighbour.p99_us as f64
    }

    fn above_steady(&self) -> f64 {
        self.watched.rss_mib - self.steady.rss_mib
    }

    fn settled(&self) -> bool {
        self.after.rss_mib <= (self.steady.rss_mib * SETTLED).max(self.steady.rss_mib + SETTLED_FLOOR_MIB)
    }

    /// Goals that were missed, without latency, which is the machine's as much as the service's.
    pub(in crate::scenario) fn missed(&self) -> usize {
        let memory = self.above_steady() > self.memory_goal();
        let health = self.watched.probes_failed > 0;
        [memory, health, !self.settled()].into_iter().filter(|missed| *missed).count()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1_000.0;
        write!(
            formatter,
            "{:<18} {:<8} {:>7.0} {:>+7.0} {:>5} {:>5.0} {:>8} {:>8.0} {:>6}/{:<5} {:>5.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>6.2} {:>6}  {}{}",
            self.attack.name(),
            if self.attack.has_token() { "token" } else { "stranger" },
            self.steady.rss_mib,
            self.above_steady(),
            self.memory_goal(),
            self.after.rss_mib,
            self.watched.descriptors,
            self.database_reads,
            self.watched.probes_failed,
            self.watched.probes,
            self.share,
            ms(self.alone.p99_us),
            ms(self.busy.p99_us),
            ms(self.neighbour.p99_us),
            ms(self.attacked.p99_us),
            self.ratio(),
            self.attacked.failed + self.attacked.refused,
            if self.missed() > 0 { "MISSED: " } else { "" },
            self.did,
        )
    }
}

/// The table as text.
pub(in crate::scenario) fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<18} {:<8} {:>7} {:>7} {:>5} {:>5} {:>8} {:>8} {:>12} {:>5} {:>7} {:>7} {:>7} {:>7} {:>6} {:>6}  did",
        "attack",
        "caller",
        "steady",
        "peak +",
        "goal",
        "after",
        "files",
        "db reads",
        "health lost",
        "cpus",
        "p99",
        "p99 bsy",
        "p99 nbr",
        "p99 att",
        "ratio",
        "failed"
    );
    for row in rows {
        let _ = writeln!(out, "{row}");
    }
    let (fast, slow): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_fast());
    let as_neighbour = slow.iter().filter(|row| row.is_as_fast_as_neighbour()).count();
    let _ = writeln!(
        out,
        "memory in MiB, latency in ms; cpus: processors that the attackers used; p99 bsy: without an attack, while as much is spent on nothing; \
         p99 nbr: of a process beside, which nobody attacks; ratio: p99 att over p99 bsy; within 1.25 beside strangers and 1.5 beside a token in \
         {} of {}, and in {as_neighbour} more within as much of the neighbour's",
        fast.len(),
        rows.len()
    );
    out
}
