//! Callers in more guilds than one page of the data service holds.

use std::ops::Range;

use http::Method;
use serde_json::{Value, json};
use weir_proto::data::{Guild, Role};

use crate::harness::{Answer, Bot, Served, ids};

/// Makes the bot a member of so many more guilds; their ids.
fn join_guilds(served: &Served, bot: &Bot, count: usize) -> Vec<u64> {
    let mut guilds = Vec::with_capacity(count);
    for _ in 0..count {
        let mut world = served.data.world();
        let id = world.mint();
        world.guilds.insert(id, Guild { id, name: "a guild".to_owned(), ..Guild::default() });
        world.roles.insert(id, Role { id, guild_id: id, ..Role::default() });
        drop(world);
        served.join(bot, id, &[]);
        guilds.push(id);
    }
    guilds
}

#[tokio::test]
async fn paging_downwards_starts_next_to_the_anchor_however_many_lie_below() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    let guilds = join_guilds(&served, &ann, 450);
    let page = async |query: String| {
        let answer = served.get(&ann, &format!("/users/@me/guilds{query}")).await;
        ids(&answer.ok())
    };
    let whole = |range: Range<usize>| guilds[range].to_vec();
    assert_eq!(page(format!("?before={}", u64::MAX)).await, whole(250..450));
    assert_eq!(page(format!("?before={}&limit=3", guilds[449])).await, whole(446..449));
    assert_eq!(page(format!("?before={}", guilds[250])).await, whole(50..250));
    assert_eq!(page(format!("?before={}", guilds[50])).await, whole(0..50));
    assert_eq!(page(format!("?before={}", guilds[0])).await, whole(0..0));
    assert_eq!(page(format!("?after={}&before={}", guilds[9], guilds[12])).await, whole(10..12));
    assert_eq!(page("?limit=2".to_owned()).await, whole(0..2));
    assert_eq!(page(format!("?after={}", guilds[299])).await, whole(300..450));

    // Only as far as it has to: the page that reaches the anchor is the last one.
    served.data.take_calls();
    page(format!("?before={}&limit=1", guilds[100])).await;
    let listed = served.data.take_calls().iter().filter(|call| **call == "ListUserGuilds").count();
    assert_eq!(listed, 1);
}

#[tokio::test]
async fn an_anchor_behind_what_is_walked_is_refused_and_not_answered_wrongly() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    let guilds = join_guilds(&served, &ann, 2_500);
    let page = async |before: u64| {
        let path = format!("/users/@me/guilds?limit=1&before={before}");
        served.get(&ann, &path).await
    };
    assert_eq!(ids(&page(u64::MAX).await.ok()), guilds[2_499..], "all that may be walked");
    join_guilds(&served, &ann, 1);
    let refused = page(u64::MAX).await;
    assert_eq!(refused.outcome(), (400, 50_035));
    let error = &refused.json()["errors"]["before"]["_errors"][0];
    assert_eq!(error["code"], "NUMBER_TYPE_MAX");
    let told = error["message"].as_str().unwrap();
    assert!(told.contains(&guilds[2_499].to_string()), "it says from where one can go on: {told}");
    assert_eq!(ids(&page(guilds[2_499]).await.ok()), guilds[2_498..2_499]);
}

#[tokio::test]
async fn guilds_are_counted_and_a_shard_is_recommended_for_each_thousand() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    let mut guilds = 0;
    for (more, shards) in [(0, 1), (201, 1), (799, 1), (1, 2), (999, 2), (1, 3), (498, 3), (1, 3)] {
        join_guilds(&served, &ann, more);
        guilds += more;
        assert_eq!(served.get(&ann, "/gateway/bot").await.ok()["shards"], shards, "{guilds} guilds");
        let application = served.get(&ann, "/oauth2/applications/@me").await.ok();
        assert_eq!(application["approximate_guild_count"], guilds);
    }
    assert_eq!(guilds, 2_500);
    join_guilds(&served, &ann, 300);
    served.data.take_calls();
    let application = served.get(&ann, "/applications/@me").await.ok();
    assert_eq!(application["approximate_guild_count"], 2_500, "the count is bounded");
    assert_eq!(served.data.take_calls(), ["ListUserGuilds"; 13]);
}

#[tokio::test]
async fn nobody_is_brought_by_others_into_so_many_guilds_that_it_is_locked_out() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let place = served.guild(&ann).await;
    join_guilds(&served, &bob, 2_400);
    let path = format!("/guilds/{}/members/{}", place.guild, bob.id);
    let full = (400, 30_001);
    assert_eq!(served.put(&ann, &path, serde_json::json!({})).await.outcome(), full);
    let body = serde_json::json!({"name": "theirs", "members": [bob.id.to_string()]});
    assert_eq!(served.ask(&ann, http::Method::POST, "/servers", body).await.outcome(), full);
    let body = serde_json::json!({"name": "its own"});
    assert_eq!(served.post(&bob, "/guilds", body.clone()).await.status, 201, "there is room for its own");
    join_guilds(&served, &bob, 99);
    assert_eq!(served.post(&bob, "/guilds", body).await.outcome(), full);
}

/// So many requests of `ann`, each of which brings `bob` into one more guild: every second founds it.
fn bring(served: &Served, ann: &Bot, bob: &Bot, count: usize) -> Vec<(Method, String, Value)> {
    let guilds = join_guilds(served, ann, count);
    for guild in &guilds {
        served.data.world().roles.get_mut(guild).unwrap().permissions = 1;
    }
    let request = |(index, guild)| match index % 2 {
        0 => (Method::PUT, format!("/api/guilds/{guild}/members/{}", bob.id), json!({})),
        _ => {
            (Method::POST, "/servers".to_owned(), json!({"name": "theirs", "members": [bob.id.to_string()]}))
        }
    };
    guilds.iter().enumerate().map(request).collect()
}

/// Sends all; none that brings somebody into a guild is served before nothing else can be decided.
async fn at_once(served: &Served, asks: Vec<(&Served, &Bot, (Method, String, Value))>) -> Vec<Answer> {
    let door = served.data.close_door();
    let all = asks.into_iter().map(|(through, bot, (method, path, body))| async move {
        through.ask_aside(bot, method, &path, body).await
    });
    let open = async {
        served.data.quiet().await;
        door.send_replace(true);
    };
    tokio::join!(futures_util::future::join_all(all), open).0
}

fn guilds_of(served: &Served, bot: &Bot) -> usize {
    served.data.world().members.keys().filter(|(_, user)| *user == bot.id).count()
}

/// More than the reserve of a hundred, and each finds 2,399 guilds.
#[tokio::test]
async fn nobody_is_locked_out_by_many_who_bring_it_into_guilds_at_once() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    join_guilds(&served, &bob, 2_399);
    let asks = bring(&served, &ann, &bob, 120).into_iter().map(|ask| (&served, &ann, ask)).collect();
    let answers = at_once(&served, asks).await;
    assert_eq!(guilds_of(&served, &bob), 2_400);
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    let refused = answers.iter().filter(|answer| [(400, 30_001), (503, 130_000)].contains(&answer.outcome()));
    assert_eq!(refused.count(), 119, "{answers:?}");
}

#[tokio::test]
async fn processes_that_bring_somebody_into_guilds_at_once_are_each_one_too_many_at_most() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    join_guilds(&served, &bob, 2_398);
    let processes = [served.beside().await, served.beside().await, served.beside().await];
    let asks = bring(&served, &ann, &bob, 30).into_iter().enumerate();
    let asks = asks.map(|(index, ask)| (&processes[index % 3], &ann, ask)).collect();
    at_once(&served, asks).await;
    let guilds = guilds_of(&served, &bob);
    assert!((2_400..2_400 + processes.len()).contains(&guilds), "{guilds}");
}

/// A change that was sent goes on when nobody waits for its answer.
#[tokio::test]
async fn who_hangs_up_does_not_let_the_next_one_in_too_early() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    join_guilds(&served, &bob, 2_399);
    let door = served.data.close_door();
    for (method, path, body) in bring(&served, &ann, &bob, 20) {
        tokio::select! {
            biased;
            answer = served.ask_aside(&ann, method, &path, body) => panic!("the door is closed: {answer:?}"),
            () = served.data.quiet() => {}
        }
    }
    served.data.quiet().await;
    door.send_replace(true);
    served.data.quiet().await;
    assert_eq!(guilds_of(&served, &bob), 2_400);
}

#[tokio::test]
async fn who_founds_with_many_does_not_wait_for_itself() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    let members: Vec<String> = (0..499).map(|_| served.bot("member").id.to_string()).collect();
    let found = || (Method::POST, "/servers".to_owned(), json!({"name": "theirs", "members": members}));
    let reversed: Vec<_> = members.iter().rev().collect();
    let backwards = (Method::POST, "/servers".to_owned(), json!({"name": "theirs", "members": reversed}));
    let asks = [found(), backwards, found()].map(|ask| (&served, &ann, ask)).into();
    let answers = at_once(&served, asks).await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
}
