//! Rules 6 and 8 as a register: no reply lacks a change that was acknowledged before the request, and none
//! shows an undone one.
//!
//! Writers and readers run against a store whose every call takes a random time before and after its effect.
//! Each operation notes a number when it begins and when its answer is there; the numbers order the changes
//! that must be seen.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::sleep;
use weir_data_client::{DataClient, DataError};
use weir_proto::data::Message;

use crate::{
    fake_store::{Dice, Fate},
    node::{At, Place, Talk, World},
};

/// Runs a future to its end on a runtime of its own whose time is paused.
pub(crate) fn paused<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// Never.
const NEVER: u64 = u64::MAX;

/// A change of a message: when it began and when it was acknowledged.
#[derive(Debug, Clone)]
struct Version {
    content: String,
    rev: u64,
    began: u64,
    acknowledged: u64,
}

/// All that is known of one message, for the check of replies.
#[derive(Debug, Clone)]
struct Life {
    versions: Vec<Version>,
    removal_began: u64,
    removed: u64,
}

impl Life {
    /// Nobody asked for its removal before the reply was there, and its creation was acknowledged before the
    /// request: it must be shown.
    fn must_show(&self, asked: u64, answered: u64) -> bool {
        self.versions[0].acknowledged < asked && self.removal_began > answered
    }
}

#[derive(Debug, Default)]
struct Book {
    lives: Mutex<BTreeMap<u64, Life>>,
    /// Contents of changes whose outcome the caller never learned, and when they began.
    doubtful: Mutex<Vec<(String, u64)>>,
    now: AtomicU64,
    reads: AtomicU64,
}

impl Book {
    fn tick(&self) -> u64 {
        self.now.fetch_add(1, SeqCst)
    }

    /// Checks one shown row against what is known; `asked` and `answered` are the read's own times.
    fn check_row(&self, row: &Message, asked: u64, answered: u64) -> Result<(), String> {
        let lives = self.lives.lock().unwrap();
        let doubtful = |content: &str| {
            let all = self.doubtful.lock().unwrap();
            all.iter().any(|(text, began)| text == content && *began < answered)
        };
        let Some(life) = lives.get(&row.id) else {
            // Not acknowledged yet: some create is under way or in doubt.
            return if doubtful(&row.content) { Ok(()) } else { Err(format!("nobody wrote {row:?}")) };
        };
        if life.removed < asked {
            return Err(format!("{} was removed at {}, asked at {asked}", row.id, life.removed));
        }
        let shown = life.versions.iter().find(|version| version.content == row.content);
        match shown {
            None if doubtful(&row.content) => {}
            None => return Err(format!("nobody wrote {:?} to {}", row.content, row.id)),
            Some(shown) if shown.began > answered => return Err(format!("{shown:?} comes from the future")),
            Some(_) => {}
        }
        let newer =
            life.versions.iter().find(|version| version.acknowledged < asked && version.rev > row.last_rev);
        match newer {
            Some(newer) => Err(format!("{} shows rev {} but {newer:?} came before", row.id, row.last_rev)),
            None => Ok(()),
        }
    }

    /// Ids that must be shown, in a range of positions, both ends excluded.
    fn owed(&self, above: u64, below: u64, asked: u64, answered: u64) -> Vec<u64> {
        let lives = self.lives.lock().unwrap();
        let within = lives.iter().filter(|(id, _)| **id > above && **id < below);
        within.filter(|(_, life)| life.must_show(asked, answered)).map(|(id, _)| *id).collect()
    }

    fn check_page(
        &self,
        at: At,
        limit: usize,
        rows: &[Message],
        asked: u64,
        answered: u64,
    ) -> Result<(), String> {
        if !rows.is_sorted_by(|a, b| a.id > b.id) {
            return Err("not newest first".into());
        }
        for row in rows {
            self.check_row(row, asked, answered)?;
        }
        let down = |from: u64, rows: &[Message], limit: usize| {
            // Rows below `from`, to the last one shown if the page is full.
            let to = if rows.len() >= limit { rows.last().map_or(from, |row| row.id) } else { 0 };
            (to, from)
        };
        let up = |from: u64, rows: &[Message], limit: usize| {
            let to = if rows.len() >= limit { rows.first().map_or(from, |row| row.id) } else { u64::MAX };
            (from, to)
        };
        let spans = match at {
            At::Latest => vec![down(u64::MAX, rows, limit)],
            At::Before(id) => vec![down(id, rows, limit)],
            At::After(id) => vec![up(id, rows, limit)],
            At::Around(id) => {
                let above: Vec<Message> = rows.iter().filter(|row| row.id > id).cloned().collect();
                let below: Vec<Message> = rows.iter().filter(|row| row.id < id).cloned().collect();
                vec![up(id, &above, limit / 2), down(id, &below, limit / 2), (id - 1, id + 1)]
            }
        };
        for (above, below) in spans {
            for id in self.owed(above, below, asked, answered) {
                if !rows.iter().any(|row| row.id == id) {
                    return Err(format!("{id} is missing"));
                }
            }
        }
        let inside = |id: u64| match at {
            At::Latest | At::Around(_) => true,
            At::Before(border) => id < border,
            At::After(border) => id > border,
        };
        let most = if matches!(at, At::Around(_)) { limit + 1 } else { limit };
        if rows.len() > most || !rows.iter().all(|row| inside(row.id)) {
            return Err("more than was asked for".into());
        }
        Ok(())
    }
}

async fn write(book: &Book, client: &DataClient, place: Place, dice: &Dice, writer: u64) {
    let talk = Talk(client, place);
    for step in 0..8 {
        sleep(Duration::from_micros(dice.roll(4_000))).await;
        let content = format!("{writer}/{step}");
        let pick = {
            let lives = book.lives.lock().unwrap();
            let live: Vec<u64> =
                lives.iter().filter(|(_, life)| life.removal_began == NEVER).map(|(id, _)| *id).collect();
            if live.is_empty() { None } else { Some(live[dice.roll(live.len() as u64) as usize]) }
        };
        match (dice.roll(5), pick) {
            (0, Some(id)) => {
                book.lives.lock().unwrap().get_mut(&id).unwrap().removal_began = book.tick();
                if talk.delete(id).await.is_ok() {
                    book.lives.lock().unwrap().get_mut(&id).unwrap().removed = book.tick();
                }
            }
            (1 | 2, Some(id)) => {
                let began = book.tick();
                book.doubtful.lock().unwrap().push((content.clone(), began));
                if let Ok(row) = talk.edit(id, &content).await {
                    let version = Version { content, rev: row.last_rev, began, acknowledged: book.tick() };
                    book.lives.lock().unwrap().get_mut(&id).unwrap().versions.push(version);
                }
            }
            _ => {
                let began = book.tick();
                book.doubtful.lock().unwrap().push((content.clone(), began));
                if let Ok(row) = talk.create(&content).await {
                    let version = Version { content, rev: row.rev, began, acknowledged: book.tick() };
                    let life = Life { versions: vec![version], removal_began: NEVER, removed: NEVER };
                    book.lives.lock().unwrap().insert(row.id, life);
                }
            }
        }
    }
}

async fn read(book: &Book, client: &DataClient, place: Place, dice: &Dice) -> Result<(), String> {
    let talk = Talk(client, place);
    for _ in 0..12 {
        sleep(Duration::from_micros(dice.roll(3_000))).await;
        let known: Vec<u64> = book.lives.lock().unwrap().keys().copied().collect();
        let id = if known.is_empty() { 1 << 40 } else { known[dice.roll(known.len() as u64) as usize] };
        let limit = [1, 2, 3, 5, 50][dice.roll(5) as usize];
        let asked = book.tick();
        let at = match dice.roll(6) {
            0 | 1 => At::Latest,
            2 => At::Before(id),
            3 => At::After(id),
            4 => At::Around(id),
            _ => {
                match talk.get(id).await {
                    Ok(Some(row)) => book.check_row(&row, asked, book.tick())?,
                    Ok(None) => {
                        let answered = book.tick();
                        let lives = book.lives.lock().unwrap();
                        if lives.get(&id).is_some_and(|life| life.must_show(asked, answered)) {
                            return Err(format!("{id} is said to be absent"));
                        }
                    }
                    Err(error) => return Err(error.to_string()),
                }
                continue;
            }
        };
        match talk.list(at, limit).await {
            Ok(rows) => book
                .check_page(at, limit as usize, &rows, asked, book.tick())
                .map_err(|problem| format!("{at:?} limit {limit}: {problem}"))?,
            Err(DataError::Unavailable { .. } | DataError::Refused { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        book.reads.fetch_add(1, SeqCst);
    }
    Ok(())
}

/// One history. `fates`: whether commits fail and lose their answers too.
async fn one(seed: u64, fates: bool) -> Result<u64, String> {
    let world = World::new(seed);
    let dice = Arc::new(Dice::new(seed));
    // A small tail, so that pages come from the tail, the cache and the database.
    let mut config = crate::node::small();
    config.live.tail_rows_max = 4;
    if dice.roll(3) == 0 {
        config.live.tails_bytes_max = 1;
    }
    let node = world.node_with(config).await;
    let place = node.place().await;
    world.store.slow(Duration::from_micros(1 + dice.roll(6_000)));
    if fates {
        world.store.script((0..40).map(|_| match dice.roll(8) {
            0 => Fate::NotApplied,
            1 => Fate::UnknownApplied,
            2 => Fate::UnknownNotApplied,
            3 => Fate::UnknownLater(Duration::from_millis(dice.roll(200))),
            _ => Fate::Applied,
        }));
    }
    let book = Book::default();
    let writers = (0..4).map(|writer| write(&book, &node.client, place, &dice, writer));
    let readers = (0..4).map(|_| read(&book, &node.client, place, &dice));
    let (_, checked) = tokio::join!(join_all(writers), join_all(readers));
    checked.into_iter().collect::<Result<Vec<()>, String>>()?;
    sleep(Duration::from_secs(30)).await;
    world.store.assert_sound();
    let shown = Talk(&node.client, place).list(At::Latest, 100).await.map_err(|error| error.to_string())?;
    let kept: Vec<Message> = world.store.rows().history(place.channel).into_iter().rev().collect();
    if shown != kept {
        return Err("in the end memory and database differ".into());
    }
    Ok(book.reads.load(SeqCst))
}

/// Runs `count` histories, or as many as `WEIR_SIM_SEEDS` says (`cargo xtask sim --seeds N`).
fn many(first: u64, count: u64, fates: bool) {
    let asked = std::env::var("WEIR_SIM_SEEDS").ok().map(|count| count.parse().expect("a number of seeds"));
    let mut reads = 0;
    for seed in first..first + asked.unwrap_or(count) {
        match paused(one(seed, fates)) {
            Ok(count) => reads += count,
            Err(problem) => panic!("seed {seed} (fates: {fates}): {problem}"),
        }
    }
    assert!(reads > 0);
    eprintln!("{reads} reads judged");
}

#[test]
fn no_reply_lacks_what_was_acknowledged_before_it() {
    many(0, 1_000, false);
}

#[test]
fn nor_when_commits_fail_and_lose_their_answers() {
    many(10_000, 500, true);
}

/// The check itself: histories with a known fault must be flagged.
#[test]
fn the_check_finds_stale_missing_and_returned_rows() {
    let book = Book::default();
    let version =
        |content: &str, rev, acknowledged| Version { content: content.into(), rev, began: 0, acknowledged };
    let life = |versions| Life { versions, removal_began: NEVER, removed: NEVER };
    book.lives.lock().unwrap().insert(10, life(vec![version("old", 1, 1), version("new", 5, 5)]));
    book.lives.lock().unwrap().insert(20, life(vec![version("other", 2, 2)]));
    let gone = Life { removal_began: 3, removed: 4, ..life(vec![version("gone", 3, 2)]) };
    book.lives.lock().unwrap().insert(15, gone);
    let row =
        |id, content: &str, last_rev| Message { id, content: content.into(), last_rev, ..Message::default() };
    let good = [row(20, "other", 2), row(10, "new", 5)];
    book.check_page(At::Latest, 5, &good, 10, 11).unwrap();
    assert!(book.check_page(At::Latest, 5, &good[..1], 10, 11).is_err(), "a missing row");
    book.check_page(At::Latest, 1, &good[..1], 10, 11).unwrap();
    assert!(
        book.check_page(At::Latest, 5, &[row(20, "other", 2), row(10, "old", 1)], 10, 11).is_err(),
        "an old row"
    );
    book.check_page(At::Latest, 5, &[row(20, "other", 2), row(10, "old", 1)], 4, 11).unwrap();
    let returned = [row(20, "other", 2), row(15, "gone", 3), row(10, "new", 5)];
    assert!(book.check_page(At::Latest, 5, &returned, 10, 11).is_err(), "a removed row");
    assert!(book.check_page(At::Before(10), 5, &[row(20, "other", 2)], 10, 11).is_err(), "outside");
    assert!(
        book.check_page(At::Around(10), 2, &[row(20, "other", 2)], 10, 11).is_err(),
        "without its middle"
    );
    assert!(book.check_row(&row(99, "unwritten", 1), 10, 11).is_err());
}
