//! `weir explain CHANNEL`.

use clap::Args;
use serde_json::{Value, json};
use time::UtcOffset;
use weir_proto::{
    admin::{ExplainChannelRequest, ExplainChannelResponse},
    bucket::Bucket,
    id::{ChannelId, unix_ms},
};

use super::{Context, answered, options};
use crate::{
    error::CommandError,
    limit::{rate, scope, until},
    output::Done,
    reach::Service,
};

/// The number of newest buckets that are listed one by one; the others are counted.
const BUCKETS_SHOWN: usize = 3;

/// `weir explain …`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The channel's id
    channel: ChannelId,
}

/// Runs the command.
pub(crate) async fn run(args: ExplainArgs, context: &Context) -> Result<Done, CommandError> {
    let service = Service::server(&context.target()).await?;
    let request = ExplainChannelRequest { channel_id: args.channel.get() };
    let reply = service.client.explain_channel(&request, &options()).await;
    let reply = answered(format!("cannot explain channel {}", args.channel), reply)?;
    Ok(Done { text: describe(&reply, context.offset), json: as_json(&reply) })
}

fn describe(seen: &ExplainChannelResponse, offset: UtcOffset) -> String {
    let last = match seen.last_message_id {
        0 => "not known without a read".to_owned(),
        id => format!("{id}, {}", until::show(unix_ms(id), offset)),
    };
    let tail = match seen.tail_warm {
        true => format!(
            "warm, {} rows: reads of the newest messages cost no read in the database",
            seen.tail_rows
        ),
        false => "cold".to_owned(),
    };
    let writes = match (seen.unresolved_write, seen.queued_writes) {
        (true, queued) => {
            format!("one whose outcome is not known yet holds the channel, {queued} wait behind it")
        }
        (false, 0) => "none wait".to_owned(),
        (false, queued) => format!("{queued} wait"),
    };
    let mut lines = vec![
        format!("channel {}", seen.channel_id),
        format!("  a read of its newest page now: {}", seen.outcome),
    ];
    lines.extend(seen.gates.iter().map(|gate| format!("    {gate}")));
    lines.push(format!("  owner         {}", seen.owner));
    lines.push(format!("  last message  {last}"));
    lines.push(format!("  last rev      {}", seen.last_rev));
    lines.push(format!("  tail          {tail}"));
    lines.push(format!("  writes        {writes}"));
    lines.push(format!("  buckets       {}", buckets(&seen.buckets, offset)));
    lines.push(
        format!("  limits        {}", if seen.limits.is_empty() { "none" } else { "" }).trim_end().to_owned(),
    );
    for limit in &seen.limits {
        let dry = if limit.dry_run { ", dry run" } else { "" };
        let kind = scope::kind_name(limit.kind());
        lines.push(format!(
            "    {} {kind} {}, {} refused{dry}",
            limit.scope,
            rate::show(limit.rate),
            limit.refused
        ));
    }
    lines.join("\n")
}

/// Lists the buckets, newest first, with the day on which each began.
fn buckets(numbers: &[u32], offset: UtcOffset) -> String {
    let day = |number: u32| {
        let began = until::show(unix_ms(Bucket(number).first_raw()), offset);
        format!("{number} (from {})", began.split(' ').next().unwrap_or_default())
    };
    let shown: Vec<_> = numbers.iter().take(BUCKETS_SHOWN).map(|number| day(*number)).collect();
    match numbers.len() {
        0 => "none: nothing was ever written".to_owned(),
        count if count <= BUCKETS_SHOWN => shown.join(", "),
        count => format!("{} and {} older ones", shown.join(", "), count - BUCKETS_SHOWN),
    }
}

fn as_json(seen: &ExplainChannelResponse) -> Value {
    let limits = seen.limits.iter().map(|limit| {
        json!({
            "scope": limit.scope,
            "kind": scope::kind_name(limit.kind()),
            "rate": limit.rate,
            "dry_run": limit.dry_run,
            "refused": limit.refused,
        })
    });
    json!({
        "channel_id": seen.channel_id.to_string(),
        "outcome": seen.outcome,
        "gates": seen.gates,
        "owner": seen.owner,
        "last_message_id": seen.last_message_id.to_string(),
        "last_rev": seen.last_rev.to_string(),
        "tail_warm": seen.tail_warm,
        "tail_rows": seen.tail_rows,
        "unresolved_write": seen.unresolved_write,
        "queued_writes": seen.queued_writes,
        "buckets": seen.buckets,
        "limits": limits.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_and_not_shown_as_zero() {
        let text = describe(
            &ExplainChannelResponse { channel_id: 7, outcome: "led".to_owned(), ..Default::default() },
            UtcOffset::UTC,
        );
        for part in [
            "channel 7",
            "now: led",
            "not known without a read",
            "cold",
            "none wait",
            "nothing was ever written",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn buckets_are_dated_and_the_old_ones_counted() {
        assert_eq!(buckets(&[1, 0], UtcOffset::UTC), "1 (from 2015-01-11), 0 (from 2015-01-01)");
        assert!(buckets(&[9, 8, 7, 6, 5], UtcOffset::UTC).ends_with("and 2 older ones"));
    }
}
