//! What the Connect layer costs: a unary call with a 15 KB reply over HTTP/2, compared with bare hyper that
//! sends the same bytes.
//!
//! `cargo bench -p weir-connect --bench unary [-- ROUNDS]`
//!
//! There are two comparisons. *Server*: our server and a bare hyper one, loaded by the same bare client.
//! *Client*: our client and the bare one, both calling the bare server. Each side runs on a thread of its
//! own, so that its CPU time can be read by itself. Rounds are interleaved A-B-B-A, which cancels drift of
//! the machine within a quartet; the ratio is the median over quartets. Goal: at least 0.90 of bare hyper in
//! both figures, on either side.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops by panicking and prints its figures"
)]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::FileDescriptorSet;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weir_connect::{ClientConfig, HttpClient, Reply, Router, Server, ServerConfig};
use weir_report::{Goal, Report};

/// Bytes of a page of about fifty messages.
const REPLY_BYTES: usize = 15_000;
/// Calls in flight, as many as a gateway keeps on one connection under load.
const IN_FLIGHT: usize = 32;
/// Calls of one round: about half a second.
const CALLS: usize = 16_000;
/// Quartets A-B-B-A of rounds.
const QUARTETS: usize = 8;

const PATH: &str = "/bench.v1.PageService/List";

#[derive(Clone, PartialEq, prost::Message)]
struct Page {
    #[prost(uint64, tag = "1")]
    channel_id: u64,
    #[prost(string, tag = "2")]
    messages: String,
}

impl prost::Name for Page {
    const NAME: &'static str = "Page";
    const PACKAGE: &'static str = "bench.v1";
}

const CONTRACT: &str =
    "syntax = \"proto3\"; package bench.v1; message Page { uint64 channel_id = 1; string messages = 2; }";

fn contract() -> DescriptorPool {
    let file = protox::file::File::from_source("bench.proto", CONTRACT).unwrap();
    let set = FileDescriptorSet { file: vec![file.file_descriptor_proto().clone()] };
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

fn page() -> Bytes {
    let page = Page { channel_id: 1 << 60, messages: "m".repeat(REPLY_BYTES) };
    prost::Message::encode_to_vec(&page).into()
}

fn request_body() -> Bytes {
    prost::Message::encode_to_vec(&Page { channel_id: 1 << 60, messages: String::new() }).into()
}

/// A thread with a runtime of its own that answers how much CPU it has used.
struct Metered {
    ask: mpsc::Sender<oneshot::Sender<Duration>>,
}

impl Metered {
    /// Starts a thread; `start` gives its work and a value for the caller.
    fn start<T, F>(name: &str, start: impl FnOnce() -> F + Send + 'static) -> (Metered, T)
    where
        T: Send + 'static,
        F: Future<Output = (T, Pin<Box<dyn Future<Output = ()>>>)>,
    {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Duration>>(1);
        let (ready, started) = sync_channel(1);
        // The thread is named, so that a profile can be read by side.
        let thread = std::thread::Builder::new().name(name.to_owned());
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (value, work) = start().await;
                ready.send(value).unwrap();
                let meter = async {
                    while let Some(answer) = asked.recv().await {
                        answer.send(thread_cpu()).unwrap();
                    }
                };
                tokio::select! { () = work => {}, () = meter => {} }
            });
        };
        thread.spawn(work).unwrap();
        (Metered { ask }, started.recv().unwrap())
    }

    fn cpu(&self) -> Duration {
        let (answer, answered) = oneshot::channel();
        self.ask.blocking_send(answer).unwrap();
        answered.blocking_recv().unwrap()
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn weir_server() -> (Metered, SocketAddr) {
    Metered::start("weir-server", || async {
        let page = page();
        let router = Router::new(contract()).unary(PATH, move |_, _: Page| {
            let page = page.clone();
            async move { Ok(Reply::<Page>::encoded(page)) }
        });
        let server = Server::bind(localhost(), ServerConfig::default()).await.unwrap();
        let addr = server.local_addr().unwrap();
        let serving = server.serve(Arc::new(router), CancellationToken::new(), Duration::ZERO);
        let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async { _ = serving.await });
        (addr, work)
    })
}

fn bare_server() -> (Metered, SocketAddr) {
    Metered::start("bare-server", || async {
        let listener = TcpListener::bind(localhost()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(bare_serve(listener, page()));
        (addr, work)
    })
}

async fn bare_serve(listener: TcpListener, page: Bytes) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let page = page.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let page = page.clone();
            async move {
                request.into_body().collect().await.unwrap();
                let mut reply = Response::new(Full::new(page));
                let content_type = http::HeaderValue::from_static("application/proto");
                reply.headers_mut().insert("content-type", content_type);
                Ok::<_, Infallible>(reply)
            }
        });
        tokio::spawn(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// Something that makes calls.
trait Caller: Clone + 'static {
    fn call(&mut self) -> impl Future<Output = usize>;
}

#[derive(Clone)]
struct BareCaller {
    sender: SendRequest<Full<Bytes>>,
    body: Bytes,
}

impl BareCaller {
    async fn connect(addr: SocketAddr) -> BareCaller {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        BareCaller { sender, body: request_body() }
    }
}

impl Caller for BareCaller {
    async fn call(&mut self) -> usize {
        let request = Request::post(format!("http://bench{PATH}"))
            .header("content-type", "application/proto")
            .header("connect-protocol-version", "1")
            .header("connect-timeout-ms", "10000")
            .body(Full::new(self.body.clone()))
            .unwrap();
        let reply = self.sender.send_request(request).await.unwrap();
        reply.into_body().collect().await.unwrap().to_bytes().len()
    }
}

#[derive(Clone)]
struct WeirCaller {
    client: HttpClient,
    body: Bytes,
}

impl WeirCaller {
    fn connect(addr: SocketAddr) -> WeirCaller {
        let mut config = ClientConfig::new(format!("http://{addr}"));
        // One connection, as the bare client has.
        config.connections = 1;
        WeirCaller { client: HttpClient::new(config).unwrap(), body: request_body() }
    }
}

impl Caller for WeirCaller {
    async fn call(&mut self) -> usize {
        let timeout = Some(Duration::from_secs(10));
        self.client.unary(PATH, HeaderMap::new(), timeout, self.body.clone()).await.unwrap().body.len()
    }
}

/// A thread that makes a round of calls on demand.
struct Load {
    metered: Metered,
    rounds: mpsc::Sender<oneshot::Sender<()>>,
}

impl Load {
    fn start<C: Caller, F: Future<Output = C>>(
        name: &str,
        connect: impl FnOnce() -> F + Send + 'static,
    ) -> Load {
        let (metered, rounds) = Metered::start(name, || async {
            let caller = connect().await;
            let (rounds, mut told) = mpsc::channel::<oneshot::Sender<()>>(1);
            let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
                while let Some(done) = told.recv().await {
                    round(&caller).await;
                    done.send(()).unwrap();
                }
            });
            (rounds, work)
        });
        Load { metered, rounds }
    }

    fn round(&self) {
        let (done, finished) = oneshot::channel();
        self.rounds.blocking_send(done).unwrap();
        finished.blocking_recv().unwrap();
    }
}

async fn round<C: Caller>(caller: &C) {
    let expected = page().len();
    let lane = |mut caller: C| async move {
        for _ in 0..CALLS / IN_FLIGHT {
            assert_eq!(caller.call().await, expected);
        }
    };
    let lanes = tokio::task::LocalSet::new();
    for _ in 0..IN_FLIGHT {
        lanes.spawn_local(lane(caller.clone()));
    }
    lanes.await;
}

/// Calls each second, and CPU microseconds for each call on the side that is compared.
#[derive(Clone, Copy)]
struct Figures {
    throughput: f64,
    cpu_us: f64,
}

fn measure(load: &Load, compared: &Metered) -> Figures {
    let (cpu, start) = (compared.cpu(), Instant::now());
    load.round();
    let elapsed = start.elapsed();
    let cpu = compared.cpu() - cpu;
    let calls = CALLS as f64;
    Figures { throughput: calls / elapsed.as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / calls }
}

fn mean(a: Figures, b: Figures) -> Figures {
    Figures { throughput: (a.throughput + b.throughput) / 2.0, cpu_us: (a.cpu_us + b.cpu_us) / 2.0 }
}

/// Runs the quartets: weir against bare.
fn compare(
    report: &mut Report,
    what: &str,
    quartets: usize,
    weir: impl Fn() -> Figures,
    bare: impl Fn() -> Figures,
) {
    // The first rounds pay for connections, allocator and branch predictor.
    weir();
    bare();
    let pairs: Vec<(Figures, Figures)> = (0..quartets)
        .map(|_| {
            let (a1, b1, b2, a2) = (weir(), bare(), bare(), weir());
            (mean(a1, a2), mean(b1, b2))
        })
        .collect();
    let of = |pick: fn(&(Figures, Figures)) -> f64| pairs.iter().map(pick).collect();
    let mut series = |who: &str, unit, rounds| report.series(&format!("{what}, {who}"), unit, rounds);
    let weir_rate = series("weir", "calls/s", of(|(weir, _)| weir.throughput));
    let bare_rate = series("bare hyper", "calls/s", of(|(_, bare)| bare.throughput));
    let weir_cpu = series("weir", "us CPU", of(|(weir, _)| weir.cpu_us));
    let bare_cpu = series("bare hyper", "us CPU", of(|(_, bare)| bare.cpu_us));
    let goal = Some(Goal::AtLeast(0.9));
    report.ratio(&format!("{what}, calls a second: weir / bare hyper"), weir_rate, bare_rate, goal);
    // More CPU is worse, so the ratio is turned round: above the goal is good in both figures.
    report.ratio(&format!("{what}, CPU: bare hyper / weir"), bare_cpu, weir_cpu, goal);
}

fn main() {
    // `cargo bench` adds flags of its own; a number is ours.
    let quartets = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(QUARTETS);
    let mut report = Report::new("connect", "Unary calls of a page over loopback");
    report.setting("quartets", quartets);
    report.setting("calls", CALLS);
    report.setting("in_flight", IN_FLIGHT);
    report.setting("reply_bytes", page().len());
    let (weir, weir_addr) = weir_server();
    let (bare, bare_addr) = bare_server();

    let to_weir = Load::start("to-weir", move || BareCaller::connect(weir_addr));
    let to_bare = Load::start("to-bare", move || BareCaller::connect(bare_addr));
    compare(&mut report, "server", quartets, || measure(&to_weir, &weir), || measure(&to_bare, &bare));

    let weir_client = Load::start("weir-client", move || async move { WeirCaller::connect(bare_addr) });
    compare(
        &mut report,
        "client",
        quartets,
        || measure(&weir_client, &weir_client.metered),
        || measure(&to_bare, &to_bare.metered),
    );
    report.finish().unwrap();
}
