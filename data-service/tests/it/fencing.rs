//! Rule 3 and hazards 42 and 45: the answers allowed to a node that has lost the right to change, and the
//! state that it may keep when it has the right again.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use weir_data_client::{CallOptions, DataError};
use weir_proto::data::{GetGuildRequest, Guild, Message, RefusalReason};
use weir_store::RowChange;

use crate::{
    fake_bus::{Consumer, gist},
    fake_store::Fate,
    node::{At, Talk, World, options, page_of, small},
    ownership::{FakeOwnership, forever},
};

fn is_not_owner<T>(answer: &Result<T, DataError>) -> bool {
    matches!(answer, Err(DataError::Refused { reason: RefusalReason::NotOwner, .. }))
}

#[tokio::test(start_paused = true)]
async fn a_tenure_lost_during_a_commit_leaves_the_outcome_unknown_and_the_record_recoverable() {
    let (world, node, place) = World::with_place(1).await;
    let talk = Talk(&node.client, place);
    world.store.script([Fate::Slow(Duration::from_secs(1))]);
    let lose = async {
        sleep(Duration::from_millis(500)).await;
        world.ownership.lose();
    };
    let (answer, ()) = tokio::join!(talk.create("fenced"), lose);
    assert!(matches!(answer, Err(DataError::OutcomeUnknown { .. })), "told without a tenure: {answer:?}");
    let turns = world.bus.of(place.channel);
    assert!(turns.iter().all(|record| record.recovered), "the turn published nothing itself");
    assert!(is_not_owner(&talk.create("refused").await));
    assert_eq!(world.store.seen_of(place.channel).len(), 1, "refused before the database");

    world.ownership.gain(2);
    let after = talk.create("after").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(talk.contents(At::Latest, 5).await, ["after", "fenced"]);
    let mut consumer = Consumer::default();
    consumer.take(world.bus.of(place.channel));
    let told: Vec<&str> = consumer.taken.iter().map(|record| gist(record).1).collect();
    assert_eq!(told, ["created", "created"], "a consumer has both");
    assert_eq!(consumer.have, after.rev);
}

#[tokio::test(start_paused = true)]
async fn what_was_remembered_before_a_lapse_is_not_served_after_it() {
    for seeded_by_write in [false, true] {
        let (world, node, place) = World::with_place(2).await;
        let talk = Talk(&node.client, place);
        let mut known = Vec::new();
        for index in 0..60 {
            known.push(talk.create(&format!("m{index}")).await.unwrap());
        }
        // A node that only reads: its tail and pages come from reads alone.
        let other = if seeded_by_write { None } else { Some(world.node().await) };
        let reader = other.as_ref().unwrap_or(&node);
        let seen = Talk(&reader.client, place);
        let old = known[3].id;
        seen.list(At::Latest, 50).await.unwrap();
        seen.list(At::Before(known[10].id), 5).await.unwrap();
        seen.get(old).await.unwrap().unwrap();

        world.ownership.lose();
        sleep(Duration::from_secs(1)).await;
        // Meanwhile another owner edits an old row, deletes one and appends.
        let owner = FakeOwnership::new(2);
        let second = world.node_as(small(), Arc::clone(&owner) as _, Arc::clone(&world.clock) as _).await;
        let elsewhere = Talk(&second.client, place);
        elsewhere.edit(old, "edited elsewhere").await.unwrap();
        elsewhere.delete(known[5].id).await.unwrap();
        elsewhere.create("appended elsewhere").await.unwrap();
        // Without ownership nothing remembered is served, and each read sees what was acknowledged before it.
        assert_eq!(seen.list(At::Latest, 1).await.unwrap()[0].content, "appended elsewhere");
        assert_eq!(seen.get(old).await.unwrap().unwrap().content, "edited elsewhere");
        owner.lose();

        world.ownership.gain(2);
        assert_eq!(seen.list(At::Latest, 1).await.unwrap()[0].content, "appended elsewhere");
        assert_eq!(seen.get(old).await.unwrap().unwrap().content, "edited elsewhere");
        let page = seen.contents(At::Before(known[10].id), 5).await;
        assert_eq!(page, ["m9", "m8", "m7", "m6", "m4"], "written: {seeded_by_write}");
        assert_eq!(seen.get(known[5].id).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_without_ownership_joins_no_older_flight() {
    let (world, node, place) = World::with_place(3).await;
    let talk = Talk(&node.client, place);
    talk.create("old").await.unwrap();
    let cold = world.node().await;
    let second = world.node_as(small(), FakeOwnership::new(2), Arc::clone(&world.clock) as _).await;
    world.ownership.lose();
    // The first read has looked at the rows and its answer is slow; then the other owner acknowledges a
    // message; then a second read begins.
    world.store.answers_take(Duration::from_millis(100));
    let client = cold.client.clone();
    let first = tokio::spawn(async move { Talk(&client, place).list(At::Latest, 5).await });
    sleep(Duration::from_millis(10)).await;
    world.store.answers_take(Duration::ZERO);
    Talk(&second.client, place).create("new").await.unwrap();
    assert_eq!(Talk(&cold.client, place).contents(At::Latest, 5).await, ["new", "old"]);
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_in_doubt_is_not_repeated_while_somebody_else_owns_the_channel() {
    let (world, node, place) = World::with_place(4).await;
    let talk = Talk(&node.client, place);
    talk.create("first").await.unwrap();
    world.store.script([Fate::UnknownNotApplied, Fate::UnknownNotApplied]);
    assert!(matches!(talk.create("doubtful").await, Err(DataError::OutcomeUnknown { .. })));
    world.ownership.lose();
    let sent = world.store.seen_of(place.channel).len();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.store.seen_of(place.channel).len(), sent, "a fenced owner must not write");
    world.ownership.gain(2);
    sleep(Duration::from_secs(5)).await;
    world.store.assert_sound();
    assert_eq!(talk.contents(At::Latest, 5).await, ["doubtful", "first"]);
    talk.create("after").await.unwrap();
    assert_eq!(talk.contents(At::Latest, 5).await, ["after", "doubtful", "first"]);
    sleep(Duration::from_secs(2)).await;
    let mut consumer = Consumer::default();
    consumer.take(world.bus.of(place.channel));
    assert_eq!(consumer.taken.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_commit_in_doubt_is_given_up_when_another_owner_came_in_between() {
    let (world, node, place) = World::with_place(9).await;
    let talk = Talk(&node.client, place);
    talk.create("first").await.unwrap();
    world.store.script([Fate::UnknownNotApplied]);
    assert!(matches!(talk.create("doubtful").await, Err(DataError::OutcomeUnknown { .. })));
    world.ownership.lose();
    sleep(Duration::from_secs(5)).await;
    let sent = world.store.seen_of(place.channel).len();
    let owner = FakeOwnership::new(2);
    let second = world.node_as(small(), Arc::clone(&owner) as _, Arc::clone(&world.clock) as _).await;
    let meanwhile = Talk(&second.client, place).create("meanwhile").await.unwrap();
    owner.lose();
    world.ownership.gain_after_another(2);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.store.seen_of(place.channel).len(), sent + 1, "its successor's history stays as it was");
    let after = talk.create("after").await.unwrap();
    assert!(after.id > meanwhile.id && after.rev > meanwhile.rev);
    assert_eq!(talk.contents(At::Latest, 5).await, ["after", "meanwhile", "first"]);
}

/// Hazard 45.
#[tokio::test(start_paused = true)]
async fn a_later_edit_wins_although_its_owners_clock_is_slower() {
    let world = World::new(5);
    let fast = world.clock.skewed(400_000);
    let slow = world.clock.skewed(-400_000);
    let first = world.node_as(small(), FakeOwnership::new(1), fast).await;
    let place = first.place().await;
    let talk = Talk(&first.client, place);
    let old = talk.create("original").await.unwrap();
    let noisy = talk.create("noisy").await.unwrap();
    // Far more changes than one page of them, and the old message far below the tail.
    for index in 0..150 {
        talk.create(&format!("m{index}")).await.unwrap();
    }
    for index in 0..1_010 {
        talk.edit(noisy.id, &format!("again {index}")).await.unwrap();
    }
    let early = talk.edit(old.id, "by the fast clock").await.unwrap();
    first.close().await;

    let second = world.node_as(small(), FakeOwnership::new(2), slow).await;
    let talk = Talk(&second.client, place);
    let late = talk.edit(old.id, "by the slow clock").await.unwrap();
    assert!(late.last_rev > early.last_rev);
    assert_eq!(world.store.rows().read_message(place.channel, old.id).unwrap().content, "by the slow clock");
    assert_eq!(talk.get(old.id).await.unwrap().unwrap().content, "by the slow clock");
    // Ids of the fast clock lie further ahead than ids may: until the slow one has caught up nothing is
    // created.
    assert!(matches!(
        talk.create("too early").await,
        Err(DataError::Refused { reason: RefusalReason::Clock, .. })
    ));
    sleep(Duration::from_secs(1)).await;
    let created = talk.create("next").await.unwrap();
    assert!(created.rev > late.last_rev);
    let removed = talk.delete(old.id).await.unwrap();
    assert!(removed > late.last_rev);
    assert_eq!(talk.get(old.id).await.unwrap(), None);
    sleep(Duration::from_secs(2)).await;
    let revs: Vec<u64> = world.bus.of(place.channel).iter().filter(|r| !r.recovered).map(|r| r.rev).collect();
    assert!(revs.is_sorted_by(|a, b| a < b), "revisions rise across owners");
}

#[tokio::test(start_paused = true)]
async fn a_removal_by_a_slower_clock_holds_too() {
    let world = World::new(6);
    let first = world.node_as(small(), FakeOwnership::new(1), world.clock.skewed(450_000)).await;
    let place = first.place().await;
    let row = Talk(&first.client, place).create("original").await.unwrap();
    first.close().await;
    let second = world.node_as(small(), FakeOwnership::new(2), world.clock.skewed(0)).await;
    let talk = Talk(&second.client, place);
    let removed = talk.delete(row.id).await.unwrap();
    assert!(removed > row.rev);
    assert!(world.store.rows().history(place.channel).is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_minted_at_or_above_the_end_of_the_tenure() {
    use weir_data_service::{clock::WallClock, ownership::Tenure};
    let (world, node, place) = World::with_place(7).await;
    let talk = Talk(&node.client, place);
    talk.create("within").await.unwrap();
    let mint_until_us = world.clock.wall_us() + 2_000;
    world.ownership.set(Tenure { mint_until_us, ..forever(1, 1) });
    let mut refused = 0;
    for _ in 0..20 {
        match talk.create("near the end").await {
            Ok(row) => {
                assert!(row.rev < mint_until_us && weir_proto::id::unix_ms(row.id) * 1_000 < mint_until_us)
            }
            Err(error) => {
                assert!(is_not_owner::<()>(&Err(error)));
                refused += 1;
            }
        }
        sleep(Duration::from_micros(300)).await;
    }
    assert!(refused > 0);
    let above = mint_until_us + 50_000;
    world.ownership.set(Tenure { mint_above_us: above, ..forever(2, 1) });
    let row = talk.create("above").await.unwrap();
    assert!(row.rev > above && weir_proto::id::unix_ms(row.id) * 1_000 >= above);
}

/// What a node does under its tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Newest,
    Page,
    Message,
    Guild,
    Create,
    Edit,
    Delete,
}

/// Does `work` on a warm node whose tenure ends when it was asked for so often, while another owner has
/// changed everything. Gives back how often it was asked for.
async fn lost_after(work: Work, questions: u64) -> u64 {
    let (world, node, place) = World::with_place(questions + 100).await;
    let talk = Talk(&node.client, place);
    let mut rows = Vec::new();
    for index in 0..8 {
        rows.push(talk.create(&format!("m{index}")).await.unwrap());
    }
    let (old, last) = (rows[2].clone(), rows[7].clone());
    let guild = GetGuildRequest { guild_id: place.guild, ..GetGuildRequest::default() };
    // Everything is remembered: the tail by its turns, the page and the guild by reads of a node that did not
    // write them.
    let reads_only = matches!(work, Work::Page | Work::Message).then_some(world.node().await);
    let node = reads_only.as_ref().unwrap_or(&node);
    let talk = Talk(&node.client, place);
    if reads_only.is_some() {
        talk.list(At::Before(rows[4].id), 2).await.unwrap();
        talk.get(old.id).await.unwrap();
    }
    node.client.get_guild(&guild, &options()).await.unwrap();
    for row in [&old, &last] {
        let rev = row.last_rev + 1;
        let row = Message { content: "elsewhere".into(), last_rev: rev, ..row.clone() };
        world.store.rows().apply(&RowChange::PutMessage(row), rev, false);
    }
    let before = world.store.rows().read_guild(place.guild).unwrap().0;
    let renamed = Guild { name: "elsewhere".into(), ..before.clone() };
    world.store.rows().apply(&RowChange::PutGuild(renamed), before.rev + 1, false);
    let asked = world.ownership.asked();
    world.ownership.lose_after(questions);
    let told = match work {
        Work::Newest => Ok(talk.contents(At::Latest, 1).await[0].clone()),
        Work::Page => Ok(talk.contents(At::Before(rows[4].id), 2).await[1].clone()),
        Work::Message => Ok(talk.get(old.id).await.unwrap().unwrap().content),
        Work::Guild => {
            let state = node.client.get_guild(&guild, &options()).await.unwrap().message.state;
            Ok(state.unwrap().guild.unwrap().name)
        }
        Work::Create => talk.create("mine").await.map(|row| row.content),
        Work::Edit => talk.edit(last.id, "mine").await.map(|row| row.content),
        Work::Delete => talk.delete(last.id).await.map(|_| "mine".to_owned()),
    };
    let asked = world.ownership.asked() - asked;
    if questions < asked {
        match told {
            Ok(told) => {
                assert_eq!(told, "elsewhere", "{work:?}: lost after {questions} of {asked} questions")
            }
            Err(DataError::OutcomeUnknown { .. }) => {}
            error => assert!(is_not_owner(&error), "{work:?}: {error:?}"),
        }
    }
    asked
}

/// Hazard 42: the process is paused beyond its lease between any two looks at it.
#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_anything_after_the_lease_whenever_it_ends() {
    let all = [Work::Newest, Work::Page, Work::Message, Work::Guild, Work::Create, Work::Edit, Work::Delete];
    for work in all {
        let asked = lost_after(work, u64::MAX >> 1).await;
        assert!(asked >= 2, "{work:?}: asked {asked} times");
        for questions in 0..asked {
            lost_after(work, questions).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_honoured_by_a_node_that_does_not_own() {
    let (world, node, place) = World::with_place(8).await;
    let reply = node.client.create_message(&crate::node::create_in(place, "m"), &options()).await.unwrap();
    let token = CallOptions { freshness: reply.freshness, ..options() };
    let owner = FakeOwnership::new(3);
    owner.lose();
    let other = world.node_as(small(), owner, Arc::clone(&world.clock) as _).await;
    let page = other.client.list_messages(&page_of(place.channel, At::Latest, 5), &token).await.unwrap();
    assert_eq!(page.message.messages.len(), 1);
}
