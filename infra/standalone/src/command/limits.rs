//! `weir limits …`

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use time::{OffsetDateTime, UtcOffset};
use weir_data_client::DataClient;
use weir_proto::admin::{
    Limit, LimitChange, LimitKind, ListLimitChangesRequest, ListLimitsRequest, SetLimitRequest,
    UnsetLimitRequest,
};

use super::{Context, answered, options, words};
use crate::{
    error::CommandError,
    limit::{rate, scope, until},
    output::{Done, table},
    reach::{IfAbsent, Service},
};

/// Longest reason, in characters: a sentence or two, which a table can still show.
const REASON_MAX: usize = 500;
/// Longest name of the operator, in characters: a user, an `@` and the longest host name in use.
const WHO_MAX: usize = 100;

/// `weir limits …`
#[derive(Debug, Subcommand)]
pub(crate) enum LimitsAction {
    /// Limits in force
    List,
    /// Limits of one scope
    Get {
        /// channel/ID, channel/*, guild/ID, guild/*, class/reads, class/writes, all, or gate/NAME
        scope: String,
        /// requests, database-reads, writes, concurrency or off; all if left out
        kind: Option<String>,
    },
    /// Put a limit into force, at once, in place of the one of the same scope and kind
    Set(SetArgs),
    /// Take a limit out of force
    Unset {
        /// Its scope
        scope: String,
        /// Its kind
        kind: String,
        /// Who does it, for the record (default: $USER@host)
        #[arg(long)]
        who: Option<String>,
    },
    /// Who changed what, newest first
    History {
        /// Only this scope
        #[arg(long)]
        scope: Option<String>,
        /// How many changes
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
}

/// `weir limits set …`
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// channel/ID, channel/*, guild/ID, guild/*, class/reads, class/writes, all; or gate/NAME, to switch a
    /// gate off
    scope: String,
    /// requests, database-reads, writes or concurrency; off for a gate
    kind: String,
    /// Such as 50/s, 3000/m or 100/h (0/s refuses everything); for concurrency a number, such as 8; for a
    /// gate nothing
    rate: Option<String>,
    /// Requests that may come at once, at least 1 (default: a second's worth)
    #[arg(long)]
    burst: Option<u64>,
    /// Ends then: 18:00, or 2026-01-31T18:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "for_")]
    until: Option<String>,
    /// Ends after that: 30s, 10m, 1h30m
    #[arg(long = "for", id = "for_", value_name = "DURATION")]
    for_: Option<String>,
    /// Count what it would refuse, refuse nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    /// Who does it, for the record (default: $USER@host)
    #[arg(long)]
    who: Option<String>,
}

impl SetArgs {
    /// Returns the limit that the arguments describe.
    fn limit(self, now: OffsetDateTime) -> Result<Limit, CommandError> {
        let usage = |problem: &str| CommandError::Usage { problem: problem.to_owned() };
        let (scope, kind) = scope::with_kind(&self.scope, &self.kind)?;
        let rate = match (kind, self.rate.as_deref()) {
            (LimitKind::GateOff, None) => 0.0,
            (LimitKind::GateOff, Some(_)) => return Err(usage("a gate is off or not: it takes no rate")),
            (_, None) => return Err(usage("a limit needs its rate, such as 50/s, or 8 for concurrency")),
            (LimitKind::Concurrency, Some(text)) => rate::at_once(text)?,
            (
                LimitKind::Unspecified | LimitKind::Requests | LimitKind::DatabaseReads | LimitKind::Writes,
                Some(text),
            ) => rate::per_second(text)?,
        };
        words("--reason", &self.reason, REASON_MAX)?;
        words("--who", self.who.as_deref().unwrap_or_default(), WHO_MAX)?;
        if self.burst.is_some() && matches!(kind, LimitKind::Concurrency | LimitKind::GateOff) {
            return Err(usage("--burst goes with rates"));
        }
        // In the contract 0 stands for the default.
        if self.burst == Some(0) {
            return Err(usage("--burst is at least 1; to refuse everything set a rate of 0/s"));
        }
        let expires_at_ms = match (&self.until, &self.for_) {
            (Some(text), _) => until::instant(text, now)?,
            (None, Some(text)) => until::unix_ms(now + until::duration(text)?),
            (None, None) => 0,
        };
        Ok(Limit {
            scope,
            kind: kind.into(),
            rate,
            burst: self.burst.unwrap_or(0),
            expires_at_ms,
            dry_run: self.dry_run,
            set_by: self.who.unwrap_or_else(operator),
            reason: self.reason,
            ..Limit::default()
        })
    }
}

/// Runs the command.
pub(crate) async fn run(action: LimitsAction, context: &Context) -> Result<Done, CommandError> {
    // Arguments are checked first, so that a mistake waits for no server.
    let asked = Asked::of(action, OffsetDateTime::now_utc().to_offset(context.offset))?;
    let service = Service::server_or_store(&context.target(), IfAbsent::Refuse).await?;
    let outcome = ask(&service.client, asked, context.offset).await;
    let note = service.note();
    service.close().await;
    Ok(outcome?.noting(note))
}

/// The requested action, with its arguments parsed.
#[derive(Debug)]
enum Asked {
    List { scope: Option<String>, kind: Option<LimitKind> },
    Set(Box<Limit>),
    Unset(UnsetLimitRequest),
    History(ListLimitChangesRequest),
}

impl Asked {
    fn of(action: LimitsAction, now: OffsetDateTime) -> Result<Self, CommandError> {
        Ok(match action {
            LimitsAction::List => Self::List { scope: None, kind: None },
            LimitsAction::Get { scope, kind } => Self::List {
                scope: Some(scope::parse(&scope)?),
                kind: kind.as_deref().map(scope::kind).transpose()?,
            },
            LimitsAction::Set(args) => Self::Set(Box::new(args.limit(now)?)),
            LimitsAction::Unset { scope, kind, who } => {
                words("--who", who.as_deref().unwrap_or_default(), WHO_MAX)?;
                let (scope, kind) = scope::with_kind(&scope, &kind)?;
                Self::Unset(UnsetLimitRequest { scope, kind: kind.into(), who: who.unwrap_or_else(operator) })
            }
            LimitsAction::History { scope, limit } => Self::History(ListLimitChangesRequest {
                limit,
                scope: scope.as_deref().map(scope::parse).transpose()?.unwrap_or_default(),
            }),
        })
    }
}

async fn ask(client: &DataClient, asked: Asked, offset: UtcOffset) -> Result<Done, CommandError> {
    match asked {
        Asked::List { scope, kind } => {
            let reply = client.list_limits(&ListLimitsRequest {}, &options()).await;
            let mut limits = answered("cannot list the limits", reply)?.limits;
            limits.retain(|limit| scope.as_ref().is_none_or(|scope| limit.scope == *scope));
            limits.retain(|limit| kind.is_none_or(|kind| limit.kind() == kind));
            Ok(listed(&limits, offset))
        }
        Asked::Set(limit) => {
            let act = format!("cannot set the limit of {}", limit.scope);
            let reply = client.set_limit(&SetLimitRequest { limit: Some(*limit) }, &options()).await;
            let limit = answered(act, reply)?.limit.ok_or(CommandError::Incomplete { what: "limit" })?;
            Ok(Done { text: listed(std::slice::from_ref(&limit), offset).text, json: limit_json(&limit) })
        }
        Asked::Unset(request) => {
            let act = format!("cannot unset the limit of {}", request.scope);
            let existed = answered(act, client.unset_limit(&request, &options()).await)?.existed;
            let kind = scope::kind_name(request.kind());
            let text = if existed { "no longer in force" } else { "was not in force" };
            Ok(Done {
                text: format!("{} {kind}: {text}", request.scope),
                json: json!({ "scope": request.scope, "kind": kind, "existed": existed }),
            })
        }
        Asked::History(request) => {
            let reply = client.list_limit_changes(&request, &options()).await;
            Ok(changed(&answered("cannot read the history", reply)?.changes, offset))
        }
    }
}

const COLUMNS: [&str; 9] =
    ["scope", "kind", "rate", "burst", "ends", "dry run", "refused", "set by", "reason"];

fn cells(limit: &Limit, offset: UtcOffset) -> Vec<String> {
    let (bound, burst) = match limit.kind() {
        LimitKind::Concurrency => (limit.rate.to_string(), "-".to_owned()),
        LimitKind::GateOff => ("-".to_owned(), "-".to_owned()),
        LimitKind::Unspecified | LimitKind::Requests | LimitKind::DatabaseReads | LimitKind::Writes => {
            (rate::show(limit.rate), limit.burst.to_string())
        }
    };
    vec![
        limit.scope.clone(),
        scope::kind_name(limit.kind()).to_owned(),
        bound,
        burst,
        if limit.expires_at_ms == 0 { "never".to_owned() } else { until::show(limit.expires_at_ms, offset) },
        if limit.dry_run { "yes" } else { "no" }.to_owned(),
        limit.refused.to_string(),
        limit.set_by.clone(),
        limit.reason.clone(),
    ]
}

fn listed(limits: &[Limit], offset: UtcOffset) -> Done {
    let rows: Vec<_> = limits.iter().map(|limit| cells(limit, offset)).collect();
    let text = if rows.is_empty() { "no limit is in force".to_owned() } else { table(&COLUMNS, &rows) };
    Done { text, json: json!({ "limits": limits.iter().map(limit_json).collect::<Vec<_>>() }) }
}

fn changed(changes: &[LimitChange], offset: UtcOffset) -> Done {
    let row = |change: &LimitChange| {
        let mut row = vec![until::show(change.at_ms, offset), change.who.clone(), change.action.clone()];
        // The row leaves out two columns: the service's count, and the author of the change.
        row.extend(change.limit.iter().flat_map(|limit| {
            let cells = cells(limit, offset);
            cells.into_iter().enumerate().filter(|(column, _)| !matches!(column, 6 | 7)).map(|(_, cell)| cell)
        }));
        row
    };
    let head = ["at", "who", "action", "scope", "kind", "rate", "burst", "ends", "dry run", "reason"];
    let rows: Vec<_> = changes.iter().map(row).collect();
    let text = if rows.is_empty() { "no limit was ever changed".to_owned() } else { table(&head, &rows) };
    let change_json = |change: &LimitChange| {
        let limit = change.limit.as_ref().map(limit_json);
        json!({ "at_ms": change.at_ms, "who": change.who, "action": change.action, "limit": limit })
    };
    Done { text, json: json!({ "changes": changes.iter().map(change_json).collect::<Vec<_>>() }) }
}

fn limit_json(limit: &Limit) -> Value {
    json!({
        "scope": limit.scope,
        "kind": scope::kind_name(limit.kind()),
        "rate": limit.rate,
        "burst": limit.burst,
        "expires_at_ms": limit.expires_at_ms,
        "dry_run": limit.dry_run,
        "set_by": limit.set_by,
        "set_at_ms": limit.set_at_ms,
        "reason": limit.reason,
        "refused": limit.refused,
    })
}

/// `$USER@host`, with the parts that are known.
fn operator() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::geteuid().as_raw()));
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use time::macros::datetime;

    use crate::cli::{Cli, Command};

    fn set(line: &str) -> Result<Limit, CommandError> {
        let cli = Cli::try_parse_from(line.split(' ')).expect("clap takes it");
        let Some(Command::Limits { action }) = cli.command else { panic!("not limits: {cli:?}") };
        match Asked::of(action, datetime!(2026-03-01 17:00:00 UTC))? {
            Asked::Set(limit) => Ok(*limit),
            other => panic!("not set: {other:?}"),
        }
    }

    #[test]
    fn a_whole_line_becomes_a_limit() {
        let limit = set("weir limits set channel/123 requests 50/s --burst 100 --until 18:00 --dry-run --reason raid --who me")
            .expect("good");
        let expected = Limit {
            scope: "channel/123".to_owned(),
            kind: LimitKind::Requests.into(),
            rate: 50.0,
            burst: 100,
            expires_at_ms: until::unix_ms(datetime!(2026-03-01 18:00:00 UTC)),
            dry_run: true,
            set_by: "me".to_owned(),
            reason: "raid".to_owned(),
            ..Limit::default()
        };
        assert_eq!(limit, expected);
    }

    #[test]
    fn without_flags_it_stays_and_the_operator_is_on_record() {
        let limit = set("weir limits set all concurrency 8").expect("good");
        assert_eq!((limit.expires_at_ms, limit.rate, limit.burst, limit.dry_run), (0, 8.0, 0, false));
        assert!(limit.set_by.contains('@'));
        let off = set("weir limits set gate/database-read-limit off --for 10m").expect("good");
        assert_eq!(
            (off.scope.as_str(), off.kind(), off.rate),
            ("gate/database_read_limit", LimitKind::GateOff, 0.0)
        );
        let limit = set("weir limits set all writes 10/s --for 10m").expect("good");
        assert_eq!(limit.expires_at_ms, until::unix_ms(datetime!(2026-03-01 17:10:00 UTC)));
    }

    #[test]
    fn the_record_takes_one_line_of_readable_text() {
        for (flag, text) in [
            ("--reason", "x".repeat(REASON_MAX + 1)),
            ("--reason", "\u{1b}[31mred".to_owned()),
            ("--who", "x".repeat(WHO_MAX + 1)),
            ("--who", "a\nb".to_owned()),
        ] {
            let error = set(&format!("weir limits set all requests 5/s {flag} {text}")).expect_err(flag);
            assert_eq!(error.exit(), weir_runtime::Exit::Usage);
        }
        assert!(
            set(&format!("weir limits set all requests 5/s --reason {}", "x".repeat(REASON_MAX))).is_ok()
        );
    }

    #[test]
    fn wrong_words_are_usage_errors() {
        for line in [
            "weir limits set 123 requests 50/s",
            "weir limits set all request 50/s",
            "weir limits set all requests 50",
            "weir limits set all concurrency 8/s",
            "weir limits set all concurrency 8 --burst 2",
            "weir limits set all requests 5/s --burst 0",
            "weir limits set all requests",
            "weir limits set all off",
            "weir limits set gate/cache off 5/s",
            "weir limits set gate/cache off --burst 5",
            "weir limits set all requests 5/s --for 10",
            "weir limits set all requests 5/s --until noon",
        ] {
            let error = set(line).expect_err(line);
            assert_eq!(error.exit(), weir_runtime::Exit::Usage, "{line}");
        }
        let both = "weir limits set all requests 5/s --for 1m --until 18:00";
        assert!(Cli::try_parse_from(both.split(' ')).is_err(), "two ends");
    }

    #[test]
    fn limits_are_listed_in_the_words_they_were_set_in() {
        let limit = set("weir limits set channel/123 database-reads 30/m --who me --reason x").expect("good");
        let text = listed(&[limit], UtcOffset::UTC).text;
        assert!(text.contains("channel/123  database-reads  30/m"), "{text}");
        assert_eq!(listed(&[], UtcOffset::UTC).text, "no limit is in force");
    }
}
