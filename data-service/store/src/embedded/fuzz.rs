//! Stored rows as a damaged disk may return them: no input may cause a panic, and what is decoded must encode
//! and decode alike. Rows that are one message of the contract are tested there.

use weir_fuzz::{CASES_DEFAULT, binary, run};

use super::{keys, lease, log::Event};
use crate::OutboxRecord;

#[test]
fn records() {
    let outbox = OutboxRecord {
        guild_id: weir_proto::id::GuildId::try_from(2).ok(),
        rev: 3,
        record: bytes::Bytes::from_static(b"record"),
    };
    let valid = Event { bytes_until: 9, scope_id: 1, outbox }.encode().to_vec();
    run("stored record", CASES_DEFAULT, &binary([valid]), |input| {
        let Some(event) = Event::decode(&input) else {
            assert!(input.len() < 32);
            return;
        };
        assert_eq!(Event::scope_and_rev(&input), Some((event.scope_id, event.outbox.rev)));
        assert_eq!(*event.encode(), *input);
    });
}

#[test]
fn leases() {
    let valid = [&keys::one(1_767_225_600_000_000)[..], b"node-1"].concat();
    run("stored lease", CASES_DEFAULT, &binary([valid]), |input| {
        let Some(read) = lease::decode("slots", &input.clone().into()) else { return };
        assert_eq!(lease::encode(&read), input);
    });
}

#[test]
fn keys_of_rows() {
    let valid = [keys::two(5, u64::MAX).to_vec(), keys::one(7).to_vec()];
    let inputs = (binary(valid), proptest::prelude::any::<usize>());
    run("stored key", CASES_DEFAULT, &inputs, |(input, at)| {
        for at in [0, 8, at % 64, at] {
            let number = keys::number_at(&input, at);
            assert_eq!(number.is_some(), at.checked_add(8).is_some_and(|end| end <= input.len()));
        }
    });
}
