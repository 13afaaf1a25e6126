//! What must be known of a file's ids before its first message is written: of a newest-first file, to which message a reply belongs whose
//! line comes later; with `--strict`, whether every line keeps its time.

use std::collections::HashMap;

use super::{ImportError, scan::Scan};

/// A message that others reply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replied {
    /// Number of its channel.
    pub(crate) channel: usize,
    /// Its id.
    pub(crate) id: u64,
}

/// Ids of a whole file.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By the number that others reply to; as many as the scan keeps.
    pub(crate) replied: HashMap<u64, Replied>,
    /// Messages that do not keep their time.
    pub(crate) moved: u64,
}

/// Passes over all lines once more. Blocks.
///
/// # Errors
/// [`ImportError::Read`], [`ImportError::Changed`], [`ImportError::Scattered`].
pub(crate) fn plan(scan: &Scan) -> Result<Plan, ImportError> {
    let mut plan = Plan::default();
    let mut ids = scan.ids();
    let mut scattered = false;
    scan.each_line(|line| {
        let Ok(derived) = ids.next(line.at_ms, scan.order.is_newest_first(line.channel)) else {
            scattered = true;
            return false;
        };
        plan.moved += u64::from(derived.moved);
        if scan.replied.contains(&line.number) {
            plan.replied.insert(line.number, Replied { channel: line.channel, id: derived.id.get() });
        }
        true
    })?;
    if scattered { Err(ImportError::Scattered { path: scan.path.clone() }) } else { Ok(plan) }
}
