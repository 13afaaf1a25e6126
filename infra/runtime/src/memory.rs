//! The memory that the process may use, and bounds that follow it.
//!
//! Problem: a process that takes more memory than it may is killed, or aborts, in the middle of its work.
//! What it may take is set from outside: by the machine, a control group, or a limit on address space.
//! Guarantee: the parts of the budget ([`weir_connect::budget`]) together hold at most [`PARTS_SHARE`] of it.
//! The rest is for code, tasks, the allocator's overhead, and memory that is not counted.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::admin::MEMORY_BYTES;
use crate::config::Reader;

/// The share of the memory that the parts may hold together: three quarters. One quarter covers code and
/// tasks (about 30 MiB) and what an allocator keeps beyond the bytes that are asked of it, which was measured
/// at 10 to 20 % after storms of connections.
pub const PARTS_SHARE: (u64, u64) = (3, 4);

/// The least that can be configured, in bytes. In 64 MiB a process starts and answers, with every part at its
/// least.
const MEMORY_MIN: u64 = 64 << 20;

/// The origin of the bound on the process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `memory.max` of the configuration.
    Configured,
    /// The control group of the process, as containers and service managers set it.
    ControlGroup,
    /// The limit on address space, `ulimit -v`.
    AddressSpace,
    /// The machine's memory.
    Machine,
}

impl Origin {
    /// The origin in words, for the operator who must raise the bound.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Configured => "memory.max",
            Origin::ControlGroup => "the control group's memory limit",
            Origin::AddressSpace => "the limit on address space (ulimit -v)",
            Origin::Machine => "the machine's memory",
        }
    }
}

/// The memory that the process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes.
    pub bytes: u64,
    /// Where the limit comes from.
    pub origin: Origin,
}

impl Limit {
    /// The memory that the process may use: the least of the configured amount and the limits of its
    /// surroundings.
    pub(crate) fn of_process(configured: Option<u64>) -> Limit {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let limits = [
            (configured, Origin::Configured),
            (control_group(read), Origin::ControlGroup),
            (getrlimit(Resource::As).current, Origin::AddressSpace),
            (read(Path::new("/proc/meminfo")).and_then(|text| machine(&text)), Origin::Machine),
        ];
        let known = limits.into_iter().filter_map(|(bytes, origin)| Some(Limit { bytes: bytes?, origin }));
        known.min_by_key(|limit| limit.bytes).unwrap_or(Limit { bytes: u64::MAX, origin: Origin::Machine })
    }

    /// What all parts may hold together.
    pub const fn parts(self) -> u64 {
        self.bytes / PARTS_SHARE.1 * PARTS_SHARE.0
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// The least limit of the process's control group and its ancestors, in the hierarchy of version 2 or else of
/// version 1.
fn control_group(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let own = read(Path::new("/proc/self/cgroup"))?;
    let path_in = |line: &str| line.splitn(3, ':').nth(2).map(|path| path.trim_start_matches('/').to_owned());
    // Each line is hierarchy:controllers:path; version 2 has hierarchy 0 and no controllers.
    let two = own.lines().find(|line| line.starts_with("0::")).and_then(path_in);
    let one = own.lines().find(|line| line.split(':').nth(1).is_some_and(names_memory)).and_then(path_in);
    let places =
        [(two, "/sys/fs/cgroup", "memory.max"), (one, "/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
    let limits = places.into_iter().filter_map(|(path, root, file)| {
        let root = Path::new(root);
        // In a container the root is the container's own group, and the path may not exist.
        let group: PathBuf = root.join(path?);
        let groups = group.ancestors().take_while(|group| group.starts_with(root));
        groups.filter_map(|group| read(&group.join(file))?.trim().parse::<u64>().ok()).min()
    });
    // Version 1 writes a number near 2^63 for "no limit".
    limits.filter(|bytes| *bytes < 1 << 62).min()
}

fn names_memory(controllers: &str) -> bool {
    controllers.split(',').any(|controller| controller == "memory")
}

/// A bound that can be cut down.
#[derive(Debug)]
pub enum Bound<'a> {
    /// A number of the platform's size.
    Size(&'a mut usize),
    /// A number of 64 bits.
    Wide(&'a mut u64),
    /// A number of bytes that cannot be changed.
    Fixed(u64),
}

/// A part of the memory: a number of units, of equal size.
#[derive(Debug)]
pub struct Share<'a> {
    /// How many units there may be. It is bytes, if a unit is one byte.
    pub bound: Bound<'a>,
    /// Bytes of each unit.
    pub unit: u64,
    /// The fewest with which the process can do its work.
    pub least: u64,
}

impl<'a> Share<'a> {
    /// The fewest bytes of a part: one MiB, with which every call of everyday size can still be answered.
    const LEAST: u64 = 1 << 20;

    /// A part with a bound in bytes.
    pub fn bytes(bound: &'a mut usize) -> Share<'a> {
        Share { bound: Bound::Size(bound), unit: 1, least: Share::LEAST }
    }

    /// A part with a bound in bytes, as a 64-bit number.
    pub fn wide(bound: &'a mut u64) -> Share<'a> {
        Share { bound: Bound::Wide(bound), unit: 1, least: Share::LEAST }
    }

    /// A number of bytes that cannot be cut.
    pub const fn fixed(bytes: u64) -> Share<'a> {
        Share { bound: Bound::Fixed(bytes), unit: 1, least: bytes }
    }

    /// A cache with a bound on entries of `unit` bytes each. It may have none: then every read misses.
    pub fn entries(bound: &'a mut u64, unit: usize) -> Share<'a> {
        Share { bound: Bound::Wide(bound), unit: unit as u64, least: 0 }
    }

    fn amount(&self) -> u64 {
        match &self.bound {
            Bound::Size(bound) => **bound as u64,
            Bound::Wide(bound) => **bound,
            Bound::Fixed(amount) => *amount,
        }
    }

    fn cut(&mut self, to: u64) {
        match &mut self.bound {
            Bound::Size(bound) => **bound = usize::try_from(to).unwrap_or(usize::MAX),
            Bound::Wide(bound) => **bound = to,
            Bound::Fixed(_) => {}
        }
    }
}

/// Whether the parts fit into the memory. All numbers are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They fit as they are.
    Whole {
        /// What all parts may hold.
        wanted: u64,
    },
    /// The parts were cut down in proportion.
    Cut {
        /// Bytes that they would have held.
        wanted: u64,
        /// Most bytes that they hold now.
        left: u64,
    },
}

/// Reads `memory.max`, the most that the process may use. It matters only if it is less than what the
/// surroundings allow.
pub fn read(reader: &mut Reader) -> Option<u64> {
    reader.optional_size("memory.max", MEMORY_MIN..=1 << 50)
}

/// Fits a process's shares into the memory that it may use: the given shares, and that of the admin listener,
/// which every process has.
pub fn fit_process(configured: Option<u64>, shares: Vec<Share<'_>>) -> (Limit, Fit) {
    let mut shares = shares;
    shares.push(Share::fixed(MEMORY_BYTES));
    let limit = Limit::of_process(configured);
    (limit, fit(limit, shares))
}

/// Does the same as [`fit_process`], and logs if the shares had to be cut.
pub fn settle(configured: Option<u64>, shares: Vec<Share<'_>>) {
    let (limit, fit) = fit_process(configured, shares);
    if let Fit::Cut { wanted, left } = fit {
        if left > limit.parts() {
            tracing::warn!(
                limit = limit.bytes,
                by = limit.origin.as_str(),
                left,
                "the process may use too little memory even for the least of everything: it may be killed under load"
            );
        }
        tracing::info!(
            limit = limit.bytes,
            by = limit.origin.as_str(),
            wanted,
            left,
            "caches and other parts of the memory are smaller than configured, to fit into what the process may use"
        );
    }
}

/// Cuts the shares down, in proportion, so that all together hold at most [`Limit::parts`] of `limit`. No
/// share gets less than its least; what cannot be cut from it is taken from the others.
pub fn fit(limit: Limit, mut shares: Vec<Share<'_>>) -> Fit {
    let bytes = |share: &Share<'_>| share.amount().saturating_mul(share.unit);
    let sum = |shares: &[Share<'_>]| shares.iter().map(bytes).fold(0, u64::saturating_add);
    let wanted = sum(&shares);
    let may = limit.parts();
    if wanted <= may {
        return Fit::Whole { wanted };
    }
    let floor = |share: &Share<'_>| share.least.min(share.amount());
    // Finds the shares at their least, round by round: each round finds one more, or ends.
    let mut floored = vec![false; shares.len()];
    loop {
        let (mut fixed, mut rest) = (0_u64, 0_u64);
        for (share, is) in shares.iter().zip(&floored) {
            if *is {
                fixed = fixed.saturating_add(floor(share).saturating_mul(share.unit));
            } else {
                rest = rest.saturating_add(bytes(share));
            }
        }
        let left = may.saturating_sub(fixed);
        let cut = |share: &Share<'_>| {
            let amount = u128::from(share.amount()) * u128::from(left) / u128::from(rest.max(1));
            u64::try_from(amount).unwrap_or(u64::MAX)
        };
        let next = shares.iter().zip(&floored).position(|(share, is)| !is && cut(share) <= floor(share));
        if let Some(next) = next {
            floored[next] = true;
            continue;
        }
        let amounts: Vec<u64> = shares
            .iter()
            .zip(&floored)
            .map(|(share, is)| if *is { floor(share) } else { cut(share).min(share.amount()) })
            .collect();
        for (share, amount) in shares.iter_mut().zip(amounts) {
            share.cut(amount);
        }
        return Fit::Cut { wanted, left: sum(&shares) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(files: &[(&str, &str)]) -> Option<u64> {
        control_group(|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_least_limit_of_the_groups_above_counts() {
        let own = ("/proc/self/cgroup", "0::/system.slice/weir.service\n");
        assert_eq!(of(&[own]), None);
        let service = ("/sys/fs/cgroup/system.slice/weir.service/memory.max", "max\n");
        assert_eq!(of(&[own, service]), None);
        let slice = ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n");
        assert_eq!(of(&[own, service, slice]), Some(512 << 20));
        // In a container the path is the host's, or the root.
        assert_eq!(of(&[own, ("/sys/fs/cgroup/memory.max", "1048576\n")]), Some(1 << 20));
        assert_eq!(of(&[("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "7\n")]), Some(7));
    }

    #[test]
    fn the_older_hierarchy_is_read_too() {
        let own = ("/proc/self/cgroup", "12:cpu,cpuacct:/x\n4:memory:/docker/ab\n");
        let file = "/sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes";
        assert_eq!(of(&[own, (file, "9223372036854771712\n")]), None);
        assert_eq!(of(&[own, (file, "268435456\n")]), Some(256 << 20));
    }

    #[test]
    fn what_is_configured_counts_if_it_is_less() {
        assert_eq!(Limit::of_process(Some(1)), Limit { bytes: 1, origin: Origin::Configured });
        assert!(Limit::of_process(None).bytes > 1 << 20);
        assert_eq!(machine("MemTotal:       24684748 kB\nMemFree: 1 kB\n"), Some(24_684_748 << 10));
    }

    proptest! {
        #[test]
        fn parts_stay_within_their_share_unless_the_least_is_more(
            limit in 1_u64..1 << 34,
            bounds in proptest::collection::vec((0..1_u64 << 31, 1..1_u64 << 12), 1..8),
            fixed in 0..1_u64 << 31,
        ) {
            let mut amounts: Vec<u64> = bounds.iter().map(|(amount, _)| *amount).collect();
            let shares = amounts.iter_mut().zip(&bounds).map(|(amount, (_, unit))| {
                Share { bound: Bound::Wide(amount), unit: *unit, least: 10 }
            });
            let limit = Limit { bytes: limit, origin: Origin::Machine };
            let shares = shares.chain([Share::fixed(fixed)]).collect();
            let fit = fit(limit, shares);
            let left: u64 = fixed + amounts.iter().zip(&bounds).map(|(amount, (_, unit))| amount * unit).sum::<u64>();
            let least: u64 = fixed + bounds.iter().map(|(amount, unit)| 10.min(*amount) * unit).sum::<u64>();
            // This is exact: what cannot be cut from one share is taken from the others.
            prop_assert!(left <= limit.parts().max(least));
            prop_assert!(amounts.iter().zip(&bounds).all(|(now, (before, _))| now <= before && *now >= 10.min(*before)));
            match fit {
                Fit::Whole { wanted } => prop_assert!(wanted == left && wanted <= limit.parts()),
                Fit::Cut { wanted, left: told } => prop_assert!(told == left && wanted > limit.parts()),
            }
        }
    }
}
