//! The configuration keys `gateway.*`.

use std::{net::SocketAddr, time::Duration};

use weir_runtime::{TrustedProxies, config::Reader, running::reachable};

use crate::{GatewayConfig, IdentifyLimits};

/// Reads `gateway.public_url`, the address that clients are told to connect to. `None` stands for the bound
/// address.
pub fn public_url(reader: &mut Reader) -> Option<String> {
    reader.optional_web_socket_url("gateway.public_url")
}

/// The address that clients are told to connect to: the configured one, or else the bound one, which alone
/// has the port that the operating system chose. If the listener is bound to every address, clients are told
/// the loopback address, because nothing else about this machine is known here.
pub fn advertised_url(configured: Option<String>, bound: SocketAddr) -> String {
    configured.unwrap_or_else(|| format!("ws://{}", reachable(bound)))
}

impl GatewayConfig {
    /// Reads all other `gateway.*` keys. The caller sets `public_url` and `drain_timeout`.
    pub fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        let second = Duration::from_secs(1);
        let heartbeat_interval =
            reader.duration("gateway.heartbeat_interval", default.heartbeat_interval, second..=second * 600);
        let sessions_max = count(reader, "gateway.sessions_max", default.sessions_max, 2_000_000);
        let kept = [("discord", IdentifyLimits::Discord), ("off", IdentifyLimits::Off)];
        let identify_limits = reader.choice("gateway.identify_limits", &kept, default.identify_limits);
        Self {
            identify_limits,
            sessions_max,
            sessions_per_user_max: match identify_limits {
                IdentifyLimits::Discord => default.sessions_per_user_max,
                IdentifyLimits::Off => sessions_max,
            },
            trusted_proxies: TrustedProxies::read(reader, "gateway.trusted_proxies"),
            introduction_bytes_max: bytes(
                reader,
                "gateway.introductions",
                default.introduction_bytes_max,
                1 << 31,
            ),
            codec_bytes_max: bytes(reader, "gateway.codecs", default.codec_bytes_max, 1 << 40),
            heartbeat_interval,
            heartbeat_timeout: heartbeat_interval.mul_f64(1.75),
            write_timeout: reader.duration(
                "gateway.write_timeout",
                default.write_timeout,
                second..=second * 120,
            ),
            call_timeout: reader.duration(
                "gateway.call_timeout",
                default.call_timeout,
                second / 10..=second * 60,
            ),
            connections_max: count(reader, "gateway.connections_max", default.connections_max, 1_000_000),
            resume_window: reader.duration(
                "gateway.resume_window",
                default.resume_window,
                second..=second * 86_400,
            ),
            admissions_max: count(reader, "gateway.admissions_max", default.admissions_max, 100_000),
            ring_records_max: count(
                reader,
                "gateway.ring_records_max",
                default.ring_records_max,
                100_000_000,
            ),
            ring_bytes_max: bytes(reader, "gateway.ring", default.ring_bytes_max, 1 << 40),
            guild_bytes_max: bytes(reader, "gateway.guild_states", default.guild_bytes_max, 1 << 40),
            session_bytes_max: bytes(reader, "gateway.session_rows", default.session_bytes_max, 1 << 40),
            ..default
        }
    }
}

/// Reads a size in bytes, from 1 MiB to `most`.
fn bytes(reader: &mut Reader, key: &str, default: usize, most: u64) -> usize {
    usize::try_from(reader.size(key, default as u64, 1 << 20..=most)).unwrap_or(usize::MAX)
}

/// Reads an upper bound on a number of things, from 1 to `most`.
fn count(reader: &mut Reader, key: &str, default: usize, most: u64) -> usize {
    usize::try_from(reader.u64(key, default as u64, 1..=most)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_runtime::RawConfig;

    fn reader(file: &str) -> Reader {
        let mut raw = RawConfig::default();
        raw.file("weir.toml", file);
        raw.into_reader()
    }

    #[test]
    fn without_keys_the_defaults_stand() {
        let mut reader = reader("");
        let (config, url) = (GatewayConfig::read(&mut reader), public_url(&mut reader));
        assert!(reader.finish().is_ok());
        assert_eq!(format!("{config:?}"), format!("{:?}", GatewayConfig::default()));
        assert_eq!(url, None);
    }

    #[test]
    fn a_changed_interval_changes_the_timeout_with_it() {
        let mut reader = reader("[gateway]\nheartbeat_interval = \"10s\"\nring = \"16MiB\"\n");
        let config = GatewayConfig::read(&mut reader);
        assert!(reader.finish().is_ok());
        assert_eq!(config.heartbeat_timeout, Duration::from_millis(17_500));
        assert_eq!(config.ring_bytes_max, 16 << 20);
    }

    #[test]
    fn clients_are_told_the_configured_address_or_one_that_reaches_the_bound_one() {
        let bound = |address: &str| address.parse().expect("an address");
        assert_eq!(advertised_url(None, bound("127.0.0.1:40123")), "ws://127.0.0.1:40123");
        assert_eq!(advertised_url(None, bound("0.0.0.0:8081")), "ws://127.0.0.1:8081");
        assert_eq!(advertised_url(None, bound("[::]:8081")), "ws://[::1]:8081");
        assert_eq!(advertised_url(None, bound("10.0.0.7:8081")), "ws://10.0.0.7:8081");
        let configured = Some("wss://gateway.example.org".to_owned());
        assert_eq!(advertised_url(configured, bound("0.0.0.0:8081")), "wss://gateway.example.org");
    }

    #[test]
    fn a_public_address_is_a_web_socket_servers() {
        let mut reader = reader("[gateway]\npublic_url = \"http://a\"\n");
        public_url(&mut reader);
        assert!(reader.finish().expect_err("http").to_string().contains("gateway.public_url = \"http://a\""));
    }
}
