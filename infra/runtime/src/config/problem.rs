//! What is wrong with a configuration, said so that it can be put right without the manual.

use std::fmt;

use super::Source;

/// One problem: which key, its value and origin, the rule it breaks and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, or the name of the file.
    pub key: String,
    /// The value as it was written; `None` for a secret, or if there is none.
    pub value: Option<String>,
    /// Where the value came from; `None` if it is missing, or if the file itself is the problem.
    pub source: Option<Source>,
    /// The rule that it breaks.
    pub rule: String,
    /// What to do.
    pub fix: Option<String>,
}

impl Problem {
    pub(super) fn file(name: &str, rule: String) -> Problem {
        Problem { key: name.to_owned(), value: None, source: None, rule, fix: None }
    }

    pub(super) fn not_unicode(key: String, source: Source) -> Problem {
        let rule = "the value is not Unicode".to_owned();
        Problem { key, value: None, source: Some(source), rule, fix: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, ": {}", self.rule)?;
        if let Some(fix) = &self.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

/// Every problem of a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn new(problems: Vec<Problem>) -> Problems {
        debug_assert!(!problems.is_empty(), "an error must say what is wrong");
        Problems(problems)
    }

    /// The problems, in the order of reading, unknown keys last.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
