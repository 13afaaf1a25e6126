//! Callers in more guilds than one page of the data service holds.

use std::ops::Range;

use weir_proto::data::{Guild, Role};

use crate::harness::{Bot, Served, ids};

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
