//! The keys of the configuration that the api tier reads, `api.*`.

use std::{net::IpAddr, time::Duration};

use http::Uri;
use weir_runtime::{TrustedProxies, config::Reader};

use crate::{
    config::{AddMembers, ApiConfig},
    ratelimit::RateLimitConfig,
};

/// Whether Discord's rate limits apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RateLimits {
    Discord,
    Off,
}

impl ApiConfig {
    /// Reads the `api.*` keys. `gateway_url` is what clients are told; see [`ApiConfig::new`]. `loopback`
    /// says that only this machine reaches the listeners.
    ///
    /// If that is so, all users are the operator's own, and members may be added without their consent by
    /// default. It is not so if a proxy stands before the listeners, as `api.trusted_proxies` shows, or if
    /// `gateway_url` sends clients to another machine. An empty `gateway_url` stands for the listener's own
    /// address.
    pub fn read(reader: &mut Reader, gateway_url: impl Into<String>, loopback: bool) -> Self {
        let mut config = Self::new(gateway_url);
        let second = Duration::from_secs(1);
        let kept = [("discord", RateLimits::Discord), ("off", RateLimits::Off)];
        config.rate_limits = match reader.choice("api.rate_limits", &kept, RateLimits::Discord) {
            RateLimits::Discord => Some(RateLimitConfig::default()),
            RateLimits::Off => None,
        };
        config.data_timeout =
            reader.duration("api.data_timeout", config.data_timeout, second / 10..=second * 60);
        config.trusted_proxies = TrustedProxies::read(reader, "api.trusted_proxies");
        let own = loopback && config.trusted_proxies.is_empty() && is_this_machines(&config.gateway_url);
        let default = if own { AddMembers::Open } else { AddMembers::Consent };
        let words = [("open", AddMembers::Open), ("consent", AddMembers::Consent)];
        config.add_members = reader.choice("api.add_members", &words, default);
        let bounds = &mut config.bounds;
        bounds.connections_max = count(reader, "api.connections_max", bounds.connections_max, 1_000_000);
        bounds.requests_max = count(reader, "api.requests_max", bounds.requests_max, 1_000_000);
        let body = reader.size("api.body_max", bounds.body_bytes_max as u64, 64 << 10..=1 << 30);
        bounds.body_bytes_max = usize::try_from(body).unwrap_or(usize::MAX);
        config
    }
}

/// True if only this machine can follow a `ws://` or `wss://` URL, or if there is no URL. A URL that cannot
/// be read counts as another machine's.
fn is_this_machines(gateway_url: &str) -> bool {
    if gateway_url.is_empty() {
        return true;
    }
    let Ok(url) = gateway_url.parse::<Uri>() else { return false };
    let (Some("ws" | "wss"), Some(host)) = (url.scheme_str(), url.host()) else { return false };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads a number from 1 to `most`.
fn count(reader: &mut Reader, key: &str, default: usize, most: u64) -> usize {
    usize::try_from(reader.u64(key, default as u64, 1..=most)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_runtime::RawConfig;

    fn read(file: &str) -> (ApiConfig, Result<(), String>) {
        let mut raw = RawConfig::default();
        raw.file("weir.toml", file);
        let mut reader = raw.into_reader();
        let config = ApiConfig::read(&mut reader, "ws://127.0.0.1:8081/", true);
        (config, reader.finish().map(drop).map_err(|problems| problems.to_string()))
    }

    #[test]
    fn members_are_added_with_their_consent_unless_all_users_are_the_operators_own() {
        let added = |file: &str, gateway_url: &str, loopback| {
            let mut raw = RawConfig::default();
            raw.file("weir.toml", file);
            ApiConfig::read(&mut raw.into_reader(), gateway_url, loopback).add_members
        };
        for (gateway_url, own) in [
            ("", true),
            ("ws://127.0.0.1:8081", true),
            ("ws://127.9.9.9/", true),
            ("ws://[::1]:8081", true),
            ("ws://LocalHost:8081/?v=10", true),
            ("wss://localhost", true),
            ("ws://h", false),
            ("ws://192.168.0.7:8081", false),
            ("wss://chat.example.org", false),
            ("ws://localhost.example.org", false),
            ("ws://localhost@example.org", false),
            ("ws://[::]", false),
            ("http://localhost", false),
            ("ws://local host", false),
        ] {
            let default = if own { AddMembers::Open } else { AddMembers::Consent };
            assert_eq!(added("", gateway_url, true), default, "{gateway_url}");
            assert_eq!(added("", gateway_url, false), AddMembers::Consent, "{gateway_url}");
        }
        let (proxy, here) = ("[api]\ntrusted_proxies = [\"127.0.0.1\"]\n", "ws://localhost");
        assert_eq!(added(proxy, here, true), AddMembers::Consent);
        assert_eq!(added("[api]\nadd_members = \"open\"\n", "wss://h", false), AddMembers::Open);
        assert_eq!(added("[api]\nadd_members = \"consent\"\n", here, true), AddMembers::Consent);
    }

    #[test]
    fn rate_limits_are_discords_or_off() {
        let (config, outcome) = read("");
        assert!(outcome.is_ok() && config.rate_limits.is_some());
        assert_eq!(config.gateway_url, "ws://127.0.0.1:8081");
        let (config, outcome) = read("[api]\nrate_limits = \"off\"\nbody_max = \"2MiB\"\n");
        assert!(outcome.is_ok() && config.rate_limits.is_none());
        assert_eq!(config.bounds.body_bytes_max, 2 << 20);
        assert!(
            read("[api]\nrate_limits = \"none\"\n").1.expect_err("no such choice").contains("discord, off")
        );
    }
}
