//! The address that a request comes from.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::extract::FromRequestParts;
use http::{Extensions, HeaderMap, request::Parts};
use weir_connect::Peer;
use weir_runtime::TrustedProxies;

/// The client's address: that of its connection, unless a trusted proxy names another. The requests of
/// strangers, and the memory that a caller makes the server hold, are counted by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// Requests to a router without a server have no peer. All of them count as one client's.
    const UNKNOWN: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// Works out the address. The envelope does this once for a request and puts the result into the
    /// request's extensions.
    pub(crate) fn of(trusted: &TrustedProxies, headers: &HeaderMap, peer: Option<Peer>) -> Self {
        let Some(Peer(peer)) = peer else { return Self::UNKNOWN };
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok());
        Self(trusted.client(peer.ip(), forwarded))
    }

    /// The address that the envelope put into the request's extensions.
    pub(crate) fn from_extensions(request: &Extensions) -> Self {
        request.get::<Self>().copied().unwrap_or(Self::UNKNOWN)
    }

    pub(crate) fn address(self) -> IpAddr {
        self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::from_extensions(&parts.extensions))
    }
}
