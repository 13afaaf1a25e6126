//! Reactions: counts in the message, users behind them, a viewer's own, and what is told.

use tokio::time::sleep;
use weir_data_client::{DataClient, DataError};
use weir_proto::{
    data::{
        AddReactionRequest, ClearReactionsRequest, Emoji, GetMessageRequest, ListReactionsRequest, Message,
        OwnReactions, RefusalReason, RemoveReactionRequest, ViewPageRequest,
    },
    event::{Record, record::Change},
};
use weir_store::{
    Commit, RowChange, Store as _,
    row::{ROWS_MAX, Row as _},
};

use crate::{
    fake_bus::Consumer,
    fake_store::Fate,
    node::{At, Node, Place, Talk, World, begin_import, import, imported, options, page_of},
};

const THUMB: &str = "👍";
const HEART: &str = "❤️";

fn emoji(name: &str) -> Option<Emoji> {
    Some(Emoji { id: 0, name: name.into() })
}

/// One user's calls about one message.
#[derive(Clone, Copy)]
struct Hand<'a> {
    client: &'a DataClient,
    place: Place,
    message: u64,
    user: u64,
}

impl Hand<'_> {
    async fn react_with(&self, name: &str, only_join: bool) -> Result<bool, DataError> {
        let request = AddReactionRequest {
            channel_id: self.place.channel,
            message_id: self.message,
            user_id: self.user,
            emoji: emoji(name),
            only_join,
            context: None,
        };
        Ok(self.client.add_reaction(&request, &options()).await?.message.changed)
    }

    async fn react(&self, name: &str) -> bool {
        self.react_with(name, false).await.expect("reacts")
    }

    async fn unreact(&self, name: &str) -> bool {
        let request = RemoveReactionRequest {
            channel_id: self.place.channel,
            message_id: self.message,
            user_id: self.user,
            emoji: emoji(name),
            context: None,
        };
        self.client.remove_reaction(&request, &options()).await.expect("takes it back").message.changed
    }

    async fn clear(&self, only: Option<&str>) -> bool {
        let request = ClearReactionsRequest {
            channel_id: self.place.channel,
            message_id: self.message,
            emoji: only.and_then(emoji),
            context: None,
        };
        self.client.clear_reactions(&request, &options()).await.expect("cleared").message.changed
    }

    async fn users(&self, name: &str, after: u64, limit: u32) -> Vec<u64> {
        let request = ListReactionsRequest {
            channel_id: self.place.channel,
            message_id: self.message,
            emoji: emoji(name),
            after,
            limit,
        };
        self.client.list_reactions(&request, &options()).await.expect("a list").message.user_ids
    }

    /// Each emoji with its count and whether the user is among them, as one message shows it and as a page.
    async fn seen(&self) -> Vec<(String, u32, bool)> {
        let request = GetMessageRequest {
            channel_id: self.place.channel,
            message_id: self.message,
            viewer_id: self.user,
        };
        let found = self.client.get_message(&request, &options()).await.expect("there").message;
        let message = found.message.expect("there");
        let shown = |own: Option<&OwnReactions>| -> Vec<_> {
            let is_own = |slot| own.is_some_and(|own| own.slots.contains(&slot));
            let counts = message.reactions.iter();
            counts.map(|one| (one.emoji.clone().unwrap().name, one.count, is_own(one.slot))).collect()
        };
        let alone = shown(found.own.as_ref());
        let page = Some(page_of(self.place.channel, At::Latest, 50));
        let request = ViewPageRequest { page, viewer_id: self.user };
        let page = self.client.view_page(&request, &options()).await.expect("a page").message;
        assert!(page.own.iter().all(|own| own.user_id == self.user), "{:?}", page.own);
        assert_eq!(shown(page.own.iter().find(|own| own.message_id == self.message)), alone);
        let rows = Talk(self.client, self.place).list(At::Latest, 50).await.expect("a page");
        assert!(rows.contains(&message), "a page shows the same row");
        alone
    }
}

/// A message, and a second user's hand beside its author's.
async fn hands<'a>(node: &'a Node) -> (Hand<'a>, Hand<'a>) {
    let (place, other) = (node.place().await, node.place().await);
    let message = Talk(&node.client, place).create("react to this").await.unwrap().id;
    let hand = Hand { client: &node.client, place, message, user: place.user };
    (hand, Hand { user: other.user, ..hand })
}

fn told(records: Vec<Record>) -> Vec<String> {
    let mut consumer = Consumer::default();
    consumer.take(records);
    let name = |emoji: &Option<Emoji>| emoji.as_ref().map_or("all", |emoji| &emoji.name).to_owned();
    let of = |record: &Record| match record.change.as_ref()? {
        Change::ReactionAdded(change) => Some(format!("+{}", name(&change.emoji))),
        Change::ReactionRemoved(change) => Some(format!("-{}", name(&change.emoji))),
        Change::ReactionsCleared(change) => Some(format!("0{}", name(&change.emoji))),
        _ => None,
    };
    consumer.taken.iter().filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn counts_and_users_follow_what_users_do_and_each_change_is_told_once() {
    let world = World::new(1);
    let node = world.node().await;
    let (ada, bob) = hands(&node).await;
    assert!(ada.seen().await.is_empty());
    assert!(ada.react(THUMB).await && bob.react(THUMB).await && bob.react(HEART).await);
    assert!(!bob.react(THUMB).await, "it is there already");
    assert_eq!(ada.seen().await, [(THUMB.into(), 2, true), (HEART.into(), 1, false)]);
    assert_eq!(bob.seen().await, [(THUMB.into(), 2, true), (HEART.into(), 1, true)]);
    let mut both = vec![ada.user, bob.user];
    both.sort_unstable();
    assert_eq!(ada.users(THUMB, 0, 0).await, both);
    assert_eq!(ada.users(THUMB, both[0], 1).await, both[1..]);
    assert_eq!(ada.users(THUMB, 0, 1).await, both[..1]);
    assert!(ada.unreact(THUMB).await && !ada.unreact(THUMB).await && !ada.unreact(HEART).await);
    assert_eq!(ada.seen().await, [(THUMB.into(), 1, false), (HEART.into(), 1, false)]);
    assert_eq!(ada.users(THUMB, 0, 0).await, [bob.user]);
    assert!(bob.unreact(THUMB).await);
    assert_eq!(bob.seen().await, [(HEART.into(), 1, true)]);
    assert!(ada.users(THUMB, 0, 0).await.is_empty());
    sleep(std::time::Duration::from_secs(2)).await;
    let thumb_twice = [format!("+{THUMB}"), format!("+{THUMB}")];
    let rest = [format!("+{HEART}"), format!("-{THUMB}"), format!("-{THUMB}")];
    assert_eq!(told(world.bus.of(ada.place.channel)), [&thumb_twice[..], &rest[..]].concat());
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_cleared_is_nobodys_own_when_it_is_used_again() {
    let world = World::new(2);
    let node = world.node().await;
    let (ada, bob) = hands(&node).await;
    assert!(ada.react(THUMB).await && ada.react(HEART).await && bob.react(HEART).await);
    assert!(ada.clear(Some(HEART)).await && !ada.clear(Some(HEART)).await);
    assert_eq!(ada.seen().await, [(THUMB.into(), 1, true)]);
    assert!(ada.users(HEART, 0, 0).await.is_empty());
    assert!(bob.react(HEART).await, "no longer there");
    assert_eq!(ada.seen().await, [(THUMB.into(), 1, true), (HEART.into(), 1, false)]);
    assert_eq!(bob.seen().await, [(THUMB.into(), 1, false), (HEART.into(), 1, true)]);
    assert!(ada.clear(None).await && !ada.clear(None).await);
    assert!(ada.seen().await.is_empty() && bob.seen().await.is_empty());
    sleep(std::time::Duration::from_secs(2)).await;
    let told = told(world.bus.of(ada.place.channel));
    assert_eq!(told[3..], [format!("0{HEART}"), format!("+{HEART}"), "0all".to_owned()]);
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_may_only_join_and_the_twenty_first_emoji_are_refused_and_change_nothing() {
    let world = World::new(3);
    let node = world.node().await;
    let (ada, bob) = hands(&node).await;
    let refused = bob.react_with(THUMB, true).await.expect_err("nobody is there to join");
    assert!(refused.to_string().contains("nobody has reacted"), "{refused:?}");
    assert!(ada.react(THUMB).await);
    assert!(bob.react_with(THUMB, true).await.expect("joins"));
    for number in 1..20 {
        assert!(ada.react(&format!("e{number}")).await);
    }
    let refused = ada.react_with("one more", false).await.expect_err("full");
    let full = |error: &DataError| {
        matches!(error, DataError::Refused { reason: RefusalReason::MessageReactions, .. })
    };
    assert!(full(&refused), "{refused:?}");
    assert!(bob.react("e7").await, "those that are there take more");
    assert_eq!(ada.seen().await.len(), 20);
    for (name, why) in [("", "empty"), ("a\0", "U+0000"), (&*"x".repeat(129), "long")] {
        let refused = ada.react_with(name, false).await.expect_err(why);
        assert!(matches!(refused, DataError::Invalid { .. }), "{why}: {refused:?}");
    }
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn reactions_go_with_their_message() {
    let world = World::new(4);
    let node = world.node().await;
    let (ada, bob) = hands(&node).await;
    let talk = Talk(&node.client, ada.place);
    let second = talk.create("another").await.unwrap().id;
    let on_second = Hand { message: second, ..bob };
    assert!(ada.react(THUMB).await && bob.react(THUMB).await && on_second.react(HEART).await);
    talk.delete(ada.message).await.unwrap();
    talk.delete_together(&[second]).await.unwrap();
    let left = |rows: &mut crate::fake_store::Rows| {
        rows.described
            .iter()
            .filter(|((table, _), (_, row))| table.name == "reactions" && row.is_some())
            .count()
    };
    assert_eq!(left(&mut world.store.rows()), 0);
    let request = ListReactionsRequest {
        channel_id: ada.place.channel,
        message_id: ada.message,
        emoji: emoji(THUMB),
        ..ListReactionsRequest::default()
    };
    let gone = node.client.list_reactions(&request, &options()).await;
    assert!(matches!(gone, Err(DataError::NotFound { .. })), "{gone:?}");
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_viewers_own_are_found_behind_more_rows_of_deleted_messages_than_one_read_takes() {
    let world = World::new(7);
    let node = world.node().await;
    let (ada, _) = hands(&node).await;
    assert!(ada.react(THUMB).await);
    let own = |number: u64| OwnReactions {
        channel_id: ada.place.channel,
        user_id: ada.user,
        message_id: ada.message - number,
        slots: vec![1],
        rev: 1,
    };
    let rows = (1..=ROWS_MAX as u64).map(|number| RowChange::put(&own(number))).collect();
    let scope_id = OwnReactions::TABLE.scope_of(&own(1).key()).expect("a channel");
    let left = Commit { scope_id, rev: 1, rows, records: Vec::new(), rows_are_outbox: false };
    world.store.commit(left).await.expect("committed");
    assert_eq!(ada.seen().await, [(THUMB.into(), 1, true)]);
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn of_a_page_that_spans_more_days_than_are_looked_at_the_newest_have_a_viewers_own() {
    let world = World::new(8);
    let node = world.node().await;
    let (ada, _) = hands(&node).await;
    let ids: Vec<u64> = (100..133).map(|day| imported(day * 86_400_000, 0)).collect();
    begin_import(&*world.store, vec![ada.place.channel]).await;
    let row = |id: &u64| Message {
        id: *id,
        channel_id: ada.place.channel,
        author_id: ada.user,
        content: "of its day".into(),
        ..Message::default()
    };
    let rows = ids.iter().map(row).collect();
    assert_eq!(import(&node.client, ada.place.channel, [rows]).await.expect("imported"), 33);
    for id in &ids {
        assert!(Hand { message: *id, ..ada }.react(THUMB).await);
    }
    let page = Some(page_of(ada.place.channel, At::Before(ada.message), 50));
    let request = ViewPageRequest { page, viewer_id: ada.user };
    let page = node.client.view_page(&request, &options()).await.expect("a page").message;
    let own: Vec<u64> = page.own.iter().map(|own| own.message_id).collect();
    assert_eq!(own, ids[1..], "32 days, each with one");
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_keeps_reactions_and_a_reaction_is_no_edit() {
    let world = World::new(5);
    let node = world.node().await;
    let (ada, _) = hands(&node).await;
    let talk = Talk(&node.client, ada.place);
    assert!(ada.react(THUMB).await);
    assert_eq!(talk.get(ada.message).await.unwrap().unwrap().edited_at_ms, 0);
    let edited = talk.edit(ada.message, "edited").await.unwrap();
    assert_eq!((edited.reactions.len(), edited.edited_at_ms > 0), (1, true));
    assert_eq!(ada.seen().await, [(THUMB.into(), 1, true)]);
    node.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_reaction_whose_answer_was_lost_counts_once() {
    let world = World::new(6);
    let node = world.node().await;
    let (ada, bob) = hands(&node).await;
    assert!(bob.react(THUMB).await);
    for fate in [Fate::UnknownApplied, Fate::UnknownNotApplied] {
        world.store.script([fate]);
        let outcome = ada.react_with(HEART, false).await;
        assert!(matches!(outcome, Err(DataError::OutcomeUnknown { .. })), "{outcome:?}");
        sleep(std::time::Duration::from_secs(30)).await;
        assert!(!ada.react(HEART).await, "{fate:?}: it was made good");
        assert_eq!(ada.seen().await, [(THUMB.into(), 1, false), (HEART.into(), 1, true)]);
        assert_eq!(ada.users(HEART, 0, 0).await, [ada.user]);
        assert!(ada.unreact(HEART).await);
    }
    node.close().await;
}

#[tokio::test]
async fn reactions_survive_a_reopened_store() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = crate::node::embedded(directory.path()).await;
    let (ada, bob) = hands(&node).await;
    assert!(ada.react(THUMB).await && bob.react(THUMB).await && bob.react(HEART).await);
    let (place, message, users) = (ada.place, ada.message, [ada.user, bob.user]);
    node.close().await;
    store.close().await;
    drop(store);
    let (node, store) = crate::node::embedded(directory.path()).await;
    let ada = Hand { client: &node.client, place, message, user: users[0] };
    assert_eq!(ada.seen().await, [(THUMB.into(), 2, true), (HEART.into(), 1, false)]);
    assert!(ada.unreact(THUMB).await);
    assert_eq!(ada.users(THUMB, 0, 0).await, users[1..]);
    node.close().await;
    store.close().await;
}
