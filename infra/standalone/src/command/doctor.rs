//! `weir doctor`: checks everything that must be right, and says how to fix what is wrong.

mod checks;
mod finding;

use serde_json::{Value, json};

use super::Context;
use crate::{
    error::CommandError,
    output::{Done, line},
};
use finding::{Finding, Verdict};

/// Runs the command.
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
    // With `--json` the last line is the error's own object.
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
