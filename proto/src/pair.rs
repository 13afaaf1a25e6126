//! Pairs of users, the keys by which direct messages are found.

use crate::{data::Channel, id::UserId};

/// Two different users, always in the same order: the key of the direct messages between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserPair {
    low: UserId,
    high: UserId,
}

impl UserPair {
    /// The pair of two users; `None` if they are the same user.
    #[must_use]
    pub fn of(one: UserId, other: UserId) -> Option<Self> {
        (one != other).then(|| Self { low: one.min(other), high: one.max(other) })
    }

    /// The pair in a direct message's channel; `None` if it lists anything but two different users,
    /// ascending.
    #[must_use]
    pub fn of_recipients(recipient_ids: &[u64]) -> Option<Self> {
        let &[low, high] = recipient_ids else { return None };
        let (low, high) = (UserId::try_from(low).ok()?, UserId::try_from(high).ok()?);
        (low < high).then_some(Self { low, high })
    }

    /// The pair whose direct messages a channel holds; `None` for a guild's channel.
    #[must_use]
    pub fn of_channel(channel: &Channel) -> Option<Self> {
        (channel.guild_id == 0).then(|| Self::of_recipients(&channel.recipient_ids))?
    }

    /// The user with the smaller id. The pair's channel is made in this user's turn.
    #[must_use]
    pub fn low(self) -> UserId {
        self.low
    }

    /// The user with the greater id.
    #[must_use]
    pub fn high(self) -> UserId {
        self.high
    }

    /// Both users, ascending, as a channel lists them.
    #[must_use]
    pub fn ids(self) -> [u64; 2] {
        [self.low.get(), self.high.get()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pair_is_the_same_from_both_sides_and_comes_back_from_its_ids(a in 1_u64.., b in 1_u64..) {
            let (one, other) = (UserId::try_from(a).expect("not 0"), UserId::try_from(b).expect("not 0"));
            let pair = UserPair::of(one, other);
            prop_assert_eq!(pair, UserPair::of(other, one));
            prop_assert_eq!(pair.is_none(), a == b);
            if let Some(pair) = pair {
                prop_assert_eq!(pair.ids(), [a.min(b), a.max(b)]);
                prop_assert_eq!(UserPair::of_recipients(&pair.ids()), Some(pair));
            }
        }
    }

    #[test]
    fn lists_that_are_no_pair_are_none() {
        for list in [&[][..], &[1], &[1, 1], &[2, 1], &[0, 1], &[1, 2, 3]] {
            assert_eq!(UserPair::of_recipients(list), None, "{list:?}");
        }
        let direct = Channel { recipient_ids: vec![1, 2], ..Channel::default() };
        assert!(UserPair::of_channel(&direct).is_some());
        assert_eq!(UserPair::of_channel(&Channel { guild_id: 3, ..direct }), None, "a guild's");
    }
}
