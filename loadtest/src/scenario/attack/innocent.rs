//! Clients that behave well and should not notice an attack.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::Method;
use serde_json::json;
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::victim::Victim;
use crate::{
    recorder::{Failure, Numbers, Recorder},
    rest::{Rest, Verdict},
};

/// Bots, each with a guild of its own.
const BOTS: u64 = 4;
/// Connections of each bot.
const CONNECTIONS: u64 = 3;
/// Requests a second on each connection. With three connections a bot stays below the 50 a second of its
/// short routes.
const PER_SECOND: f64 = 12.0;
/// One request out of this many is a write.
const WRITE_ONE_IN: u64 = 10;
/// Longest wait for each request of the set-up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The innocents' connections.
pub(in crate::scenario) struct Innocents {
    clients: Vec<Arc<Client>>,
}

struct Client {
    rest: Mutex<Rest>,
    channel: u64,
}

impl Innocents {
    /// Creates bots and guilds, and some messages to read.
    pub(in crate::scenario) async fn settle(victim: &Victim) -> Result<Self> {
        let mut clients = Vec::new();
        for bot in 0..BOTS {
            let token = victim.bot(&format!("innocent-{bot}")).await?;
            let mut rest = Rest::new(victim.api, &token)?;
            let channel = open_guild(&mut rest, "innocent").await?;
            for number in 0..20 {
                say(&mut rest, channel, &format!("message {number}")).await?;
            }
            for _ in 0..CONNECTIONS {
                clients.push(Arc::new(Client { rest: Mutex::new(rest.another()), channel }));
            }
        }
        Ok(Self { clients })
    }

    /// Asks at a steady rate; a request's time counts from the moment at which it was due.
    pub(in crate::scenario) async fn read_for(&self, length: Duration) -> Numbers {
        let recorder = Arc::new(Recorder::default());
        let mut tasks = JoinSet::new();
        let gap = Duration::from_secs_f64(1.0 / PER_SECOND);
        for (index, client) in self.clients.iter().enumerate() {
            let (client, recorder) = (Arc::clone(client), Arc::clone(&recorder));
            // Starts are spread over the gap, so that clients are not in step. They are fewer than 100.
            let start = Instant::now() + gap.mul_f64(index as f64 / self.clients.len() as f64);
            tasks.spawn(async move {
                let mut rest = client.rest.lock().await;
                let mut due = start;
                let mut number = index as u64;
                while due < start + length {
                    sleep_until(due).await;
                    number += 1;
                    let outcome = if number.is_multiple_of(WRITE_ONE_IN) {
                        let body = json!({ "channel": client.channel.to_string(), "content": "innocent" });
                        rest.call(Method::POST, "/messages", Some(&body)).await
                    } else {
                        let path = format!("/history?channel={}&limit=20", client.channel);
                        rest.call(Method::GET, &path, None).await
                    };
                    match Verdict::of(outcome) {
                        Verdict::Done(_) => recorder.answer(due.elapsed()),
                        Verdict::NotDone(_) => recorder.fail(Failure::Refused),
                        Verdict::Unknown(_) | Verdict::Rejected { .. } => recorder.fail(Failure::Error),
                    }
                    due += gap;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        recorder.numbers()
    }
}

/// `POST /servers`; returns the guild's channel.
pub(in crate::scenario) async fn open_guild(rest: &mut Rest, name: &str) -> Result<u64> {
    let made = rest.insist(Method::POST, "/servers", Some(&json!({ "name": name })), PATIENCE).await?;
    crate::rest::id(&made["channel_id"]).context("POST /servers gave no channel_id")
}

/// `POST /messages`.
pub(in crate::scenario) async fn say(rest: &mut Rest, channel: u64, content: &str) -> Result<()> {
    let body = json!({ "channel": channel.to_string(), "content": content });
    rest.insist(Method::POST, "/messages", Some(&body), PATIENCE).await.map(drop)
}
