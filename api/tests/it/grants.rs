//! Every way to give, deny, un-deny or take over, in sequences that nobody thought of, against a second judge
//! written straight down: whoever is not the owner gives nobody, itself included, what neither of the two
//! had.
//!
//! `WEIR_GRANT_SEQUENCES=N` tries N sequences; the test tells how many it tried (`--nocapture`).

mod tries;

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::{Value, json};
use weir_proto::data::{Channel, Member, Overwrite, Role};

use self::tries::{Act, Entry, Start, act, start};
use crate::harness::{Bot, Served};

/// Sequences that are tried unless told otherwise: a few seconds.
const SEQUENCES: u32 = 96;
/// Sequences that are always the same. They are so many that each mistake in `infra/mutants/discord` shows.
const SAME_SEQUENCES: u32 = 1_500;
/// Bots beside the owner.
const BOTS: usize = 4;
/// Every bit with a meaning: 0 to 52 without 47.
const ALL: u64 = (1 << 53) - 1 - (1 << 47);
const CREATE_INSTANT_INVITE: u64 = 1;
const KICK_MEMBERS: u64 = 1 << 1;
const ADMINISTRATOR: u64 = 1 << 3;
const MANAGE_CHANNELS: u64 = 1 << 4;
const VIEW_CHANNEL: u64 = 1 << 10;
const SEND_MESSAGES: u64 = 1 << 11;
const MANAGE_MESSAGES: u64 = 1 << 13;
const MANAGE_ROLES: u64 = 1 << 28;
/// A bit that means nothing.
const NONSENSE: u64 = 1 << 60;
const CATEGORY: u32 = 4;

/// All rows that permissions follow from.
#[derive(Debug, Clone, PartialEq)]
struct Rows {
    guild: u64,
    owner: u64,
    roles: BTreeMap<u64, Role>,
    channels: BTreeMap<u64, Channel>,
    members: BTreeMap<u64, Member>,
}

impl Rows {
    fn of(served: &Served, guild: u64) -> Self {
        let world = served.data.world();
        let members = world.members.iter().filter(|((of, _), _)| *of == guild);
        Self {
            guild,
            owner: world.guilds[&guild].owner_id,
            roles: world.roles.clone(),
            channels: world.channels.clone(),
            members: members.map(|((_, user), member)| (*user, member.clone())).collect(),
        }
    }

    /// Roles that a user holds: @everyone, too, and those of a user who is no member are @everyone alone.
    fn held(&self, user: u64) -> BTreeSet<u64> {
        let own = self.members.get(&user).map(|member| member.role_ids.clone()).unwrap_or_default();
        own.into_iter().chain([self.guild]).filter(|id| self.roles.contains_key(id)).collect()
    }

    /// What a user holds in the guild at large.
    fn base(&self, user: u64) -> u64 {
        let base = self.held(user).iter().fold(0, |all, id| all | self.roles[id].permissions);
        if user == self.owner || base & ADMINISTRATOR != 0 { ALL } else { base & ALL }
    }

    /// What a user holds in a channel, also what sleeps there because it does not see it or may not write.
    fn there(&self, user: u64, channel: &Channel) -> u64 {
        let mut bits = self.base(user);
        if bits == ALL {
            return ALL;
        }
        let held = self.held(user);
        for step in 0..3 {
            let concerned = |one: &&Overwrite| match step {
                0 => one.r#type == 0 && one.id == self.guild,
                1 => one.r#type == 0 && one.id != self.guild && held.contains(&one.id),
                _ => one.r#type == 1 && one.id == user,
            };
            let these: Vec<_> = channel.overwrites.iter().filter(concerned).collect();
            for one in &these {
                bits &= !one.deny;
            }
            for one in these {
                bits |= one.allow;
            }
        }
        bits & ALL & !ADMINISTRATOR
    }

    fn may_manage_roles_by_overwrite(&self, user: u64, channel: &Channel) -> bool {
        let held = self.held(user);
        self.there(user, channel) & MANAGE_ROLES != 0
            && channel.overwrites.iter().any(|one| {
                let concerns = if one.r#type == 0 { held.contains(&one.id) } else { one.id == user };
                concerns && one.allow & MANAGE_ROLES != 0
            })
    }

    /// Height of a user's highest role; of equals the older stands higher.
    fn rank(&self, user: u64) -> (u32, std::cmp::Reverse<u64>) {
        let roles = self.held(user).into_iter().filter(|id| *id != self.guild);
        let ranks = roles.map(|id| (self.roles[&id].position, std::cmp::Reverse(id)));
        ranks.max().unwrap_or((0, std::cmp::Reverse(u64::MAX)))
    }

    /// True if the user has the role in its hand: it manages roles and stands above.
    fn commands(&self, user: u64, role: u64) -> bool {
        self.base(user) & MANAGE_ROLES != 0
            && self
                .roles
                .get(&role)
                .is_some_and(|row| self.rank(user) > (row.position, std::cmp::Reverse(role)))
    }
}

/// One sequence's guild.
struct Play {
    served: Served,
    guild: u64,
    owner: u64,
    bots: Vec<Bot>,
}

/// What was asked, with its ids.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    path: String,
    body: Value,
    /// Roles given or taken, and whose.
    roles: Vec<u64>,
    user: Option<u64>,
}

impl Play {
    async fn begin(start: &Start) -> Self {
        let (served, owner, place) = Served::with_guild("owner").await;
        let bots: Vec<Bot> = (0..BOTS).map(|number| served.bot(&format!("bot {number}"))).collect();
        let roles: Vec<u64> = (1..)
            .zip(&start.roles)
            .map(|(position, bits)| served.role(place.guild, bits & ALL, position))
            .collect();
        for (bot, held) in bots.iter().zip(&start.held) {
            let held: Vec<u64> = held.iter().map(|index| roles[*index]).collect();
            served.join(bot, place.guild, &held);
        }
        served.data.world().roles.get_mut(&place.guild).unwrap().permissions = start.everyone & ALL;
        let play = Self { served, guild: place.guild, owner: owner.id, bots };
        for (is_category, list) in &start.channels {
            let overwrites = play.overwrites(list, false);
            play.served.channel(play.guild, |row| {
                row.overwrites = overwrites;
                row.r#type = if *is_category { CATEGORY } else { 0 };
            });
        }
        play
    }

    fn role(&self, index: usize) -> u64 {
        let roles: Vec<u64> = self.served.data.world().roles.keys().copied().collect();
        roles[index % roles.len()]
    }

    fn channel(&self, index: usize) -> Option<u64> {
        let channels: Vec<u64> = self.served.data.world().channels.keys().copied().collect();
        (!channels.is_empty()).then(|| channels[index % channels.len()])
    }

    fn bot(&self, index: usize) -> &Bot {
        &self.bots[index % BOTS]
    }

    /// `wild`: with wrong types and repetitions, as an attacker sends them; else each id once and as what it
    /// is.
    fn overwrites(&self, list: &[Entry], wild: bool) -> Vec<Overwrite> {
        let mut ids = BTreeSet::new();
        let rows = list.iter().map(|&(whom, right, allow, deny)| {
            let (id, kind) = if whom < 5 { (self.role(whom), 0) } else { (self.bot(whom).id, 1) };
            Overwrite { id, r#type: if right || !wild { kind } else { 1 - kind }, allow, deny }
        });
        rows.filter(|row| ids.insert(row.id) || wild)
            .map(
                |row| {
                    if wild { row } else { Overwrite { allow: row.allow & ALL, deny: row.deny & ALL, ..row } }
                },
            )
            .collect()
    }

    fn list(&self, list: &[Entry]) -> Value {
        let rows = self.overwrites(list, true);
        let object = |row: &Overwrite| json!({"id": row.id.to_string(), "type": row.r#type, "allow": row.allow.to_string(), "deny": row.deny.to_string()});
        rows.iter().map(object).collect()
    }

    fn asked(&self, act: &Act, caller: &Bot) -> Option<Asked> {
        let guild = format!("/api/v10/guilds/{}", self.guild);
        let plain = |method, path, body| Asked { method, path, body, roles: Vec::new(), user: None };
        let channel = |index| self.channel(index).map(|id| format!("/api/v10/channels/{id}"));
        let of_member = |method, user: usize, role: usize| {
            let (user, role) = (self.bot(user).id, self.role(role));
            let path = format!("{guild}/members/{user}/roles/{role}");
            Asked { roles: vec![role], user: Some(user), ..plain(method, path, Value::Null) }
        };
        Some(match act {
            Act::Overwrite(index, list) => {
                plain(Method::PATCH, channel(*index)?, json!({ "permission_overwrites": self.list(list) }))
            }
            Act::NewChannel(parent, list) => {
                let parent = parent.and_then(|index| self.channel(index)).map(|id| id.to_string());
                let mut body = json!({"name": "new", "parent_id": parent});
                if let Some(list) = list {
                    body["permission_overwrites"] = self.list(list);
                }
                plain(Method::POST, format!("{guild}/channels"), body)
            }
            Act::Move(index, parent) => {
                let parent = self.channel(*parent)?.to_string();
                plain(Method::PATCH, channel(*index)?, json!({ "parent_id": parent }))
            }
            Act::DeleteChannel(index) => plain(Method::DELETE, channel(*index)?, Value::Null),
            Act::NewRole(bits) => {
                plain(Method::POST, format!("{guild}/roles"), json!({"permissions": bits.to_string()}))
            }
            Act::EditRole(index, bits) => {
                let path = format!("{guild}/roles/{}", self.role(*index));
                plain(Method::PATCH, path, json!({"permissions": bits.to_string()}))
            }
            Act::DeleteRole(index) => {
                let role = self.role(*index);
                Asked {
                    roles: vec![role],
                    ..plain(Method::DELETE, format!("{guild}/roles/{role}"), Value::Null)
                }
            }
            Act::Grant(user, role) => of_member(Method::PUT, *user, *role),
            Act::Revoke(user, role) => of_member(Method::DELETE, *user, *role),
            Act::Add(index, roles) => {
                let (user, roles) =
                    (self.bot(*index).id, roles.iter().map(|role| self.role(*role)).collect::<Vec<_>>());
                let named: Vec<String> = roles.iter().map(u64::to_string).collect();
                let asked = plain(Method::PUT, format!("{guild}/members/{user}"), json!({ "roles": named }));
                Asked { roles, user: Some(user), ..asked }
            }
            Act::Kick(index) => {
                // Also the owner.
                let user = if index % (BOTS + 1) == BOTS { self.owner } else { self.bot(*index).id };
                Asked {
                    user: Some(user),
                    ..plain(Method::DELETE, format!("{guild}/members/{user}"), Value::Null)
                }
            }
            Act::Leave => {
                let path = format!("/api/v10/users/@me/guilds/{}", self.guild);
                Asked { user: Some(caller.id), ..plain(Method::DELETE, path, Value::Null) }
            }
        })
    }
}

/// What may have been added for `user` in `channel` (in the guild without one) by a call of `caller`.
fn allowed(
    act: &Act,
    asked: &Asked,
    before: &Rows,
    caller: u64,
    user: u64,
    channel: Option<&Channel>,
) -> u64 {
    let base = before.base(caller);
    let in_hand = |yes: bool| if yes { ALL } else { 0 };
    match act {
        Act::Overwrite(..) => match channel.and_then(|channel| before.channels.get(&channel.id)) {
            Some(old) if asked.path.ends_with(&old.id.to_string()) => {
                let delegated = before.may_manage_roles_by_overwrite(caller, old);
                let own = (base | before.there(caller, old)) & !MANAGE_ROLES;
                own | if base == ALL {
                    ALL
                } else if delegated {
                    ALL & !MANAGE_ROLES
                } else {
                    0
                }
            }
            Some(_) | None => 0,
        },
        Act::NewChannel(..) => match channel {
            Some(made) if !before.channels.contains_key(&made.id) => {
                let parent = before.channels.get(&made.parent_id);
                let there = parent.map_or(0, |parent| before.there(caller, parent));
                in_hand(base == ALL) | (base | there) & !MANAGE_ROLES
            }
            Some(_) | None => 0,
        },
        Act::EditRole(..) => base,
        // Roles are had by whom they stand below: that is what their order is for. Only those concerned may
        // gain.
        Act::Grant(..) | Act::Revoke(..) | Act::Add(..) => in_hand(asked.user == Some(user)),
        Act::DeleteRole(..) => in_hand(asked.roles.iter().all(|role| before.held(user).contains(role))),
        Act::Move(..) | Act::DeleteChannel(..) | Act::NewRole(..) | Act::Kick(..) | Act::Leave => 0,
    }
}

/// What is wrong with a call that was allowed, if something is.
fn violation(act: &Act, asked: &Asked, before: &Rows, after: &Rows, caller: u64) -> Option<String> {
    let by_rank = match act {
        Act::Grant(..) | Act::Revoke(..) | Act::DeleteRole(..) | Act::Add(..) => {
            asked.roles.iter().all(|role| before.commands(caller, *role))
                || matches!(act, Act::Add(user, _) if before.members.contains_key(&asked.user.unwrap_or(*user as u64)))
        }
        Act::Kick(_) => {
            asked.user.is_some_and(|user| user != before.owner && before.rank(caller) > before.rank(user))
        }
        Act::Overwrite(..) | Act::NewChannel(..) | Act::Move(..) | Act::DeleteChannel(..) => true,
        Act::NewRole(_) | Act::EditRole(..) | Act::Leave => true,
    };
    if !by_rank {
        return Some("acted on what does not stand below".to_owned());
    }
    if after.owner != before.owner {
        return Some("another owner".to_owned());
    }
    for channel in after.channels.values() {
        let mut ids = BTreeSet::new();
        for one in &channel.overwrites {
            let is_role = after.roles.contains_key(&one.id) || before.roles.contains_key(&one.id);
            if !ids.insert(one.id) || (one.allow | one.deny) & !ALL != 0 || is_role && one.r#type != 0 {
                return Some(format!("stored: {one:?}"));
            }
        }
    }
    for user in after.members.keys().filter(|user| **user != after.owner) {
        let gained = after.base(*user) & !before.base(*user);
        let excess = gained & !allowed(act, asked, before, caller, *user, None);
        if excess != 0 {
            return Some(format!("{user} gained {excess:#b} in the guild"));
        }
        for channel in after.channels.values() {
            let had = match (before.channels.get(&channel.id), before.channels.get(&channel.parent_id)) {
                (Some(old), _) => before.there(*user, old),
                (None, Some(parent)) => before.base(*user) | before.there(*user, parent),
                (None, None) => before.base(*user),
            };
            let gained = after.there(*user, channel) & !had;
            let excess = gained & !allowed(act, asked, before, caller, *user, Some(channel));
            if excess != 0 {
                return Some(format!("{user} gained {excess:#b} in {}", channel.id));
            }
        }
    }
    None
}

#[derive(Default)]
struct Counts {
    sequences: u64,
    calls: u64,
    allowed: u64,
}

/// Which sequences are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seed {
    /// Others each time; one that fails is made shorter.
    Random,
    /// Always the same, as they come.
    Same,
}

async fn run(start: &Start, acts: &[(usize, Act)], counts: &mut Counts) -> Result<(), TestCaseError> {
    counts.sequences += 1;
    let play = Play::begin(start).await;
    for (who, act) in acts {
        let caller = play.bot(*who);
        let Some(asked) = play.asked(act, caller) else { continue };
        let before = Rows::of(&play.served, play.guild);
        let answer = play.served.ask(caller, asked.method.clone(), &asked.path, asked.body.clone()).await;
        let after = Rows::of(&play.served, play.guild);
        counts.calls += 1;
        if !answer.status.is_success() {
            prop_assert!(answer.status.is_client_error(), "{asked:?}: {answer:?}");
            prop_assert_eq!(&before, &after, "refused, and yet something changed: {:?}", asked);
            let held_back = answer.status == 403
                && before.base(caller.id) == ALL
                && before.members.contains_key(&caller.id)
                && matches!(act, Act::Overwrite(..) | Act::NewChannel(..) | Act::Move(..) | Act::NewRole(_));
            prop_assert!(!held_back, "an administrator was refused: {asked:?} in {before:#?}");
            continue;
        }
        counts.allowed += 1;
        let violation = violation(act, &asked, &before, &after, caller.id);
        prop_assert!(
            violation.is_none(),
            "{}: {asked:?} by {} in {before:#?}",
            violation.unwrap_or_default(),
            caller.id
        );
    }
    Ok(())
}

/// Tries so many sequences on this thread, until one fails: what it took, and what was wrong.
fn try_sequences(cases: u32, seed: Seed) -> (Counts, Result<(), String>) {
    let max_shrink_iters = if seed == Seed::Random { 200 } else { 0 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let mut runner = match seed {
        Seed::Random => TestRunner::new(config),
        Seed::Same => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counts = std::cell::RefCell::new(Counts::default());
    let sequences = (start(), prop::collection::vec((0..BOTS, act()), 1..24));
    let outcome = runner
        .run(&sequences, |(start, acts)| runtime.block_on(run(&start, &acts, &mut counts.borrow_mut())));
    (counts.into_inner(), outcome.map_err(|error| error.to_string()))
}

#[test]
fn no_sequence_of_allowed_calls_gives_what_neither_side_had() {
    let told = std::env::var("WEIR_GRANT_SEQUENCES").ok().and_then(|text| text.parse().ok());
    let cases = told.unwrap_or(SEQUENCES);
    let (counts, outcome) = try_sequences(cases, Seed::Random);
    println!("{cases} sequences, {} calls, {} of them allowed", counts.calls, counts.allowed);
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(counts.allowed > u64::from(cases), "most of what was tried was refused: it shows nothing");
}

#[test]
fn the_sequences_that_show_known_mistakes_show_none() {
    let (counts, outcome) = try_sequences(SAME_SEQUENCES, Seed::Same);
    println!("{} sequences, {} calls", counts.sequences, counts.calls);
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
