//! Attacks with valid calls: reads of channels that do not exist, and guilds that cost more than others.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fastrand::Rng;
use http::Method;
use tokio::time::{Instant, interval, sleep};
use weir_data_client::CallOptions;
use weir_proto::data::{Channel, CreateGuildRequest, Guild, ListMessagesRequest, Member, Overwrite};

use super::{
    ground::Ground,
    http::{Count, crowd},
};
use crate::{place, rest::Rest};

/// Readers that run at once.
const READERS: usize = 64;
/// Channels that one call creates, because the call's body is bounded.
const CHANNELS_A_CALL: usize = 500;

/// Reads channels that do not exist, different ones in each round.
pub(in crate::scenario) async fn random_channels(ground: &Ground, round: u64, until: Instant) -> String {
    let read = Count::default();
    let data = ground.data.clone();
    crowd(READERS, until, |number| {
        let (read, data) = (Arc::clone(&read), data.clone());
        async move {
            let mut random = Rng::with_seed(round << 16 | number);
            loop {
                // A snowflake of the last years, in the form that ids of channels have.
                let channel_id = (1_000_000_000_000_000_000 + random.u64(..1 << 58)).max(1);
                let request = ListMessagesRequest { channel_id, limit: 50, ..ListMessagesRequest::default() };
                // The answer may be a refusal or empty: only its cost matters.
                let _answer =
                    data.list_messages(&request, &CallOptions::within(Duration::from_secs(5))).await;
                read.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    format!("{} reads", read.load(Ordering::Relaxed))
}

/// Creates a guild of the attacker's with so many channels, each with so many overwrites; `None` if that was
/// refused.
pub(super) async fn heavy_guild(ground: &Ground, channels: usize, overwrites: u64) -> Option<u64> {
    let channel = |number: usize| Channel {
        name: format!("c{number}"),
        overwrites: (0..overwrites)
            .map(|id| Overwrite { id: 1_000 + id, r#type: 1, allow: 0, deny: 2_048 })
            .collect(),
        ..Channel::default()
    };
    let request = CreateGuildRequest {
        guild: Some(Guild { name: "heavy".into(), owner_id: ground.user, ..Guild::default() }),
        channels: (0..channels.min(CHANNELS_A_CALL)).map(channel).collect(),
        members: vec![Member { user_id: ground.user, ..Member::default() }],
        ..CreateGuildRequest::default()
    };
    match ground.data.create_guild(&request, &place::calls()).await {
        Ok(made) => made.message.state.and_then(|state| state.channels.first().map(|channel| channel.id)),
        Err(error) => {
            eprintln!("  the heavy guild was refused: {error}");
            None
        }
    }
}

/// Reads a channel of a heavy guild 24 times a second, within the usual limits.
pub(super) async fn heavy_requests(ground: &Ground, until: Instant) -> String {
    let mut channel = heavy_guild(ground, 500, 100).await;
    if channel.is_none() {
        channel = heavy_guild(ground, 500, 10).await;
    }
    let Some(channel) = channel else { return "no heavy guild could be made".to_owned() };
    let Ok(rest) = Rest::new(ground.api, &ground.token) else { return "the token is no header".to_owned() };
    let asked = Count::default();
    crowd(12, until, |_| {
        let (mut rest, asked) = (rest.another(), Arc::clone(&asked));
        async move {
            let mut due = interval(Duration::from_millis(500));
            loop {
                due.tick().await;
                let path = format!("/history?channel={channel}&limit=1");
                if rest.call(Method::GET, &path, None).await.is_ok() {
                    asked.fetch_add(1, Ordering::Relaxed);
                } else {
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
    .await;
    format!("{} requests", asked.load(Ordering::Relaxed))
}
