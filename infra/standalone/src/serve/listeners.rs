//! The four listeners, bound and not served yet.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_connect::Server;
use weir_data_service::memory::ListenerBounds;
use weir_runtime::{Admin, Readiness, Registry};

use super::ServeError;
use crate::config::Listen;

/// Bound listeners. Whoever connects before they are served waits.
pub(super) struct Listeners {
    pub(super) api: TcpListener,
    pub(super) gateway: TcpListener,
    pub(super) data_service: Server,
    pub(super) admin: Admin,
    /// The addresses, with the ports that port 0 became.
    pub(super) bound: Listen,
}

impl Listeners {
    /// Binds all. `stopping` ends the readiness that the admin listener shows.
    ///
    /// # Errors
    /// [`ServeError::Bind`] for the first that cannot be bound.
    pub(super) async fn bind(
        listen: &Listen,
        registry: &Registry,
        readiness: &Readiness,
        stopping: CancellationToken,
        listener: ListenerBounds,
    ) -> Result<Self, ServeError> {
        let failed = |tier, address: SocketAddr| move |source| ServeError::Bind { tier, address, source };
        let data_config = listener.server(registry.budget());
        let api = weir_connect::listen(listen.api).map_err(failed("api", listen.api))?;
        let gateway = weir_connect::listen(listen.gateway).map_err(failed("gateway", listen.gateway))?;
        let data_service = Server::bind(listen.data_service, data_config)
            .await
            .map_err(failed("data service", listen.data_service))?;
        let admin = Admin::bind(listen.admin, registry.clone(), readiness.clone(), stopping)
            .await
            .map_err(failed("admin listener", listen.admin))?;
        let bound = Listen {
            api: api.local_addr().map_err(failed("api", listen.api))?,
            gateway: gateway.local_addr().map_err(failed("gateway", listen.gateway))?,
            data_service: data_service.local_addr().map_err(failed("data service", listen.data_service))?,
            admin: admin.local_addr().map_err(failed("admin listener", listen.admin))?,
        };
        Ok(Self { api, gateway, data_service, admin, bound })
    }
}
