//! The protection layer: coalescing, barriers, limits and gates in front of any store.
