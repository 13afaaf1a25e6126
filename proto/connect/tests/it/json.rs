//! Protobuf's JSON mapping, as a server over HTTP treats it: which texts are accepted, as which value, and in
//! which words the others are refused.
//!
//! The cases are those of protobuf's own conformance suite that concern the kinds of fields the contract has.

use prost::Message;
use weir_connect::{ConnectError, Dispatch, Reply, Router, UnaryRequest};

use crate::fixture::*;

pub(crate) const KINDS: &str = "/test.v1.KindService/Echo";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kinds {
    #[prost(int32, tag = "1")]
    i32: i32,
    #[prost(int64, tag = "2")]
    i64: i64,
    #[prost(uint32, tag = "3")]
    u32: u32,
    #[prost(uint64, tag = "4")]
    u64: u64,
    #[prost(double, tag = "5")]
    real: f64,
    #[prost(bool, tag = "6")]
    truth: bool,
    #[prost(string, tag = "7")]
    some_text: String,
    #[prost(bytes = "vec", tag = "8")]
    raw: Vec<u8>,
    #[prost(int32, tag = "9")]
    colour: i32,
    #[prost(message, optional, boxed, tag = "10")]
    inner: Option<Box<Kinds>>,
    #[prost(uint64, repeated, tag = "11")]
    ids: Vec<u64>,
    #[prost(message, repeated, tag = "12")]
    inners: Vec<Kinds>,
    #[prost(uint32, optional, tag = "13")]
    maybe: Option<u32>,
    #[prost(string, optional, tag = "14")]
    left: Option<String>,
    #[prost(uint64, optional, tag = "15")]
    right: Option<u64>,
}

impl prost::Name for Kinds {
    const NAME: &'static str = "Kinds";
    const PACKAGE: &'static str = "test.v1";
}

pub(crate) fn kinds() -> Router {
    Router::new(contract()).unary(KINDS, |_, kinds: Kinds| async move { Ok(Reply::message(kinds)) })
}

async fn call(running: &Running, body: &str) -> (u16, String) {
    let json = [("content-type", "application/json")];
    let reply = send(running.addr, Version::Http1, post(KINDS, &json, body.to_owned())).await;
    (reply.status().as_u16(), String::from_utf8(reply.body().to_vec()).unwrap())
}

#[tokio::test]
async fn every_form_of_a_value_is_read() {
    let running = start(kinds()).await;
    // The text that is sent, and the canonical form that comes back.
    for (sent, canonical) in [
        // Integers: numbers and strings, also whole numbers with a fraction or an exponent.
        (r#"{"i32":2147483647}"#, r#"{"i32":2147483647}"#),
        (r#"{"i32":"-2147483648"}"#, r#"{"i32":-2147483648}"#),
        (r#"{"i32":100000.000}"#, r#"{"i32":100000}"#),
        (r#"{"i32":1e5}"#, r#"{"i32":100000}"#),
        (r#"{"i32":-2.147483648e9}"#, r#"{"i32":-2147483648}"#),
        (r#"{"i32":-0}"#, "{}"),
        (r#"{"i32":"\u0031"}"#, r#"{"i32":1}"#),
        (r#"{"u32":4294967295.0}"#, r#"{"u32":4294967295}"#),
        (r#"{"u32":"1e1"}"#, r#"{"u32":10}"#),
        (r#"{"u32":"1.0"}"#, r#"{"u32":1}"#),
        (r#"{"i64":"9223372036854775807"}"#, r#"{"i64":"9223372036854775807"}"#),
        (r#"{"i64":-9223372036854775808}"#, r#"{"i64":"-9223372036854775808"}"#),
        (r#"{"u64":18446744073709551615}"#, r#"{"u64":"18446744073709551615"}"#),
        (r#"{"u64":"18446744073709551615"}"#, r#"{"u64":"18446744073709551615"}"#),
        (r#"{"u64":9007199254740992.0}"#, r#"{"u64":"9007199254740992"}"#),
        (r#"{"ids":[1,"2",3.0,4e0]}"#, r#"{"ids":["1","2","3","4"]}"#),
        // Null is the default; an optional field or a oneof stays unset.
        (
            r#"{"i32":null,"u64":null,"real":null,"truth":null,"someText":null,"raw":null,"colour":null}"#,
            "{}",
        ),
        (r#"{"inner":null,"ids":null,"inners":null,"maybe":null}"#, "{}"),
        (r#"{"maybe":0}"#, r#"{"maybe":0}"#),
        (r#"{"left":null,"right":"0"}"#, r#"{"right":"0"}"#),
        // A field is accepted under both names; an unknown one is skipped.
        (r#"{"some_text":"a"}"#, r#"{"someText":"a"}"#),
        (r#"{"someText":"a"}"#, r#"{"someText":"a"}"#),
        (r#"{"later":{"deep":[1,{}]},"truth":true}"#, r#"{"truth":true}"#),
        // Enums by name and number: an unknown number is kept, an unknown name is skipped.
        (r#"{"colour":"COLOUR_RED"}"#, r#"{"colour":"COLOUR_RED"}"#),
        (r#"{"colour":1}"#, r#"{"colour":"COLOUR_RED"}"#),
        (r#"{"colour":1.0}"#, r#"{"colour":"COLOUR_RED"}"#),
        (r#"{"colour":7}"#, r#"{"colour":7}"#),
        (r#"{"colour":"COLOUR_LATER"}"#, "{}"),
        // Bytes in both alphabets, with and without padding.
        (r#"{"raw":"-_8="}"#, r#"{"raw":"+/8="}"#),
        (r#"{"raw":"+/8"}"#, r#"{"raw":"+/8="}"#),
        (r#"{"raw":"-_8"}"#, r#"{"raw":"+/8="}"#),
        // Numbers with a fraction.
        (r#"{"real":1}"#, r#"{"real":1.0}"#),
        (r#"{"real":"1e1"}"#, r#"{"real":10.0}"#),
        // The nearest representable number, to its last digit.
        (r#"{"real":-1.629628781067589e+91}"#, r#"{"real":-1.629628781067589e+91}"#),
        (r#"{"real":"-Infinity"}"#, r#"{"real":"-Infinity"}"#),
        // Nested messages follow the same rules.
        (
            r#"{"inner":{"u32":"1e0","later":1},"inners":[{},{"maybe":1.0}]}"#,
            r#"{"inner":{"u32":1},"inners":[{},{"maybe":1}]}"#,
        ),
        (" {\n} ", "{}"),
    ] {
        assert_eq!(call(&running, sent).await, (200, canonical.to_owned()), "{sent}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_field_and_what_it_takes() {
    let running = start(kinds()).await;
    let (i32, u32) = ("from -2147483648 to 2147483647", "from 0 to 4294967295");
    let u64 = "from 0 to 18446744073709551615";
    for (sent, words) in [
        (r#"{"i32":2147483648}"#, format!("i32 must be a whole number {i32}")),
        (r#"{"i32":0.5}"#, format!("i32 must be a whole number {i32}")),
        (r#"{"i32":"12abc"}"#, format!("i32 must be a whole number {i32}")),
        (r#"{"i32":""}"#, format!("i32 must be a whole number {i32}")),
        (r#"{"i32":" 1"}"#, format!("i32 must be a whole number {i32}")),
        (r#"{"u32":-1}"#, format!("u32 must be a whole number {u32}")),
        (r#"{"u32":4294967296}"#, format!("u32 must be a whole number {u32}")),
        (r#"{"u32":true}"#, format!("u32 must be a whole number {u32}")),
        (r#"{"u64":18446744073709551616}"#, format!("u64 must be a whole number {u64}")),
        // A float does not say which integer it was, and a neighbour must not be taken for it.
        (r#"{"u64":9007199254740994.0}"#, format!("u64 must be a whole number {u64}")),
        (r#"{"u64":{}}"#, format!("u64 must be a whole number {u64}")),
        (r#"{"ids":[1,null]}"#, format!("ids[1] must be a whole number {u64}")),
        (r#"{"ids":1}"#, "ids must be a list".to_owned()),
        (r#"{"truth":"true"}"#, "truth must be true or false".to_owned()),
        (r#"{"some_text":7}"#, "some_text must be a string".to_owned()),
        (r#"{"raw":[1]}"#, "raw must be a string in base64".to_owned()),
        (r#"{"raw":"a*"}"#, "raw: invalid base64".to_owned()),
        (r#"{"colour":true}"#, "colour must be a name or number of Colour".to_owned()),
        (r#"{"colour":0.5}"#, "colour must be a name or number of Colour".to_owned()),
        (r#"{"real":[]}"#, "real must be a number".to_owned()),
        (r#"{"real":"fast"}"#, "real: invalid float literal".to_owned()),
        (r#"{"inner":7}"#, "inner must be an object".to_owned()),
        (
            r#"{"inners":[{},{"inner":{"truth":1}}]}"#,
            "inners[1].inner.truth must be true or false".to_owned(),
        ),
        (r#"{"left":"a","right":1}"#, "multiple fields provided for oneof 'choice'".to_owned()),
        ("[]", "it must be an object".to_owned()),
        ("null", "it must be an object".to_owned()),
        ("", "EOF".to_owned()),
        (r#"{"i32":01}"#, "line 1".to_owned()),
        ("{} {}", "trailing".to_owned()),
    ] {
        let (status, body) = call(&running, sent).await;
        assert_eq!(status, 400, "{sent}: {body}");
        let error = ConnectError::from_json(200, body.as_bytes());
        assert!(error.message.starts_with("body is not this method's JSON message: "), "{sent}: {error}");
        assert!(error.message.contains(&words), "{sent}: {error}");
    }
}

/// A value of the wrong kind is not repeated in the error, however long it is.
#[tokio::test]
async fn a_refusal_is_short() {
    let running = start(kinds()).await;
    for field in ["i32", "truth", "ids", "inner", "raw"] {
        let (status, body) = call(&running, &format!(r#"{{"{field}":"{}"}}"#, "*".repeat(100_000))).await;
        assert!(status == 400 && body.len() < 300, "{field}: {} bytes", body.len());
    }
}

#[tokio::test]
async fn nesting_is_bounded() {
    let running = start(kinds()).await;
    let depth = 10_000;
    let body = format!("{}{}", r#"{"inner":"#.repeat(depth), "}".repeat(depth));
    let (status, body) = call(&running, &body).await;
    assert!(status == 400 && body.contains("recursion limit"), "{body}");
}

#[tokio::test]
async fn a_message_that_the_contract_lacks_is_a_mistake_in_the_program() {
    #[derive(Clone, PartialEq, Message)]
    struct Stranger {}
    impl prost::Name for Stranger {
        const NAME: &'static str = "Stranger";
        const PACKAGE: &'static str = "test.v1";
    }
    let made = std::panic::catch_unwind(|| {
        Router::new(contract()).unary(KINDS, |_, it: Stranger| async move { Ok(it.into()) })
    });
    assert!(made.is_err());
    // A protobuf body needs no descriptor to be read.
    let body = Kinds { u64: 7, ..Kinds::default() }.encode_to_vec().into();
    let request = UnaryRequest {
        path: KINDS.into(),
        codec: weir_connect::Codec::Proto,
        headers: http::HeaderMap::new(),
        timeout: None,
        body,
    };
    assert_eq!(Kinds::decode(kinds().call(request).await.unwrap().body).unwrap().u64, 7);
}
