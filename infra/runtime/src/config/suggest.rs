//! Guesses which known key was meant by an unknown one.

/// The candidate nearest to `key`, if it is near enough to be a typo: at most a third of the letters differ,
/// and never more than three.
///
/// A key that is right except for its section (`store_timeout` for `data.store_timeout`) is also recognised.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let allowed = (key.len() / 3).min(3);
    let typo = known
        .clone()
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    typo.or_else(|| {
        let name = last_part(key);
        let mut same_name = known.filter(|candidate| last_part(candidate) == name);
        // A name counts only if one key alone has it.
        same_name.next().filter(|_| same_name.next().is_none())
    })
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// Edit distance with transposition of neighbours as one edit (optimal string alignment), over bytes: keys
/// are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: [&str; 5] = ["data.store_timeout", "data.cache", "listen.api", "listen.admin", "log.format"];

    #[test]
    fn finds_what_was_meant() {
        let found = |key| nearest(key, KNOWN.into_iter());
        assert_eq!(found("data.store_timeot"), Some("data.store_timeout"));
        assert_eq!(found("data.cahce"), Some("data.cache"));
        assert_eq!(found("listen.ap"), Some("listen.api"));
        assert_eq!(found("store_timeout"), Some("data.store_timeout"));
        assert_eq!(found("store.cache"), Some("data.cache"));
        assert_eq!(found("colour"), None);
    }

    proptest! {
        #[test]
        fn distance_is_a_metric_on_small_keys(a in "[a-c.]{0,6}", b in "[a-c.]{0,6}") {
            let d = distance(&a, &b);
            prop_assert_eq!(d, distance(&b, &a));
            prop_assert_eq!(d == 0, a == b);
            prop_assert!(d >= a.len().abs_diff(b.len()) && d <= a.len().max(b.len()));
        }
    }
}
