//! The outcome of a data call: its reply, or its error in Discord's terms.

use weir_data_client::{DataError, Replied};
use weir_discord::error::ApiError;

use crate::answer::error::Refused;

/// The outcome of a data call.
pub(crate) trait FoundOr<T> {
    /// Returns the reply's message.
    ///
    /// # Errors
    /// `missing` if the data service did not find what the call is about; for any other error, what it means
    /// to the client.
    fn found_or(self, missing: ApiError) -> Result<T, Refused>;
}

impl<T> FoundOr<T> for Result<Replied<T>, DataError> {
    fn found_or(self, missing: ApiError) -> Result<T, Refused> {
        self.map(|reply| reply.message).map_err(|error| Refused::from_data(error, missing))
    }
}
