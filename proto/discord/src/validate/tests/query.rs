//! Queries, and ids in paths.

use super::*;

#[test]
fn history_queries() {
    let parse = |pairs: &[(&'static str, &'static str)]| HistoryQuery::parse(pairs.iter().copied());
    assert_eq!(parse(&[]), Ok(HistoryQuery { anchor: Anchor::Newest, limit: 50 }));
    assert_eq!(
        parse(&[("after", "0"), ("limit", "100"), ("x", "y")]),
        Ok(HistoryQuery { anchor: Anchor::After(0), limit: 100 })
    );
    assert_eq!(parse(&[("around", "5")]).map(|query| query.anchor), Ok(Anchor::Around(5)));
    assert_eq!(parse(&[("before", "5"), ("before", "6")]).map(|query| query.anchor), Ok(Anchor::Before(6)));
    for (pairs, code) in [
        (&[("limit", "0")][..], "limit=NUMBER_TYPE_MIN"),
        (&[("limit", "101")][..], "limit=NUMBER_TYPE_MAX"),
        (&[("limit", "99999999999")][..], "limit=NUMBER_TYPE_MAX"),
        (&[("limit", "ten")][..], "limit=BASE_TYPE_BAD_INT"),
        (&[("before", "-1")][..], "before=NUMBER_TYPE_COERCE"),
        (&[("before", "+1")][..], "before=NUMBER_TYPE_COERCE"),
        (&[("before", "")][..], "before=NUMBER_TYPE_COERCE"),
        (&[("before", "1"), ("after", "2")][..], "after=FIELDS_MUTUALLY_EXCLUSIVE"),
        (&[("before", "1"), ("around", "2")][..], "around=FIELDS_MUTUALLY_EXCLUSIVE"),
    ] {
        assert_eq!(codes(&parse(pairs).expect_err("invalid")), [code], "{pairs:?}");
    }
}

#[test]
fn times_in_queries() {
    let parse = |raw| parse_query_timestamp("before", Some(raw));
    assert_eq!(parse_query_timestamp("before", None), Ok(None));
    for (raw, ms) in [
        ("2023-11-14T22:13:20.123000+00:00", 1_700_000_000_123),
        // A plus sign that a client did not encode.
        ("2023-11-14T22:13:20.123000 00:00", 1_700_000_000_123),
        ("2023-11-14T23:13:20.123+01:00", 1_700_000_000_123),
        ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
        ("2023-11-14T22:13:20.123456", 1_700_000_000_123),
        ("1970-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(parse(raw), Ok(Some(ms)), "{raw}");
    }
    for bad in ["", "1", "yesterday", "2023-11-14", "2023-13-14T22:13:20Z", "1969-12-31T23:59:59Z"] {
        let error = parse(bad).expect_err("invalid");
        assert!(codes(&error)[0].starts_with("before="), "{bad:?}: {error:?}");
    }
}

#[test]
fn scalars_in_paths_and_queries() {
    assert_eq!(parse_path_snowflake("channel_id", "5"), Ok(5));
    for bad in ["0", "", "x", "+5", "18446744073709551616"] {
        assert_eq!(
            codes(&parse_path_snowflake("c", bad).expect_err("invalid")),
            ["c=NUMBER_TYPE_COERCE"],
            "{bad:?}"
        );
    }
    for (raw, value) in
        [("True", true), ("1", true), ("true", true), ("False", false), ("0", false), ("false", false)]
    {
        assert_eq!(parse_query_bool("wait", Some(raw)), Ok(Some(value)));
    }
    assert_eq!(parse_query_bool("wait", None), Ok(None));
    assert!(parse_query_bool("wait", Some("yes")).is_err());
    assert_eq!(snowflake(&json!("175928847299117063")), Some(175_928_847_299_117_063));
    assert_eq!(snowflake(&json!(7)), Some(7));
    for bad in [json!("0"), json!(0), json!(-1), json!(1.5), json!("+1"), Value::Null, json!([])] {
        assert_eq!(snowflake(&bad), None, "{bad}");
    }
}
