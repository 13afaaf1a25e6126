//! `weir demo`: creates some content, and prints requests that show it.

use clap::Args;
use serde_json::json;
use weir_data_client::DataClient;
use weir_discord::permission::Permissions;
use weir_proto::data::{Channel, CreateGuildRequest, CreateMessageRequest, Guild, Member, Message, Role};
use weir_runtime::running::reachable;

use super::{
    Context, answered,
    bot::{self, Bot},
    now_ms, options,
};
use crate::{
    error::CommandError,
    output::Done,
    reach::{IfAbsent, Service},
};

/// What the bot says in the demo's channel.
const WORDS: [&str; 5] = [
    "Hello! This channel is a partition in a database.",
    "Everybody who opens it asks for the same page at the same time.",
    "Those requests are answered by one read, and soon by none.",
    "Ask `weir explain` how.",
    "Then set a limit while you read: `weir limits set`.",
];

/// `weir demo …`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Name of the guild
    #[arg(long, default_value = "Demo")]
    name: String,
}

struct Scene {
    bot: Bot,
    guild_id: u64,
    channel_id: u64,
}

/// Runs the command.
pub(crate) async fn run(args: DemoArgs, context: &Context) -> Result<Done, CommandError> {
    let service = Service::server_or_store(&context.target(), IfAbsent::Make).await?;
    let outcome = set_up(&service.client, &args.name).await;
    let (note, api) = (service.note(), service.api.unwrap_or_else(|| reachable(context.config.listen.api)));
    service.close().await;
    let scene = outcome?;
    let api = format!("http://{api}");
    let done = Done {
        text: tour(&scene, &api, note.is_some()),
        json: json!({
            "user_id": scene.bot.user.id.to_string(),
            "token": scene.bot.token.reveal(),
            "guild_id": scene.guild_id.to_string(),
            "channel_id": scene.channel_id.to_string(),
            "messages": WORDS.len(),
            "api": api,
        }),
    };
    Ok(done.noting(note))
}

async fn set_up(client: &DataClient, name: &str) -> Result<Scene, CommandError> {
    let bot = bot::create(client, "demo").await?;
    let everyone = [
        Permissions::VIEW_CHANNEL,
        Permissions::SEND_MESSAGES,
        Permissions::READ_MESSAGE_HISTORY,
        Permissions::EMBED_LINKS,
        Permissions::ADD_REACTIONS,
    ];
    let permissions = everyone.into_iter().fold(Permissions::NONE, |all, one| all | one).0;
    let request = CreateGuildRequest {
        guild: Some(Guild { name: name.to_owned(), owner_id: bot.user.id, ..Guild::default() }),
        roles: vec![Role { name: "@everyone".to_owned(), permissions, ..Role::default() }],
        channels: vec![Channel { name: "general".to_owned(), ..Channel::default() }],
        members: vec![Member { user_id: bot.user.id, joined_at_ms: now_ms(), ..Member::default() }],
    };
    let reply = answered("cannot create the guild", client.create_guild(&request, &options()).await)?;
    let state = reply.state.ok_or(CommandError::Incomplete { what: "guild" })?;
    let guild_id = state.guild.map(|guild| guild.id).ok_or(CommandError::Incomplete { what: "guild" })?;
    let channel_id = state
        .channels
        .first()
        .map(|channel| channel.id)
        .ok_or(CommandError::Incomplete { what: "channel" })?;
    for words in WORDS {
        let message =
            Message { channel_id, author_id: bot.user.id, content: words.to_owned(), ..Message::default() };
        let request = CreateMessageRequest { message: Some(message), ..CreateMessageRequest::default() };
        answered("cannot write a message", client.create_message(&request, &options()).await)?;
    }
    Ok(Scene { bot, guild_id, channel_id })
}

fn tour(scene: &Scene, api: &str, local: bool) -> String {
    let start =
        if local { "\nno server runs on this data directory: start one with `weir` first\n" } else { "" };
    let (guild, channel, token) = (scene.guild_id, scene.channel_id, scene.bot.token.reveal());
    format!(
        r#"guild {guild} with channel {channel} and {count} messages is there
{start}
export TOKEN={token}
export CHANNEL={channel}

# its history, newest first
curl -s -H "Authorization: Bot $TOKEN" "{api}/history?channel=$CHANNEL&limit=5"

# say something
curl -s -H "Authorization: Bot $TOKEN" -H "Content-Type: application/json" \
  -d '{{"channel":"'$CHANNEL'","content":"Hi from curl"}}' {api}/messages

# the same by Discord's routes
curl -s -H "Authorization: Bot $TOKEN" "{api}/api/v10/channels/$CHANNEL/messages?limit=2"

# how a read of it is served now
weir explain $CHANNEL"#,
        count = WORDS.len(),
    )
}
