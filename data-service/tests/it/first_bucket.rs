//! Hazard 44 and rule 12: the first message of a channel, and of a bucket, is found through the index, after
//! any crash and with concurrent readers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::sleep;

use crate::node::{At, Place, Talk, World};

/// A bucket lasts ten days.
const BUCKET_LATER: Duration = Duration::from_micros(11 * 24 * 3_600 * 1_000_000);

/// What is shown is the whole history, newest first.
async fn assert_whole(world: &World, talk: &Talk<'_>, when: &str) {
    let shown = talk.list(At::Latest, 100).await.unwrap();
    let history = world.store.rows().history(talk.1.channel);
    assert!(
        shown.iter().eq(history.iter().rev()),
        "{when}: {} of {} messages are shown",
        shown.len(),
        history.len()
    );
}

/// Kills the process so long after it was told to write the first message; true if that was acknowledged.
async fn killed_after(at: Duration, later_bucket: bool, seed: u64) -> bool {
    let when = format!("killed after {at:?}, later: {later_bucket}, seed {seed}");
    let (mut world, node, place) = World::with_place(seed).await;
    if later_bucket {
        Talk(&node.client, place).create("of an older bucket").await.unwrap();
        world.clock.sleep_through(BUCKET_LATER);
    }
    // Who looks before the message finds its bucket neither in the index nor in the database.
    assert_whole(&world, &Talk(&node.client, place), &when).await;
    world.store.slow(Duration::from_millis(10));
    let acknowledged = Arc::new(Mutex::new(None));
    let writing = tokio::spawn({
        let (client, acknowledged) = (node.client.clone(), Arc::clone(&acknowledged));
        async move {
            let row = Talk(&client, place).create("the first").await.unwrap();
            *acknowledged.lock().unwrap() = Some(row.id);
        }
    });
    let readers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(look_on(node.client.clone(), place, Arc::clone(&acknowledged), when.clone())))
        .collect();
    sleep(at).await;
    world.crash();
    let told = *acknowledged.lock().unwrap();
    writing.abort();
    for reader in readers {
        reader.abort();
        if let Err(ended) = reader.await
            && ended.is_panic()
        {
            std::panic::resume_unwind(ended.into_panic());
        }
    }
    // A commit that was on its way lands; the lease outlasts that by far.
    sleep(Duration::from_secs(1)).await;
    let history = world.store.rows().history(place.channel);
    assert!(
        told.is_none_or(|id| history.iter().any(|row| row.id == id)),
        "{when}: acknowledged and not there"
    );

    let next = world.node().await;
    let talk = Talk(&next.client, place);
    assert_whole(&world, &talk, &when).await;
    // What the index said is remembered, and so is what it did not say.
    assert_whole(&world, &talk, &when).await;
    talk.create("after").await.unwrap();
    assert_whole(&world, &talk, &when).await;
    let cold = world.node().await;
    assert_whole(&world, &Talk(&cold.client, place), &when).await;
    told.is_some()
}

/// Reads all the time: what was acknowledged before a read began is in it.
async fn look_on(
    client: weir_data_client::DataClient,
    place: Place,
    acknowledged: Arc<Mutex<Option<u64>>>,
    when: String,
) {
    loop {
        let before = *acknowledged.lock().unwrap();
        let shown = Talk(&client, place).list(At::Latest, 100).await.unwrap();
        if let Some(id) = before {
            assert!(shown.iter().any(|row| row.id == id), "{when}: a reader was told that there is none");
        }
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_kill_during_a_buckets_first_message_leaves_a_whole_history() {
    let (mut acknowledged, mut lost) = (0, 0);
    for later_bucket in [false, true] {
        for seed in 0..5 {
            for at_ms in 0..60 {
                let at = Duration::from_millis(at_ms);
                match crate::history::paused(killed_after(at, later_bucket, seed)) {
                    true => acknowledged += 1,
                    false => lost += 1,
                }
            }
        }
    }
    assert!(acknowledged > 50 && lost > 50, "before and after: {lost} and {acknowledged}");
}
