//! Made-up ids: their cost in memory, and the scopes that they evict.

use weir_data_service::node::DataServiceConfig;

use crate::node::{At, Node, Place, Talk, World, options, page_of, small};

/// Bytes for channels, and for pages.
const BYTES_MAX: u64 = 1 << 20;
/// Ids of nothing.
const MADE_UP: u64 = 5_000;

fn narrow() -> DataServiceConfig {
    let mut config = small();
    config.cache_bytes = BYTES_MAX;
    config.live.scopes_max = 1_000;
    config.live.tails_bytes_max = usize::try_from(BYTES_MAX).unwrap();
    config
}

async fn ask_for_made_up_ids(node: &Node) {
    for id in 1..=MADE_UP {
        let page = page_of(id << 22, At::Latest, 50);
        let reply = node.client.list_messages(&page, &options()).await.unwrap();
        assert!(reply.message.messages.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn made_up_ids_leave_nothing_but_weighed_pages() {
    let world = World::new(1);
    let node = world.node_with(narrow()).await;
    ask_for_made_up_ids(&node).await;
    let held = node.service.held();
    assert!(held.scopes < 64, "{held:?}");
    assert!(held.scope_bytes <= BYTES_MAX && held.page_bytes <= BYTES_MAX, "{held:?}");
    // Each page counts for more than its empty list.
    assert!(held.pages <= BYTES_MAX / 400, "{held:?}");
    // Of a point read nothing else is left either.
    for id in 1..=MADE_UP {
        let place = Place { channel: id << 22, guild: 0, user: 0 };
        assert_eq!(Talk(&node.client, place).get(7 << 22).await.unwrap(), None);
    }
    let held = node.service.held();
    assert!(held.scopes < 64 && held.pages <= BYTES_MAX / 400, "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn made_up_ids_push_out_no_channel_that_is_there() {
    let world = World::new(2);
    let node = world.node_with(narrow()).await;
    let place = node.place().await;
    let talk = Talk(&node.client, place);
    talk.create("hello").await.unwrap();
    assert_eq!(talk.contents(At::Latest, 10).await, ["hello"]);
    ask_for_made_up_ids(&node).await;
    let before = world.store.history_reads();
    assert_eq!(talk.contents(At::Latest, 10).await, ["hello"]);
    assert_eq!(world.store.history_reads(), before, "still in memory");
}

#[tokio::test(start_paused = true)]
async fn an_empty_channel_is_answered_from_memory() {
    let (world, node, place) = World::with_place(3).await;
    let talk = Talk(&node.client, place);
    assert!(talk.contents(At::Latest, 10).await.is_empty());
    let before = world.store.history_reads();
    for _ in 0..100 {
        assert!(talk.contents(At::Latest, 10).await.is_empty());
    }
    assert_eq!(world.store.history_reads(), before);
    // Its first message is seen at once, and its last one's removal.
    let row = talk.create("first").await.unwrap();
    assert_eq!(talk.contents(At::Latest, 10).await, ["first"]);
    talk.delete(row.id).await.unwrap();
    let before = world.store.history_reads();
    for _ in 0..100 {
        assert!(talk.contents(At::Latest, 10).await.is_empty());
    }
    assert_eq!(world.store.history_reads(), before);
}
