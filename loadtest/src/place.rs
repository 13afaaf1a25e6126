//! The start of every scenario on the data service: a guild with channels, and a member who writes in them.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_data_client::{CallOptions, DataClient};
use weir_proto::data::{
    Channel, CreateGuildRequest, CreateMessageRequest, CreateUserRequest, Guild, Member, Message, User,
};

/// A guild's channels and the one member who writes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) channels: Vec<u64>,
    author_id: u64,
}

/// Options for the calls of a set-up. A machine is busy while it is filled, so they may take long.
pub(crate) fn calls() -> CallOptions {
    CallOptions::within(Duration::from_secs(10))
}

impl Place {
    /// Creates the guild with so many channels.
    pub(crate) async fn new(data: &DataClient, channels: u64) -> Result<Self> {
        let user = User { username: "loadtest".into(), bot: true, ..User::default() };
        let user = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
        let author_id = data.create_user(&user, &calls()).await?.message.user.context("a user")?.id;
        let channel = |number| Channel { name: format!("c{number}"), ..Channel::default() };
        let guild = CreateGuildRequest {
            guild: Some(Guild { name: "loadtest".into(), owner_id: author_id, ..Guild::default() }),
            channels: (0..channels).map(channel).collect(),
            members: vec![Member { user_id: author_id, ..Member::default() }],
            ..CreateGuildRequest::default()
        };
        let state = data.create_guild(&guild, &calls()).await?.message.state.context("a guild")?;
        Ok(Self { channels: state.channels.iter().map(|channel| channel.id).collect(), author_id })
    }

    /// Writes a message.
    pub(crate) async fn say(&self, data: &DataClient, channel_id: u64, content: String) -> Result<()> {
        let message = Message { channel_id, author_id: self.author_id, content, ..Message::default() };
        let request = CreateMessageRequest { message: Some(message), ..CreateMessageRequest::default() };
        data.create_message(&request, &calls()).await?;
        Ok(())
    }
}
