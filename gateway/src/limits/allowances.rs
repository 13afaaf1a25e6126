//! What one user may make the gateway do besides what its sessions are sent: look up members, and read the
//! log again for a resume.
//!
//! Problem: a bound for each connection alone multiplies with connections and starts anew with each, so a
//! loop of short connections made 25,000 reads of the database in a second. Guarantee: all sessions of a user
//! together have one burst and one rate, wherever they connect from. A user that asks for more is told to
//! wait, and nothing else ends for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;
use weir_connect::Budget;
use weir_proto::id::UserId;
use weir_runtime::Allowance;

/// Look-ups in a burst: enough for a bot that asks for the members of each of its guilds when it starts,
/// 2,500 guilds of up to 300 members each.
const LOOKUPS_BURST: u32 = 10_000;
/// Time in which one look-up is refilled: 200 in a second. That is a hundred requests for a member, or for
/// those of a small guild, from each of a hundred shards in a minute. Such a read takes some 50 us, so one
/// user gets a hundredth of a processor.
const LOOKUP_EVERY: Duration = Duration::from_millis(5);
/// Members in a list that cost as much as one member looked up by id.
const LISTED_FOR_ONE: u32 = 100;
/// Resumes in a burst: as many as the sessions that one user may have.
const RESUMES_BURST: u32 = 1_000;
/// Time in which one resume is refilled: 10 in a second. A resume costs some milliseconds for each thousand
/// records that it reads again.
const RESUME_EVERY: Duration = Duration::from_millis(100);
/// Users remembered: 10 MiB. Beyond it the least used are forgotten, and so is what they spent.
const USERS_MAX: u64 = 65_536;
/// Bytes of a remembered user.
const USER_BYTES: usize = 160;

/// The allowances of all users.
pub(crate) struct Allowances {
    users: Cache<UserId, Arc<Mutex<UserAllowances>>>,
}

/// What one user has left.
#[derive(Debug)]
struct UserAllowances {
    lookups: Allowance,
    resumes: Allowance,
}

impl Allowances {
    /// Most bytes of what is remembered.
    pub(crate) const MEMORY_BYTES: u64 = USERS_MAX * USER_BYTES as u64;

    pub(crate) fn new() -> Self {
        Self { users: Cache::new(USERS_MAX) }
    }

    /// Shows the remembered users in the memory budget.
    pub(crate) fn watch(&self, budget: &Budget) {
        let users = self.users.clone();
        budget.watch_entries("gateway_allowances", USERS_MAX, USER_BYTES, move || users.entry_count());
    }

    /// Charges a user for look-ups: one for a member by its id, or for a list, and one more for each 100
    /// members of the list ([`of_list`]).
    ///
    /// # Errors
    /// How long the user must wait before it asks again; nothing is charged then.
    pub(crate) fn look_up(&self, user: UserId, count: usize, now: Instant) -> Result<(), Duration> {
        // A request for more than the whole burst costs the whole burst.
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(LOOKUPS_BURST);
        self.spend(user, now, |left| {
            left.lookups.charge(LOOKUP_EVERY * count, LOOKUP_EVERY * LOOKUPS_BURST, now)
        })
    }

    /// Charges a user for a resume.
    ///
    /// # Errors
    /// As [`Self::look_up`].
    pub(crate) fn resume(&self, user: UserId, now: Instant) -> Result<(), Duration> {
        self.spend(user, now, |left| left.resumes.charge(RESUME_EVERY, RESUME_EVERY * RESUMES_BURST, now))
    }

    fn spend<T>(&self, user: UserId, now: Instant, spend: impl FnOnce(&mut UserAllowances) -> T) -> T {
        let nothing = Allowance::new(now);
        let new = || Arc::new(Mutex::new(UserAllowances { lookups: nothing, resumes: nothing }));
        let left = self.users.get_with(user, new);
        spend(&mut left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The look-ups that a list of so many members costs.
pub(crate) fn of_list(members: u32) -> usize {
    1 + (members / LISTED_FOR_ONE) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_much_and_gets_it_back_and_others_have_their_own() {
        let (allowances, now) = (Allowances::new(), Instant::now());
        let (one, other) = (UserId::try_from(1_u64).expect("not 0"), UserId::try_from(2_u64).expect("not 0"));
        assert_eq!(allowances.look_up(one, 1 << 40, now), Ok(()), "who asks for more than all gets it once");
        assert_eq!(allowances.look_up(one, 100, now), Err(LOOKUP_EVERY * 100));
        assert_eq!(allowances.look_up(other, 100, now), Ok(()));
        assert_eq!(allowances.look_up(one, 100, now + LOOKUP_EVERY * 100), Ok(()));
        for _ in 0..RESUMES_BURST {
            assert_eq!(allowances.resume(one, now), Ok(()), "resumes are apart");
        }
        assert_eq!(allowances.resume(one, now), Err(RESUME_EVERY));
        assert_eq!(allowances.resume(one, now + RESUME_EVERY), Ok(()));
    }
}
