//! One import into a store of its own, which is killed and continued until it is done, and then checked.

use std::{
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::Value;
use weir_testkit::{Child, Process, Program, Ready};

use super::{chat::Chat, paging};
use crate::{
    process::{Listeners, last_line},
    rest::{self, Rest},
    scenario::kills::target::{apply_schema, create_bot, environment},
};

/// Longest import.
pub(super) const IMPORT_MAX: Duration = Duration::from_secs(3_600);

/// Exit code of a command that found no server.
const UNREACHABLE: i32 = 4;

/// State that all imports of a run share.
pub(super) struct Bench {
    pub(super) weir: PathBuf,
    /// URL of a cluster's keyspace. The imports' keyspaces are named after it.
    pub(super) store: Option<String>,
    /// True if imports go through a running server.
    pub(super) serves: bool,
    pub(super) directory: PathBuf,
    pub(super) file: PathBuf,
    pub(super) chat: Arc<Chat>,
    pub(super) random: Rng,
    pub(super) lives: u32,
}

/// An import into a store of its own, with all its kills.
pub(super) struct Life {
    pub(super) number: u32,
    data: PathBuf,
    store: String,
    server: Option<Server>,
}

/// A `weir serve` on that store.
struct Server {
    process: Process,
    api: SocketAddr,
    admin: SocketAddr,
}

/// The process that a kill hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    Import,
    Server,
}

/// How a run of `weir import` ended.
pub(super) enum Import {
    /// It ended before its kill and printed this.
    Done(Value),
    /// It ended and printed this, although its server was killed.
    Survived(Value),
    Killed,
}

impl Bench {
    pub(super) async fn life(&mut self) -> Result<Life> {
        let number = self.lives;
        self.lives += 1;
        let store = match &self.store {
            None => "embedded".to_owned(),
            Some(url) => {
                let store = format!("{url}_{number}");
                apply_schema(&self.weir, &store).await?;
                store
            }
        };
        let mut life =
            Life { number, data: self.directory.join(format!("import-{number}")), store, server: None };
        if self.serves {
            life.server = Some(self.serve(&life)?);
        }
        Ok(life)
    }

    /// Runs `weir import`. After `patience` the victim gets SIGKILL. A killed server starts again, and the
    /// import must then end by itself.
    pub(super) fn import(&self, life: &mut Life, patience: Duration, victim: Victim) -> Result<Import> {
        let mut command = Command::new(&self.weir);
        command
            .arg("import")
            .arg(&self.file)
            .args(["--json", "--store", &life.store, "--data"])
            .arg(&life.data);
        if let Some(server) = &life.server {
            command.args(["--admin", &server.admin.to_string()]);
        }
        let (out, err) = (self.directory.join("import.out"), self.directory.join("import.err"));
        command.envs(environment("weir")).stdout(File::create(&out)?).stderr(File::create(&err)?);
        let mut child = Child::spawn(&mut command)?;
        let result = |status: ExitStatus| -> Result<Value> {
            let (out, err) = (std::fs::read_to_string(&out)?, std::fs::read_to_string(&err)?);
            ensure!(status.success(), "weir import ended with {status}: {out} {err}");
            last_line(&out)
        };
        if let Some(status) = child.wait_for(patience)? {
            return Ok(Import::Done(result(status)?));
        }
        let (Some(server), Victim::Server) = (&mut life.server, victim) else {
            child.kill()?;
            return Ok(Import::Killed);
        };
        if let Some(ended) = server.process.kill()? {
            bail!("{ended} by itself");
        }
        server.process.restart()?;
        let status = child.wait_for(IMPORT_MAX)?;
        let status = status.with_context(|| format!("the import did not end within {IMPORT_MAX:?}"))?;
        server.process.ready()?;
        if status.code() == Some(UNREACHABLE) {
            // It had not reached the server yet and said so; an operator would start it again.
            return Ok(Import::Killed);
        }
        Ok(Import::Survived(result(status)?))
    }

    /// Continues an import to its end, then repeats it: a finished import must report the same again. Then
    /// reads it.
    pub(super) async fn finish(
        &mut self,
        mut life: Life,
        reference: &Value,
        resumed: &mut u32,
    ) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut first = Value::Null;
        for _ in 0..2 {
            let Import::Done(done) = self.import(&mut life, IMPORT_MAX, Victim::Import)? else {
                bail!("import {} took longer than {IMPORT_MAX:?}", life.number);
            };
            if shape(&done) != shape(reference) {
                problems.push(format!("import {}: {done} where the reference said {reference}", life.number));
            }
            if first.is_null() {
                *resumed += u32::from(done["continued_after"].as_u64().is_some_and(|lines| lines > 0));
                first = done;
            } else if (&done["guild_id"], &done["channels"]) != (&first["guild_id"], &first["channels"]) {
                problems.push(format!("import {}: repeated it says {done} after {first}", life.number));
            }
        }
        problems.extend(self.read(life, &first).await?);
        Ok(problems)
    }

    /// Errors in what the result says about the file.
    pub(super) fn promises(&self, result: &Value) -> Vec<String> {
        let said = [("messages", self.chat.messages), ("skipped", self.chat.skipped)];
        let wrong = said.iter().filter(|(key, wanted)| result[*key] != *wanted);
        wrong
            .map(|(key, wanted)| {
                format!("the import says {key} {} where the file has {wanted}", result[*key])
            })
            .collect()
    }

    /// Compares the whole import through a server. If nothing differs, removes what it wrote on this disk.
    pub(super) async fn read(&mut self, mut life: Life, result: &Value) -> Result<Vec<String>> {
        let mut server = match life.server.take() {
            Some(server) => server,
            None => self.serve(&life)?,
        };
        let guild = rest::id(&result["guild_id"]).with_context(|| format!("no guild_id: {result}"))?;
        let name = format!("reader-{:08x}", self.random.u32(..));
        let token = create_bot(&self.weir, &life.data, server.admin, &name, Some(guild)).await?;
        let ids = channels(&result["channels"])?;
        let compared = paging::compare(&self.chat, &Rest::new(server.api, &token)?, &ids).await?;
        if let Some(ended) = server.process.kill()? {
            bail!("{ended} by itself");
        }
        let differences = compared.differences;
        println!(
            "import {}: {} messages read, {} differences",
            life.number,
            compared.messages,
            differences.len()
        );
        if differences.is_empty() {
            std::fs::remove_dir_all(&life.data).with_context(|| life.data.display().to_string())?;
        }
        Ok(differences.iter().map(|what| format!("import {}: {what}", life.number)).collect())
    }

    fn serve(&mut self, life: &Life) -> Result<Server> {
        let listeners = Listeners::free(&mut self.random)?;
        let Listeners { api, admin, .. } = listeners;
        let mut command = Command::new(&self.weir);
        command.args(listeners.flags()).args(["--store", &life.store, "--data"]).arg(&life.data);
        command.envs(environment("weir"));
        let log = Some(self.directory.join("weir.log"));
        let mut process = Process::start(Program { name: "weir", command, ready: Ready::Admin(admin), log })?;
        process.ready()?;
        Ok(Server { process, api, admin })
    }
}

/// The part of an import's result that does not depend on when it ran: it has names but no ids.
fn shape(result: &Value) -> (Vec<&str>, &Value, &Value) {
    let channels = result["channels"].as_object();
    let names = channels.into_iter().flat_map(|channels| channels.keys().map(String::as_str)).collect();
    (names, &result["messages"], &result["skipped"])
}

/// The channels' names and ids.
pub(super) fn channels(value: &Value) -> Result<BTreeMap<String, u64>> {
    let object = value.as_object().with_context(|| format!("no object of channels: {value}"))?;
    let pair = |(name, id): (&String, &Value)| {
        let id = rest::id(id).with_context(|| format!("channel {name} has no id: {id}"))?;
        Ok((name.clone(), id))
    };
    object.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn results_compare_by_names_and_counts() {
        let result = |id: &str, messages| json!({ "guild_id": id, "channels": { "a": id }, "messages": messages, "skipped": 0, "seconds": 1 });
        assert_eq!(shape(&result("1", 5)), shape(&result("2", 5)));
        assert_ne!(shape(&result("1", 5)), shape(&result("1", 6)));
        assert_eq!(
            channels(&result("7", 5)["channels"]).expect("ids"),
            BTreeMap::from([("a".to_owned(), 7)])
        );
        assert!(channels(&json!({ "a": 7 })).is_err() && channels(&json!([])).is_err());
    }
}
