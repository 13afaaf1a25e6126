//! The same service in the same process and over HTTP.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use weir_connect::{
    client::{ClientConfig, HttpClient},
    server::{Server, ServerConfig},
};
use weir_data_client::{
    CallOptions, DataClient, DataError,
    transport::{Http, InProcess},
};

use crate::{
    fake_store::Fate,
    node::{At, Node, Place, Talk, World, create_in, embedded, page_of},
};

/// A node's server on a free port.
struct Served {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Served {
    async fn new(node: &Node) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(address, ServerConfig::default()).await.unwrap();
        let address = server.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (dispatch, stopping) = (node.service.admin_dispatch(), stop.clone());
        let serving = tokio::spawn(async move {
            server.serve(dispatch, stopping, Duration::from_secs(1)).await;
        });
        Self { address, stop, serving }
    }

    fn client(&self) -> DataClient {
        let config = ClientConfig::new(format!("http://{}", self.address));
        DataClient::new(Arc::new(Http::new(HttpClient::new(config).unwrap())))
    }

    async fn close(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

#[tokio::test]
async fn every_method_works_over_http() {
    let directory = tempfile::tempdir().unwrap();
    let (node, store) = embedded(directory.path()).await;
    let served = Served::new(&node).await;
    crate::methods::work(&served.client()).await;
    served.close().await;
    node.close().await;
    store.close().await;
}

async fn deadlines(client: &DataClient, world: &World, place: Place, label: &str) {
    let short = CallOptions::within(Duration::from_millis(80));
    let asked = Instant::now();
    world.store.script([Fate::Slow(Duration::from_millis(300))]);
    let answer = client.create_message(&create_in(place, label), &short).await;
    assert!(matches!(answer, Err(DataError::OutcomeUnknown { .. })), "{label}: {answer:?}");
    assert!(asked.elapsed() < Duration::from_millis(280), "{label}: {:?}", asked.elapsed());
    // It runs to its end although its caller has gone.
    let talk = Talk(client, place);
    talk.create("next").await.unwrap();
    assert_eq!(talk.contents(At::Latest, 2).await, ["next", label]);
    world.store.answers_take(Duration::from_millis(300));
    let old = talk.list(At::Latest, 1).await.unwrap()[0].id - (20 << 22);
    let answer = client.list_messages(&page_of(place.channel, At::Before(old), 3), &short).await;
    // Over HTTP the client may give up before the server has said so.
    assert!(
        matches!(answer, Err(DataError::DeadlineExceeded | DataError::Unavailable { .. })),
        "{label}: {answer:?}"
    );
    world.store.answers_take(Duration::ZERO);
}

#[tokio::test]
async fn deadlines_travel_with_the_call() {
    for http in [false, true] {
        let world = World::new(1);
        // A tail of one row, so that an older page needs the database.
        let mut config = crate::node::small();
        config.live.tail_rows_max = 2;
        let node = world.node_with(config).await;
        let place = node.place().await;
        for index in 0..5 {
            Talk(&node.client, place).create(&format!("m{index}")).await.unwrap();
        }
        let served = Served::new(&node).await;
        let in_process = DataClient::new(Arc::new(InProcess::new(node.service.dispatch())));
        let client = if http { served.client() } else { in_process };
        deadlines(&client, &world, place, if http { "http" } else { "in process" }).await;
        served.close().await;
    }
}

async fn post(address: std::net::SocketAddr, path: &str, body: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    (status, reply)
}

#[tokio::test]
async fn a_plain_json_call_is_answered_in_json() {
    let (_world, node, place) = World::with_place(2).await;
    let row = Talk(&node.client, place).create("hello from \"JSON\"").await.unwrap();
    let served = Served::new(&node).await;
    let list = "/weir.data.v1.MessageService/ListMessages";
    let body = format!("{{\"channelId\":\"{}\",\"limit\":5}}", place.channel);
    let (status, reply) = post(served.address, list, &body, "weir-explain: 1\r\n").await;
    assert_eq!(status, 200, "{reply}");
    let lower = reply.to_ascii_lowercase();
    assert!(lower.contains("content-type: application/json"), "{reply}");
    assert!(lower.contains("weir-freshness: ") && lower.contains("weir-explain: outcome="), "{reply}");
    assert!(
        reply.contains(&format!("\"id\":\"{}\"", row.id)) && reply.contains(r#"hello from \"JSON\""#),
        "{reply}"
    );

    let (status, reply) = post(served.address, list, "{\"channelId\":\"0\"}", "").await;
    assert_eq!(status, 400);
    assert!(reply.contains("invalid_argument") && reply.contains("channel_id is missing"), "{reply}");
    let (status, reply) = post(served.address, list, "{\"channel\":", "").await;
    assert_eq!(status, 400, "{reply}");
    let (status, _) = post(served.address, "/weir.data.v1.MessageService/Nothing", "{}", "").await;
    assert_eq!(status, 404);
    let get = format!("{{\"channelId\":\"{}\",\"messageId\":\"5\"}}", place.channel);
    let (status, reply) = post(served.address, "/weir.data.v1.MessageService/GetMessage", &get, "").await;
    assert!(status == 404 && reply.contains("not_found"), "{reply}");
    served.close().await;
}

/// The forms of protobuf's JSON mapping, on real methods: numbers as clients of other languages write them,
/// and null for "not set".
#[tokio::test]
async fn json_is_read_as_protobuf_maps_it() {
    let (_world, node, place) = World::with_place(4).await;
    for index in 0..12 {
        Talk(&node.client, place).create(&format!("m{index}")).await.unwrap();
    }
    let served = Served::new(&node).await;
    let list = "/weir.data.v1.MessageService/ListMessages";
    for (limit, rows) in [
        ("null", 12),
        ("2", 2),
        ("1.0", 1),
        ("1e1", 10),
        ("100E-1", 10),
        (r#""3""#, 3),
        (r#""1e1""#, 10),
        (r#""4.0""#, 4),
    ] {
        for channel in ["channelId", "channel_id"] {
            let body = format!(
                r#"{{"{channel}":"{}","limit":{limit},"before":null,"later":[null]}}"#,
                place.channel
            );
            let (status, reply) = post(served.address, list, &body, "").await;
            assert_eq!((status, reply.matches(r#""authorId""#).count()), (200, rows), "{body}: {reply}");
        }
    }
    let set = "/weir.admin.v1.LimitService/SetLimit";
    for kind in ["3", "3.0", r#""LIMIT_KIND_WRITES""#] {
        let body = format!(
            r#"{{"limit":{{"scope":"all","kind":{kind},"rate":"5e2","burst":7e1,"dryRun":true,"setBy":"me","reason":"it"}}}}"#
        );
        let (status, reply) = post(served.address, set, &body, "").await;
        assert_eq!(status, 200, "{body}: {reply}");
        for field in
            [r#""kind":"LIMIT_KIND_WRITES""#, r#""rate":500.0"#, r#""burst":"70""#, r#""dryRun":true"#]
        {
            assert!(reply.contains(field), "{body}: {reply}");
        }
    }
    // What is wrong is named, in words that do not depend on the library.
    for (path, body, words) in [
        (list, r#"{"limit":1.5}"#, "limit must be a whole number from 0 to 4294967295"),
        (list, r#"{"limit":-1}"#, "limit must be a whole number from 0 to 4294967295"),
        (list, r#"{"channelId":true}"#, "channelId must be a whole number from 0 to 18446744073709551615"),
        (set, r#"{"limit":{"dryRun":"yes"}}"#, "limit.dryRun must be true or false"),
        (
            "/weir.data.v1.GuildService/CreateGuild",
            r#"{"channels":[{},{"topic":{}}]}"#,
            "channels[1].topic must be a string",
        ),
    ] {
        let (status, reply) = post(served.address, path, body, "").await;
        assert!(
            status == 400 && reply.contains("invalid_argument") && reply.contains(words),
            "{body}: {reply}"
        );
    }
    served.close().await;
}

#[tokio::test]
async fn the_operators_methods_are_not_on_the_data_listener() {
    let (_world, node) = World::with_node(3).await;
    let data_only = DataClient::new(Arc::new(InProcess::new(node.service.dispatch())));
    let request = weir_proto::admin::ListLimitsRequest {};
    assert!(data_only.list_limits(&request, &crate::node::options()).await.is_err());
    assert!(node.client.list_limits(&request, &crate::node::options()).await.is_ok());
}
