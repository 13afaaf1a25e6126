//! Steps on files whose failures are errors of opening the store.

use std::{fs::File, io, path::Path};

use super::open_error::OpenError;

/// Makes an error of a failed step: what was tried, on which path.
pub(super) fn failed<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { act, path: path.to_owned(), source }
}

/// Makes the names in a directory durable.
pub(super) fn sync(directory: &Path) -> Result<(), OpenError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
}
