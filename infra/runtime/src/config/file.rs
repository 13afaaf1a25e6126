//! Reads a TOML file as flat settings, each with the line of its key.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::setting::{Setting, Source, Written};

/// Parses `text`.
///
/// # Errors
/// The syntax error, with its line.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<(String, Setting)>, Box<Problem>> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Box::new(Problem::file(name, format!("line {line} is not TOML: {}", error.message().trim())))
    })?;
    let mut flat = Flat { name, text, settings: Vec::new() };
    flat.table("", document.get_ref());
    Ok(flat.settings)
}

struct Flat<'a> {
    name: &'a str,
    text: &'a str,
    settings: Vec<(String, Setting)>,
}

impl Flat<'_> {
    // The recursion is as deep as the document, whose nesting the parser bounds.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let dotted = match prefix {
                "" => key.get_ref().to_string(),
                prefix => format!("{prefix}.{}", key.get_ref()),
            };
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&dotted, inner),
                other => {
                    let line = line_of(self.text, key.span().start);
                    let source = Source::File { name: self.name.to_owned(), line };
                    self.settings.push((dotted, Setting { written: self.written(value, other), source }));
                }
            }
        }
    }

    fn written(&self, spanned: &Spanned<DeValue<'_>>, value: &DeValue<'_>) -> Written {
        let other = || Written::Other(self.text[spanned.span()].to_owned());
        match value {
            DeValue::String(text) => Written::String(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| other(), Written::Integer),
            DeValue::Array(items) => {
                let strings = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
                strings.collect::<Option<Vec<String>>>().map_or_else(other, Written::Strings)
            }
            DeValue::Boolean(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => other(),
        }
    }
}

/// Line of the byte `offset`, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
