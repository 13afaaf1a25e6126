//! Configuration: defaults < `weir.toml` < environment `WEIR_SECTION__KEY` < flags. All problems are reported
//! at once.
//!
//! The layers merge into one flat table ([`RawConfig`]). It maps a dotted key (`data.store_timeout`) to its
//! value, as text or as TOML, and to where that came from. A binary then reads each key that it knows through
//! a [`Reader`], which checks type, unit and range and collects problems instead of stopping at the first.
//! [`Reader::finish`] reports every key that no binary of Weir has as unknown, with the known key that it
//! resembles most. Reading a key declares it; [`KEYS`] lists those of all binaries.
//!
//! ```
//! use std::time::Duration;
//! use weir_runtime::config::{MapEnvironment, RawConfig};
//!
//! let mut raw = RawConfig::default();
//! raw.file("weir.toml", "[data]\nstore_timeout = \"250ms\"\n");
//! raw.environment(&MapEnvironment::from([("WEIR_DATA__CACHE", "64MiB")]));
//! raw.flag("listen.api", "--api", "127.0.0.1:0");
//!
//! let mut reader = raw.into_reader();
//! let ms = Duration::from_millis;
//! let store_timeout = reader.duration("data.store_timeout", ms(500), ms(1)..=ms(60_000));
//! let cache_bytes = reader.size("data.cache", 32 << 20, 0..=1 << 40);
//! let api = reader.addr("listen.api", ([127, 0, 0, 1], 8080).into());
//! let effective = reader.finish()?;
//!
//! assert_eq!((store_timeout, cache_bytes, api.port()), (ms(250), 64 << 20, 0));
//! assert!(effective.to_string().contains("store_timeout = \"250ms\"  # weir.toml line 2"));
//! # Ok::<(), weir_runtime::config::Problems>(())
//! ```

mod effective;
mod environment;
mod file;
mod keys;
mod problem;
mod reader;
mod setting;
mod suggest;
mod units;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub use effective::Effective;
pub use environment::{Environment, MapEnvironment, ProcessEnvironment};
pub use keys::KEYS;
pub use problem::{Problem, Problems};
pub use reader::{Reader, Secret};
pub use setting::Source;
pub use units::parse_duration;

use setting::{Setting, Written};

/// Most bytes of a configuration file. Ours have a few KiB; a larger one is the wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The merged layers, before their types are checked. Layers must be added in the order of their precedence,
/// lowest first.
#[derive(Clone, Debug, Default)]
pub struct RawConfig {
    settings: BTreeMap<String, Setting>,
    problems: Vec<Problem>,
}

impl RawConfig {
    /// Adds the file at `path`. `required` says whether it must exist: a file with the default name need not,
    /// one that the user named must.
    ///
    /// Any error of the file becomes a problem.
    pub(crate) fn read_file(&mut self, path: &Path, required: bool) {
        let name = path.display().to_string();
        match read_bounded(path) {
            Ok(text) => self.file(&name, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
            Err(error) => self.problems.push(Problem::file(&name, format!("cannot be read: {error}"))),
        }
    }

    /// Adds the text of a file called `name`.
    pub fn file(&mut self, name: &str, text: &str) {
        match file::parse(name, text) {
            Ok(settings) => self.settings.extend(settings),
            Err(problem) => self.problems.push(*problem),
        }
    }

    /// Adds every variable `WEIR_SECTION__KEY`: `__` stands for the dot and letters become small, so
    /// `WEIR_DATA__STORE_TIMEOUT` is `data.store_timeout`. Variables without `__` are not configuration and
    /// are ignored.
    pub fn environment(&mut self, environment: &dyn Environment) {
        for (variable, value) in environment.weir_variables() {
            let Some(key) = environment::key_of(&variable) else {
                self.problems.extend(environment::intended_key(&variable).map(|key| Problem {
                    key: variable.clone(),
                    value: None,
                    source: None,
                    rule: "there is no such variable".to_owned(),
                    fix: Some(format!(
                        "section and key stand apart by two underscores: {}",
                        environment::variable_of(key)
                    )),
                }));
                continue;
            };
            let source = Source::Environment { variable };
            match value {
                Some(text) => {
                    self.settings.insert(key, Setting { written: Written::Text(text), source });
                }
                None => self.problems.push(Problem::not_unicode(key, source)),
            }
        }
    }

    /// Adds the value of a command line flag (`--api`) for `key` (`listen.api`).
    pub fn flag(&mut self, key: &str, flag: &str, value: impl Into<String>) {
        let source = Source::Flag { flag: flag.to_owned() };
        self.settings.insert(key.to_owned(), Setting { written: Written::Text(value.into()), source });
    }

    /// Begins reading.
    pub fn into_reader(self) -> Reader {
        Reader::new(self.settings, self.problems)
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has {bytes} bytes, more than {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
