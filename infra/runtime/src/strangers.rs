//! Bounds, by client address, what clients without a valid token may cost the database.
//!
//! An unknown token is remembered for a moment, so that repeating it costs no read. Each address has an
//! allowance of tokens that may turn out to be unknown. An address that gets very many answers without a
//! token gets them one by one, to limit the processor time that they take ([`Strangers::answered`]). A client
//! that has authenticated before is never held up by others of the same address.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;
use weir_connect::{Budget, budget::Peer};

use crate::Allowance;

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// Unknown tokens of one address that may be looked up at once. Many bots behind one address start together,
/// all with good tokens.
pub const FAILURES_BURST: u32 = 100;
/// Time in which an address regains one of these look-ups: 10 in a second. Discord bans an address at 10,000
/// invalid requests in ten minutes, 17 in a second.
pub(crate) const FAILURE_EVERY: Duration = Duration::from_millis(100);
/// Answers to one address that need no pause, of those that are charged to no caller. That is enough for a
/// NAT full of clients that start and each ask for the gateway's address.
pub const ANSWERS_BURST: u32 = 1_000;
/// Time in which an address regains one of these answers: 50 in a second, as many as Discord answers one bot,
/// and three times the rate for which it bans.
pub(crate) const ANSWER_EVERY: Duration = Duration::from_millis(20);
/// Longest pause. A connection that is always paused gets one answer in a second, and every client library
/// still waits for that.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long an unknown token is remembered. It is short, because a bot with that token may be created
/// meanwhile.
pub const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// How long a token that was good is looked up regardless of what its address did.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(3_600);
/// Most hashes that are remembered of each kind: 3 MiB of each.
const HASHES_MAX: u64 = 32_768;
/// Bytes of a remembered hash.
const HASH_BYTES: u64 = 100;
/// Most addresses that are remembered: 10 MiB. Beyond that the least used are forgotten, which forgives them.
const ADDRESSES_MAX: u64 = 65_536;
/// Bytes of a remembered address.
const ADDRESS_BYTES: u64 = 160;

/// Why a token is not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLeave {
    /// The token was unknown a moment ago.
    Unknown,
    /// The address has shown too many unknown tokens.
    Throttled {
        /// How long it must wait before the next try.
        retry_after: Duration,
    },
}

/// The remembered tokens and addresses.
pub struct Strangers {
    /// Unknown tokens, and when they were last looked up.
    unknown: Cache<TokenHash, Instant>,
    /// Known tokens, and when they were last looked up.
    known: Cache<TokenHash, Instant>,
    charged: Cache<Peer, Arc<Mutex<Charged>>>,
}

/// The allowances of one address.
#[derive(Debug)]
struct Charged {
    tokens: Allowance,
    answers: Allowance,
}

/// Permission to look up a token once. If it is dropped without a verdict the charge stays: a client that
/// goes away has cost a read.
#[must_use]
pub struct Leave<'a> {
    strangers: &'a Strangers,
    hash: TokenHash,
    charged: Option<Arc<Mutex<Charged>>>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            unknown: Cache::new(HASHES_MAX),
            known: Cache::new(HASHES_MAX),
            charged: Cache::new(ADDRESSES_MAX),
        }
    }
}

impl Strangers {
    /// Most bytes of the remembered tokens and addresses.
    pub const MEMORY_BYTES: u64 = 2 * HASHES_MAX * HASH_BYTES + ADDRESSES_MAX * ADDRESS_BYTES;

    /// Shows these bytes as the part `name` of the process's memory.
    pub fn watch(&self, budget: &Budget, name: &'static str) {
        let (unknown, known, charged) = (self.unknown.clone(), self.known.clone(), self.charged.clone());
        budget.watch(name, Self::MEMORY_BYTES as usize, move || {
            let hashes = unknown.entry_count() + known.entry_count();
            (hashes * HASH_BYTES + charged.entry_count() * ADDRESS_BYTES) as usize
        });
    }

    /// Asks for permission to look up a token that a client at `address` has shown.
    ///
    /// # Errors
    /// If the token is known to be unknown, or the address has shown too many of those.
    pub fn ask(&self, address: IpAddr, hash: TokenHash, now: Instant) -> Result<Leave<'_>, NoLeave> {
        let within = |at: Option<Instant>, age| at.is_some_and(|at| now.duration_since(at) < age);
        if within(self.known.get(&hash), KNOWN_FOR) {
            return Ok(Leave { strangers: self, hash, charged: None });
        }
        if within(self.unknown.get(&hash), UNKNOWN_FOR) {
            return Err(NoLeave::Unknown);
        }
        let charged = self.charged_of(address, now);
        let most = FAILURE_EVERY * FAILURES_BURST;
        let charge =
            charged.lock().unwrap_or_else(PoisonError::into_inner).tokens.charge(FAILURE_EVERY, most, now);
        charge.map_err(|retry_after| NoLeave::Throttled { retry_after })?;
        Ok(Leave { strangers: self, hash, charged: Some(charged) })
    }

    /// Counts an answer that is charged to no caller. Gives how long to delay it, or to leave its connection
    /// unread. That is zero while the address has had few of them.
    pub fn answered(&self, address: IpAddr, now: Instant) -> Duration {
        let charged = self.charged_of(address, now);
        let answers = &mut charged.lock().unwrap_or_else(PoisonError::into_inner).answers;
        answers.charge_anyway(ANSWER_EVERY, ANSWER_EVERY * ANSWERS_BURST, PAUSE_MAX, now)
    }

    fn charged_of(&self, address: IpAddr, now: Instant) -> Arc<Mutex<Charged>> {
        let nothing = Allowance::new(now);
        let charged = || Arc::new(Mutex::new(Charged { tokens: nothing, answers: nothing }));
        self.charged.get_with(Peer::of(address), charged)
    }
}

impl Leave<'_> {
    /// The token has a user. [`Strangers::ask`] consults known tokens first, so an older note that this one
    /// is unknown does not count.
    pub fn known(self, now: Instant) {
        self.strangers.known.insert(self.hash, now);
        self.refund();
    }

    /// The token is unknown.
    pub fn unknown(self, now: Instant) {
        self.strangers.known.invalidate(&self.hash);
        self.strangers.unknown.insert(self.hash, now);
    }

    /// The database did not answer, which is not the client's fault.
    pub fn undecided(self) {
        self.refund();
    }

    fn refund(self) {
        if let Some(charged) = self.charged {
            charged.lock().unwrap_or_else(PoisonError::into_inner).tokens.refund(FAILURE_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn hash(number: u32) -> TokenHash {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        hash
    }

    /// Looks up tokens that are unknown; gives how many look-ups reached the database.
    fn fail(strangers: &Strangers, address: IpAddr, tokens: std::ops::Range<u32>, now: Instant) -> u32 {
        let mut reads = 0;
        for token in tokens {
            if let Ok(leave) = strangers.ask(address, hash(token), now) {
                reads += 1;
                leave.unknown(now);
            }
        }
        reads
    }

    #[test]
    fn a_token_that_nobody_has_is_asked_for_once_in_a_while() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        assert_eq!(fail(&strangers, HERE, 0..1, now), 1);
        assert_eq!(strangers.ask(THERE, hash(0), now).err(), Some(NoLeave::Unknown));
        assert_eq!(fail(&strangers, HERE, 0..1, now + UNKNOWN_FOR), 1, "somebody may have it by now");
        // A token that is created meanwhile works at once, because it is another one.
        assert!(strangers.ask(HERE, hash(1), now).is_ok());
    }

    #[test]
    fn an_address_has_so_many_unknown_tokens_and_gets_them_back() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        assert_eq!(fail(&strangers, HERE, 0..10_000, now), FAILURES_BURST);
        let Err(NoLeave::Throttled { retry_after }) = strangers.ask(HERE, hash(20_000), now) else {
            panic!("not throttled")
        };
        assert_eq!(retry_after, FAILURE_EVERY);
        assert_eq!(fail(&strangers, THERE, 10_000..10_001, now), 1, "others are not held up");
        let later = now + Duration::from_secs(1);
        assert_eq!(fail(&strangers, HERE, 30_000..40_000, later), 10, "a second later");
    }

    #[test]
    fn who_has_a_good_token_is_not_charged_and_not_held_up() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        for token in 0..10 * FAILURES_BURST {
            let Ok(asked) = strangers.ask(HERE, hash(token), now) else {
                panic!("good tokens are not counted")
            };
            asked.known(now);
        }
        for token in 0..10 * FAILURES_BURST {
            let Ok(asked) = strangers.ask(HERE, hash(50_000 + token), now) else { panic!("nor outages are") };
            asked.undecided();
        }
        fail(&strangers, HERE, 10_000..11_000, now);
        assert!(strangers.ask(HERE, hash(60_000), now).is_err());
        assert!(strangers.ask(HERE, hash(7), now).is_ok(), "it was good before");
        drop(strangers.ask(THERE, hash(70_000), now));
        assert_eq!(fail(&strangers, THERE, 0..0, now), 0);
        assert_eq!(fail(&strangers, THERE, 80_000..81_000, now), FAILURES_BURST - 1, "going away costs too");
    }

    #[test]
    fn answers_that_are_charged_to_nobody_come_slowly_after_so_many() {
        let (strangers, now) = (Strangers::default(), Instant::now());
        let pauses = |address, now| strangers.answered(address, now);
        for _ in 0..ANSWERS_BURST {
            assert_eq!(pauses(HERE, now), Duration::ZERO);
        }
        assert_eq!(pauses(HERE, now), ANSWER_EVERY);
        for _ in 0..10_000 {
            pauses(HERE, now);
        }
        assert_eq!(pauses(HERE, now), PAUSE_MAX, "a flood is not held against an address for longer");
        assert_eq!(pauses(THERE, now), Duration::ZERO, "others are not held up");
        assert!(strangers.ask(HERE, hash(1), now).is_ok(), "nor are tokens");
        assert_eq!(pauses(HERE, now + PAUSE_MAX + ANSWER_EVERY), Duration::ZERO, "who waits is forgiven");
    }
}
