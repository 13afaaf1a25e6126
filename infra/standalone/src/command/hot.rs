//! `weir hot`.

use std::{
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};
use weir_proto::admin::{ListHotChannelsRequest, ListHotChannelsResponse};
use weir_runtime::Shutdown;

use super::{Context, answered, options};
use crate::{
    error::CommandError,
    output::{Done, line, table},
    reach::Service,
};

/// Pause between two displays of `--watch`. The service itself updates its rates every second.
const EVERY: Duration = Duration::from_secs(1);

/// `weir hot …`
#[derive(Debug, Args)]
pub(crate) struct HotArgs {
    /// Go on, once a second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// How many channels
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

/// Runs the command.
pub(crate) async fn run(args: HotArgs, context: &Context) -> Result<Done, CommandError> {
    let service = Service::server(&context.target()).await?;
    let request = ListHotChannelsRequest { limit: args.limit };
    let look = async || {
        let reply = service.client.list_hot_channels(&request, &options()).await;
        answered("cannot list the hot channels", reply)
    };
    if !args.watch {
        return Ok(shown(&look().await?));
    }
    let shutdown = Shutdown::on_signals().map_err(CommandError::Runtime)?;
    loop {
        let seen = shown(&look().await?);
        if shutdown.token().is_cancelled() {
            // The last display is the command's result.
            return Ok(seen);
        }
        let text = if context.common.json { seen.json.to_string() } else { seen.text.clone() };
        let clear = if stdout().is_terminal() && !context.common.json { "\x1b[2J\x1b[H" } else { "" };
        line(&format!("{clear}{text}")).map_err(CommandError::Print)?;
        tokio::select! {
            () = shutdown.begun() => return Ok(Done { text: String::new(), json: seen.json }),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn shown(reply: &ListHotChannelsResponse) -> Done {
    let rate = |rate: f64| format!("{rate:.1}");
    let row = |channel: &weir_proto::admin::HotChannel| {
        vec![
            channel.channel_id.to_string(),
            rate(channel.requests_per_s),
            rate(channel.database_reads_per_s),
            rate(channel.writes_per_s),
            rate(channel.refused_per_s),
        ]
    };
    let rows: Vec<_> = reply.channels.iter().map(row).collect();
    let head = ["channel", "requests/s", "database reads/s", "writes/s", "refused/s"];
    let text = match rows.is_empty() {
        true => format!("no channel was asked for in the last {:.0} s", reply.window_s),
        false => format!("{}\nover the last {:.0} s", table(&head, &rows), reply.window_s),
    };
    Done { text, json: as_json(reply) }
}

fn as_json(reply: &ListHotChannelsResponse) -> Value {
    let channels = reply.channels.iter().map(|channel| {
        json!({
            "channel_id": channel.channel_id.to_string(),
            "requests_per_s": channel.requests_per_s,
            "database_reads_per_s": channel.database_reads_per_s,
            "writes_per_s": channel.writes_per_s,
            "refused_per_s": channel.refused_per_s,
        })
    });
    json!({ "window_s": reply.window_s, "channels": channels.collect::<Vec<_>>() })
}
