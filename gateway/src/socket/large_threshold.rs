//! Identify's `large_threshold`: the number of members above which a guild is large to a client.

/// The number of members above which a guild is large to a client: 50 to 250, which are Discord's bounds. A
/// number outside of them is replaced by the nearest bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LargeThreshold(u16);

impl LargeThreshold {
    const LEAST: u16 = 50;
    const MOST: u16 = 250;

    pub(crate) fn new(asked: u32) -> Self {
        Self(u16::try_from(asked).unwrap_or(Self::MOST).clamp(Self::LEAST, Self::MOST))
    }

    pub(crate) fn get(self) -> u32 {
        self.0.into()
    }
}

impl Default for LargeThreshold {
    /// Discord's default, if the client names none.
    fn default() -> Self {
        Self(Self::LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_kept_within_discords_bounds() {
        for (asked, expected) in [(0, 50), (50, 50), (51, 51), (250, 250), (251, 250), (1 << 20, 250)] {
            assert_eq!(LargeThreshold::new(asked).get(), expected, "{asked}");
        }
        assert_eq!(LargeThreshold::default().get(), 50);
    }
}
