//! All that `weir` may hold in memory: the shares of all tiers in one list.

use weir_data_service::memory::ListenerBounds;
use weir_runtime::memory::Share;

use crate::config::Config;

/// Returns the shares.
pub(crate) fn shares<'a>(config: &'a mut Config, listener: &'a mut ListenerBounds) -> Vec<Share<'a>> {
    let mut shares = config.gateway.shares();
    shares.extend(config.api.shares());
    shares.extend(config.data.shares());
    shares.extend(listener.shares());
    shares.extend(config.backend.shares());
    shares
}
