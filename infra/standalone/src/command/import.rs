//! `weir import FILE`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::Args;
use serde_json::{Map, Value, json};
use weir_discord::validate::is_blank;
use weir_proto::data::GetGuildRequest;
use weir_runtime::Shutdown;

use super::{Context, answered, now_ms, options};
use crate::{
    error::CommandError,
    import::{
        ImportError,
        progress::Progress,
        scan::{Scan, scan},
        send::{Imported, send},
    },
    output::Done,
    reach::{IfAbsent, Service},
};

/// Longest guild name, in characters; Discord's limit.
const GUILD_NAME_MAX: usize = 100;

/// `weir import …`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An export of DiscordChatExporter (JSON), or lines of {"channel", "author", "timestamp", "content",
    /// "action"?, "reply_to"?, "id"?}; plain or gzip
    file: PathBuf,
    /// Name of the guild that is made for it (default: the export's, or the file's name)
    #[arg(long, value_name = "NAME")]
    guild_name: Option<String>,
    /// Stop before anything is written if a line cannot be imported, instead of leaving it out, or cannot
    /// keep its time
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
pub(crate) async fn run(args: ImportArgs, context: &Context) -> Result<Done, CommandError> {
    let began = Instant::now();
    let given = args.guild_name.is_some();
    let of_file = name_of(&args.file);
    let asked = args.guild_name.as_ref().unwrap_or(&of_file);
    if is_blank(asked) || asked.contains('\0') || asked.chars().count() > GUILD_NAME_MAX {
        let problem = format!(
            "a guild's name has 1 to {GUILD_NAME_MAX} characters, of which something can be seen: give one with --guild-name"
        );
        return Err(CommandError::Usage { problem });
    }
    // A job that is continued tomorrow judges its lines by tomorrow's time. Lines from the future are too
    // rare to matter.
    let now = now_ms();
    let (file, strict) = (args.file, args.strict);
    // This comes before the search for the service, so that a file with wrong lines opens no store.
    let scanning = tokio::task::spawn_blocking(move || {
        let mut progress = Progress::stderr();
        let scanned = scan(&file, now, strict, &mut progress);
        progress.clear();
        scanned
    });
    let scan = Arc::new(scanning.await.map_err(|_panicked| ImportError::Reader)??);
    let guild_name = args.guild_name.or_else(|| named(scan.guild.as_deref()?)).unwrap_or(of_file);
    let service = Service::server_or_store(&context.target(), IfAbsent::Make).await?;
    let shutdown = Shutdown::on_signals().map_err(CommandError::Runtime)?;
    let mut progress = Progress::stderr();
    let outcome = {
        let stop = shutdown.token();
        let sending = send(&service.client, Arc::clone(&scan), guild_name.clone(), &mut progress, &stop);
        tokio::select! {
            outcome = sending => outcome,
            // The store has failed for good, so repeating a call cannot succeed.
            reason = service.lost() => Err(ImportError::Lost { reason }),
        }
    };
    progress.clear();
    let imported = match outcome {
        // The store's threads may never end, but the process must.
        Err(error @ ImportError::Lost { .. }) => return Err(error.into()),
        Err(error) => {
            service.close().await;
            return Err(error.into());
        }
        Ok(imported) => imported,
    };
    let kept = match given {
        true => name_kept(&service, &imported, &guild_name).await,
        false => Ok(None),
    };
    let note = service.note();
    service.close().await;
    Ok(shown(&scan, &imported, kept?, began.elapsed().as_secs_f64()).noting(note))
}

/// The guild's name if it is not the requested one: a continued job keeps the guild that it has.
async fn name_kept(
    service: &Service,
    imported: &Imported,
    asked: &str,
) -> Result<Option<String>, CommandError> {
    let request = GetGuildRequest { guild_id: imported.guild_id, ..GetGuildRequest::default() };
    let reply = answered("cannot read the guild", service.client.get_guild(&request, &options()).await)?;
    let guild =
        reply.state.and_then(|state| state.guild).ok_or(CommandError::Incomplete { what: "guild" })?;
    Ok((guild.name != asked).then_some(guild.name))
}

/// The guild's name in the file, cut to the longest that is allowed; `None` if the api would not take it as a
/// name.
fn named(guild: &str) -> Option<String> {
    Some(guild.chars().take(GUILD_NAME_MAX).collect())
        .filter(|name: &String| !is_blank(name) && !name.contains('\0'))
}

/// The file's name without its extensions.
fn name_of(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = [".gz", ".ndjson", ".jsonl", ".json"]
        .iter()
        .fold(name.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
    stem.chars().take(GUILD_NAME_MAX).collect()
}

/// `1 channel`, `2 channels`.
fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn shown(scan: &Scan, imported: &Imported, kept: Option<String>, seconds: f64) -> Done {
    let channels: Map<String, Value> = scan
        .channels
        .all()
        .iter()
        .zip(&imported.channel_ids)
        .map(|(name, id)| (name.clone(), id.to_string().into()))
        .collect();
    let mut lines = vec![format!(
        "{} of {} in {}, {} skipped, {seconds:.1} s",
        count(scan.messages, "message"),
        count(scan.authors.all().len() as u64, "author"),
        count(channels.len() as u64, "channel"),
        count(scan.bad, "line"),
    )];
    if imported.converted.written == 0 {
        lines.push("everything was there already: nothing was written now".to_owned());
    } else if imported.continued_after > 0 {
        lines.push(format!(
            "continued after line {}: {} of them written now",
            imported.continued_after, imported.converted.written
        ));
    }
    if let Some(kept) = kept {
        lines.push(format!(
            "the guild keeps its name, {kept:?}: --guild-name counts when a file is first imported"
        ));
    }
    if scan.before_epoch > 0 {
        lines.push(format!(
            "{} messages are older than 2015, where ids begin: they keep the file's order and show the first instant of 2015",
            scan.before_epoch
        ));
    }
    if imported.converted.moved > 0 {
        lines.push(format!(
            "{} messages show a later millisecond than their own, which has more messages than ids",
            imported.converted.moved
        ));
    }
    if imported.converted.replies_dropped > 0 {
        let dropped = imported.converted.replies_dropped;
        lines.push(format!("{dropped} replies became ordinary messages: what they reply to is not before them in their channel"));
    }
    lines.push(format!("guild {}", imported.guild_id));
    lines.extend(
        scan.channels
            .all()
            .iter()
            .zip(&imported.channel_ids)
            .map(|(name, id)| format!("  channel {id}  {name}")),
    );
    lines.push(format!("next: weir bot create NAME --guild {}", imported.guild_id));
    Done {
        text: lines.join("\n"),
        json: json!({
            "guild_id": imported.guild_id.to_string(),
            "channels": channels,
            "messages": scan.messages,
            "written": imported.converted.written,
            "skipped": scan.bad,
            "seconds": (seconds * 1_000.0).round() / 1_000.0,
            "before_epoch": scan.before_epoch,
            "moved": imported.converted.moved,
            "replies": imported.converted.replies,
            "replies_dropped": imported.converted.replies_dropped,
            "continued_after": imported.continued_after,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guild_is_named_after_its_file() {
        for (file, name) in [
            ("/a/chat.ndjson.gz", "chat"),
            ("chat.jsonl", "chat"),
            ("chat", "chat"),
            (".json", ""),
            ("/", ""),
        ] {
            assert_eq!(name_of(Path::new(file)), name, "{file}");
        }
        assert_eq!(name_of(Path::new(&"ä".repeat(150))).chars().count(), GUILD_NAME_MAX);
    }
}
