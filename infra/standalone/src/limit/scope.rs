//! Scopes (`channel/123`) and kinds (`requests`).

use weir_proto::{admin::LimitKind, id::Snowflake};

use super::GrammarError;

/// The gates that can be switched off, by their names in the contract.
pub(crate) const GATES: [&str; 5] =
    ["request_limit", "cache", "coalesce", "database_read_limit", "concurrency"];

/// Parses a scope into the contract's form.
///
/// # Errors
/// [`GrammarError::Scope`], [`GrammarError::Id`], [`GrammarError::Gate`]
pub(crate) fn parse(text: &str) -> Result<String, GrammarError> {
    if let Some(gate) = text.strip_prefix("gate/") {
        let gate = gate.replace('-', "_");
        let known = GATES.contains(&gate.as_str());
        return if known {
            Ok(format!("gate/{gate}"))
        } else {
            Err(GrammarError::Gate { text: text.to_owned() })
        };
    }
    if let Some(("channel" | "guild", id)) = text.split_once('/')
        && !id.is_empty()
        && id.bytes().all(|byte| byte.is_ascii_digit())
        && id.parse::<Snowflake>().is_err()
    {
        return Err(GrammarError::Id { text: text.to_owned() });
    }
    let valid = match text.split_once('/') {
        None => text == "all",
        Some(("channel" | "guild", id)) => id == "*" || id.parse::<Snowflake>().is_ok(),
        Some(("class", class)) => matches!(class, "reads" | "writes"),
        Some(_) => false,
    };
    if valid { Ok(text.to_owned()) } else { Err(GrammarError::Scope { text: text.to_owned() }) }
}

/// The kinds and their names, in the order in which they are listed.
const KINDS: [(LimitKind, &str); 5] = [
    (LimitKind::Requests, "requests"),
    (LimitKind::DatabaseReads, "database-reads"),
    (LimitKind::Writes, "writes"),
    (LimitKind::Concurrency, "concurrency"),
    (LimitKind::GateOff, "off"),
];

/// Parses a kind.
///
/// # Errors
/// [`GrammarError::Kind`]
pub(crate) fn kind(text: &str) -> Result<LimitKind, GrammarError> {
    // The name that refusals use is accepted too.
    let name = text.replace('_', "-");
    let found = KINDS.iter().find(|(_, known)| *known == name);
    found.map(|(kind, _)| *kind).ok_or_else(|| GrammarError::Kind { text: text.to_owned() })
}

/// Parses a scope and a kind that fit each other: the kind `off` fits gates and nothing else.
///
/// # Errors
/// [`GrammarError`]
pub(crate) fn with_kind(scope_text: &str, kind_text: &str) -> Result<(String, LimitKind), GrammarError> {
    let (scope, kind) = (parse(scope_text)?, self::kind(kind_text)?);
    if scope.starts_with("gate/") == (kind == LimitKind::GateOff) {
        Ok((scope, kind))
    } else {
        Err(GrammarError::Mixed { scope, kind: kind_name(kind) })
    }
}

/// A kind's name.
pub(crate) fn kind_name(kind: LimitKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("unspecified", |(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_the_contract_pass_and_others_do_not() {
        for good in ["all", "channel/123", "channel/*", "guild/1", "guild/*", "class/reads", "class/writes"] {
            assert_eq!(parse(good).as_deref(), Ok(good));
        }
        for bad in
            ["", "123", "channel", "channel/", "channel/x", "channel/1/2", "class/x", "all/1", "user/1"]
        {
            assert_eq!(parse(bad), Err(GrammarError::Scope { text: bad.to_owned() }));
        }
    }

    #[test]
    fn an_id_that_nothing_has_is_told_as_such() {
        for text in ["channel/0", "guild/0", "channel/99999999999999999999"] {
            assert_eq!(parse(text), Err(GrammarError::Id { text: text.to_owned() }));
        }
    }

    #[test]
    fn gates_are_switched_off_and_only_gates() {
        let off = |scope: &str| Ok((scope.to_owned(), LimitKind::GateOff));
        assert_eq!(with_kind("gate/cache", "off"), off("gate/cache"));
        assert_eq!(with_kind("gate/request-limit", "off"), off("gate/request_limit"));
        assert!(matches!(with_kind("gate/door", "off"), Err(GrammarError::Gate { .. })));
        assert!(matches!(with_kind("gate/cache", "requests"), Err(GrammarError::Mixed { .. })));
        assert!(matches!(with_kind("all", "off"), Err(GrammarError::Mixed { .. })));
    }

    #[test]
    fn kinds_are_read_as_they_are_shown() {
        for (known, name) in KINDS {
            assert_eq!((kind(name), kind_name(known)), (Ok(known), name));
        }
        assert_eq!(kind("database_reads"), Ok(LimitKind::DatabaseReads));
        assert!(kind("reads").is_err() && kind("").is_err());
    }
}
