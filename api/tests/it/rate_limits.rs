//! Rate-limit headers and 429s over HTTP; the arithmetic is tested beside the limiters.

use std::{num::NonZeroU32, time::Duration};

use http::Method;
use serde_json::json;
use weir_api::{Rate, RateLimitConfig, RouteBucket};

use crate::harness::{Answer, Served};

const SET: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-bucket",
];

/// So slow that no test sees a refill.
fn rate(requests: u32) -> Rate {
    Rate::new(NonZeroU32::new(requests).unwrap(), Duration::from_secs(3_600))
}

async fn limited(change: impl FnOnce(RateLimitConfig) -> RateLimitConfig) -> Served {
    Served::with(|config| config.rate_limits = Some(change(RateLimitConfig::default()))).await
}

fn remaining(answer: &Answer) -> u32 {
    for name in SET {
        assert!(answer.headers.contains_key(name), "no {name} on {}", answer.status);
    }
    answer.header("x-ratelimit-remaining").parse().unwrap()
}

#[tokio::test]
async fn the_whole_set_is_on_every_answer_of_a_limited_route() {
    let served = limited(|limits| limits).await;
    let ann = served.bot("ann");
    let place = served.guild(&ann).await;
    let typing = format!("/channels/{}/typing", place.channel);
    for answer in [
        served.post(&ann, &place.messages(), json!({"content": "x"})).await,
        served.post(&ann, &place.messages(), json!({"content": ""})).await,
        served.post(&ann, &typing, json!(null)).await,
        served.get(&ann, "/channels/1/messages").await,
        served.get(&ann, "/gateway/bot").await,
        served.ask(&ann, Method::GET, "/history", json!(null)).await,
    ] {
        remaining(&answer);
        assert!(!answer.headers.contains_key("x-ratelimit-scope"), "only on a 429");
    }
    let unlimited = served.get(&ann, "/gateway").await;
    assert!(SET.iter().all(|name| !unlimited.headers.contains_key(*name)), "all or none");
}

#[tokio::test]
async fn an_empty_bucket_answers_429_with_everything_that_libraries_read() {
    let served = limited(|limits| limits.with(RouteBucket::CreateMessage, rate(2))).await;
    let ann = served.bot("ann");
    let place = served.guild(&ann).await;
    let send = async || served.post(&ann, &place.messages(), json!({"content": "x"})).await;
    assert_eq!((remaining(&send().await), remaining(&send().await)), (1, 0));
    served.data.take_calls();
    let refused = send().await;
    assert_eq!(refused.status, 429);
    assert_eq!(remaining(&refused), 0);
    let body = refused.json();
    assert_eq!((&body["message"], &body["global"]), (&json!("You are being rate limited."), &json!(false)));
    let retry_after = body["retry_after"].as_f64().unwrap();
    let whole: f64 = refused.header("retry-after").parse().unwrap();
    assert!(retry_after > 1_700.0 && whole >= retry_after && whole < retry_after + 1.0);
    assert_eq!((refused.header("x-ratelimit-scope"), refused.header("via")), ("user", "1.1 weir"));
    assert_eq!(served.data.take_calls(), [""; 0], "a refused request costs the data service nothing");

    let bob = served.bot("bob");
    served.join(&bob, place.guild, &[]);
    let other = served.channel(place.guild, |_| {});
    assert_eq!(served.post(&bob, &place.messages(), json!({"content": "x"})).await.status, 200);
    assert_eq!(
        served.post(&ann, &format!("/channels/{other}/messages"), json!({"content": "x"})).await.status,
        200
    );
    assert_eq!(served.get(&ann, &place.messages()).await.status, 200, "reading has a bucket of its own");
}

#[tokio::test]
async fn every_version_draws_from_the_same_bucket() {
    let served = limited(|limits| limits.with(RouteBucket::Users, rate(3))).await;
    let ann = served.bot("ann");
    for (prefix, left) in [("/api/v10", 2), ("/api/v9", 1), ("/api", 0)] {
        let answer = served.ask(&ann, Method::GET, &format!("{prefix}/users/@me"), json!(null)).await;
        assert_eq!(remaining(&answer), left);
    }
}

#[tokio::test]
async fn adding_and_removing_reactions_draw_from_one_bucket_and_reading_them_does_not() {
    let served = limited(|limits| limits.with(RouteBucket::ChangeReactions, rate(3))).await;
    let ann = served.bot("ann");
    let place = served.guild(&ann).await;
    let message = served.message(place.channel, ann.id, |_| {});
    let all = format!("{}/{message}/reactions", place.messages());
    let emoji = format!("{all}/%F0%9F%91%8D");
    let own = format!("{emoji}/@me");
    assert_eq!(remaining(&served.put(&ann, &own, json!(null)).await), 2);
    assert_eq!(remaining(&served.delete(&ann, &own).await), 1);
    assert_eq!(remaining(&served.delete(&ann, &all).await), 0);
    assert_eq!(served.put(&ann, &own, json!(null)).await.status, 429);
    assert_eq!(served.get(&ann, &emoji).await.status, 200);
}

#[tokio::test]
async fn pinning_and_unpinning_draw_from_one_bucket_on_both_routes_and_reading_pins_does_not() {
    let served = limited(|limits| limits.with(RouteBucket::ChangePins, rate(3))).await;
    let ann = served.bot("ann");
    let place = served.guild(&ann).await;
    let message = served.message(place.channel, ann.id, |_| {});
    let (new, old) = (format!("{}/pins", place.messages()), format!("/channels/{}/pins", place.channel));
    assert_eq!(remaining(&served.put(&ann, &format!("{new}/{message}"), json!(null)).await), 2);
    assert_eq!(remaining(&served.delete(&ann, &format!("{old}/{message}")).await), 1);
    assert_eq!(remaining(&served.put(&ann, &format!("{old}/{message}"), json!(null)).await), 0);
    assert_eq!(served.delete(&ann, &format!("{new}/{message}")).await.status, 429);
    for list in [new, old] {
        assert_eq!(served.get(&ann, &list).await.status, 200, "{list}");
    }
}

#[tokio::test]
async fn the_global_limit_spans_routes() {
    let served = limited(|mut limits| {
        limits.global = rate(3);
        limits
    })
    .await;
    let ann = served.bot("ann");
    for path in ["/users/@me", "/channels/1", "/gateway/bot"] {
        assert_ne!(served.get(&ann, path).await.status, 429);
    }
    let refused = served.get(&ann, "/guilds/1").await;
    assert_eq!((refused.status.as_u16(), refused.json()["global"].as_bool()), (429, Some(true)));
    assert_eq!(
        (refused.header("x-ratelimit-global"), refused.header("x-ratelimit-scope")),
        ("true", "global")
    );
    assert!(!refused.headers.contains_key("x-ratelimit-bucket"));
    assert_eq!(served.get(&served.bot("bob"), "/users/@me").await.status, 200, "of this caller only");
}
