//! Checks a channel's overwrites, independently of the caller: the api decides what they may say, and this
//! tier what can be stored.

use std::collections::HashSet;

use weir_connect::ConnectError;
use weir_proto::{data::Overwrite, overwrite};

/// Maximum overwrites of one channel. Discord's bound (error 30060); of all channels of a guild together:
/// `write::error::OVERWRITES_MAX`.
const OVERWRITES_MAX: usize = 1_000;

/// Refuses malformed overwrites, and clears bits that have no meaning: otherwise a later version could take a
/// stored bit for a permission that somebody granted.
///
/// # Errors
/// `invalid_argument` for too many, for an id of 0, for another type than a role's or a member's, and for a
/// key that occurs twice: nobody has decided which of the two counts.
pub(super) fn check(overwrites: &mut [Overwrite]) -> Result<(), ConnectError> {
    if overwrites.len() > OVERWRITES_MAX {
        let problem = format!("a channel has at most {OVERWRITES_MAX} overwrites");
        return Err(ConnectError::invalid_argument(problem));
    }
    let mut keys = HashSet::with_capacity(overwrites.len());
    for one in overwrites {
        let (id, kind) = overwrite::key(one);
        if id == 0 || !matches!(kind, overwrite::ROLE | overwrite::MEMBER) {
            let problem = "an overwrite has the id of a role (type 0) or of a member (type 1)";
            return Err(ConnectError::invalid_argument(problem));
        }
        if !keys.insert((id, kind)) {
            let problem = format!("two overwrites for id {id} of type {kind}");
            return Err(ConnectError::invalid_argument(problem));
        }
        one.allow &= overwrite::BITS;
        one.deny &= overwrite::BITS;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: u64, r#type: u32) -> Overwrite {
        Overwrite { id, r#type, allow: u64::MAX, deny: 1 << 60 | 1 }
    }

    #[test]
    fn keys_are_valid_and_there_once_and_only_bits_with_a_meaning_stay() {
        let mut good = [one(1, 0), one(1, 1), one(2, 0)];
        assert!(check(&mut good).is_ok(), "id and type are the key");
        assert!(good.iter().all(|row| row.allow == overwrite::BITS && row.deny == 1));
        for mut bad in [vec![one(0, 0)], vec![one(1, 2)], vec![one(1, 1), one(2, 0), one(1, 1)]] {
            assert!(check(&mut bad).is_err(), "{bad:?}");
        }
        let many = |count: usize| (1..=count as u64).map(|id| one(id, 1)).collect::<Vec<_>>();
        assert!(check(&mut many(OVERWRITES_MAX)).is_ok());
        assert!(check(&mut many(OVERWRITES_MAX + 1)).is_err());
    }
}
