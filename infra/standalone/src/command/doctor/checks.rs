//! The checks, in the order in which an operator should read them.

use std::{fs, net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;
use weir_connect::ServerConfig;
use weir_data_service::{
    backend::{PingError, StoreChoice, ping_bus},
    memory::ListenerBounds,
};
use weir_runtime::{
    descriptors,
    launch::chain,
    memory::{Fit, Limit, PARTS_SHARE, fit_process},
    process::Build,
    running::token_file,
};
use weir_store::{
    Store as _,
    cql::CqlStore,
    embedded::{self, EmbeddedStore, OpenError},
};

use super::finding::Finding;
use crate::{
    command::{Context, now_ms},
    memory::shares,
    reach::{ReachError, Service, holder},
};

/// Free space below which writes will soon fail. The embedded store's journals (256 MiB) and one large
/// compaction need this much.
const ROOM_MIN: u64 = 1 << 30;
/// Free space from which the check passes.
const ROOM_COMFORTABLE: u64 = 8 << 30;
/// Open files below which starting is pointless.
const FILES_MIN: u64 = 256;
/// 2026-01-01T00:00:00Z. No machine that runs this version has an earlier date.
const CLOCK_MIN_MS: u64 = 1_767_225_600_000;
/// How far this machine's clock may differ from the database's: within this bound nodes make ids.
const CLOCK_OFF_MAX: Duration = Duration::from_millis(500);
/// Time for the database to answer.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// Every check.
pub(super) async fn all(context: &Context) -> Vec<Finding> {
    let config = &context.config;
    let directory = &config.backend.directory;
    let mut findings = vec![
        Finding::ok("build", Build::current().to_string()),
        configuration(context),
        data_directory(directory),
    ];
    findings.extend(token(directory));
    findings.push(room(directory));
    findings.push(clock());
    findings.push(files(context));
    findings.push(memory(context));
    let (server, runs) = server(context).await;
    findings.push(server);
    match &config.backend.store {
        StoreChoice::Embedded => findings.push(embedded_store(context, runs).await),
        StoreChoice::Cql(_) => findings.extend(cluster(context).await),
    }
    let bus = &config.backend.bus;
    findings.extend(ping_bus(bus).await.map(|answered| judge_bus(&bus.to_string(), &answered)));
    if !runs {
        let listen = config.listen;
        for (name, address) in [
            ("api listener", listen.api),
            ("gateway listener", listen.gateway),
            ("data service listener", listen.data_service),
            ("admin listener", listen.admin),
        ] {
            findings.push(listener(name, address).await);
        }
    }
    findings
}

fn configuration(context: &Context) -> Finding {
    let backend = &context.config.backend;
    Finding::ok(
        "configuration",
        format!("store {}, bus {}; `weir --check-config` shows all of it", backend.store, backend.bus),
    )
}

fn data_directory(directory: &Path) -> Finding {
    const CHECK: &str = "data directory";
    let shown = directory.display();
    let metadata = match fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match writable(existing(directory)) {
                Ok(()) => Finding::ok(CHECK, format!("{shown} is not there yet; the first start makes it")),
                Err(error) => Finding::fail(
                    CHECK,
                    format!("{shown} is not there and cannot be made: {error}"),
                    "name another with --data",
                ),
            };
        }
        Err(error) => {
            return Finding::fail(CHECK, format!("{shown}: {error}"), "make it readable to this user");
        }
    };
    let mode = metadata.mode() & 0o777;
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        return Finding::fail(CHECK, format!("{shown} is not a directory"), "name another with --data");
    }
    if metadata.uid() != own && own != 0 {
        let found = format!("{shown} belongs to user {}, this is user {own}", metadata.uid());
        return Finding::fail(CHECK, found, "run as that user, or name another directory with --data");
    }
    if let Err(error) = writable(directory) {
        let fix = "a server must be able to write there: remount it, or name another with --data";
        return Finding::fail(CHECK, format!("nothing can be written to {shown}: {error}"), fix);
    }
    if mode & 0o077 != 0 {
        return Finding::warn(
            CHECK,
            format!("{shown} has permissions {mode:03o}: others can look into it"),
            format!("chmod 700 {shown}"),
        );
    }
    Finding::ok(CHECK, format!("{shown}, permissions {mode:03o}"))
}

/// The directory itself, or its nearest parent that exists.
fn existing(directory: &Path) -> &Path {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    if there.as_os_str().is_empty() { Path::new(".") } else { there }
}

/// Writes a file to find out: permissions do not show that a file system is read-only, or that it takes no
/// files.
fn writable(directory: &Path) -> std::io::Result<()> {
    // The name belongs to this process alone. The file has no name any more when this returns.
    let path = directory.join(format!(".weir-doctor-{}", std::process::id()));
    fs::File::create_new(&path)?;
    fs::remove_file(&path)
}

fn token(directory: &Path) -> Option<Finding> {
    let path = token_file(directory);
    match weir_runtime::AdminToken::load(&path) {
        Ok(_) => Some(Finding::ok("admin token", path.display().to_string())),
        Err(weir_runtime::admin::AdminTokenError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            None
        }
        Err(error) => Some(Finding::fail("admin token", chain(&error), "see the message")),
    }
}

fn room(directory: &Path) -> Finding {
    const CHECK: &str = "disk";
    // A directory that does not exist yet will be on its parent's disk.
    let there = existing(directory);
    match rustix::fs::statvfs(there) {
        Ok(disk) => judge_room(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::warn(
            CHECK,
            format!("the room of {} is not known: {error}", there.display()),
            "look at it yourself",
        ),
    }
}

fn judge_room(bytes: u64) -> Finding {
    const CHECK: &str = "disk";
    let found = format!("{:.1} GiB free", bytes as f64 / f64::from(1 << 30));
    if bytes < ROOM_MIN {
        return Finding::fail(CHECK, found, "free at least 1 GiB: a store that cannot write stops");
    }
    if bytes < ROOM_COMFORTABLE {
        return Finding::warn(CHECK, found, "watch it: messages are never deleted by themselves");
    }
    Finding::ok(CHECK, found)
}

fn clock() -> Finding {
    if now_ms() < CLOCK_MIN_MS {
        return Finding::fail(
            "clock",
            "it shows a time before 2026",
            "set it: ids and their order are made of it",
        );
    }
    Finding::ok("clock", "plausible")
}

fn files(context: &Context) -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let config = &context.config;
    let data = ServerConfig::default().connections_max;
    let connections = [config.gateway.connections_max, config.api.bounds.connections_max, data];
    let wanted = connections.iter().fold(0_u64, |sum, bound| sum.saturating_add(*bound as u64));
    // `serve` raises its own limit as far as it may.
    judge_files(limit.maximum.unwrap_or(u64::MAX), wanted)
}

/// `connections` is the sum of the bounds of all listeners.
fn judge_files(most: u64, connections: u64) -> Finding {
    const CHECK: &str = "open files";
    let found = if most == u64::MAX { "no limit".to_owned() } else { format!("at most {most}") };
    let wanted = connections.saturating_add(descriptors::RESERVE);
    let fix = format!("raise the hard limit to {wanted} or more (ulimit -Hn, or LimitNOFILE= of systemd)");
    if most < FILES_MIN {
        Finding::fail(CHECK, found, fix)
    } else if most - descriptors::reserve(most) < connections {
        let left = most - descriptors::reserve(most);
        let told = format!("{found}: {left} connections are taken where {connections} are configured");
        Finding::warn(CHECK, told, fix)
    } else {
        Finding::ok(CHECK, found)
    }
}

fn memory(context: &Context) -> Finding {
    let (mut config, mut listener) = (context.config.clone(), ListenerBounds::default());
    let (limit, fit) = fit_process(config.memory_max, shares(&mut config, &mut listener));
    judge_memory(limit, fit)
}

fn judge_memory(limit: Limit, fit: Fit) -> Finding {
    const CHECK: &str = "memory";
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let may = format!("{} may be used, by {}", mib(limit.bytes), limit.origin.as_str());
    match fit {
        Fit::Whole { wanted } => {
            Finding::ok(CHECK, format!("{may}; all parts together hold at most {}", mib(wanted)))
        }
        Fit::Cut { wanted, left } => {
            let found = format!(
                "{may}: all parts together hold at most {} where {} are configured",
                mib(left),
                mib(wanted)
            );
            let fix = format!(
                "give the process {} or more, or set smaller parts",
                mib(wanted / PARTS_SHARE.0 * PARTS_SHARE.1)
            );
            // With half of every bound the service still works: caches hit less often, and it takes fewer
            // connections.
            if left < wanted / 2 || left > limit.parts() {
                Finding::warn(CHECK, found, fix)
            } else {
                Finding::ok(CHECK, found)
            }
        }
    }
}

/// Whether a server runs, as a finding and as a flag.
async fn server(context: &Context) -> (Finding, bool) {
    const CHECK: &str = "server";
    match Service::server(&context.target()).await {
        Ok(_) => (Finding::ok(CHECK, "runs and accepts the admin token"), true),
        Err(ReachError::NoServer { directory }) => match holder(&directory) {
            Some(pid) => {
                let found = format!(
                    "process {pid} holds {} but its admin listener does not answer",
                    directory.display()
                );
                (
                    Finding::fail(CHECK, found, "wait if it is starting or stopping; else look at its log"),
                    true,
                )
            }
            None => (Finding::ok(CHECK, "none runs on this data directory"), false),
        },
        Err(error) => (Finding::fail(CHECK, chain(&error), "see the message"), true),
    }
}

/// Checks the embedded store from outside, and, unless a server has it open, whether it can be opened.
async fn embedded_store(context: &Context, runs: bool) -> Finding {
    let backend = &context.config.backend;
    let found = layout(&backend.directory);
    let there = matches!(embedded::inspect(&backend.directory), Ok(Some(_)));
    if runs || !there {
        return found;
    }
    let config = backend.embedded.clone();
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(config)).await;
    match opened {
        Ok(Ok(store)) => {
            store.close().await;
            Finding { found: format!("{}; it opens, its tables were not read through", found.found), ..found }
        }
        Ok(Err(error)) => Finding::fail(CHECK_STORE, chain(&error), RESTORE),
        Err(_panicked) => Finding::fail(CHECK_STORE, "it is damaged: opening it failed", RESTORE),
    }
}

/// Name of the store's check.
const CHECK_STORE: &str = "store";
/// What to do about a damaged store.
const RESTORE: &str = "restore the directory from a backup, or name another with --data";

fn layout(directory: &Path) -> Finding {
    match embedded::inspect(directory) {
        Ok(Some(found)) => Finding::ok(CHECK_STORE, format!("embedded, layout {found}")),
        Ok(None) => Finding::ok(CHECK_STORE, "embedded, not made yet"),
        Err(error @ OpenError::Newer { .. }) => {
            Finding::fail(CHECK_STORE, chain(&error), "use the newer build that wrote it")
        }
        Err(error) => Finding::fail(CHECK_STORE, chain(&error), RESTORE),
    }
}

async fn cluster(context: &Context) -> Vec<Finding> {
    const CHECK: &str = "store";
    let store = match CqlStore::connect(context.config.backend.cql.clone()).await {
        Ok(store) => store,
        Err(error) => return vec![Finding::fail(CHECK, chain(&error), "see the message")],
    };
    let ready = match store.ready(READY_WITHIN).await {
        Ok(()) => {
            Finding::ok(CHECK, format!("{} answers, its schema is right", context.config.backend.store))
        }
        Err(error) => Finding::fail(CHECK, chain(&error), "look at the cluster"),
    };
    let clock = match store.clock_us().await {
        Ok(theirs) => judge_clock(Duration::from_millis((theirs / 1_000).abs_diff(now_ms()))),
        Err(error) => Finding::fail("database clock", chain(&error), "look at the cluster"),
    };
    vec![ready, clock]
}

/// Judges the bus between machines; `bus` is shown without its password.
fn judge_bus(bus: &str, answered: &Result<(), PingError>) -> Finding {
    const CHECK: &str = "bus";
    match answered {
        Ok(()) => Finding::ok(CHECK, format!("{bus} answers")),
        Err(error) => Finding::fail(
            CHECK,
            format!("{bus}: {}", chain(error)),
            "start Redis there, or set bus.url: until it answers no event reaches a gateway",
        ),
    }
}

fn judge_clock(off: Duration) -> Finding {
    const CHECK: &str = "database clock";
    let found = format!("{} ms off this machine's, the time of the question included", off.as_millis());
    if off > CLOCK_OFF_MAX {
        return Finding::fail(
            CHECK,
            found,
            "synchronise both (chrony, ntpd): a node that is more than 500 ms off does not write",
        );
    }
    if off > CLOCK_OFF_MAX / 2 {
        return Finding::warn(CHECK, found, "synchronise both (chrony, ntpd)");
    }
    Finding::ok(CHECK, found)
}

async fn listener(name: &'static str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        Err(error) => Finding::fail(
            name,
            format!("{address}: {error}"),
            "end what listens there, or choose another port",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Verdict;
    use std::os::unix::fs::PermissionsExt as _;
    use weir_runtime::memory::Origin;
    use weir_store::embedded::LAYOUT_VERSION;

    #[test]
    fn judgements_follow_their_borders() {
        let limit = Limit { bytes: 400, origin: Origin::Machine };
        let verdicts = [
            (judge_room(ROOM_MIN - 1).verdict, Verdict::Fail),
            (judge_room(ROOM_MIN).verdict, Verdict::Warn),
            (judge_room(ROOM_COMFORTABLE).verdict, Verdict::Ok),
            (judge_files(FILES_MIN - 1, 20_120).verdict, Verdict::Fail),
            // The default bounds of all listeners, under the customary limit.
            (judge_files(20_000, 20_120).verdict, Verdict::Warn),
            (judge_files(22_168, 20_120).verdict, Verdict::Ok),
            (judge_files(u64::MAX, 20_120).verdict, Verdict::Ok),
            (judge_memory(limit, Fit::Whole { wanted: 1 }).verdict, Verdict::Ok),
            (judge_memory(limit, Fit::Cut { wanted: 500, left: 300 }).verdict, Verdict::Ok),
            (judge_memory(limit, Fit::Cut { wanted: 700, left: 300 }).verdict, Verdict::Warn),
            // Even the smallest sizes of all parts exceed the limit.
            (judge_memory(limit, Fit::Cut { wanted: 500, left: 301 }).verdict, Verdict::Warn),
            (judge_clock(Duration::from_millis(501)).verdict, Verdict::Fail),
            (judge_clock(Duration::from_millis(300)).verdict, Verdict::Warn),
            (judge_clock(Duration::ZERO).verdict, Verdict::Ok),
        ];
        for (index, (found, expected)) in verdicts.into_iter().enumerate() {
            assert_eq!(found, expected, "case {index}");
        }
    }

    #[test]
    fn a_directory_that_others_can_read_is_a_warning_and_a_newer_layout_a_failure() {
        let directory = tempfile::tempdir().expect("a directory");
        let mode =
            |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o755);
        assert_eq!(data_directory(directory.path()).verdict, Verdict::Warn);
        mode(0o700);
        assert_eq!(data_directory(directory.path()).verdict, Verdict::Ok);
        assert_eq!(data_directory(&directory.path().join("new")).verdict, Verdict::Ok);
        assert_eq!(layout(directory.path()).verdict, Verdict::Ok);
        fs::write(directory.path().join("VERSION"), format!("{}", LAYOUT_VERSION + 1)).expect("written");
        assert_eq!(layout(directory.path()).verdict, Verdict::Fail);
        fs::write(directory.path().join("VERSION"), format!("{LAYOUT_VERSION}")).expect("written");
        let found = layout(directory.path());
        assert!(found.verdict == Verdict::Fail && found.found.contains("lsm/version"), "{found:?}");
    }

    #[test]
    fn a_directory_that_takes_no_files_is_a_failure() {
        for path in ["/proc/weir", "/proc"] {
            let found = data_directory(Path::new(path));
            assert_eq!(found.verdict, Verdict::Fail, "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_redis_that_does_not_answer_is_a_failure_and_its_password_stays_here() {
        use weir_data_service::backend::BusChoice;

        assert!(ping_bus(&BusChoice::Memory).await.is_none(), "nothing to ask");
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
        let bus = BusChoice::Redis { url: format!("redis://weir:hunter2@{free}") };
        let answered = ping_bus(&bus).await.expect("there is one");
        let found = judge_bus(&bus.to_string(), &answered);
        assert_eq!(found.verdict, Verdict::Fail);
        let shown = format!("{found:?}");
        assert!(shown.contains(&format!("redis://***@{free}")) && !shown.contains("hunter2"), "{shown}");
        assert_eq!(judge_bus("redis://h", &Ok(())).verdict, Verdict::Ok);
    }

    #[tokio::test]
    async fn an_address_in_use_is_a_failure() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("bound");
        assert_eq!(listener("api listener", address).await.verdict, Verdict::Fail);
        drop(taken);
        assert_eq!(listener("api listener", address).await.verdict, Verdict::Ok);
    }

    #[test]
    fn who_holds_the_lock_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(holder(directory.path()), None);
        let lock = fs::File::create(directory.path().join("weir.lock")).expect("made");
        fs::write(directory.path().join("weir.lock"), "42\n").expect("written");
        assert_eq!(holder(directory.path()), None);
        lock.lock().expect("free");
        assert_eq!(holder(directory.path()).as_deref(), Some("42"));
    }
}
