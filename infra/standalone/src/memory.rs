//! Everything that `weir` may hold in memory: the shares of all tiers in one list.

use weir_data_service::memory::ListenerBounds;
use weir_runtime::{admin, memory::Share};

use crate::config::Config;

/// The shares. `fixed` is filled with what cannot be cut.
pub(crate) fn shares<'a>(
    config: &'a mut Config,
    listener: &'a mut ListenerBounds,
    fixed: &'a mut [u64; 2],
) -> Vec<Share<'a>> {
    let [of_store, of_admin] = fixed;
    *of_admin = admin::MEMORY_BYTES;
    let mut shares = config.gateway.shares();
    shares.extend(config.api.shares());
    shares.extend(config.data.shares());
    shares.extend(listener.shares());
    shares.extend(config.backend.shares(of_store));
    shares.push(Share::fixed(of_admin));
    shares
}
