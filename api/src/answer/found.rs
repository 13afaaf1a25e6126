//! What a data call answered, or its error in Discord's terms.

use weir_data_client::{DataError, Replied};
use weir_discord::error::ApiError;

use crate::answer::error::Refused;

/// A data call's outcome.
pub(crate) trait FoundOr<T> {
    /// The reply's message.
    ///
    /// # Errors
    /// `missing` if what the call is about is not there; else what the data service's error means to the client.
    fn found_or(self, missing: ApiError) -> Result<T, Refused>;
}

impl<T> FoundOr<T> for Result<Replied<T>, DataError> {
    fn found_or(self, missing: ApiError) -> Result<T, Refused> {
        self.map(|reply| reply.message).map_err(|error| Refused::from_data(error, missing))
    }
}
