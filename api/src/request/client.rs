//! Where a request comes from.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::extract::FromRequestParts;
use http::{Extensions, HeaderMap, request::Parts};
use weir_connect::Peer;
use weir_runtime::TrustedProxies;

/// The client's address: its connection's, unless a trusted proxy names another. What strangers ask is counted by it, and what a caller makes
/// the server hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// A router that is called without a server has no peers; all of its callers are counted as one.
    const UNKNOWN: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// Works the address out. The envelope does, once, and puts it into the request's extensions.
    pub(crate) fn of(trusted: &TrustedProxies, headers: &HeaderMap, peer: Option<Peer>) -> Self {
        let Some(Peer(peer)) = peer else { return Self::UNKNOWN };
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded = forwarded.filter_map(|value| value.to_str().ok());
        Self(trusted.client(peer.ip(), forwarded))
    }

    /// The one that the envelope noted.
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
