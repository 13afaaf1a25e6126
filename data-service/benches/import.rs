//! `weir import` beside the raw store: the same messages, equally durable, in turns (A-B-B-A); compare within one run only.
//!
//! - *import*: the binary `weir`, as a user types it: it reads the file twice, makes guild, channels and users, links replies, and keeps its
//!   progress, so that it can be killed. Its own `seconds` count.
//! - *raw*: the rows lie ready, encoded, in memory; the store's own library writes them in batches, each durable before the next is sent
//!   (embedded), or a number of them at once (CQL), into the same table.
//! - *raw, from the file* (embedded): the same, but the file is read, unpacked and parsed on the way: what a loader costs that makes no
//!   channels, users or replies and cannot be continued.
//!
//! `cargo bench -p weir-data-service --bench import -- FILE [ROUNDS]`; the binary is `target/release/weir`, or what `WEIR_BINARY` names. The
//! embedded stores' directories are in `TMPDIR`: set it to a real disk. With `WEIR_TEST_CQL=HOST:PORT` also on that server.

use std::{
    collections::HashMap,
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fjall::{KeyspaceCreateOptions, PersistMode};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    statement::{
        Consistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
        unprepared::Statement,
    },
};
use serde::Deserialize;
use weir_proto::{bucket::Bucket, data::Message};
use weir_report::{Goal, Report};
use weir_store::cql::{CqlConfig, Replication, schema};

/// Rows of one synced batch of the raw embedded store: about what one of the import's holds.
const ROWS_SYNCED: usize = 1_500;
/// Bytes of contents of one raw CQL batch; the server warns above 5 KiB and refuses 50 KiB only across partitions.
const BATCH_BYTES: usize = 48 * 1024;
/// Statements of one raw CQL batch.
const BATCH_ROWS: usize = 256;
/// Raw CQL batches at once.
const BATCHES_AT_ONCE: usize = 8;
/// Time for one statement.
const STATEMENT_MAX: Duration = Duration::from_secs(180);

#[derive(Deserialize)]
struct Line {
    channel: String,
    author: String,
    content: String,
}

/// The file's messages with made-up ids, in the file's order.
fn each_row(file: &Path, mut give: impl FnMut(Message) -> Result<()>) -> Result<()> {
    let opened = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(opened)).lines();
    let (mut channels, mut authors) = (HashMap::new(), HashMap::new());
    for (number, line) in (1_u64..).zip(lines) {
        let line: Line = serde_json::from_str(&line?).with_context(|| format!("line {number}"))?;
        let (channel_count, author_count) = (channels.len() as u64, authors.len() as u64);
        let channel_id = *channels.entry(line.channel).or_insert(1_000_000 + channel_count);
        let author_id = *authors.entry(line.author).or_insert(2_000_000 + author_count);
        let id = number << 12;
        let content = line.content;
        give(Message { id, channel_id, author_id, content, rev: id, last_rev: id, ..Message::default() })?;
    }
    Ok(())
}

fn rows(file: &Path) -> Result<Vec<Message>> {
    let mut rows = Vec::new();
    each_row(file, |row| {
        rows.push(row);
        Ok(())
    })?;
    ensure!(!rows.is_empty(), "{} has no lines", file.display());
    Ok(rows)
}

/// `weir import` into an embedded store, or through a server on another; messages a second.
fn import(weir: &Path, file: &Path, store: &str) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    // A cluster's data service is a server of its own; the embedded store is opened by the command.
    let _server = if store == "embedded" { None } else { Some(Server::start(weir, store, &data)?) };
    let output = Command::new(weir)
        .args(["import", "--json", "--data"])
        .arg(&data)
        .arg(file)
        .output()
        .with_context(|| format!("{}: cargo build --release", weir.display()))?;
    ensure!(output.status.success(), "weir import: {}", String::from_utf8_lossy(&output.stderr));
    let last =
        output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).context("no output")?;
    let answer: serde_json::Value = serde_json::from_slice(last)?;
    let (messages, seconds) = (answer["messages"].as_f64(), answer["seconds"].as_f64());
    Ok(messages.context("messages")? / seconds.context("seconds")?)
}

/// A server, ended with the value.
struct Server(Child);

impl Server {
    fn start(weir: &Path, store: &str, data: &Path) -> Result<Self> {
        let mut command = Command::new(weir);
        command.args(["serve", "--json", "--store", store, "--data"]).arg(data);
        for listener in ["--api", "--gateway", "--data-service", "--admin"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        let mut server = Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        // It prints its addresses once it can be called.
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().context("its output")?).read_line(&mut line)?;
        ensure!(!line.is_empty(), "weir serve ended before it was ready");
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Key and value of a row.
fn encoded(row: &Message) -> (Vec<u8>, Vec<u8>) {
    let bucket = Bucket::of_raw(row.id).0;
    let key = [&row.channel_id.to_be_bytes()[..], &bucket.to_be_bytes()[..], &(!row.id).to_be_bytes()[..]];
    (key.concat(), row.encode_to_vec())
}

/// Rows into fjall, in synced batches.
struct RawEmbedded {
    database: fjall::Database,
    messages: fjall::Keyspace,
    _directory: tempfile::TempDir,
}

impl RawEmbedded {
    fn open() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let database = fjall::Database::builder(directory.path()).open()?;
        let messages = database.keyspace("messages", KeyspaceCreateOptions::default)?;
        Ok(Self { database, messages, _directory: directory })
    }

    fn write(&self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in rows {
            batch.insert(&self.messages, key.as_slice(), value.as_slice());
        }
        Ok(batch.commit()?)
    }
}

/// Encoded rows into fjall; messages a second.
fn raw_embedded(rows: &[(Vec<u8>, Vec<u8>)]) -> Result<f64> {
    let raw = RawEmbedded::open()?;
    let began = Instant::now();
    rows.chunks(ROWS_SYNCED).try_for_each(|part| raw.write(part))?;
    Ok(rows.len() as f64 / began.elapsed().as_secs_f64())
}

/// The file into fjall; messages a second.
fn raw_from_file(file: &Path) -> Result<f64> {
    let raw = RawEmbedded::open()?;
    let began = Instant::now();
    let mut waiting = Vec::with_capacity(ROWS_SYNCED);
    let mut count = 0;
    each_row(file, |row| {
        count += 1;
        waiting.push(encoded(&row));
        if waiting.len() < ROWS_SYNCED {
            return Ok(());
        }
        raw.write(&std::mem::take(&mut waiting))
    })?;
    raw.write(&waiting)?;
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// A keyspace with Weir's tables, and the raw statement for them.
struct Raw {
    session: Session,
    insert: PreparedStatement,
    keyspace: String,
}

impl Raw {
    async fn new(server: &str, keyspace: String) -> Result<Self> {
        let mut config = CqlConfig::new(vec![server.to_owned()], keyspace.clone());
        config.replication = Replication::Simple { factor: 1 };
        schema::apply(&config).await?;
        let session = SessionBuilder::new().known_node(server).build().await?;
        let text = format!(
            "INSERT INTO {keyspace}.messages (channel_id, bucket, message_id, author_id, content, type, rev, last_rev) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
        let mut insert = session.prepare(text).await?;
        insert.set_consistency(Consistency::LocalQuorum);
        Ok(Self { session, insert, keyspace })
    }

    /// Messages a second.
    async fn load(&self, parts: &[&[Message]]) -> Result<f64> {
        let began = Instant::now();
        stream::iter(parts)
            .map(|part| async move {
                let mut batch = Batch::new(BatchType::Unlogged);
                batch.set_consistency(Consistency::LocalQuorum);
                let mut values = Vec::with_capacity(part.len());
                for row in *part {
                    batch.append_statement(self.insert.clone());
                    let bucket = i32::try_from(Bucket::of_raw(row.id).0)?;
                    let signed = u64::cast_signed;
                    let (channel, id, author) =
                        (signed(row.channel_id), signed(row.id), signed(row.author_id));
                    let rev = signed(row.rev);
                    values.push((channel, bucket, id, author, &row.content, 0_i32, rev, rev, rev));
                }
                self.session.batch(&batch, &values).await?;
                anyhow::Ok(())
            })
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        let count: usize = parts.iter().map(|part| part.len()).sum();
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    async fn drop(self) -> Result<()> {
        drop_keyspace(&self.session, &self.keyspace).await
    }
}

async fn drop_keyspace(session: &Session, keyspace: &str) -> Result<()> {
    let mut drop = Statement::new(format!("DROP KEYSPACE IF EXISTS {keyspace}"));
    // The server writes a snapshot of every table first.
    drop.set_request_timeout(Some(STATEMENT_MAX));
    session.query_unpaged(drop, ()).await?;
    Ok(())
}

/// Rows of one partition, cut into batches.
fn parts(rows: &[Message]) -> Vec<&[Message]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, row) in rows.iter().enumerate() {
        let other = rows[start].channel_id != row.channel_id
            || Bucket::of_raw(rows[start].id) != Bucket::of_raw(row.id);
        if other || index - start == BATCH_ROWS || bytes + row.content.len() > BATCH_BYTES {
            parts.push(&rows[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += row.content.len() + 64;
    }
    parts.push(&rows[start..]);
    parts
}

#[tokio::main]
async fn main() -> Result<()> {
    // cargo passes `--bench`.
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(file) = arguments.next().map(PathBuf::from) else {
        print_line("import: skipped: name a chat file (FILE.ndjson.gz), then the number of rounds");
        return Ok(());
    };
    let rounds: usize = arguments.next().map_or(Ok(10), |rounds| rounds.parse())?;
    let root = weir_report::root()?;
    // `cargo bench` runs in the crate's folder; the file was named in the workspace's.
    let file = root.join(file);
    let weir = env::var_os("WEIR_BINARY").map_or_else(|| root.join("target/release/weir"), PathBuf::from);
    let mut messages = rows(&file)?;
    let mut report = Report::new("import", "weir import beside the raw store");
    report.setting("messages", messages.len());
    report.setting("rounds", rounds);
    let ready: Vec<(Vec<u8>, Vec<u8>)> = messages.iter().map(encoded).collect();
    let (mut imported, mut raw, mut from_file) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            imported.push(import(&weir, &file, "embedded")?);
            from_file.push(raw_from_file(&file)?);
            raw.push(raw_embedded(&ready)?);
        } else {
            raw.push(raw_embedded(&ready)?);
            from_file.push(raw_from_file(&file)?);
            imported.push(import(&weir, &file, "embedded")?);
        }
    }
    drop(ready);
    let imported = report.series("embedded, weir import", "messages/s", imported);
    let from_file = report.series("embedded, raw, from the file", "messages/s", from_file);
    let raw = report.series("embedded, raw", "messages/s", raw);
    report.ratio("embedded, weir import / raw, from the file", imported, from_file, Some(Goal::AtLeast(0.7)));
    report.ratio("embedded, weir import / raw", imported, raw, Some(Goal::AtLeast(0.7)));
    if let Ok(server) = env::var("WEIR_TEST_CQL") {
        messages.sort_by_key(|row| (row.channel_id, row.id));
        let parts = parts(&messages);
        let (mut imported, mut raw) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let keyspace = format!("weir_import_{}_{round}", std::process::id());
            let config = {
                let mut config = CqlConfig::new(vec![server.clone()], keyspace.clone());
                config.replication = Replication::Simple { factor: 1 };
                config
            };
            schema::apply(&config).await?;
            let store = Raw::new(&server, format!("{keyspace}_raw")).await?;
            let through = || import(&weir, &file, &format!("cql://{server}/{keyspace}"));
            if round % 2 == 0 {
                imported.push(through()?);
                raw.push(store.load(&parts).await?);
            } else {
                raw.push(store.load(&parts).await?);
                imported.push(through()?);
            }
            drop_keyspace(&store.session, &keyspace).await?;
            store.drop().await?;
        }
        let imported = report.series("Cassandra, weir import", "messages/s", imported);
        let raw = report.series("Cassandra, raw driver", "messages/s", raw);
        report.ratio("Cassandra, weir import / raw", imported, raw, Some(Goal::AtLeast(0.7)));
    } else {
        report.note("Cassandra: skipped, WEIR_TEST_CQL is not set");
    }
    report.finish()
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn print_line(line: &str) {
    println!("{line}");
}
