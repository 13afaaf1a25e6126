//! A checker of histories: it decides whether a register is regular and whether it is atomic.
//!
//! The register's writes are made one after another with rising values, as a channel's owner makes them. For
//! such a register both properties are conditions on pairs of operations (Lamport, "On interprocess
//! communication", 1986). *Regular*: no read from the future, and no read of a value older than the last
//! write that was acknowledged before the read began. *Atomic* (linearizable): also no read of a value older
//! than the one that an earlier read returned; this is stricter only for writes that are not acknowledged
//! yet.

use std::time::Duration;

/// One operation, in virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    /// The value written or read; 0 is "nothing yet".
    pub(crate) value: u64,
    pub(crate) begun: Duration,
    /// For a write: its acknowledgement; `Duration::MAX` if there was none.
    pub(crate) ended: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Read,
}

/// The first violation of regularity, in words.
pub(crate) fn regular(history: &[Operation]) -> Result<(), String> {
    let (writes, reads) = split(history);
    for read in reads {
        let written = writes.iter().find(|w| w.value == read.value);
        if read.value != 0 && written.is_none_or(|w| w.begun > read.ended) {
            return Err(format!("{read:?} returns a value from nowhere"));
        }
        if let Some(newer) = writes.iter().find(|w| w.value > read.value && w.ended < read.begun) {
            return Err(format!("{read:?} misses {newer:?}, acknowledged before it began"));
        }
    }
    Ok(())
}

/// The first violation of atomicity, in words.
pub(crate) fn atomic(history: &[Operation]) -> Result<(), String> {
    regular(history)?;
    let (_, reads) = split(history);
    for read in &reads {
        if let Some(newer) = reads.iter().find(|r| r.ended < read.begun && r.value > read.value) {
            return Err(format!("{read:?} is older than {newer:?}, which ended before it began"));
        }
    }
    Ok(())
}

fn split(history: &[Operation]) -> (Vec<Operation>, Vec<Operation>) {
    history.iter().partition(|operation| operation.kind == Kind::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn operation(kind: Kind, value: u64, begun: u64, ended: u64) -> Operation {
        Operation { kind, value, begun: Duration::from_millis(begun), ended: Duration::from_millis(ended) }
    }
    const fn write(value: u64, begun: u64, ended: u64) -> Operation {
        operation(Kind::Write, value, begun, ended)
    }
    const fn read(value: u64, begun: u64, ended: u64) -> Operation {
        operation(Kind::Read, value, begun, ended)
    }

    #[test]
    fn good_histories_pass() {
        for good in [
            &[][..],
            &[read(0, 0, 1)],
            &[write(1, 0, 10), read(1, 11, 12)],
            // Concurrent with the write: either value.
            &[write(1, 0, 10), read(0, 5, 15)],
            &[write(1, 0, 10), read(1, 5, 15)],
            // Two overlapping reads may differ.
            &[write(1, 0, 10), read(1, 2, 6), read(0, 3, 7)],
            // Never acknowledged: may or may not be there, but not come and go.
            &[write(1, 0, u64::MAX), read(0, 20, 30), read(1, 40, 50)],
        ] {
            assert_eq!(atomic(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn bad_histories_are_flagged() {
        for (bad, why) in [
            (&[write(1, 0, 10), read(0, 11, 12)][..], "misses"),
            (&[write(1, 0, 10), write(2, 11, 20), read(1, 21, 22)], "misses"),
            (&[write(1, 20, 30), read(1, 0, 10)], "from nowhere"),
            (&[read(7, 0, 10)], "from nowhere"),
            (&[write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)], "is older"),
            (&[write(1, 0, u64::MAX), read(1, 20, 30), read(0, 40, 50)], "is older"),
        ] {
            let found = atomic(bad).expect_err("flagged");
            assert!(found.contains(why), "{bad:?}: {found}");
            assert_eq!(regular(bad).is_ok(), why == "is older", "{bad:?}");
        }
    }
}
