//! JSON of replies whose protobuf form is shared: many callers get the same page, which is written as JSON
//! once.

use std::time::Duration;

use bytes::Bytes;
use moka::{policy::EvictionPolicy, sync::Cache};

/// Bytes of an entry beside the two forms, about.
const ENTRY_BYTES: usize = 250;
/// An entry that nobody asked for in this time goes: pages of a busy channel are replaced all the time, and
/// nobody asks for the old ones again. A choice.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Both forms. The protobuf form is held so that its place in memory is nobody else's while the entry is
/// there.
#[derive(Clone)]
struct Written {
    _proto: Bytes,
    json: Bytes,
}

/// JSON by the place in memory of the shared bytes that it was written from. Bounded; who was asked for last
/// stays.
pub struct KeptJson {
    entries: Cache<(usize, usize), Written>,
    bytes_max: u64,
}

impl KeptJson {
    /// Keeps at most `bytes_max` bytes of both forms together.
    #[must_use]
    pub fn new(bytes_max: u64) -> KeptJson {
        let weigh = |_: &(usize, usize), written: &Written| {
            let bytes = ENTRY_BYTES + written._proto.len() + written.json.len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let entries = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(IDLE_MAX)
            .build();
        KeptJson { entries, bytes_max }
    }

    /// Most bytes that are kept.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        usize::try_from(self.bytes_max).unwrap_or(usize::MAX)
    }

    /// Bytes that are kept now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from(self.entries.weighted_size()).unwrap_or(usize::MAX)
    }

    pub(crate) fn get(&self, proto: &Bytes) -> Option<Bytes> {
        self.entries.get(&place(proto)).map(|written| written.json)
    }

    pub(crate) fn insert(&self, proto: Bytes, json: Bytes) {
        self.entries.insert(place(&proto), Written { _proto: proto, json });
    }
}

impl std::fmt::Debug for KeptJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptJson").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

fn place(bytes: &Bytes) -> (usize, usize) {
    (bytes.as_ptr().addr(), bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_shared_bytes_have_their_json() {
        let kept = KeptJson::new(1 << 20);
        let (page, json) = (Bytes::from(vec![1, 2, 3]), Bytes::from_static(b"{}"));
        kept.insert(page.clone(), json.clone());
        assert_eq!(kept.get(&page.clone()), Some(json));
        assert_eq!(kept.get(&Bytes::from(vec![1, 2, 3])), None, "equal bytes elsewhere");
        assert_eq!(kept.get(&page.slice(..2)), None, "a part of them");
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let kept = KeptJson::new(10_000);
        for _ in 0..1_000 {
            kept.insert(Bytes::from(vec![0; 100]), Bytes::from(vec![0; 400]));
            kept.entries.run_pending_tasks();
        }
        assert!(kept.bytes() <= 10_000 && kept.bytes() > 5_000, "{}", kept.bytes());
    }
}
