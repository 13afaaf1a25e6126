//! The schema: numbered, checksummed migrations, applied by `weir schema apply` and checked by every process
//! that connects.
//!
//! A migration is a file that never changes once it is released. Its checksum is kept in `schema_migrations`.
//! A difference is drift and is refused, because then the form of the tables is not known. Every statement
//! can be repeated (`IF NOT EXISTS`), so an interrupted migration is run again from its beginning. Migrations
//! only add, so that versions N and N + 1 of Weir can run side by side.

mod error;
mod migration;

use scylla::{
    client::session::Session,
    errors::{DbError, ExecutionError, RequestAttemptError},
    statement::{SerialConsistency, unprepared::Statement},
    value::Row,
};

pub use self::{
    error::SchemaError,
    migration::{MIGRATIONS, Migration},
};
use super::{
    CqlConfig,
    config::Replication,
    session::{self, serial},
};

/// Longest life of the lock row between two appliers; longer than all migrations take together.
const APPLYING_SECONDS_MAX: u32 = 300;
/// The number of that row.
const APPLYING: i32 = 0;

/// The result of `apply`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Whether the keyspace was created.
    pub keyspace_created: bool,
    /// Numbers of the migrations that were run now.
    pub applied: Vec<i32>,
    /// Number of the newest migration in the database.
    pub version: i32,
    /// What an operator should know or do.
    pub notes: Vec<String>,
}

/// Creates the keyspace if it is missing and runs the migrations that it lacks. Running it again changes
/// nothing.
///
/// # Errors
/// [`SchemaError`]
///
/// # Cancel safety
/// A dropped call may leave a migration half run. The next call runs it again, at the latest after five
/// minutes.
pub async fn apply(config: &CqlConfig) -> Result<Applied, SchemaError> {
    let session = connect(config).await?;
    let scylla = is_scylla(&session).await?;
    let existed = keyspace_exists(&session, config).await?;
    run(&session, "creating the keyspace", &create_keyspace(config, scylla)).await?;
    if scylla && existed && uses_tablets(&session, config).await? {
        return Err(SchemaError::Tablets { keyspace: config.keyspace.clone() });
    }
    run(&session, "creating schema_migrations", &create_migrations(&config.keyspace)).await?;
    if !lock(&session, config).await? {
        return Err(SchemaError::Applying { keyspace: config.keyspace.clone() });
    }
    let applied = apply_missing(&session, config).await;
    // The row is removed even after an error, so that the next applier need not wait for it to expire.
    let unlocked = unlock(&session, config).await;
    let (applied, version) = applied?;
    unlocked?;
    Ok(Applied { keyspace_created: !existed, applied, version, notes: notes(config, scylla) })
}

/// Checks that a keyspace has every migration of this build, unchanged. Newer ones are accepted, because
/// migrations only add.
pub(super) async fn check(session: &Session, keyspace: &str) -> Result<i32, SchemaError> {
    let wanted = MIGRATIONS.iter().map(|migration| migration.number).max().unwrap_or(0);
    let found = match present(session, keyspace).await {
        Ok(present) => verify(keyspace, &present)?,
        Err(SchemaError::Statement { source, .. }) if is_invalid(&source) => 0,
        Err(error) => return Err(error),
    };
    if found < wanted {
        return Err(SchemaError::Old { keyspace: keyspace.to_owned(), found, wanted });
    }
    Ok(found)
}

async fn connect(config: &CqlConfig) -> Result<Session, SchemaError> {
    if !config.keyspace_is_valid() {
        return Err(SchemaError::BadKeyspace { keyspace: config.keyspace.clone() });
    }
    let opened = tokio::time::timeout(config.connect_timeout, session::open(config)).await;
    let opened = opened.map_err(|_elapsed| SchemaError::Timeout(config.connect_timeout))?;
    opened.map_err(|error| SchemaError::Unreachable(Box::new(error)))
}

async fn apply_missing(session: &Session, config: &CqlConfig) -> Result<(Vec<i32>, i32), SchemaError> {
    let keyspace = &config.keyspace;
    let present = present(session, keyspace).await?;
    let mut version = verify(keyspace, &present)?;
    let mut applied = Vec::new();
    for migration in
        MIGRATIONS.iter().filter(|migration| !present.iter().any(|(number, _)| *number == migration.number))
    {
        for statement in migration.statements(keyspace) {
            // A column cannot be added twice. An earlier run may have ended between this statement and the
            // note that the migration was applied.
            if let Some((table, column)) = migration::added_column(&statement)
                && column_exists(session, keyspace, table, column).await?
            {
                continue;
            }
            run(session, &format!("migration {} ({})", migration.number, migration.name), &statement).await?;
        }
        let note = format!(
            "INSERT INTO {keyspace}.schema_migrations (number, name, checksum, applied_at) \
             VALUES ({}, '{}', '{}', toTimestamp(now()))",
            migration.number,
            migration.name,
            migration.checksum(),
        );
        run(session, "noting a migration", &note).await?;
        applied.push(migration.number);
        version = version.max(migration.number);
    }
    Ok((applied, version))
}

/// Compares the database's migrations with this build's; gives the highest number.
fn verify(keyspace: &str, present: &[(i32, String)]) -> Result<i32, SchemaError> {
    for (number, found) in present {
        let Some(ours) = MIGRATIONS.iter().find(|migration| migration.number == *number) else { continue };
        let wanted = ours.checksum();
        if *found != wanted {
            let keyspace = keyspace.to_owned();
            return Err(SchemaError::Drift { keyspace, number: *number, found: found.clone(), wanted });
        }
    }
    Ok(present.iter().map(|(number, _)| *number).max().unwrap_or(0))
}

/// Numbers and checksums of the migrations in the database.
async fn present(session: &Session, keyspace: &str) -> Result<Vec<(i32, String)>, SchemaError> {
    let statement = format!("SELECT number, checksum FROM {keyspace}.schema_migrations");
    let rows: Vec<(i32, Option<String>)> = rows(session, "reading schema_migrations", &statement).await?;
    let done = rows.into_iter().filter(|(number, _)| *number != APPLYING);
    Ok(done.map(|(number, checksum)| (number, checksum.unwrap_or_default())).collect())
}

/// Takes the lock row that keeps two appliers apart.
async fn lock(session: &Session, config: &CqlConfig) -> Result<bool, SchemaError> {
    let statement = format!(
        "INSERT INTO {}.schema_migrations (number, name) VALUES ({APPLYING}, 'applying') IF NOT EXISTS \
         USING TTL {APPLYING_SECONDS_MAX}",
        config.keyspace
    );
    transaction(session, "locking schema_migrations", &statement, serial(config)).await
}

async fn unlock(session: &Session, config: &CqlConfig) -> Result<(), SchemaError> {
    let statement =
        format!("DELETE FROM {}.schema_migrations WHERE number = {APPLYING} IF EXISTS", config.keyspace);
    transaction(session, "unlocking schema_migrations", &statement, serial(config)).await.map(drop)
}

fn create_keyspace(config: &CqlConfig, scylla: bool) -> String {
    let replication = match &config.replication {
        Replication::Simple { factor } => {
            format!("'class': 'SimpleStrategy', 'replication_factor': {factor}")
        }
        Replication::Network(datacenters) => {
            let copies = datacenters
                .iter()
                .map(|(name, copies)| format!(", '{}': {copies}", name.replace('\'', "''")));
            format!("'class': 'NetworkTopologyStrategy'{}", copies.collect::<String>())
        }
    };
    // Lightweight transactions on tablets came late to ScyllaDB; vnodes work in every release.
    let tablets = if scylla { " AND tablets = {'enabled': false}" } else { "" };
    format!("CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{{replication}}}{tablets}", config.keyspace)
}

fn create_migrations(keyspace: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.schema_migrations \
         (number int PRIMARY KEY, name text, checksum text, applied_at timestamp)"
    )
}

fn notes(config: &CqlConfig, scylla: bool) -> Vec<String> {
    let mut notes = vec![
        "deleted rows of messages are collected after two days: `repair` must finish within that".to_owned(),
    ];
    if config.replication == (Replication::Simple { factor: 1 }) {
        notes.push("one copy of each row: losing the node loses the data".to_owned());
    }
    if scylla {
        notes.push(
            "ScyllaDB: the keyspace is without tablets, because leases need lightweight transactions"
                .to_owned(),
        );
    }
    notes
}

/// True for ScyllaDB: only it has this table.
async fn is_scylla(session: &Session) -> Result<bool, SchemaError> {
    let statement = "SELECT keyspace_name FROM system_schema.scylla_keyspaces LIMIT 1";
    match rows::<(String,)>(session, "asking whether this is ScyllaDB", statement).await {
        Ok(_) => Ok(true),
        Err(SchemaError::Statement { source, .. }) if is_invalid(&source) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn uses_tablets(session: &Session, config: &CqlConfig) -> Result<bool, SchemaError> {
    let statement = format!(
        "SELECT initial_tablets FROM system_schema.scylla_keyspaces WHERE keyspace_name = '{}'",
        config.keyspace
    );
    let found: Vec<(Option<i32>,)> = rows(session, "asking for tablets", &statement).await?;
    Ok(found.iter().any(|(tablets,)| tablets.is_some()))
}

async fn keyspace_exists(session: &Session, config: &CqlConfig) -> Result<bool, SchemaError> {
    let statement = format!(
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{}'",
        config.keyspace
    );
    Ok(!rows::<(String,)>(session, "looking for the keyspace", &statement).await?.is_empty())
}

async fn column_exists(
    session: &Session,
    keyspace: &str,
    table: &str,
    column: &str,
) -> Result<bool, SchemaError> {
    let statement = format!(
        "SELECT column_name FROM system_schema.columns \
         WHERE keyspace_name = '{keyspace}' AND table_name = '{table}' AND column_name = '{column}'"
    );
    Ok(!rows::<(String,)>(session, "looking for a column", &statement).await?.is_empty())
}

/// Whether the database refused the statement itself, because it names something that does not exist.
fn is_invalid(error: &ExecutionError) -> bool {
    matches!(error, ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, _)))
}

fn failed(act: &str) -> impl FnOnce(ExecutionError) -> SchemaError + '_ {
    move |source| SchemaError::Statement { act: act.to_owned(), source: Box::new(source) }
}

async fn run(session: &Session, act: &str, statement: &str) -> Result<(), SchemaError> {
    session.query_unpaged(statement, ()).await.map(drop).map_err(failed(act))
}

async fn rows<T>(session: &Session, act: &str, statement: &str) -> Result<Vec<T>, SchemaError>
where
    T: for<'frame, 'metadata> scylla::deserialize::row::DeserializeRow<'frame, 'metadata>,
{
    let unread = |reason: String| SchemaError::Answer { act: act.to_owned(), reason };
    let result = session.query_unpaged(statement, ()).await.map_err(failed(act))?;
    let result = result.into_rows_result().map_err(|error| unread(error.to_string()))?;
    let rows = result.rows::<T>().map_err(|error| unread(error.to_string()))?;
    rows.collect::<Result<_, _>>().map_err(|error| unread(error.to_string()))
}

async fn transaction(
    session: &Session,
    act: &str,
    text: &str,
    serial: SerialConsistency,
) -> Result<bool, SchemaError> {
    let unread = |reason: String| SchemaError::Answer { act: act.to_owned(), reason };
    let mut statement = Statement::new(text);
    statement.set_serial_consistency(Some(serial));
    let result = session.query_unpaged(statement, ()).await.map_err(failed(act))?;
    let result = result.into_rows_result().map_err(|error| unread(error.to_string()))?;
    let row = result.first_row::<Row>().map_err(|error| unread(error.to_string()))?;
    applied(&row).ok_or_else(|| unread("no [applied] column".to_owned()))
}

/// Whether a transaction's answer says that it was applied.
pub(super) fn applied(row: &Row) -> Option<bool> {
    row.columns.first()?.as_ref()?.as_boolean()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_named_and_newer_migrations_are_welcome() {
        let mut present: Vec<_> =
            MIGRATIONS.iter().map(|migration| (migration.number, migration.checksum())).collect();
        present.push((900, "of a newer build".to_owned()));
        assert!(matches!(verify("ks", &present), Ok(900)));
        present[1].1.replace_range(..1, "x");
        assert!(matches!(verify("ks", &present), Err(SchemaError::Drift { number: 2, .. })));
    }

    #[test]
    fn replication_is_written_as_asked() {
        let mut config = CqlConfig::new(vec![], "ks");
        assert!(
            create_keyspace(&config, true)
                .ends_with("'replication_factor': 3} AND tablets = {'enabled': false}")
        );
        config.replication = Replication::Network(vec![("a".to_owned(), 3), ("b'c".to_owned(), 2)]);
        assert!(
            create_keyspace(&config, false)
                .ends_with("{'class': 'NetworkTopologyStrategy', 'a': 3, 'b''c': 2}")
        );
    }
}
