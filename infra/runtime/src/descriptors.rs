//! File descriptors: bounds of connections that follow the process's limit of open files.
//!
//! Problem: each connection takes a descriptor, and clients open connections. When they have taken all
//! descriptors, the store cannot open its next journal, which is an error on its way to the disk. Guarantee:
//! all bounds of connections together stay below the limit by a reserve, which is for the store, the bus and
//! the admin listener. Every binary calls [`settle`] before it listens.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors reserved for everything but the listeners' connections: journals, tables and compactions of
/// the store, the connections of the database and the bus, and the admin listener's 64. 2,048: the tables
/// that fjall keeps open (at most 900), as many again while it compacts, and the rest for connections.
pub const RESERVE: u64 = 2_048;

/// Whether bounds of connections fit into a limit of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They fit as they are.
    Whole,
    /// The bounds were cut down in proportion, from `wanted` to `left` in all.
    Cut {
        /// Connections of all bounds together.
        wanted: u64,
        /// Connections that the limit leaves for them.
        left: u64,
    },
}

/// The reserve under a limit: [`RESERVE`], but never more than half of the limit.
pub const fn reserve(limit: u64) -> u64 {
    if limit / 2 < RESERVE { limit / 2 } else { RESERVE }
}

/// Cuts `bounds` down, in proportion and each to no less than one, so that they and the reserve stay within
/// `limit`.
pub fn fit<const N: usize>(limit: u64, bounds: [&mut usize; N]) -> Fit {
    let wanted = bounds.iter().fold(0_u64, |sum, bound| sum.saturating_add(**bound as u64));
    let left = limit - reserve(limit);
    if wanted <= left {
        return Fit::Whole;
    }
    for bound in bounds {
        let share = u128::from(left) * (*bound as u128) / u128::from(wanted);
        *bound = usize::try_from(share).unwrap_or(usize::MAX).max(1);
    }
    Fit::Cut { wanted, left }
}

/// Raises the limit of open files as far as this process may (the customary soft limit of 1,024 is for
/// programs that use `select`), and cuts the bounds of all listeners' connections down to it. A cut is logged
/// under the name of its bound.
pub fn settle<const N: usize>(bounds: [(&'static str, &mut usize); N]) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, current = limit.current, "the limit of open files stays as it is");
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let names = bounds.each_ref().map(|(name, _)| *name);
    let mut bounds = bounds.map(|(_, bound)| bound);
    if let Fit::Cut { wanted, left } = fit(limit, bounds.each_mut().map(|bound| &mut **bound)) {
        let taken: Vec<_> = names.iter().zip(bounds).map(|(name, bound)| format!("{name} {bound}")).collect();
        tracing::warn!(
            limit,
            wanted,
            left,
            taken = taken.join(", "),
            "fewer connections are taken than configured, because each takes an open file: raise the limit (LimitNOFILE=)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_bounds_follow_the_customary_limits() {
        let (mut gateway, mut api, mut data) = (15_000, 4_096, 1_024);
        assert_eq!(fit(65_536, [&mut gateway, &mut api, &mut data]), Fit::Whole);
        let cut = fit(20_000, [&mut gateway, &mut api, &mut data]);
        assert_eq!(cut, Fit::Cut { wanted: 20_120, left: 17_952 });
        assert_eq!((gateway, api, data), (13_383, 3_654, 913));
        fit(300, [&mut gateway, &mut api, &mut data]);
        assert_eq!((gateway, api, data), (111, 30, 7));
    }

    proptest! {
        #[test]
        fn what_connections_may_take_leaves_the_reserve(
            limit in 8..1_000_000_u64,
            bounds in proptest::array::uniform3(1..1_000_000_usize),
        ) {
            let [mut a, mut b, mut c] = bounds;
            fit(limit, [&mut a, &mut b, &mut c]);
            prop_assert!(a.min(b).min(c) >= 1);
            // A bound of one may be above its share.
            prop_assert!((a + b + c) as u64 <= (limit - reserve(limit)).max(3) + 2);
            prop_assert!(a <= bounds[0] && b <= bounds[1] && c <= bounds[2]);
        }
    }
}
