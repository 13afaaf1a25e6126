//! Decides which shard of a bot receives which guild.

use std::num::NonZeroU32;

/// The shard, below `shards`, to which a guild's events go. Direct messages, which have no guild (0), go to
/// shard 0.
///
/// Client libraries compute the same formula, so it can never change.
#[must_use]
pub fn shard_of(guild_id: u64, shards: NonZeroU32) -> u32 {
    let remainder = (guild_id >> 22) % u64::from(shards.get());
    u32::try_from(remainder).expect("a remainder is below its divisor, which is 32 bits wide")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_discords_formula() {
        let shards = |n| NonZeroU32::new(n).expect("not 0");
        assert_eq!(shard_of(0, shards(7)), 0);
        assert_eq!(shard_of(5 << 22 | 99, shards(1)), 0);
        assert_eq!(shard_of(5 << 22 | 99, shards(3)), 2);
        assert_eq!(shard_of(u64::MAX, shards(u32::MAX)), ((u64::MAX >> 22) % u64::from(u32::MAX)) as u32);
    }
}
