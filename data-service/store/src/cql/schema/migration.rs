//! The migrations of this build.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// One numbered step of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Numbers begin with 1 and have no gaps.
    pub number: i32,
    /// The migration's name.
    pub name: &'static str,
    /// Its statements; `{keyspace}` stands for the keyspace.
    pub text: &'static str,
}

/// All migrations of this build.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "history", text: include_str!("../../../schema/0001_history.cql") },
    Migration { number: 2, name: "directory", text: include_str!("../../../schema/0002_directory.cql") },
    Migration {
        number: 3,
        name: "coordination",
        text: include_str!("../../../schema/0003_coordination.cql"),
    },
    Migration { number: 4, name: "direct", text: include_str!("../../../schema/0004_direct.cql") },
    Migration { number: 5, name: "notes", text: include_str!("../../../schema/0005_notes.cql") },
    Migration { number: 6, name: "pins", text: include_str!("../../../schema/0006_pins.cql") },
    Migration { number: 7, name: "reactions", text: include_str!("../../../schema/0007_reactions.cql") },
];

impl Migration {
    /// SHA-256 of its text, in hexadecimal.
    #[must_use]
    pub fn checksum(&self) -> String {
        Sha256::digest(self.text).iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Its statements for a keyspace, without comments.
    #[must_use]
    pub fn statements(&self, keyspace: &str) -> Vec<String> {
        let code = self
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .collect::<Vec<_>>()
            .join("\n");
        let statements = code.split(';').map(str::trim).filter(|statement| !statement.is_empty());
        statements.map(|statement| statement.replace("{keyspace}", keyspace)).collect()
    }
}

/// Table and column of a statement that adds one, `ALTER TABLE keyspace.table ADD column type`.
pub(super) fn added_column(statement: &str) -> Option<(&str, &str)> {
    let (table, column) = statement.strip_prefix("ALTER TABLE ")?.split_once(" ADD ")?;
    Some((table.split_once('.')?.1, column.split_once(' ')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_column_is_recognised() {
        assert_eq!(added_column("ALTER TABLE ks.messages ADD a bigint"), Some(("messages", "a")));
        assert_eq!(added_column("ALTER TABLE ks.messages WITH gc_grace_seconds = 1"), None);
    }

    #[test]
    fn migrations_are_numbered_without_gaps_and_can_be_repeated() {
        for (place, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.number, place);
            let statements = migration.statements("ks");
            assert!(!statements.is_empty());
            for statement in statements {
                let repeatable = ["CREATE TABLE IF NOT EXISTS ks.", "ALTER TABLE ks.active_scopes\n  WITH "];
                let repeatable = repeatable.iter().any(|start| statement.starts_with(start));
                assert!(repeatable || added_column(&statement).is_some(), "{statement}");
            }
        }
    }
}
