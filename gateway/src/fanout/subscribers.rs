//! A set of subscribers that is walked often and changed at any time. Walking it is as fast as walking a
//! list; inserting and removing take the same time however many subscribers there are, because both happen
//! under the lock that every publication takes.

use std::{collections::HashMap, sync::Arc};

use super::subscriber::Subscriber;

/// Identity of a subscriber: its address, which is stable while a set holds it.
pub(crate) type SubscriberKey = usize;

/// The key of a subscriber.
pub(crate) fn key(subscriber: &Arc<Subscriber>) -> SubscriberKey {
    Arc::as_ptr(subscriber).addr()
}

/// Subscribers, each once, in no order.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    all: Vec<Arc<Subscriber>>,
    /// The index in `all` of each subscriber.
    places: HashMap<SubscriberKey, usize>,
}

impl Subscribers {
    /// Adds a subscriber. False if it was there already.
    pub(crate) fn insert(&mut self, subscriber: &Arc<Subscriber>) -> bool {
        let place = self.all.len();
        let free = *self.places.entry(key(subscriber)).or_insert(place) == place;
        if free {
            self.all.push(subscriber.clone());
        }
        free
    }

    /// Removes a subscriber. False if it was not there.
    pub(crate) fn remove(&mut self, subscriber: &Arc<Subscriber>) -> bool {
        let Some(place) = self.places.remove(&key(subscriber)) else { return false };
        self.all.swap_remove(place);
        if let Some(moved) = self.all.get(place) {
            self.places.insert(key(moved), place);
        }
        true
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Arc<Subscriber>> {
        self.all.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<'a> IntoIterator for &'a Subscribers {
    type Item = &'a Arc<Subscriber>;
    type IntoIter = std::slice::Iter<'a, Arc<Subscriber>>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, num::NonZeroU32};

    use super::*;
    use proptest::prelude::*;
    use weir_proto::id::UserId;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_set_of_subscribers_behaves_like_a_set(changes in prop::collection::vec((0..12_usize, any::<bool>()), 0..200)) {
            let subscriber = |user: u64| {
                let user_id = UserId::try_from(user).expect("not 0");
                Arc::new(Subscriber::new(user_id, (0, NonZeroU32::MIN)))
            };
            let known: Vec<_> = (1..=12).map(subscriber).collect();
            let mut model = BTreeSet::new();
            let mut set = Subscribers::default();
            for (who, joins) in changes {
                if joins {
                    prop_assert_eq!(set.insert(&known[who]), model.insert(who as u64 + 1));
                } else {
                    prop_assert_eq!(set.remove(&known[who]), model.remove(&(who as u64 + 1)));
                }
                let mut seen: Vec<u64> = set.iter().map(|subscriber| subscriber.user_id.get()).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(set.is_empty(), model.is_empty());
            }
        }
    }
}
