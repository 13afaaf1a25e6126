//! `weir schema apply`.

use clap::Subcommand;
use serde_json::json;
use weir_data_service::backend::StoreChoice;
use weir_store::cql::schema::{self, Applied, MIGRATIONS};

use super::Context;
use crate::{error::CommandError, output::Done};

/// `weir schema …`
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum SchemaAction {
    /// Create the keyspace and tables of --store cql://…, or bring them to this version; again changes
    /// nothing
    Apply,
}

/// Runs the command.
pub(crate) async fn run(action: SchemaAction, context: &Context) -> Result<Done, CommandError> {
    let SchemaAction::Apply = action;
    let backend = &context.config.backend;
    if backend.store == StoreChoice::Embedded {
        let problem =
            "the embedded store needs no schema; name a cluster with --store cql://host/keyspace".to_owned();
        return Err(CommandError::Usage { problem });
    }
    let applied = schema::apply(&backend.cql).await?;
    Ok(shown(&backend.cql.keyspace, &applied))
}

fn shown(keyspace: &str, applied: &Applied) -> Done {
    let name = |number: &i32| {
        let known = MIGRATIONS.iter().find(|migration| migration.number == *number);
        format!("{number} ({})", known.map_or("unknown", |migration| migration.name))
    };
    let mut lines = Vec::new();
    if applied.keyspace_created {
        lines.push(format!("created the keyspace {keyspace}"));
    }
    lines.extend(applied.applied.iter().map(|number| format!("applied migration {}", name(number))));
    if lines.is_empty() {
        lines.push("nothing to do".to_owned());
    }
    lines.push(format!("the schema of {keyspace} is at version {}", applied.version));
    lines.extend(applied.notes.iter().map(|note| format!("note: {note}")));
    Done {
        text: lines.join("\n"),
        json: json!({
            "keyspace": keyspace,
            "keyspace_created": applied.keyspace_created,
            "applied": applied.applied,
            "version": applied.version,
            "notes": applied.notes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_did_and_what_it_did_not() {
        let applied = |created, numbers: &[i32]| Applied {
            keyspace_created: created,
            applied: numbers.to_vec(),
            version: 3,
            notes: vec!["read this".to_owned()],
        };
        let text = shown("weir", &applied(true, &[1, 2])).text;
        assert!(text.starts_with("created the keyspace weir\napplied migration 1 (history)\n"), "{text}");
        assert_eq!(
            shown("weir", &applied(false, &[])).text,
            "nothing to do\nthe schema of weir is at version 3\nnote: read this"
        );
    }
}
