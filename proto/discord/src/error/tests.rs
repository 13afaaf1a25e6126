//! The table as clients see it: statuses, codes, bodies, waits.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_proto::data::{Refusal, RefusalReason};

use super::*;

fn body(error: &ApiError) -> Value {
    serde_json::from_str(&error.body()).expect("a body is JSON")
}

fn limited(scope: RateLimitScope, ms: u64, code: Option<u32>) -> ApiError {
    ApiError::RateLimited(RateLimited { retry_after: Duration::from_millis(ms), scope, code })
}

#[test]
fn the_codes_that_libraries_act_on() {
    for (error, status, code) in [
        (ApiError::UnknownRoute, 404, 0),
        (ApiError::MethodNotAllowed, 405, 0),
        (ApiError::Unauthorized, 401, 0),
        (ApiError::UnknownApiVersion, 400, 50041),
        (ApiError::UnknownChannel, 404, 10003),
        (ApiError::UnknownGuild, 404, 10004),
        (ApiError::UnknownMember, 404, 10007),
        (ApiError::UnknownMessage, 404, 10008),
        (ApiError::UnknownOverwrite, 404, 10009),
        (ApiError::UnknownRole, 404, 10011),
        (ApiError::UnknownUser, 404, 10013),
        (ApiError::UnknownEmoji, 400, 10014),
        (ApiError::MissingAccess, 403, 50001),
        (ApiError::MissingPermissions, 403, 50013),
        (ApiError::DirectChannel, 403, 50003),
        (ApiError::CannotMessageUser, 403, 50007),
        (ApiError::InvalidRecipients, 400, 50033),
        (ApiError::OwnerOnly, 403, 20018),
        (ApiError::EditOtherUser, 403, 50005),
        (ApiError::CannotActOnSystemMessage, 403, 50021),
        (ApiError::ReplyWithoutHistory, 403, 160_002),
        (ApiError::EmptyMessage, 400, 50006),
        (ApiError::NonTextChannel, 400, 50008),
        (ApiError::WrongChannelType, 400, 50024),
        (ApiError::InvalidRole, 400, 50028),
        (ApiError::BulkDeleteCount, 400, 50016),
        (ApiError::BulkDeleteTooOld, 400, 50034),
        (ApiError::PinLimit, 400, 30003),
        (ApiError::RoleLimit, 400, 30005),
        (ApiError::ChannelLimit, 400, 30013),
        (ApiError::ReactionLimit, 400, 30010),
        (ApiError::GuildLimit, 400, 30001),
        (ApiError::OwnedGuildLimit, 400, 30001),
        (ApiError::OverwriteLimit, 400, 30060),
        (ApiError::ConsentNeeded, 403, 50025),
        (ApiError::InvalidJson, 400, 50109),
        (ApiError::InvalidForm(FormErrors::new()), 400, 50035),
        (ApiError::TooLarge, 413, 40005),
        (ApiError::Overloaded { retry_after: None }, 503, 130_000),
        (
            ApiError::ClockWrong { message: "behind by 7 s".to_owned(), retry_after: Duration::ZERO },
            503,
            130_000,
        ),
        (ApiError::Contended, 503, 130_000),
        (ApiError::OutcomeUnknown, 503, 0),
        (ApiError::Internal, 500, 0),
    ] {
        let row = error.row();
        assert_eq!((row.status, row.code), (status, code), "{error}");
        let body = body(&error);
        assert_eq!(body["code"], code, "{error}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    }
}

#[test]
fn labels_tell_all_refusals_apart() {
    let errors = [
        ApiError::OutcomeUnknown,
        ApiError::Contended,
        ApiError::Internal,
        ApiError::UnknownRoute,
        ApiError::Overloaded { retry_after: None },
        limited(RateLimitScope::User, 1, None),
        limited(RateLimitScope::Global, 1, None),
        limited(RateLimitScope::Shared, 1, None),
    ];
    let labels: HashSet<_> = errors.iter().map(ApiError::label).collect();
    assert_eq!(labels.len(), errors.len());
}

#[test]
fn rate_limits_say_when_and_whose() {
    let error = limited(RateLimitScope::Shared, 64_570, None);
    assert_eq!(
        body(&error),
        json!({"message": "The resource is being rate limited.", "retry_after": 64.57, "global": false})
    );
    assert_eq!((error.status(), error.retry_after_seconds()), (429, Some(65)));
    let error = limited(RateLimitScope::Global, 1_000, Some(20016));
    assert_eq!(
        body(&error),
        json!({"message": "You are being rate limited.", "retry_after": 1.0, "global": true, "code": 20016})
    );
    assert_eq!(error.retry_after_seconds(), Some(1));
    assert_eq!(limited(RateLimitScope::User, 0, None).retry_after_seconds(), Some(1));
    assert_eq!(ApiError::Internal.retry_after_seconds(), None);
    assert_eq!(RateLimitScope::Shared.as_str(), "shared");
}

proptest! {
    #[test]
    fn whoever_waits_as_told_is_never_early(nanos in 0..10_000_000_000_u64) {
        let wait = Duration::from_nanos(nanos);
        let error = ApiError::RateLimited(RateLimited { retry_after: wait, scope: RateLimitScope::User, code: None });
        let told = body(&error)["retry_after"].as_f64().expect("a number");
        prop_assert!(Duration::from_secs_f64(told) + Duration::from_nanos(1) >= wait);
        prop_assert!(Duration::from_secs(error.retry_after_seconds().expect("limited")) >= wait);
    }
}

#[test]
fn form_errors_nest_along_their_path() {
    let mut errors = FormErrors::new();
    let embeds = Path::ROOT.key("embeds");
    let first = embeds.index(0);
    errors.add(first.key("title"), Leaf::MaxLength { max: 256 });
    errors.add(first.key("fields").index(2).key("name"), Leaf::Required);
    errors.add(embeds, Leaf::EmbedsTooLong { max: 6_000 });
    errors.add(Path::ROOT.key("content"), Leaf::MaxLength { max: 2_000 });
    errors.add(Path::ROOT, Leaf::NotAnObject);
    let body = body(&errors.into());
    assert_eq!((&body["code"], &body["message"]), (&json!(50035), &json!("Invalid Form Body")));
    let code = |pointer: &str| body.pointer(pointer).and_then(|leaf| leaf["_errors"][0]["code"].as_str());
    assert_eq!(code("/errors"), Some("MODEL_TYPE_CONVERT"));
    assert_eq!(code("/errors/content"), Some("BASE_TYPE_MAX_LENGTH"));
    assert_eq!(code("/errors/embeds"), Some("MAX_EMBED_SIZE_EXCEEDED"));
    assert_eq!(code("/errors/embeds/0/title"), Some("BASE_TYPE_MAX_LENGTH"));
    assert_eq!(code("/errors/embeds/0/fields/2/name"), Some("BASE_TYPE_REQUIRED"));
    assert_eq!(body["errors"]["content"]["_errors"][0]["message"], "Must be 2000 or fewer in length.");
}

#[test]
fn form_errors_are_bounded() {
    let mut errors = FormErrors::new();
    for index in 0..10 * FORM_ERRORS_MAX {
        errors.add(Path::ROOT.index(index), Leaf::Required);
    }
    assert_eq!(errors.iter().count(), FORM_ERRORS_MAX);
    assert!(errors.into_result(()).is_err());
    assert_eq!(FormErrors::new().into_result(7), Ok(7));
}

#[test]
fn refusals_of_limits_are_shared_429s_and_the_rest_503s() {
    let refusal = |reason: RefusalReason, retry_after_ms| {
        ApiError::from(&Refusal { reason: reason.into(), limit: String::new(), retry_after_ms })
    };
    for reason in [
        RefusalReason::RequestLimit,
        RefusalReason::DatabaseReadLimit,
        RefusalReason::WriteLimit,
        RefusalReason::Concurrency,
    ] {
        assert_eq!(refusal(reason, 250), limited(RateLimitScope::Shared, 250, None));
        assert_eq!(refusal(reason, 0), limited(RateLimitScope::Shared, 1_000, None));
    }
    assert_eq!(refusal(RefusalReason::GuildChannels, 0), ApiError::ChannelLimit);
    assert_eq!(refusal(RefusalReason::GuildRoles, 0), ApiError::RoleLimit);
    assert_eq!(refusal(RefusalReason::GuildOverwrites, 0), ApiError::OverwriteLimit);
    assert_eq!(refusal(RefusalReason::OwnedGuilds, 0), ApiError::OwnedGuildLimit);
    assert_eq!(refusal(RefusalReason::ChannelPins, 0), ApiError::PinLimit);
    assert_eq!(refusal(RefusalReason::MessageReactions, 0), ApiError::ReactionLimit);
    assert_eq!(refusal(RefusalReason::NotAllowed, 0), ApiError::MissingPermissions);
    assert_eq!(refusal(RefusalReason::WriteBurst, 0), ApiError::BulkDeleteCount);
    let contended = refusal(RefusalReason::Conflict, 0);
    assert_eq!((contended.status(), contended.retry_after_seconds()), (503, Some(1)));
    for reason in [
        RefusalReason::Unspecified,
        RefusalReason::Overloaded,
        RefusalReason::DatabaseUnavailable,
        RefusalReason::UnresolvedWrite,
        RefusalReason::NotOwner,
        RefusalReason::Clock,
        RefusalReason::Stopping,
    ] {
        let error = refusal(reason, 1_500);
        assert_eq!((error.status(), error.retry_after_seconds()), (503, Some(2)));
        assert_eq!(refusal(reason, 0).retry_after_seconds(), None);
    }
}
