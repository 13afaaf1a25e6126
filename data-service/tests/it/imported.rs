//! Imported rows are recognized by their ids' worker number, independently of any clock.

use weir_data_client::DataError;
use weir_proto::{
    data::{ListChangesRequest, Message},
    id::EPOCH_MS,
};
use weir_runtime::WallClock as _;

use crate::node::{Talk, World, begin_import, import, imported, options};

/// A file may end with a line of this very moment.
#[tokio::test(start_paused = true)]
async fn a_row_that_is_imported_at_its_own_time_is_no_event() {
    let world = World::new(1);
    let node = world.node().await;
    let place = node.place().await;
    let said = Talk(&node.client, place).create("said").await.unwrap();
    let now_ms = world.clock.wall_ms() - EPOCH_MS;
    let row =
        |id: u64| Message { id, author_id: place.user, content: "imported".into(), ..Message::default() };
    let messages = vec![row(imported(now_ms - 1, 0)), row(imported(now_ms, 0))];
    begin_import(&*world.store, vec![place.channel]).await;
    import(&node.client, place.channel, [messages]).await.unwrap();
    let asked = ListChangesRequest { scope_id: place.channel, after_rev: said.rev, limit: 0 };
    let told = node.client.list_changes(&asked, &options()).await.unwrap().message;
    assert_eq!(told.records.len(), 0);
    let asked = ListChangesRequest { after_rev: said.rev - 1, ..asked };
    let told = node.client.list_changes(&asked, &options()).await.unwrap().message;
    assert_eq!(told.records.len(), 1, "what was said is");
}

/// Such an id may be that of a message which was said here, and a row under it would pass for one.
#[tokio::test(start_paused = true)]
async fn an_id_that_an_owner_may_mint_is_no_imports() {
    let world = World::new(2);
    let node = world.node().await;
    let place = node.place().await;
    let said = Talk(&node.client, place).create("said").await.unwrap();
    begin_import(&*world.store, vec![place.channel]).await;
    for id in [said.id, 1_000 << 22, imported(1_000, 0) + (1 << 12)] {
        let row = Message { id, author_id: 5, content: "another's".into(), ..Message::default() };
        let answer = import(&node.client, place.channel, [vec![row]]).await;
        assert!(matches!(answer, Err(DataError::Invalid { .. })), "{id}: {answer:?}");
    }
    assert_eq!(Talk(&node.client, place).get(said.id).await.unwrap(), Some(said));
}
