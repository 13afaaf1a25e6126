//! Runs jobs against a service that fails in every way in which a real one does.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use prost::Message as _;
use weir_connect::{ConnectError, UnaryRequest, UnaryResponse};
use weir_data_client::{Transport, TransportError};
use weir_proto::{
    admin::{FinishImportResponse, WriteImportResponse},
    data::{ImportMessagesRequest, Message},
};

use super::*;
use crate::import::scan::scan;

/// What happens to a call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is carried out and answered.
    Done,
    /// It is carried out, but the answer is lost.
    DoneUnheard,
    /// It is not carried out, and the service says when to repeat it.
    Refused,
    /// The service rejects it as wrong.
    Wrong,
}

#[derive(Default)]
struct State {
    begun: usize,
    authors: Vec<String>,
    rows: BTreeMap<(u64, u64), Message>,
    lines_done: u64,
    finished: bool,
    fates: VecDeque<Fate>,
}

/// The contract of the import service, in memory.
#[derive(Default)]
struct Service(Mutex<State>);

impl Service {
    fn with(fates: &[Fate]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { fates: fates.iter().copied().collect(), ..State::default() })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the lock")
    }
}

impl State {
    fn carry_out(&mut self, path: &str, body: &[u8]) -> Vec<u8> {
        match path {
            "/weir.admin.v1.ImportService/BeginImport" => {
                let request = BeginImportRequest::decode(body).expect("a request");
                assert!(request.author_names.len() <= AUTHORS_PART_MAX && request.job.len() == 32);
                self.begun += 1;
                self.authors.truncate(usize::try_from(request.first_author).expect("small"));
                self.authors.extend(request.author_names);
                BeginImportResponse {
                    guild_id: 7,
                    channel_ids: (100..).take(request.channel_names.len()).collect(),
                    author_id_base: 1 << 22,
                    lines_done: self.lines_done,
                    finished: self.finished,
                }
                .encode_to_vec()
            }
            "/weir.admin.v1.ImportService/WriteImport" => {
                let request = WriteImportRequest::decode(body).expect("a request");
                for batch in &request.batches {
                    let batch = ImportMessagesRequest::decode(batch.as_slice()).expect("a batch");
                    for row in batch.messages {
                        let other = self.rows.insert((row.channel_id, row.id), row.clone());
                        assert!(other.is_none_or(|other| other == row), "one id, two rows");
                    }
                }
                self.lines_done = self.lines_done.max(request.lines_done);
                WriteImportResponse::default().encode_to_vec()
            }
            "/weir.admin.v1.ImportService/FinishImport" => {
                self.finished = true;
                FinishImportResponse::default().encode_to_vec()
            }
            other => panic!("no such method: {other}"),
        }
    }
}

#[async_trait]
impl Transport for Service {
    async fn unary(&self, request: UnaryRequest) -> Result<UnaryResponse, TransportError> {
        let mut state = self.state();
        let fate = state.fates.pop_front().unwrap_or(Fate::Done);
        let mut done = || state.carry_out(&request.path, &request.body);
        match fate {
            Fate::Done => Ok(UnaryResponse { headers: http::HeaderMap::new(), body: done().into() }),
            Fate::DoneUnheard => {
                done();
                Err(TransportError::Unknown { reason: "reset".to_owned() })
            }
            Fate::Refused => Err(TransportError::Answered(ConnectError::resource_exhausted("busy"))),
            Fate::Wrong => Err(TransportError::Answered(ConnectError::invalid_argument("no"))),
        }
    }
}

fn scanned(lines: usize) -> (tempfile::NamedTempFile, Arc<Scan>) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let line = |n: usize| {
        format!(
            r#"{{"channel":"c{}","author":"a{}","timestamp":"2020-01-01T00:00:00Z","content":"{n}"}}"#,
            n % 3,
            n % 50
        )
    };
    std::fs::write(file.path(), (0..lines).map(line).collect::<Vec<_>>().join("\n")).expect("written");
    let found = scan(file.path(), 1_767_225_600_000, false, &mut Progress::silent()).expect("good");
    (file, Arc::new(found))
}

async fn run(service: &Arc<Service>, scan: &Arc<Scan>) -> Result<Imported, ImportError> {
    let client = DataClient::new(service.clone());
    send(&client, scan.clone(), "g".to_owned(), &mut Progress::silent(), &CancellationToken::new()).await
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_refusals_are_repeated_and_nothing_is_doubled() {
    let (_file, scan) = scanned(9_000);
    let service = Service::with(&[
        Fate::Refused,
        Fate::DoneUnheard,
        Fate::Done,
        Fate::DoneUnheard,
        Fate::Refused,
        Fate::DoneUnheard,
    ]);
    let imported = run(&service, &scan).await.expect("imported");
    assert_eq!(
        (imported.guild_id, &*imported.channel_ids, imported.continued_after),
        (7, &[100, 101, 102][..], 0)
    );
    let state = service.state();
    assert_eq!(
        (state.rows.len(), state.lines_done, state.finished, state.authors.len()),
        (9_000, 9_000, true, 50)
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_cut_goes_on_where_the_service_is() {
    let (_file, scan) = scanned(40_000);
    // The names, then more calls than may be under way at once.
    let service = Service::with(&[&[Fate::Done; 10][..], &[Fate::Wrong]].concat());
    let error = run(&service, &scan).await.expect_err("cut");
    let lines_done = service.state().lines_done;
    let ImportError::Send { lines_done: told, .. } = error else { panic!("{error}") };
    assert!(0 < lines_done && lines_done <= told, "{lines_done} of {told}");
    assert!(service.state().rows.len() as u64 >= told, "what was told to be durable is there");
    let imported = run(&service, &scan).await.expect("imported");
    assert_eq!(imported.continued_after, lines_done);
    let lines_done = service.state().lines_done;
    assert_eq!((service.state().rows.len(), lines_done), (40_000, 40_000));
    let again = run(&service, &scan).await.expect("finished before");
    assert_eq!((again.channel_ids, service.state().begun), (vec![100, 101, 102], 3));
    assert_eq!(again.converted.written, 0);
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let (_file, scan) = scanned(10);
    let service = Service::with(&[Fate::Refused; 1_000]);
    let error = run(&service, &scan).await.expect_err("refused for ever");
    assert!(
        matches!(error, ImportError::Stuck { lines_done: 0, waited_s, .. } if waited_s <= PATIENCE.as_secs()),
        "{error}"
    );
}

/// The messages on standard error while a job is sent.
async fn said(fates: &[Fate]) -> Vec<String> {
    let (_file, scan) = scanned(10);
    let client = DataClient::new(Service::with(fates));
    let mut progress = Progress::silent();
    // The test asks only for the messages, not whether the job ends.
    let _ = send(&client, scan, "g".to_owned(), &mut progress, &CancellationToken::new()).await;
    progress.said
}

#[tokio::test(start_paused = true)]
async fn waiting_is_told_once_with_its_reason_and_so_is_its_end() {
    assert_eq!(said(&[Fate::Refused; 3]).await, Vec::<String>::new(), "a short pause is nobody's concern");
    let told = said(&[Fate::Refused; 8]).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("waiting for the service, at most 120 s: ") && told[0].contains("refused"),
        "{told:?}"
    );
    assert_eq!(told[1], "the service answers again");
    assert_eq!(said(&[Fate::Refused; 1_000]).await.len(), 1);
}

/// Replies are counted over the whole file, whichever run wrote them.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_repeated_counts_the_same() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let line = |id: u64, more: &str| {
        format!(
            r#"{{"id":{id},"channel":"c","author":"a","timestamp":"2020-01-01T00:00:00Z","content":"x"{more}}}"#
        )
    };
    let text = [line(1, ""), line(2, r#","reply_to":1"#), line(3, r#","reply_to":9"#)].join("\n");
    std::fs::write(file.path(), text).expect("written");
    let found = scan(file.path(), 1_767_225_600_000, true, &mut Progress::silent()).expect("good");
    let (scan, service) = (Arc::new(found), Service::with(&[]));
    let counts = |imported: Imported| {
        let Converted { written, replies, replies_dropped, moved: _ } = imported.converted;
        (written, replies, replies_dropped)
    };
    assert_eq!(counts(run(&service, &scan).await.expect("imported")), (3, 1, 1));
    assert_eq!(counts(run(&service, &scan).await.expect("finished before")), (0, 1, 1));
}

#[tokio::test]
async fn a_stop_ends_it_and_says_where() {
    let (_file, scan) = scanned(10);
    let (service, stop) = (Service::with(&[]), CancellationToken::new());
    stop.cancel();
    let client = DataClient::new(service);
    let outcome = send(&client, scan, "g".to_owned(), &mut Progress::silent(), &stop).await;
    assert!(matches!(outcome, Err(ImportError::Interrupted { lines_done: 0 })));
}

#[test]
fn authors_are_cut_by_number_and_by_bytes() {
    let many: Vec<_> = (0..12_000).map(|n| format!("a{n}")).collect();
    assert_eq!(parts(&many), [0..5_000, 5_000..10_000, 10_000..12_000]);
    let long = vec!["x".repeat(AUTHORS_PART_BYTES_MAX / 2); 3];
    assert_eq!(parts(&long), [0..2, 2..3]);
}
