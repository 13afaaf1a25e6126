//! temp
use crate::fixture::*;
use bytes::Bytes;
use http_body_util::Full;
use std::sync::Arc;
#[test]
fn sizes() {
    let e = weir_connect::Endpoint::new(Arc::new(echo()), weir_connect::RequestLimits::default());
    let r = post(ECHO, &[], "");
    println!("answer {}", std::mem::size_of_val(&e.answer(r)));
    println!(
        "parts {} req {} UnaryRequest {} UnaryResponse {} Response {} err {}",
        size_of::<http::request::Parts>(),
        size_of::<http::Request<hyper::body::Incoming>>(),
        size_of::<weir_connect::UnaryRequest>(),
        size_of::<weir_connect::UnaryResponse>(),
        size_of::<http::Response<Full<Bytes>>>(),
        size_of::<weir_connect::ConnectError>()
    );
    println!("hm {}", size_of::<http::HeaderMap>());
}
