//! The channels of the scenario, and their pages.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, Result};
use weir_data_client::DataClient;
use weir_proto::data::ListMessagesRequest;

use crate::place::{Place, calls};

/// Writers during the set-up.
const SETUP_WRITERS: usize = 64;

/// The number of channels and rows.
pub(super) struct Sizes {
    pub(super) quiet_channels: u64,
    /// Messages of each channel.
    pub(super) messages: u64,
    /// Bytes of a quiet channel's message.
    pub(super) content_bytes: usize,
    pub(super) hot_content_bytes: usize,
}

/// Channels with rows in them.
pub(super) struct World {
    pub(super) hot: u64,
    pub(super) quiet: Vec<u64>,
    /// Message ids in order, for each quiet channel and last for the hot one.
    pub(super) ids: Vec<Vec<u64>>,
}

/// Makes the channels and writes their messages.
pub(super) async fn fill(data: &DataClient, sizes: &Sizes) -> Result<World> {
    let place = Place::new(data, sizes.quiet_channels + 1).await?;
    let mut channels = place.channels.clone();
    let hot = channels.pop().context("a channel")?;
    let next = Arc::new(AtomicU64::new(0));
    let total = place.channels.len() as u64 * sizes.messages;
    let (hot_bytes, quiet_bytes) = (sizes.hot_content_bytes, sizes.content_bytes);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..SETUP_WRITERS {
        let (data, next, place) = (data.clone(), Arc::clone(&next), place.clone());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return anyhow::Ok(());
                }
                // The remainder is below the number of channels, a usize.
                let channel_id = place.channels[(number % place.channels.len() as u64) as usize];
                let bytes = if channel_id == hot { hot_bytes } else { quiet_bytes };
                let content: String = format!("message {number} ").chars().cycle().take(bytes).collect();
                place.say(&data, channel_id, content).await?;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    let mut ids = Vec::with_capacity(place.channels.len());
    for channel_id in &place.channels {
        let mut of_channel = Vec::new();
        let mut before = None;
        loop {
            let request = ListMessagesRequest {
                channel_id: *channel_id,
                limit: 100,
                before,
                ..ListMessagesRequest::default()
            };
            let page = data.list_messages(&request, &calls()).await?.message.messages;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            of_channel.extend(page.iter().map(|message| message.id));
        }
        of_channel.reverse();
        ids.push(of_channel);
    }
    Ok(World { hot, quiet: channels, ids })
}

/// A number that looks random but is the same in each run (SplitMix64).
pub(super) fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A random page of a channel, chosen by `number`.
pub(super) fn some_page(ids: &[u64], number: u64) -> Option<u64> {
    // The remainder is below the length, a usize.
    let index = (number % ids.len().max(1) as u64) as usize;
    ids.get(index).copied()
}
