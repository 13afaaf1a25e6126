//! The damages that are tried, and their counts.

use std::{collections::BTreeMap, env, path::Path};

use weir_store::embedded::EmbeddedStore;

use super::{
    image::{Content, Image},
    judge::{Acknowledged, Verdict, config},
};

/// About how many damages the long form tries for each kind of stop.
const LONG: &str = "WEIR_DAMAGE";
/// How many the short form tries: some ten seconds.
const SHORT_COUNT: usize = 160;
/// Bytes up to which every bit of a file is flipped.
const SMALL_BYTES: usize = 64;
/// Bytes zeroed at once: a sector and a page.
const ZEROED: [usize; 3] = [16, 512, 4_096];
/// Places within a larger file, besides its beginning and end.
const PLACES: usize = 97;

/// A damage of a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip {
        at: usize,
        bit: u8,
    },
    Cut {
        to: u64,
    },
    Zero {
        from: usize,
        bytes: usize,
    },
    /// The content that it, or a file of its kind, had earlier.
    Older(Content),
    /// It is swapped with another file of its kind.
    Swapped {
        with: String,
    },
    Removed,
}

/// A store's files, and the earlier state from which older copies come.
struct Stop {
    name: &'static str,
    older: Image,
    image: Image,
    acknowledged: Acknowledged,
}

fn damages(stop: &Stop) -> Vec<(String, Damage)> {
    let mut all = Vec::new();
    for (name, content) in &stop.image.0 {
        let mut add = |damage| all.push((name.clone(), damage));
        let used = content.bytes.len();
        add(Damage::Removed);
        if let Some(older) = stop.older.0.get(name)
            && older != content
        {
            add(Damage::Older(older.clone()));
        }
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let kin = |other: &&String| {
            *other != name && other.rsplit_once('/').map_or("", |(folder, _)| folder) == folder
        };
        if name.contains("/tables/") || name.ends_with(".jnl") {
            for with in stop
                .image
                .0
                .keys()
                .filter(kin)
                .filter(|other| other.ends_with(".jnl") == name.ends_with(".jnl"))
            {
                add(Damage::Swapped { with: with.clone() });
            }
        }
        let cuts = [0, 1, content.length / 2, used as u64 / 2, used as u64 - u64::from(used > 0)];
        for to in cuts.into_iter().chain((used as u64).checked_sub(40)) {
            if to < content.length {
                add(Damage::Cut { to });
            }
        }
        if used <= SMALL_BYTES {
            for at in 0..used {
                (0..8).for_each(|bit| add(Damage::Flip { at, bit }));
            }
        } else {
            let head_and_end = (0..24).chain(used - 24..used);
            let spread = (1..=PLACES).map(|place| place * (used - 1) / (PLACES + 1));
            for at in head_and_end.chain(spread) {
                #[expect(clippy::cast_possible_truncation, reason = "below 8")]
                add(Damage::Flip { at, bit: (at % 8) as u8 });
            }
        }
        for bytes in ZEROED.into_iter().filter(|bytes| *bytes <= used) {
            for from in [0, (used - bytes) / 3, (used - bytes) / 2, used - bytes] {
                add(Damage::Zero { from, bytes });
            }
        }
        if used > 0 {
            add(Damage::Zero { from: used / 2, bytes: used - used / 2 });
            add(Damage::Zero { from: 0, bytes: used });
        }
    }
    all
}

impl Damage {
    /// The damaged image; `None` if the damage changes nothing.
    fn done_to(&self, image: &Image, name: &str) -> Option<Image> {
        let mut damaged = image.clone();
        let content = damaged.0.get_mut(name).expect("it is there");
        match self {
            Self::Flip { at, bit } => content.bytes[*at] ^= 1 << bit,
            Self::Cut { to } => {
                content.length = *to;
                content.bytes.truncate(usize::try_from(*to).expect("small"));
            }
            Self::Zero { from, bytes } => content.bytes[*from..from + bytes].fill(0),
            Self::Older(older) => *content = older.clone(),
            Self::Swapped { with } => *content = image.0[with].clone(),
            Self::Removed => {
                damaged.0.remove(name);
            }
        }
        (damaged != *image).then_some(damaged)
    }
}

/// Whether an error message names a file: by its name, its keyspace or its kind.
fn names(words: &str, file: &str) -> bool {
    let last = file.rsplit('/').next().unwrap_or(file);
    let keyspace = file.split('/').take(3).collect::<Vec<_>>().join("/");
    let kind = if file.starts_with("VERSION") { "layout" } else { "\n" };
    let journal = file.ends_with(".jnl") && words.contains("journal");
    words.contains(last) || words.contains(&keyspace) || words.contains(kind) || journal
}

/// Tries about `count` of a stop's damages; prints the counts and gives the failures.
async fn sweep(stop: &Stop, count: usize) -> Vec<String> {
    let all = damages(stop);
    let step = (all.len() / count).max(1);
    let (mut counts, mut failures) = (BTreeMap::new(), Vec::new());
    for (name, damage) in all.iter().step_by(step) {
        let Some(damaged) = damage.done_to(&stop.image, name) else { continue };
        let directory = tempfile::tempdir().expect("a directory");
        damaged.write(directory.path());
        let verdict = stop.acknowledged.judge(directory.path()).await;
        let what = match &verdict {
            Verdict::Refused(words) if names(words, name) => "refused",
            Verdict::Refused(_) => "nameless",
            Verdict::Reported(_) => "reported by a read",
            Verdict::Harmless => "harmless",
            Verdict::Silent(_) => "silent",
        };
        *counts.entry(what).or_insert(0_usize) += 1;
        *counts.entry("tried").or_insert(0) += 1;
        if matches!(what, "silent" | "nameless") {
            let damage = match damage {
                Damage::Older(_) => "an older copy".to_owned(),
                damage => format!("{damage:?}"),
            };
            failures.push(format!("{}: {name}: {damage}: {verdict:?}", stop.name));
        }
    }
    let counts: Vec<_> = ["tried", "refused", "reported by a read", "harmless", "nameless", "silent"]
        .map(|what| format!("{what} {}", counts.get(what).copied().unwrap_or(0)))
        .into();
    eprintln!("damages after {}, {} known: {}", stop.name, all.len(), counts.join(", "));
    failures
}

/// The directory while nothing writes.
fn idle(directory: &Path) -> Image {
    loop {
        let image = Image::read(directory);
        if image == Image::read(directory) {
            return image;
        }
    }
}

async fn written(store_name: &'static str, killed: bool) -> Stop {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || EmbeddedStore::open(config(directory.path())).expect("opens");
    let mut acknowledged = Acknowledged::default();
    let store = open();
    acknowledged.write(&store, 2, 60, 900).await;
    store.close().await;
    drop(store);
    let older = Image::read(directory.path());
    let store = open();
    acknowledged.write(&store, 2, 40, 900).await;
    let killed = killed.then(|| idle(directory.path()));
    store.close().await;
    drop(store);
    let image = killed.unwrap_or_else(|| Image::read(directory.path()));
    Stop { name: store_name, older, image, acknowledged }
}

async fn none_is_silent(stop: Stop) {
    // Checks the test itself: without damage, every row is there.
    let whole = tempfile::tempdir().expect("a directory");
    stop.image.write(whole.path());
    assert_eq!(stop.acknowledged.judge(whole.path()).await, Verdict::Harmless);
    let count = env::var(LONG).ok().and_then(|count| count.parse().ok()).unwrap_or(SHORT_COUNT);
    let failures = sweep(&stop, count).await;
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_damage_of_a_store_that_was_stopped_is_silent() {
    none_is_silent(written("a stop", false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_damage_of_a_store_that_was_killed_is_silent() {
    none_is_silent(written("a kill", true).await).await;
}

/// fjall takes zeros for a journal that was never written to, and begins to work on what it found.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_has_lost_all_its_batches_is_refused_before_the_tree_is_opened() {
    let stop = written("a kill", true).await;
    let name = stop.image.0.keys().filter(|name| name.ends_with(".jnl")).max().expect("a journal");
    let bytes = stop.image.0[name].bytes.len();
    let damaged = Damage::Zero { from: 0, bytes }.done_to(&stop.image, name).expect("changed");
    let directory = tempfile::tempdir().expect("a directory");
    damaged.write(directory.path());
    let verdict = stop.acknowledged.judge(directory.path()).await;
    let Verdict::Refused(words) = &verdict else { panic!("{verdict:?}") };
    assert!(words.contains("it holds no batch"), "{words}");
}
