//! The code table, compared with the protocol's, and the JSON form in both directions.

use proptest::prelude::*;

use super::*;

#[test]
fn code_table_is_the_protocols() {
    // Transcribed from the protocol's "Error Codes" table, independently of the implementation.
    let table = [
        ("canceled", 499),
        ("unknown", 500),
        ("invalid_argument", 400),
        ("deadline_exceeded", 504),
        ("not_found", 404),
        ("already_exists", 409),
        ("permission_denied", 403),
        ("resource_exhausted", 429),
        ("failed_precondition", 400),
        ("aborted", 409),
        ("out_of_range", 400),
        ("unimplemented", 501),
        ("internal", 500),
        ("unavailable", 503),
        ("data_loss", 500),
        ("unauthenticated", 401),
    ];
    assert_eq!(Code::ALL.map(|code| (code.as_str(), code.http_status())), table);
    for code in Code::ALL {
        assert_eq!(Code::from_wire(code.as_str()), Some(code));
    }
    assert_eq!(Code::from_wire("NOT_FOUND"), None);
}

#[test]
fn a_proxys_status_becomes_the_protocols_inferred_code() {
    let table = [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
        (500, Code::Unknown),
        (418, Code::Unknown),
    ];
    for (status, code) in table {
        assert_eq!(ConnectError::from_json(status, b"<html>bad gateway</html>").code, code, "{status}");
    }
}

#[test]
fn json_is_exactly_the_protocols_example() {
    let error = ConnectError {
        code: Code::Unavailable,
        message: "overloaded: back off and retry".into(),
        details: vec![Detail {
            type_name: "google.rpc.RetryInfo".into(),
            value: Bytes::from_static(b"\x0a\x02\x08\x3c"),
        }],
        headers: None,
    };
    let json = r#"{"code":"unavailable","message":"overloaded: back off and retry","details":[{"type":"google.rpc.RetryInfo","value":"CgIIPA"}]}"#;
    assert_eq!(error.to_json(), json);
    assert_eq!(ConnectError::unavailable("").to_json(), r#"{"code":"unavailable"}"#);
}

#[test]
fn foreign_json_is_read_leniently() {
    // It has padded base64, an Any URL, a debug form, unknown keys and one unreadable detail.
    let body = br#"{"code":"aborted","extra":1,"details":[
        {"type":"type.googleapis.com/a.B","value":"AQI=","debug":{"x":1}}, {"type":"bad","value":"%"}, 7]}"#;
    let error = ConnectError::from_json(409, body);
    assert_eq!((error.code, error.message.as_str()), (Code::Aborted, ""));
    assert_eq!(error.details, [Detail { type_name: "a.B".into(), value: Bytes::from_static(&[1, 2]) }]);
}

#[test]
fn json_without_a_known_code_falls_back_to_the_status() {
    for body in [&b"{}"[..], br#"{"code":null}"#, br#"{"code":"made_up"}"#, b""] {
        assert_eq!(ConnectError::from_json(503, body).code, Code::Unavailable);
    }
}

fn any_code() -> impl Strategy<Value = Code> {
    proptest::sample::select(&Code::ALL[..])
}

fn any_detail() -> impl Strategy<Value = Detail> {
    ("[a-z][a-z0-9_.]{0,30}", proptest::collection::vec(any::<u8>(), 0..64))
        .prop_map(|(type_name, value)| Detail { type_name, value: value.into() })
}

proptest! {
    #[test]
    fn json_round_trips(
        code in any_code(),
        message in any::<String>(),
        details in proptest::collection::vec(any_detail(), 0..4),
        status in any::<u16>(),
    ) {
        let error = ConnectError { code, message, details, headers: None };
        prop_assert_eq!(ConnectError::from_json(status, &error.to_json()), error);
    }

    #[test]
    fn reading_never_fails(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = ConnectError::from_json(status, &body);
    }
}
