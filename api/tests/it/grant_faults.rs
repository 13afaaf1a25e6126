//! The mutation check of permissions: each fault of [`InjectedFault`] is put back alone, and the sequences of `grants` must find it, for the reason
//! that it is there for.
//!
//! The `match` is exhaustive on purpose: a new fault without the words of its violation does not compile.

use weir_discord::injected_fault::{InjectedFault, inject};

use crate::grants::{Seed, try_sequences};

/// Sequences in which a fault must show. Always the same ones, so a fault that is found once is found always.
const SEQUENCES: u32 = 1_500;

/// A part of what the judge says then: another violation does not count.
fn words(fault: InjectedFault) -> &'static str {
    match fault {
        InjectedFault::PositionsNotCompared | InjectedFault::OwnerNotSpared => {
            "acted on what does not stand below"
        }
        InjectedFault::AdministratorHeldBack => "an administrator was refused",
        InjectedFault::DenialTakenForGrant
        | InjectedFault::TypeNotInKey
        | InjectedFault::UndenyNotJudged
        | InjectedFault::RolesGivenByHolders
        | InjectedFault::BeginningNotJudged => "gained",
        InjectedFault::RolesExceedTheirMaker => "in the guild",
    }
}

/// How many sequences it took to find the fault.
fn found(fault: InjectedFault) -> Result<u64, String> {
    // A thread of its own: the fault is put back for it alone.
    let tried = std::thread::spawn(move || {
        inject(fault);
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
    for fault in InjectedFault::ALL {
        match found(fault) {
            Ok(sequences) => println!("{fault:?}: found by sequence {sequences}"),
            Err(problem) => missed.push(problem),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
