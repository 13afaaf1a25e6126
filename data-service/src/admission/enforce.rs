//! Turns a limit into a rule of the limiter or a gate's off switch, and refuses invalid limits. Pure.

use weir_protect::{Bound, Gate, Gates, LimitKind as Kind, Limits, Quota, Rule, Scope, Selector};
use weir_proto::admin::{Limit, LimitKind};

use super::error::{LimitError, invalid};
use crate::key::{CLASS_READS, CLASS_WRITES};

/// Name of a limit in refusals.
pub(super) fn name_of(limit: &Limit) -> String {
    let kind = match limit.kind() {
        LimitKind::Unspecified => "unspecified",
        LimitKind::Requests => "requests",
        LimitKind::DatabaseReads => "database_reads",
        LimitKind::Writes => "writes",
        LimitKind::Concurrency => "concurrency",
        LimitKind::GateOff => "off",
    };
    format!("{}/{kind}", limit.scope)
}

/// Effect of a limit: a rule of the limiter, or a gate's off switch.
pub(super) enum Force {
    Rule(Box<Rule>),
    Off(Gate),
}

impl Force {
    pub(super) fn of(limit: &Limit) -> Result<Self, LimitError> {
        if limit.kind() != LimitKind::GateOff {
            return Ok(Self::Rule(Box::new(rule(limit)?)));
        }
        if limit.dry_run || limit.rate != 0.0 || limit.burst != 0 {
            return Err(invalid("an off switch has no rate, burst or dry run"));
        }
        let gate = limit.scope.strip_prefix("gate/");
        let gate = gate.and_then(|name| Gate::ALL.into_iter().find(|gate| gate.label() == name));
        let names = || Gate::ALL.map(Gate::label).join(", ");
        gate.map(Self::Off)
            .ok_or_else(|| invalid(format!("{:?} is no gate: use gate/ and one of {}", limit.scope, names())))
    }

    pub(super) fn apply(self, limits: &Limits, gates: &Gates) -> Result<(), LimitError> {
        match self {
            Self::Rule(rule) => limits.set(*rule).map_err(|error| invalid(error.to_string())),
            Self::Off(gate) => {
                gates.set(gate, false);
                Ok(())
            }
        }
    }

    pub(super) fn lift(self, limits: &Limits, gates: &Gates) {
        match self {
            Self::Rule(rule) => drop(limits.remove(rule.selector, rule.kind, rule.dry_run)),
            Self::Off(gate) => gates.set(gate, true),
        }
    }
}

fn selector(scope: &str) -> Result<Selector, LimitError> {
    let id = |text: &str| {
        let id = text.parse::<weir_proto::id::Snowflake>();
        id.map(|id| id.get())
            .map_err(|_| invalid(format!("{scope:?}: an id is a decimal number below 2^64, not 0")))
    };
    Ok(match scope.split_once('/') {
        None if scope == "all" => Selector::One(Scope::All),
        Some(("channel", "*")) => Selector::EachKey,
        Some(("channel", channel)) => Selector::One(Scope::Key(id(channel)?)),
        Some(("guild", "*")) => Selector::EachGroup,
        Some(("guild", guild)) => Selector::One(Scope::Group(id(guild)?)),
        Some(("class", "reads")) => Selector::One(Scope::Class(CLASS_READS)),
        Some(("class", "writes")) => Selector::One(Scope::Class(CLASS_WRITES)),
        _ => {
            return Err(invalid(format!(
                "{scope:?} is no scope: use channel/ID, channel/*, guild/ID, guild/*, class/reads, class/writes or all"
            )));
        }
    })
}

/// Refuses a limit that no request ever meets. This checks only new limits: a stored one of an earlier
/// version does no harm.
pub(super) fn can_refuse(limit: &Limit) -> Result<(), LimitError> {
    let other = match (limit.scope.as_str(), limit.kind()) {
        ("class/reads", LimitKind::Writes) => "class/writes",
        ("class/writes", LimitKind::Requests | LimitKind::DatabaseReads) => "class/reads",
        _ => return Ok(()),
    };
    let kind = limit.kind().as_str_name().trim_start_matches("LIMIT_KIND_").to_lowercase();
    Err(invalid(format!("{} never meets a limit of {kind}: set it for {other}", limit.scope)))
}

fn rule(limit: &Limit) -> Result<Rule, LimitError> {
    let selector = selector(&limit.scope)?;
    let kind = match limit.kind() {
        LimitKind::Unspecified | LimitKind::GateOff => {
            return Err(invalid("kind must be requests, database_reads, writes or concurrency"));
        }
        LimitKind::Requests => Kind::Requests,
        LimitKind::DatabaseReads => Kind::DatabaseReads,
        LimitKind::Writes => Kind::Writes,
        LimitKind::Concurrency => Kind::Concurrency,
    };
    if !limit.rate.is_finite() || !(0.0..=1e9).contains(&limit.rate) {
        return Err(invalid("rate must be a number from 0 to 1,000,000,000"));
    }
    let bound = if kind == Kind::Concurrency {
        if limit.rate < 1.0 || limit.rate.fract() != 0.0 {
            return Err(invalid("a concurrency limit is a whole number of at least 1"));
        }
        Bound::AtOnce(limit.rate as u32)
    } else if limit.rate == 0.0 {
        Bound::Rate(Quota::BLOCKED)
    } else {
        let burst = if limit.burst == 0 { limit.rate.ceil() as u64 } else { limit.burst };
        let burst = u32::try_from(burst).map_err(|_| invalid("burst must be below 2^32"))?;
        Bound::Rate(Quota::per_second(limit.rate, burst.max(1)).map_err(|error| invalid(error.to_string()))?)
    };
    let expires_at_ms = (limit.expires_at_ms != 0).then_some(limit.expires_at_ms);
    Ok(Rule { name: name_of(limit).into(), selector, kind, bound, expires_at_ms, dry_run: limit.dry_run })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_off_switch_names_a_gate_and_nothing_else() {
        let off =
            |scope: &str| Limit { scope: scope.into(), kind: LimitKind::GateOff.into(), ..Limit::default() };
        assert!(matches!(Force::of(&off("gate/cache")), Ok(Force::Off(Gate::Cache))));
        assert!(Force::of(&off("gate/door")).is_err());
        assert!(Force::of(&Limit { rate: 5.0, ..off("gate/cache") }).is_err());
        assert!(rule(&Limit { kind: LimitKind::Requests.into(), rate: 1.0, ..off("gate/cache") }).is_err());
    }

    #[test]
    fn a_limit_that_no_request_meets_is_refused_with_the_one_that_would() {
        let check = |scope: &str, kind: LimitKind| {
            can_refuse(&Limit { scope: scope.into(), kind: kind.into(), ..Limit::default() })
        };
        for (scope, kind, other) in [
            ("class/reads", LimitKind::Writes, "class/writes"),
            ("class/writes", LimitKind::DatabaseReads, "class/reads"),
            ("class/writes", LimitKind::Requests, "class/reads"),
        ] {
            let problem = check(scope, kind).expect_err("it can never refuse").to_string();
            assert!(problem.contains(other), "{problem}");
        }
        for (scope, kind) in [
            ("class/reads", LimitKind::Requests),
            ("class/reads", LimitKind::DatabaseReads),
            ("class/writes", LimitKind::Writes),
            ("all", LimitKind::Writes),
        ] {
            assert!(check(scope, kind).is_ok(), "{scope} {kind:?}");
        }
    }

    #[test]
    fn scopes_and_rates_that_make_no_sense_are_refused_with_what_would() {
        let limit = |scope: &str, kind: LimitKind, rate: f64| {
            rule(&Limit { scope: scope.into(), kind: kind.into(), rate, ..Limit::default() })
        };
        assert!(limit("channel/1", LimitKind::Requests, 5.0).is_ok());
        assert!(limit("all", LimitKind::Writes, 0.0).is_ok());
        for (scope, kind, rate) in [
            ("channel/0", LimitKind::Requests, 5.0),
            ("channel", LimitKind::Requests, 5.0),
            ("room/1", LimitKind::Requests, 5.0),
            ("channel/1", LimitKind::Unspecified, 5.0),
            ("channel/1", LimitKind::Requests, f64::NAN),
            ("channel/1", LimitKind::Requests, -1.0),
            ("channel/1", LimitKind::Concurrency, 0.5),
        ] {
            assert!(
                matches!(limit(scope, kind, rate), Err(LimitError::Invalid { .. })),
                "{scope} {kind:?} {rate}"
            );
        }
    }
}
