//! Bodies and heads of calls: for any input the answer is a message or Connect's own error, and an error is
//! short.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use prost::Message;
use weir_connect::{Code, Codec, ConnectError, Dispatch, Endpoint, RequestLimits, Router, UnaryRequest};
use weir_fuzz::{CASES_DEFAULT, binary, filled, run, text};

use crate::fixture::*;
use crate::json::{KINDS, Kinds, kinds};

/// Most bytes of an error's text. It may contain a field's name as long as the caller likes, but only if the
/// message has such a field.
const ERROR_TEXT_MAX: usize = 400;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn valid() -> (Vec<u8>, Vec<u8>) {
    let whole = filled(&contract().get_message_by_name("test.v1.Kinds").unwrap());
    let proto = whole.encode_to_vec();
    let json = runtime().block_on(answer(&kinds(), Codec::Proto, proto.clone())).map(|_| json_of(&proto));
    (proto, json.unwrap())
}

fn json_of(proto: &[u8]) -> Vec<u8> {
    let shape = contract().get_message_by_name("test.v1.Kinds").unwrap();
    Codec::Json.encode(Bytes::copy_from_slice(proto), &shape).unwrap().to_vec()
}

async fn answer(router: &Router, codec: Codec, body: Vec<u8>) -> Result<Bytes, ConnectError> {
    let (headers, body) = (HeaderMap::new(), body.into());
    let request = UnaryRequest { path: KINDS.into(), codec, headers, timeout: None, body };
    router.call(request).await.map(|response| response.body)
}

fn check_refusal(error: &ConnectError) {
    assert_eq!(error.code, Code::InvalidArgument, "{error}");
    assert!(error.message.len() <= ERROR_TEXT_MAX, "{} bytes: {error}", error.message.len());
}

#[test]
fn json_bodies() {
    let (runtime, router) = (runtime(), kinds());
    let forms =
        br#"{"u32":"1e1","i64":1.0,"raw":"-_8","colour":1,"inner":{"maybe":null},"ids":[1,"2"],"later":[]}"#;
    run("connect json body", CASES_DEFAULT, &text([valid().1, forms.to_vec(), b"{}".to_vec()]), |input| {
        match runtime.block_on(answer(&router, Codec::Json, input.clone())) {
            Ok(written) => {
                assert!(
                    written.len() <= 64 + 8 * input.len(),
                    "{} bytes from {}",
                    written.len(),
                    input.len()
                );
                let again = runtime.block_on(answer(&router, Codec::Json, written.to_vec())).unwrap();
                assert_eq!(again, written);
            }
            Err(error) => check_refusal(&error),
        }
    });
}

#[test]
fn protobuf_bodies() {
    let (runtime, router) = (runtime(), kinds());
    run("connect protobuf body", CASES_DEFAULT, &binary([valid().0]), |input| {
        match runtime.block_on(answer(&router, Codec::Proto, input)) {
            // Every message that can be written in protobuf can be written in JSON, and means the same there.
            Ok(written) => {
                let read = runtime.block_on(answer(&router, Codec::Json, json_of(&written))).unwrap();
                assert_eq!(read, json_of(&written));
                Kinds::decode(written).unwrap();
            }
            Err(error) => check_refusal(&error),
        }
    });
}

#[test]
fn heads() {
    let runtime = runtime();
    let endpoint = Endpoint::new(Arc::new(kinds()), RequestLimits::default());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&valid().0).unwrap();
    let gzip = gzip.finish().unwrap();
    let head = |encoding: &str, kind: &str| {
        format!(
            "POST\n{KINDS}\ncontent-type\n{kind}\ncontent-encoding\n{encoding}\nconnect-timeout-ms\n5000\nconnect-protocol-version\n1\n"
        )
    };
    let heads = [head("gzip", "application/proto"), head("identity", "application/json; charset=utf-8")];
    let inputs = (text(heads), binary([gzip, b"{}".to_vec()]));
    run("connect head", CASES_DEFAULT, &inputs, |(head, body)| {
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut request =
            Request::builder().method(lines.next().unwrap_or_default()).uri(lines.next().unwrap_or_default());
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            request = request.header(name, value);
        }
        // hyper refuses what is not HTTP.
        let Ok(request) = request.body(Full::new(Bytes::from(body))) else { return };
        let (reply, body) = runtime.block_on(async {
            let (reply, body) = endpoint.answer(request).await.into_parts();
            (reply, body.collect().await.unwrap().to_bytes())
        });
        if reply.status != 200 {
            // 501 is an unknown encoding, 504 a deadline of no time.
            let told = reply.status.is_client_error() || [501, 504].contains(&reply.status.as_u16());
            assert!(told, "{reply:?}");
            assert_eq!(header(&reply.headers, "content-type"), "application/json");
            // This status implies no code, so the code can only come from the body.
            assert_ne!(ConnectError::from_json(200, &body).code, Code::Unknown, "{body:?}");
        }
    });
}
