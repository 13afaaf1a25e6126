//! What an attack cost, and whether that is allowed.

use std::fmt::{self, Write as _};

use super::{
    attacks::Attack,
    victim::{Look, Watched},
};
use crate::recorder::Numbers;

/// Most memory above the steady state that an attacker without a token may make the process hold, in MiB.
const STRANGER_MIB: f64 = 64.0;
/// The same for an attacker with one token.
const TOKEN_MIB: f64 = 256.0;
/// Most memory after the attack, as a multiple of the steady state.
const SETTLED: f64 = 1.10;
/// Steady memory, in MiB, below which a tenth of it is only noise.
const SETTLED_FLOOR_MIB: f64 = 16.0;

/// The outcome of one attack.
pub(in crate::scenario) struct Row {
    pub(in crate::scenario) attack: Attack,
    /// The attacker's own counts.
    pub(in crate::scenario) did: String,
    pub(in crate::scenario) steady: Look,
    pub(in crate::scenario) watched: Watched,
    pub(in crate::scenario) database_reads: f64,
    pub(in crate::scenario) after: Look,
    /// Number of processors that the attackers used.
    pub(in crate::scenario) share: f64,
    pub(in crate::scenario) alone: Numbers,
    /// The innocents' numbers without an attack, while as much processor time is spent on nothing.
    pub(in crate::scenario) busy: Numbers,
    pub(in crate::scenario) attacked: Numbers,
    /// The numbers of the neighbour's innocents during the attack. The neighbour shares the machine but no
    /// process, and is not attacked.
    pub(in crate::scenario) neighbour: Numbers,
}

impl Row {
    fn memory_goal(&self) -> f64 {
        if self.attack.has_token() { TOKEN_MIB } else { STRANGER_MIB }
    }

    fn p99_goal(&self) -> f64 {
        if self.attack.has_token() { 1.5 } else { 1.25 }
    }

    /// The innocents' latency during the attack, as a multiple of their latency on an equally busy machine.
    fn ratio(&self) -> f64 {
        self.attacked.p99_us as f64 / self.busy.p99_us.max(1) as f64
    }

    /// True if their latency meets the goal.
    fn is_fast(&self) -> bool {
        self.ratio() <= self.p99_goal()
    }

    /// True if their latency exceeds that of the neighbour's innocents by no more than the goal allows. The
    /// machine is then short of processors.
    fn is_as_fast_as_neighbour(&self) -> bool {
        self.attacked.p99_us as f64 <= self.p99_goal() * self.neighbour.p99_us as f64
    }

    fn above_steady(&self) -> f64 {
        self.watched.rss_mib - self.steady.rss_mib
    }

    fn settled(&self) -> bool {
        self.after.rss_mib <= (self.steady.rss_mib * SETTLED).max(self.steady.rss_mib + SETTLED_FLOOR_MIB)
    }

    /// Number of goals that were missed. Latency is not counted, because it depends on the machine as much as
    /// on the service.
    pub(super) fn missed(&self) -> usize {
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
pub(super) fn table(rows: &[Row]) -> String {
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
