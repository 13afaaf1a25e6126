//! The mutation check of permissions: each fault of [`Seeded`] is put back alone, and the sequences of `grants` must find it, for the reason
//! that it is there for.
//!
//! The `match` is exhaustive on purpose: a new fault without the words of its violation does not compile.

use weir_discord::seeded::{Seeded, arm};

use crate::grants::{Seed, try_sequences};

/// Sequences in which a fault must show. Always the same ones, so a fault that is found once is found always.
const SEQUENCES: u32 = 1_500;

/// A part of what the judge says then: another violation does not count.
fn words(fault: Seeded) -> &'static str {
    match fault {
        Seeded::PositionsNotCompared | Seeded::OwnerNotSpared => "acted on what does not stand below",
        Seeded::AdministratorHeldBack => "an administrator was refused",
        Seeded::DenialTakenForGrant
        | Seeded::TypeNotInKey
        | Seeded::UndenyNotJudged
        | Seeded::RolesGivenByHolders
        | Seeded::BeginningNotJudged => "gained",
        Seeded::RolesExceedTheirMaker => "in the guild",
    }
}

/// How many sequences it took to find the fault.
fn found(fault: Seeded) -> Result<u64, String> {
    // A thread of its own: the fault is put back for it alone.
    let tried = std::thread::spawn(move || {
        arm(fault);
        try_sequences(SEQUENCES, Seed::Same)
    });
    let (counts, outcome) = tried.join().map_err(|_| format!("{fault:?}: the test panicked"))?;
    match outcome {
        Ok(()) => Err(format!("{fault:?} was not found in {} sequences", counts.sequences)),
        Err(said) if said.contains(words(fault)) => Ok(counts.sequences),
        Err(said) => {
            Err(format!("{fault:?}: found for another reason: {}", said.lines().next().unwrap_or_default()))
        }
    }
}

#[test]
fn every_fault_is_found() {
    let mut missed = Vec::new();
    for fault in Seeded::ALL {
        match found(fault) {
            Ok(sequences) => println!("{fault:?}: found by sequence {sequences}"),
            Err(problem) => missed.push(problem),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
