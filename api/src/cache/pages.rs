//! Pages as they were rendered, so that a page that many clients ask for is rendered for the first of them.
//!
//! An entry depends on nothing but the page's encoded rows: it is used only if the data service answers with
//! the same bytes again. So it needs no invalidation, and nobody sees a message late because of it. Names of
//! users may be as old as the entry and the cache of users together.

use std::time::Duration;

use bytes::Bytes;
use moka::sync::Cache;
use weir_connect::Budget;
use weir_proto::data::ListMessagesRequest;

/// Bytes of an entry beside its rows and its JSON, about.
const ENTRY_BYTES: usize = 400;

/// Which page: channel, limit, `before`, `after` and `around`.
type Asked = (u64, u32, Option<u64>, Option<u64>, Option<u64>);

fn asked(request: &ListMessagesRequest) -> Asked {
    (request.channel_id, request.limit, request.before, request.after, request.around)
}

#[derive(Clone)]
struct Rendered {
    /// The encoded rows that it was rendered from.
    rows: Bytes,
    json: Bytes,
}

/// Rendered pages, bounded in bytes and in age.
pub(crate) struct Pages {
    entries: Cache<Asked, Rendered>,
    bytes_max: u64,
}

impl Pages {
    /// A cache of at most `bytes_max` bytes, each entry kept for `kept_for`.
    pub(crate) fn new(bytes_max: u64, kept_for: Duration) -> Self {
        let weigh = |_: &Asked, page: &Rendered| {
            u32::try_from(ENTRY_BYTES + page.rows.len() + page.json.len()).unwrap_or(u32::MAX)
        };
        let entries = Cache::builder().max_capacity(bytes_max).weigher(weigh).time_to_live(kept_for).build();
        Self { entries, bytes_max }
    }

    /// Shows the cache in `budget`.
    pub(crate) fn watch(&self, budget: &Budget) {
        let entries = self.entries.clone();
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        budget.watch("api_pages", size(self.bytes_max), move || size(entries.weighted_size()));
    }

    /// The JSON of a page whose encoded rows are `rows`.
    pub(crate) fn get(&self, request: &ListMessagesRequest, rows: &Bytes) -> Option<Bytes> {
        self.entries.get(&asked(request)).filter(|page| page.rows == *rows).map(|page| page.json)
    }

    /// Keeps the JSON of a page. The rows are copied if they are a part of a larger reply.
    pub(crate) fn insert(&self, request: &ListMessagesRequest, rows: &Bytes, json: Bytes) {
        self.entries.insert(asked(request), Rendered { rows: Bytes::copy_from_slice(rows), json });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_rows_of_the_same_page_have_its_json() {
        let pages = Pages::new(1 << 20, Duration::from_secs(5));
        let request = ListMessagesRequest { channel_id: 7, limit: 50, ..Default::default() };
        let (rows, json) = (Bytes::from_static(b"rows"), Bytes::from_static(b"[]"));
        assert_eq!(pages.get(&request, &rows), None);
        pages.insert(&request, &rows, json.clone());
        assert_eq!(pages.get(&request, &Bytes::from_static(b"rows")), Some(json));
        assert_eq!(pages.get(&request, &Bytes::from_static(b"other")), None, "a message was added");
        for other in [
            ListMessagesRequest { channel_id: 8, ..request },
            ListMessagesRequest { limit: 51, ..request },
            ListMessagesRequest { before: Some(0), ..request },
            ListMessagesRequest { after: Some(0), ..request },
            ListMessagesRequest { around: Some(0), ..request },
        ] {
            assert_eq!(pages.get(&other, &rows), None, "{other:?}");
        }
    }
}
