//! What an attacker can use: a bot, a guild with a full page of messages, and the addresses.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::Method;
use weir_connect::{ClientConfig, HttpClient};
use weir_data_client::{DataClient, transport::Http};

use super::{
    innocent::{open_guild, say},
    victim::Victim,
};
use crate::rest::{self, Rest};

/// Longest wait for an answer while the ground is prepared.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Messages in the attacker's channel: one full page.
const PAGE: usize = 100;
/// Characters of each message, below the 2,000 that it may have; a page then has some 200 KB.
const CHARACTERS: usize = 1_900;

/// What an attacker can use.
pub(in crate::scenario) struct Ground {
    pub(in crate::scenario) api: SocketAddr,
    pub(in crate::scenario) gateway: SocketAddr,
    pub(in crate::scenario) data_service: SocketAddr,
    pub(in crate::scenario) admin: SocketAddr,
    /// A bot's valid token. Attackers without a token do not use it.
    pub(in crate::scenario) token: String,
    pub(in crate::scenario) user: u64,
    pub(in crate::scenario) guild: u64,
    /// A channel of that guild with a full page of messages.
    pub(in crate::scenario) channel: u64,
    pub(in crate::scenario) data: DataClient,
}

/// A request that is sent many times.
#[derive(Debug, Clone)]
pub(in crate::scenario) struct Ask {
    pub(in crate::scenario) address: SocketAddr,
    pub(in crate::scenario) method: Method,
    pub(in crate::scenario) path: String,
    pub(in crate::scenario) headers: Vec<(&'static str, String)>,
    pub(in crate::scenario) body: String,
}

impl Ground {
    /// Creates the attacker's bot, guild and messages.
    pub(in crate::scenario) async fn prepare(victim: &Victim) -> Result<Self> {
        let token = victim.bot("attacker").await?;
        let mut own = Rest::new(victim.api, &token)?;
        let channel = open_guild(&mut own, "attacker").await?;
        for _ in 0..PAGE {
            say(&mut own, channel, &"x".repeat(CHARACTERS)).await?;
        }
        let me = own.insist(Method::GET, "/api/v10/users/@me", None, ANSWER_MAX).await?;
        let user = rest::id(&me["id"]).context("a user has an id")?;
        let path = format!("/api/v10/channels/{channel}");
        let row = own.insist(Method::GET, &path, None, ANSWER_MAX).await?;
        let guild = rest::id(&row["guild_id"]).context("the channel is a guild's")?;
        let mut config = ClientConfig::new(format!("http://{}", victim.data_service));
        config.connections = 4;
        let data = DataClient::new(Arc::new(Http::new(HttpClient::new(config)?)));
        Ok(Self {
            api: victim.api,
            gateway: victim.gateway,
            data_service: victim.data_service,
            admin: victim.admin,
            token,
            user,
            guild,
            channel,
            data,
        })
    }

    /// `ListMessages` of a full page, as JSON.
    pub(super) fn page_of_data_service(&self) -> Ask {
        Ask {
            address: self.data_service,
            method: Method::POST,
            path: "/weir.data.v1.MessageService/ListMessages".to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: format!(r#"{{"channelId":"{}","limit":100}}"#, self.channel),
        }
    }

    /// `GET /history` of a full page.
    pub(super) fn page_of_api(&self) -> Ask {
        Ask {
            address: self.api,
            method: Method::GET,
            path: format!("/history?channel={}&limit=100", self.channel),
            headers: vec![("authorization", format!("Bot {}", self.token))],
            body: String::new(),
        }
    }
}
