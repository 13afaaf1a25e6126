//! A set of listeners that is walked often and changed at any time: walking is that of a list, joining and leaving cost the same however
//! many there are, because both happen under the lock that every publication takes.

use std::{collections::HashMap, sync::Arc};

use super::listener::Listener;

/// What tells listeners apart: their address, which stays while a set holds them.
pub(crate) type Key = usize;

/// The key of a listener.
pub(crate) fn key(listener: &Arc<Listener>) -> Key {
    Arc::as_ptr(listener).addr()
}

/// Listeners, each once, in no order.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    all: Vec<Arc<Listener>>,
    /// Where in `all` each is.
    places: HashMap<Key, usize>,
}

impl Listeners {
    /// Adds a listener. False if it is there already.
    pub(crate) fn insert(&mut self, listener: &Arc<Listener>) -> bool {
        let place = self.all.len();
        let free = *self.places.entry(key(listener)).or_insert(place) == place;
        if free {
            self.all.push(listener.clone());
        }
        free
    }

    /// Takes a listener out. False if it is not there.
    pub(crate) fn remove(&mut self, listener: &Arc<Listener>) -> bool {
        let Some(place) = self.places.remove(&key(listener)) else { return false };
        self.all.swap_remove(place);
        if let Some(moved) = self.all.get(place) {
            self.places.insert(key(moved), place);
        }
        true
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Arc<Listener>> {
        self.all.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<'a> IntoIterator for &'a Listeners {
    type Item = &'a Arc<Listener>;
    type IntoIter = std::slice::Iter<'a, Arc<Listener>>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, num::NonZeroU32};

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_set_of_listeners_behaves_like_a_set(changes in prop::collection::vec((0..12_usize, any::<bool>()), 0..200)) {
            let known: Vec<_> =
                (0..12).map(|user| Arc::new(Listener::new(user, (0, NonZeroU32::MIN)))).collect();
            let mut model = BTreeSet::new();
            let mut set = Listeners::default();
            for (who, joins) in changes {
                if joins {
                    prop_assert_eq!(set.insert(&known[who]), model.insert(who as u64));
                } else {
                    prop_assert_eq!(set.remove(&known[who]), model.remove(&(who as u64)));
                }
                let mut seen: Vec<u64> = set.iter().map(|listener| listener.user_id).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(set.is_empty(), model.is_empty());
            }
        }
    }
}
