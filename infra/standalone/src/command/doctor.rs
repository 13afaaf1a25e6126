//! `weir doctor`: looks at everything that has to be right, and says what to do about what is not.

mod checks;

use serde_json::{Value, json};

use super::Context;
use crate::{
    error::CommandError,
    output::{Done, line},
};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not for everything or not for long.
    Warn,
    /// It does not work.
    Fail,
}

/// A check and what it found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty if nothing.
    fix: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), fix: String::new() }
    }

    fn warn(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), fix: fix.into() }
    }

    fn fail(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, found: found.into(), fix: fix.into() }
    }
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Runs it.
///
/// # Errors
/// [`CommandError::Unhealthy`] if a check failed, after all are printed.
pub(crate) async fn run(context: &Context) -> Result<Done, CommandError> {
    let findings = checks::all(context).await;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    let done = shown(&findings);
    if failed == 0 {
        return Ok(done);
    }
    // The error's own object is the last line then.
    let text = if context.common.json { done.json.to_string() } else { done.text };
    line(&text).map_err(CommandError::Print)?;
    Err(CommandError::Unhealthy { failed, checks: findings.len() })
}

fn shown(findings: &[Finding]) -> Done {
    let line = |finding: &Finding| {
        let fix = if finding.fix.is_empty() { String::new() } else { format!("\n        {}", finding.fix) };
        format!("{:<4}  {}: {}{fix}", finding.verdict.as_str(), finding.check, finding.found)
    };
    let as_json = |finding: &Finding| -> Value {
        json!({ "check": finding.check, "verdict": finding.verdict.as_str(), "found": finding.found, "fix": finding.fix })
    };
    Done {
        text: findings.iter().map(line).collect::<Vec<_>>().join("\n"),
        json: json!({ "checks": findings.iter().map(as_json).collect::<Vec<_>>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let done = shown(&[Finding::ok("clock", "fine"), Finding::fail("disk", "full", "free some")]);
        assert_eq!(done.text, "ok    clock: fine\nfail  disk: full\n        free some");
        assert_eq!(done.json["checks"][1]["verdict"], "fail");
    }
}
