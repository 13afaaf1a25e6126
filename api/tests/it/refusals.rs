//! What the data service refuses, in Discord's terms.

use std::{num::NonZeroU32, time::Duration};

use serde_json::json;
use weir_api::{Rate, RateLimitConfig, RouteBucket};
use weir_connect::{Code, ConnectError};
use weir_data_client::error::REFUSAL_TYPE;
use weir_proto::data::{Refusal, RefusalReason};

use crate::harness::Served;

const REASONS: [(RefusalReason, u16); 11] = [
    (RefusalReason::Unspecified, 503),
    (RefusalReason::RequestLimit, 429),
    (RefusalReason::DatabaseReadLimit, 429),
    (RefusalReason::WriteLimit, 429),
    (RefusalReason::Concurrency, 429),
    (RefusalReason::Overloaded, 503),
    (RefusalReason::DatabaseUnavailable, 503),
    (RefusalReason::UnresolvedWrite, 503),
    (RefusalReason::NotOwner, 503),
    (RefusalReason::Clock, 503),
    (RefusalReason::Stopping, 503),
];

#[tokio::test]
async fn a_channels_limit_is_a_shared_429_and_every_other_refusal_a_503() {
    // Limits are on, but wide: the bucket's headers stand beside the shared scope.
    let wide = Rate::new(NonZeroU32::new(50).unwrap(), Duration::from_secs(1));
    let limits = RateLimitConfig::default().with(RouteBucket::GetChannel, wide);
    let served = Served::with(|config| config.rate_limits = Some(limits)).await;
    let ann = served.bot("ann");
    let place = served.guild(&ann).await;
    for (reason, status) in REASONS {
        let refusal =
            Refusal { reason: reason.into(), limit: "channel/7/requests".to_owned(), retry_after_ms: 1_250 };
        served.data.fail_next(
            "GetChannelContext",
            ConnectError::resource_exhausted("no").with_detail(REFUSAL_TYPE, &refusal),
        );
        let answer = served.get(&ann, &format!("/channels/{}", place.channel)).await;
        assert_eq!(answer.status, status, "{reason:?}");
        assert_eq!(answer.header("retry-after"), "2", "{reason:?}");
        assert!(answer.headers.contains_key("x-ratelimit-bucket"));
        if status == 429 {
            assert_eq!(answer.header("x-ratelimit-scope"), "shared");
            let body = answer.json();
            assert_eq!((body["retry_after"].as_f64(), body["global"].as_bool()), (Some(1.25), Some(false)));
        } else {
            assert_eq!(answer.json()["code"], 130_000);
        }
    }
}

#[tokio::test]
async fn a_wrong_clock_is_told_as_such_and_a_fault_is_counted_by_its_word() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let fail = |reason: RefusalReason, message: &str| {
        let refusal = Refusal { reason: reason.into(), limit: String::new(), retry_after_ms: 60_000 };
        let error = ConnectError::unavailable(message).with_detail(REFUSAL_TYPE, &refusal);
        served.data.fail_next("GetChannelContext", error);
    };
    fail(RefusalReason::Clock, "this service's clock is behind its stored ids by 3600.0 s");
    let answer = served.get(&ann, &format!("/channels/{}", place.channel)).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "60"));
    assert_eq!(answer.json()["message"], "this service's clock is behind its stored ids by 3600.0 s");
    for _ in 0..2 {
        fail(RefusalReason::DatabaseUnavailable, "the database is down");
        served.get(&ann, &format!("/channels/{}", place.channel)).await;
    }
    fail(RefusalReason::WriteLimit, "over a limit");
    served.get(&ann, &format!("/channels/{}", place.channel)).await;
    let shown = served.registry.encode();
    assert!(shown.contains("weir_api_data_faults_total{fault=\"clock\"} 1"), "{shown}");
    assert!(shown.contains("weir_api_data_faults_total{fault=\"database_unavailable\"} 2"), "{shown}");
    assert_eq!(shown.matches("weir_api_data_faults_total{").count(), 2, "a limit is no fault");
}

#[tokio::test]
async fn every_error_of_a_read_has_its_answer() {
    let (served, ann, place) = Served::with_guild("ann").await;
    for code in Code::ALL {
        served.data.fail_next("ViewPage", ConnectError::new(code, "x"));
        let answer = served.get(&ann, &place.messages()).await;
        let expected = match code {
            Code::NotFound => (404, 10_003),
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::AlreadyExists => {
                (400, 50_035)
            }
            Code::DeadlineExceeded
            | Code::Canceled
            | Code::Unavailable
            | Code::Aborted
            | Code::ResourceExhausted => (503, 130_000),
            Code::Unknown
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => (500, 0),
        };
        assert_eq!(answer.outcome(), expected, "{code}");
        assert_eq!(answer.headers.contains_key("retry-after"), expected.0 == 503, "{code}");
    }
    assert_eq!(served.get(&ann, &place.messages()).await.status, 200);
}

#[tokio::test]
async fn a_write_in_doubt_says_so() {
    let (served, ann, place) = Served::with_guild("ann").await;
    served.data.fail_next("CreateMessage", ConnectError::unknown("the database timed out"));
    let answer = served.post(&ann, &place.messages(), json!({"content": "x"})).await;
    assert_eq!(answer.outcome(), (503, 0));
    assert!(answer.json()["message"].as_str().unwrap().starts_with("outcome unknown: "), "{:?}", answer.body);
    assert!(!answer.headers.contains_key("retry-after"), "whether to repeat it is for the caller to judge");
}

#[tokio::test]
async fn a_nonce_whose_message_was_deleted_is_not_an_unknown_channel() {
    let (served, ann, place) = Served::with_guild("ann").await;
    served.data.fail_next("CreateMessage", ConnectError::not_found("message not found"));
    let body = json!({"content": "x", "nonce": "n", "enforce_nonce": true});
    assert_eq!(served.post(&ann, &place.messages(), body).await.outcome(), (404, 10_008));
}

#[tokio::test]
async fn a_failing_identity_check_is_not_a_401() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    served.data.fail_next("ResolveToken", ConnectError::unavailable("away"));
    assert_eq!(
        served.get(&ann, "/users/@me").await.outcome(),
        (503, 130_000),
        "libraries stop for good on a 401"
    );
    assert_eq!(served.get(&ann, "/users/@me").await.status, 200);
}
