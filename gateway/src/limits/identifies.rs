//! How often a token may identify. Discord's limits: once in five seconds, and a thousand times a day.
//!
//! Only tokens that belong to a user are remembered; unknown tokens are bounded by client address
//! ([`weir_runtime::strangers`]).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;
use weir_connect::Budget;
use weir_discord::token::TokenHash;

/// Time between two identifies of a token. Discord's number for `max_concurrency` 1, which `GET /gateway/bot`
/// returns.
pub(crate) const IDENTIFY_EVERY: Duration = Duration::from_secs(5);
/// Identifies of a token in a [`DAY`]. Discord's number.
pub(crate) const IDENTIFIES_MAX: u32 = 1_000;
/// Length of a token's day, which begins with its first identify.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
/// Tokens remembered: 13 MiB. Beyond it the least used are forgotten.
const TOKENS_MAX: u64 = 65_536;
/// Bytes of a remembered token.
const TOKEN_BYTES: usize = 200;

/// Why a token may not identify now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooOften {
    /// It identified less than [`IDENTIFY_EVERY`] ago.
    Soon,
    /// It identified [`IDENTIFIES_MAX`] times in a day.
    Day,
}

/// When and how often a token has identified.
#[derive(Debug)]
struct TokenHistory {
    last: Option<Instant>,
    day: Instant,
    used: u32,
}

/// The tokens that have identified.
pub(crate) struct Identifies {
    /// `None` if there are no limits.
    tokens: Option<Cache<TokenHash, Arc<Mutex<TokenHistory>>>>,
}

impl Identifies {
    /// Most bytes of what is remembered.
    pub(crate) const MEMORY_BYTES: u64 = TOKENS_MAX * TOKEN_BYTES as u64;

    /// `limited`: whether there are limits.
    pub(crate) fn new(limited: bool) -> Self {
        Self { tokens: limited.then(|| Cache::new(TOKENS_MAX)) }
    }

    /// Shows the remembered tokens in the memory budget.
    pub(crate) fn watch(&self, budget: &Budget) {
        if let Some(tokens) = self.tokens.clone() {
            budget.watch_entries("gateway_identifies", TOKENS_MAX, TOKEN_BYTES, move || tokens.entry_count());
        }
    }

    /// Whether a token may identify now, without counting it. This is asked before the token is looked up, so
    /// that a flood costs no look-ups.
    ///
    /// # Errors
    /// [`TooOften`] if it may not.
    pub(crate) fn may(&self, token: &TokenHash, now: Instant) -> Result<(), TooOften> {
        let Some(history) = self.tokens.as_ref().and_then(|tokens| tokens.get(token)) else { return Ok(()) };
        history.lock().unwrap_or_else(PoisonError::into_inner).may(now)
    }

    /// Counts an identify of a token that belongs to a user.
    ///
    /// # Errors
    /// [`TooOften`] if it may not, because another connection was first.
    pub(crate) fn count(&self, token: &TokenHash, now: Instant) -> Result<(), TooOften> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let new = || Arc::new(Mutex::new(TokenHistory { last: None, day: now, used: 0 }));
        let history = tokens.get_with(*token, new);
        let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
        history.may(now)?;
        history.last = Some(now);
        history.used += 1;
        Ok(())
    }
}

impl TokenHistory {
    fn may(&mut self, now: Instant) -> Result<(), TooOften> {
        if now.duration_since(self.day) >= DAY {
            (self.day, self.used) = (now, 0);
        }
        if self.last.is_some_and(|last| now.duration_since(last) < IDENTIFY_EVERY) {
            return Err(TooOften::Soon);
        }
        if self.used < IDENTIFIES_MAX { Ok(()) } else { Err(TooOften::Day) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: TokenHash = TokenHash([1; 32]);
    const THEIRS: TokenHash = TokenHash([2; 32]);

    #[test]
    fn a_token_identifies_every_five_seconds_and_a_thousand_times_a_day() {
        let (identifies, start) = (Identifies::new(true), Instant::now());
        let mut now = start;
        for _ in 0..IDENTIFIES_MAX {
            assert_eq!(identifies.may(&OURS, now), Ok(()));
            assert_eq!(identifies.count(&OURS, now), Ok(()));
            let soon = now + IDENTIFY_EVERY - Duration::from_millis(1);
            assert_eq!(identifies.count(&OURS, soon), Err(TooOften::Soon));
            now += IDENTIFY_EVERY;
        }
        assert_eq!(identifies.may(&OURS, now), Err(TooOften::Day));
        assert_eq!(identifies.count(&THEIRS, now), Ok(()), "others are not concerned");
        assert_eq!(identifies.count(&OURS, start + DAY), Ok(()));
    }

    #[test]
    fn switched_off_nobody_counts() {
        let (identifies, now) = (Identifies::new(false), Instant::now());
        for _ in 0..2 * IDENTIFIES_MAX {
            assert_eq!(identifies.count(&OURS, now), Ok(()));
        }
    }
}
