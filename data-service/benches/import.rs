//! Compares `weir import` with the raw store: the same rows, equally durable, in turns (A-B-B-A); compare
//! within one run only.
//!
//! - *import*: the binary `weir`, as a user runs it: it reads the file, makes guild, channels and users,
//!   links replies, and stores its progress, so that it can be killed. Its own `seconds` count.
//! - *raw*: the rows that an import leaves (messages, and for each author a user, a member and the place
//!   among the user's guilds) are ready and encoded in memory. The store's own library writes them into the
//!   same tables: in batches, each durable before the next is sent (embedded, with the buffers that Weir
//!   gives the store), or a number of them at once (CQL).
//! - *raw, from the file*: the same, but the file is read, unpacked and parsed on the way: the cost of a
//!   loader that makes no ids of the lines' times, links no replies, checks no line and cannot be continued.
//!
//! `cargo bench -p weir-data-service --bench import -- FILE [ROUNDS]`; the binary is `target/release/weir`,
//! or the one in `WEIR_BINARY`. The embedded stores' directories are in `TMPDIR`: set it to a real disk. With
//! `WEIR_TEST_CQL=HOST:PORT` it also runs on that server.

use std::{
    collections::HashMap,
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fjall::{KeyspaceCreateOptions, PersistMode};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    serialize::row::SerializeRow,
    statement::{
        Consistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
        unprepared::Statement,
    },
};
use serde::Deserialize;
use weir_proto::{
    bucket::Bucket,
    data::{Member, Message, User},
};
use weir_report::{Goal, Report};
use weir_store::{
    cql::{CqlConfig, Replication, schema},
    embedded::EmbeddedConfig,
};
use weir_testkit::Child;

/// Rows of one synced batch of the raw embedded store: about as many as the import's batches have in the
/// mean.
const ROWS_SYNCED: usize = 4_000;
/// Bytes of contents of one raw CQL batch; the server warns above 5 KiB and refuses 50 KiB only across
/// partitions.
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

/// The guild of the raw rows.
const GUILD: u64 = 1_000;

/// Rows that a loader makes of a file.
enum Row {
    Author(User, Member),
    Message(Message),
}

/// Reads the file's rows with made-up ids, in the file's order; an author comes before its first message.
fn each_row(file: &Path, mut give: impl FnMut(Row) -> Result<()>) -> Result<()> {
    let opened = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(opened)).lines();
    let (mut channels, mut authors) = (HashMap::new(), HashMap::new());
    for (number, line) in (1_u64..).zip(lines) {
        let line: Line = serde_json::from_str(&line?).with_context(|| format!("line {number}"))?;
        let channel_count = channels.len() as u64;
        let channel_id = *channels.entry(line.channel).or_insert(1_000_000 + channel_count);
        let id = number << 12;
        let author_id = match authors.get(&line.author) {
            Some(id) => *id,
            None => {
                let author_id = 2_000_000 + authors.len() as u64;
                let user = User { id: author_id, username: line.author.clone(), rev: id, ..User::default() };
                let member = Member { guild_id: GUILD, user_id: author_id, rev: id, ..Member::default() };
                give(Row::Author(user, member))?;
                authors.insert(line.author, author_id);
                author_id
            }
        };
        let content = line.content;
        let row = Message { id, channel_id, author_id, content, rev: id, last_rev: id, ..Message::default() };
        give(Row::Message(row))?;
    }
    Ok(())
}

/// A file's rows.
#[derive(Default)]
struct Rows {
    messages: Vec<Message>,
    authors: Vec<(User, Member)>,
}

fn rows(file: &Path) -> Result<Rows> {
    let mut rows = Rows::default();
    each_row(file, |row| {
        match row {
            Row::Author(user, member) => rows.authors.push((user, member)),
            Row::Message(message) => rows.messages.push(message),
        }
        Ok(())
    })?;
    ensure!(!rows.messages.is_empty(), "{} has no lines", file.display());
    Ok(rows)
}

/// Runs `weir import` into an embedded store, or through a server on another one; returns messages a second.
fn import(weir: &Path, file: &Path, store: &str) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data");
    // A cluster's data service is a separate server; the command itself opens the embedded store.
    let _server = if store == "embedded" { None } else { Some(serve(weir, store, &data)?) };
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

/// Starts a server, which ends when the value is dropped.
fn serve(weir: &Path, store: &str, data: &Path) -> Result<Child> {
    let mut command = Command::new(weir);
    command.args(["serve", "--json", "--store", store, "--data"]).arg(data);
    for listener in ["--api", "--gateway", "--data-service", "--admin"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let mut server = Child::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
    // The server prints its addresses once it can be called.
    server.line().context("weir serve ended before it was ready")?;
    Ok(server)
}

/// A row of the embedded store.
struct Encoded {
    is_message: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

fn encode(row: &Row, mut put: impl FnMut(Encoded)) {
    match row {
        Row::Message(row) => {
            let bucket = Bucket::of_raw(row.id).0;
            let key =
                [&row.channel_id.to_be_bytes()[..], &bucket.to_be_bytes()[..], &(!row.id).to_be_bytes()[..]];
            put(Encoded { is_message: true, key: key.concat(), value: row.encode_to_vec() });
        }
        Row::Author(user, member) => {
            let (guild, id) = (GUILD.to_be_bytes(), user.id.to_be_bytes());
            let mut small = |table: u8, key: &[&[u8]], value| {
                let key = [&[&[table][..]][..], key].concat().concat();
                put(Encoded { is_message: false, key, value });
            };
            small(2, &[&id], user.encode_to_vec());
            small(8, &[&guild, &id], member.encode_to_vec());
            small(9, &[&id, &guild], Vec::new());
        }
    }
}

/// Writes rows into fjall in synced batches.
struct RawEmbedded {
    database: fjall::Database,
    messages: fjall::Keyspace,
    small: fjall::Keyspace,
    _directory: tempfile::TempDir,
}

impl RawEmbedded {
    fn open() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = EmbeddedConfig::new(directory.path());
        let database = fjall::Database::builder(directory.path())
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes)
            .worker_threads(config.background_threads)
            .manual_journal_persist(true)
            .open()?;
        let options = |buffer_bytes| {
            move || {
                KeyspaceCreateOptions::default().max_memtable_size(buffer_bytes).manual_journal_persist(true)
            }
        };
        let messages = database.keyspace("messages", options(config.messages_buffer_bytes))?;
        let small = database.keyspace("small", options(config.small_buffer_bytes))?;
        Ok(Self { database, messages, small, _directory: directory })
    }

    fn write(&self, rows: &[Encoded]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for Encoded { is_message, key, value } in rows {
            let table = if *is_message { &self.messages } else { &self.small };
            batch.insert(table, key.as_slice(), value.as_slice());
        }
        Ok(batch.commit()?)
    }
}

/// Writes encoded rows into fjall; returns messages a second.
fn raw_embedded(rows: &[Encoded]) -> Result<f64> {
    let raw = RawEmbedded::open()?;
    let began = Instant::now();
    rows.chunks(ROWS_SYNCED).try_for_each(|part| raw.write(part))?;
    // The import is also timed to the end.
    drop(raw);
    let messages = rows.iter().filter(|row| row.is_message).count();
    Ok(messages as f64 / began.elapsed().as_secs_f64())
}

/// Loads the file into fjall; returns messages a second.
fn raw_from_file(file: &Path) -> Result<f64> {
    let raw = RawEmbedded::open()?;
    let began = Instant::now();
    let mut waiting = Vec::with_capacity(ROWS_SYNCED);
    let mut count = 0;
    each_row(file, |row| {
        count += u32::from(matches!(row, Row::Message(_)));
        encode(&row, |row| waiting.push(row));
        if waiting.len() < ROWS_SYNCED {
            return Ok(());
        }
        raw.write(&std::mem::take(&mut waiting))
    })?;
    raw.write(&waiting)?;
    drop(raw);
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// A keyspace with Weir's tables, and the raw statements for them.
struct Raw {
    session: Session,
    message: PreparedStatement,
    user: PreparedStatement,
    member: PreparedStatement,
    user_guild: PreparedStatement,
    keyspace: String,
}

impl Raw {
    async fn new(server: &str, keyspace: String) -> Result<Self> {
        let mut config = CqlConfig::new(vec![server.to_owned()], keyspace.clone());
        config.replication = Replication::Simple { factor: 1 };
        schema::apply(&config).await?;
        let session = SessionBuilder::new().known_node(server).build().await?;
        let insert = async |table: &str, columns: &str| {
            let marks = vec!["?"; columns.split(',').count()].join(", ");
            let text =
                format!("INSERT INTO {keyspace}.{table} ({columns}) VALUES ({marks}) USING TIMESTAMP ?");
            let mut insert = session.prepare(text).await?;
            insert.set_consistency(Consistency::LocalQuorum);
            anyhow::Ok(insert)
        };
        let message = "channel_id, bucket, message_id, author_id, content, type, rev, last_rev";
        Ok(Self {
            message: insert("messages", message).await?,
            user: insert("users", "user_id, row").await?,
            member: insert("members", "guild_id, user_id, row").await?,
            user_guild: insert("user_guilds", "user_id, guild_id").await?,
            session,
            keyspace,
        })
    }

    /// Loads the rows and returns messages a second.
    async fn load(&self, authors: &[(User, Member)], parts: &[&[Message]]) -> Result<f64> {
        let began = Instant::now();
        // There are as many statements at once as the import's store sends; an author is two.
        let at_once = CqlConfig::new(Vec::new(), String::new()).call_concurrency / 2;
        let users = stream::iter(authors).map(|(user, _)| self.author(user)).buffer_unordered(at_once);
        users.try_collect::<Vec<()>>().await?;
        let members = stream::iter(authors.chunks(BATCH_ROWS)).map(|part| self.members(part));
        members.buffer_unordered(BATCHES_AT_ONCE).try_collect::<Vec<()>>().await?;
        let messages = stream::iter(parts).map(|part| self.messages(part));
        messages.buffer_unordered(BATCHES_AT_ONCE).try_collect::<Vec<()>>().await?;
        let count: usize = parts.iter().map(|part| part.len()).sum();
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    async fn author(&self, user: &User) -> Result<()> {
        let (id, rev) = (user.id.cast_signed(), user.rev.cast_signed());
        let row = self.session.execute_unpaged(&self.user, (id, user.encode_to_vec(), rev));
        let guild = self.session.execute_unpaged(&self.user_guild, (id, GUILD.cast_signed(), rev));
        futures_util::future::try_join(row, guild).await?;
        Ok(())
    }

    async fn members(&self, part: &[(User, Member)]) -> Result<()> {
        let values = part.iter().map(|(_, row)| {
            (GUILD.cast_signed(), row.user_id.cast_signed(), row.encode_to_vec(), row.rev.cast_signed())
        });
        self.batch(&self.member, values.collect()).await
    }

    async fn messages(&self, part: &[Message]) -> Result<()> {
        let mut values = Vec::with_capacity(part.len());
        for row in part {
            let bucket = i32::try_from(Bucket::of_raw(row.id).0)?;
            let signed = u64::cast_signed;
            let (channel, id, author) = (signed(row.channel_id), signed(row.id), signed(row.author_id));
            let rev = signed(row.rev);
            values.push((channel, bucket, id, author, &row.content, 0_i32, rev, rev, rev));
        }
        self.batch(&self.message, values).await
    }

    async fn batch<V: SerializeRow>(&self, statement: &PreparedStatement, values: Vec<V>) -> Result<()> {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_consistency(Consistency::LocalQuorum);
        values.iter().for_each(|_| batch.append_statement(statement.clone()));
        self.session.batch(&batch, &values).await?;
        Ok(())
    }

    async fn drop(self) -> Result<()> {
        drop_keyspace(&self.session, &self.keyspace).await
    }
}

async fn drop_keyspace(session: &Session, keyspace: &str) -> Result<()> {
    let mut drop = Statement::new(format!("DROP KEYSPACE IF EXISTS {keyspace}"));
    // The server first writes a snapshot of every table.
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
    // `cargo bench` runs in the crate's folder, but the file's path is relative to the workspace.
    let file = root.join(file);
    let weir = env::var_os("WEIR_BINARY").map_or_else(|| root.join("target/release/weir"), PathBuf::from);
    let Rows { mut messages, authors } = rows(&file)?;
    let mut report = Report::new("import", "weir import beside the raw store");
    report.setting("messages", messages.len());
    report.setting("authors", authors.len());
    report.setting("rounds", rounds);
    let mut ready = Vec::new();
    each_row(&file, |row| {
        encode(&row, |row| ready.push(row));
        Ok(())
    })?;
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
                raw.push(store.load(&authors, &parts).await?);
            } else {
                raw.push(store.load(&authors, &parts).await?);
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
