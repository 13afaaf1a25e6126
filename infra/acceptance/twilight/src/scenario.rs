//! The scenario: the first minutes of a bot's life, and then a broken connection.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use twilight_gateway::{ConfigBuilder, Event, Intents, Shard, ShardId};
use twilight_http::{
    Client,
    api_error::ApiError,
    error::ErrorType,
    request::{Request, channel::reaction::RequestReactionType},
    routing::Route,
};
use twilight_model::{
    channel::{
        Channel, ChannelType, Message,
        message::{EmojiReactionType, MessageType, Reaction},
    },
    gateway::payload::incoming::GuildCreate,
    guild::Guild,
    id::{
        Id,
        marker::{ChannelMarker, MessageMarker},
    },
};

use crate::{
    events::{Events, WAIT, check},
    loopback::Watch,
    relay::Relay,
    steps::Steps,
};

/// Messages of the history step: more than one page of 100, so that paging must join pages.
const HISTORY: usize = 130;

/// Messages of the resume step.
const RESUME_TOTAL: usize = 60;

/// Messages of the resume step that are sent before the connection is cut.
const RESUME_BEFORE_CUT: usize = 20;

/// Messages of the resume step that are sent while the bot is away.
const RESUME_MISSED: usize = 15;

/// The server under test.
#[derive(Debug)]
pub(crate) struct Target {
    /// `HOST:PORT` of the api.
    pub(crate) api: String,
    /// `HOST:PORT` of the gateway.
    pub(crate) gateway: String,
    /// The bot's token.
    pub(crate) token: String,
}

/// Runs every step.
///
/// # Errors
/// The first step that failed; it is already in `steps`.
pub(crate) async fn run(target: &Target, steps: &mut Steps) -> Result<()> {
    let watch = Watch::start();
    let http = client(target);
    let me = steps.step("login", async { Ok(http.current_user().await?.model().await?) }).await?;

    let relay = Relay::start(target.gateway.clone()).await?;
    let intents = Intents::GUILDS
        | Intents::GUILD_MESSAGES
        | Intents::GUILD_MESSAGE_REACTIONS
        | Intents::MESSAGE_CONTENT;
    let config = ConfigBuilder::new(target.token.clone(), intents)
        .proxy_url(format!("ws://{}", relay.address()))
        .build();
    let mut events = Events::drive(Shard::with_config(ShardId::ONE, config));

    steps.step("ready", ready(&mut events, me.id)).await?;
    let guild = steps.step("create_guild", create_guild(&http, &mut events)).await?;
    check(guild.owner_id == me.id, "the creator owns the guild")?;
    let (channel, resuming) =
        steps.step("create_channels", create_channels(&http, &mut events, &guild)).await?;
    let (sent, reply) = steps.step("send", send(&http, &mut events, channel)).await?;
    steps.step("edit", edit(&http, &mut events, &sent)).await?;
    steps.step("reactions", reactions(&http, &mut events, &sent)).await?;
    steps.step("pins", pins(&http, &mut events, &sent)).await?;
    steps.step("delete", delete(&http, &mut events, &sent, &reply)).await?;
    steps.step("history", history(&http, channel)).await?;
    steps.step("resume", resume_without_gap(target, &http, &mut events, &relay, resuming)).await?;
    steps.step("loopback_only", async { watch.verdict() }).await
}

/// A new REST client. twilight adds `/api/v10` to the proxy's address.
fn client(target: &Target) -> Client {
    Client::builder().token(target.token.clone()).proxy(target.api.clone(), true).timeout(WAIT).build()
}

async fn ready(events: &mut Events, me: Id<twilight_model::id::marker::UserMarker>) -> Result<()> {
    let (user, application) = events
        .until(0, "READY", |event| match event {
            Event::Ready(ready) => Some((ready.user.id, ready.application.id)),
            _ => None,
        })
        .await?;
    check(user == me, "READY carries the bot's own user")?;
    check(application.get() != 0, "READY carries the application")
}

async fn create_guild(http: &Client, events: &mut Events) -> Result<Guild> {
    let mark = events.mark();
    // The library dropped its method for this route; its raw request is what bots use.
    let request = Request::builder(&Route::CreateGuild)
        .json(&serde_json::json!({"name": "acceptance twilight"}))
        .build()?;
    let created = http.request::<Guild>(request).await?.model().await?;
    let guild = events
        .until(mark, "GUILD_CREATE", |event| match event {
            Event::GuildCreate(create) => match &**create {
                GuildCreate::Available(guild) if guild.id == created.id => Some(guild.clone()),
                GuildCreate::Available(_) | GuildCreate::Unavailable(_) => None,
            },
            _ => None,
        })
        .await?;
    check(guild.roles.iter().any(|role| role.id.get() == guild.id.get()), "@everyone has the guild's id")?;
    check(
        guild.members.iter().any(|member| member.user.id == guild.owner_id),
        "the member list holds the bot",
    )?;
    Ok(guild)
}

async fn create_channels(
    http: &Client,
    events: &mut Events,
    guild: &Guild,
) -> Result<(Id<ChannelMarker>, Id<ChannelMarker>)> {
    let mark = events.mark();
    let category =
        http.create_guild_channel(guild.id, "area").kind(ChannelType::GuildCategory).await?.model().await?;
    let channel = http
        .create_guild_channel(guild.id, "acceptance")
        .parent_id(category.id)
        .topic("written by a bot")
        .await?
        .model()
        .await?;
    events
        .until(mark, "CHANNEL_CREATE", |event| {
            matches!(event, Event::ChannelCreate(create) if create.id == channel.id).then_some(())
        })
        .await?;
    let resuming = http.create_guild_channel(guild.id, "resuming").await?.model().await?;
    let listed: Vec<Channel> = http.guild_channels(guild.id).await?.models().await?;
    for id in [category.id, channel.id, resuming.id] {
        check(listed.iter().any(|listed| listed.id == id), "the guild lists its new channels")?;
    }
    let fetched = http.channel(channel.id).await?.model().await?;
    check(fetched.parent_id == Some(category.id), "the channel keeps its parent")?;
    Ok((channel.id, resuming.id))
}

async fn send(http: &Client, events: &mut Events, channel: Id<ChannelMarker>) -> Result<(Message, Message)> {
    let mark = events.mark();
    let sent = http.create_message(channel).content("hello, Wörld 👋").await?.model().await?;
    let received = events
        .until(mark, "MESSAGE_CREATE", |event| match event {
            Event::MessageCreate(create) if create.id == sent.id => Some(create.message.clone()),
            _ => None,
        })
        .await?;
    check(received.content == "hello, Wörld 👋", "MESSAGE_CREATE carries the content")?;
    check(received.author.id == sent.author.id, "MESSAGE_CREATE carries its author")?;
    check(received.member.is_some(), "MESSAGE_CREATE carries the author's member")?;
    let reply = http.create_message(channel).content("a reply").reply(sent.id).await?.model().await?;
    let answered = reply.reference.as_ref().and_then(|reference| reference.message_id);
    check(answered == Some(sent.id), "a reply names its message")?;
    Ok((sent, reply))
}

async fn edit(http: &Client, events: &mut Events, sent: &Message) -> Result<()> {
    let mark = events.mark();
    let edited =
        http.update_message(sent.channel_id, sent.id).content(Some("hello again")).await?.model().await?;
    check(edited.content == "hello again" && edited.edited_timestamp.is_some(), "the reply shows the edit")?;
    let updated = events
        .until(mark, "MESSAGE_UPDATE", |event| match event {
            Event::MessageUpdate(update) if update.id == sent.id => Some(update.content.clone()),
            _ => None,
        })
        .await?;
    check(updated == "hello again", "MESSAGE_UPDATE shows the edit")?;
    let fetched = http.message(sent.channel_id, sent.id).await?.model().await?;
    check(fetched.content == "hello again", "the database shows the edit")
}

async fn reactions(http: &Client, events: &mut Events, sent: &Message) -> Result<()> {
    const THUMB: &str = "👍";
    const HEART: &str = "❤️";
    let (channel, id, me) = (sent.channel_id, sent.id, sent.author.id);
    let (thumb, heart) =
        (RequestReactionType::Unicode { name: THUMB }, RequestReactionType::Unicode { name: HEART });
    let is = |emoji: &EmojiReactionType, wanted: &str| matches!(emoji, EmojiReactionType::Unicode { name } if name == wanted);

    let mark = events.mark();
    http.create_reaction(channel, id, &thumb).await?;
    let (user, emoji, with_member, author) = events
        .until(mark, "MESSAGE_REACTION_ADD", |event| match event {
            Event::ReactionAdd(add) if add.message_id == id => {
                Some((add.user_id, add.emoji.clone(), add.member.is_some(), add.message_author_id))
            }
            _ => None,
        })
        .await?;
    check(user == me && is(&emoji, THUMB), "MESSAGE_REACTION_ADD says who and with what")?;
    check(with_member, "MESSAGE_REACTION_ADD carries the member")?;
    check(author == Some(me), "MESSAGE_REACTION_ADD says whose message it is")?;
    http.create_reaction(channel, id, &heart).await?;
    let shown = http.message(channel, id).await?.model().await?.reactions;
    let is_own = |reaction: &Reaction, name| is(&reaction.emoji, name) && reaction.count == 1 && reaction.me;
    check(
        shown.len() == 2 && is_own(&shown[0], THUMB) && is_own(&shown[1], HEART),
        "the message shows both reactions",
    )?;
    let users = http.reactions(channel, id, &thumb).await?.models().await?;
    check(users.len() == 1 && users[0].id == me, "the users of an emoji are listed")?;

    http.delete_current_user_reaction(channel, id, &thumb).await?;
    let emoji = events
        .until(mark, "MESSAGE_REACTION_REMOVE", |event| match event {
            Event::ReactionRemove(remove) if remove.message_id == id => Some(remove.emoji.clone()),
            _ => None,
        })
        .await?;
    check(is(&emoji, THUMB), "MESSAGE_REACTION_REMOVE names the emoji")?;
    http.delete_all_reaction(channel, id, &heart).await?;
    let emoji = events
        .until(mark, "MESSAGE_REACTION_REMOVE_EMOJI", |event| match event {
            Event::ReactionRemoveEmoji(cleared) if cleared.message_id == id => Some(cleared.emoji.clone()),
            _ => None,
        })
        .await?;
    check(is(&emoji, HEART), "MESSAGE_REACTION_REMOVE_EMOJI names the emoji")?;
    http.create_reaction(channel, id, &thumb).await?;
    http.delete_all_reactions(channel, id).await?;
    events
        .until(mark, "MESSAGE_REACTION_REMOVE_ALL", |event| {
            matches!(event, Event::ReactionRemoveAll(cleared) if cleared.message_id == id).then_some(())
        })
        .await?;
    let left = http.message(channel, id).await?.model().await?.reactions;
    check(left.is_empty(), "no reaction is left")
}

async fn pins(http: &Client, events: &mut Events, sent: &Message) -> Result<()> {
    let (channel, id) = (sent.channel_id, sent.id);
    let updated = |event: &Event| match event {
        Event::ChannelPinsUpdate(update) if update.channel_id == channel => {
            Some(update.last_pin_timestamp.is_some())
        }
        _ => None,
    };
    let mark = events.mark();
    http.create_pin(channel, id).await?;
    let with_time = events.until(mark, "CHANNEL_PINS_UPDATE", updated).await?;
    check(with_time, "CHANNEL_PINS_UPDATE names the newest pin")?;
    let (notice, reference) = events
        .until(mark, "the message that tells of the pin", |event| match event {
            Event::MessageCreate(message) if message.kind == MessageType::ChannelMessagePinned => {
                Some((message.id, message.reference.as_ref().and_then(|reference| reference.message_id)))
            }
            _ => None,
        })
        .await?;
    check(reference == Some(id), "a message tells of the pin")?;
    let listed = http.pins(channel).await?.model().await?;
    let shown: Vec<_> = listed.items.iter().map(|pin| (pin.message.id, pin.message.pinned)).collect();
    check(shown == [(id, true)] && !listed.has_more, "the pin is listed")?;
    http.delete_pin(channel, id).await?;
    check(http.pins(channel).await?.model().await?.items.is_empty(), "no pin is left")?;
    http.delete_message(channel, notice).await?;
    Ok(())
}

async fn delete(http: &Client, events: &mut Events, sent: &Message, reply: &Message) -> Result<()> {
    const UNKNOWN_MESSAGE: u64 = 10008;
    let mark = events.mark();
    http.delete_message(sent.channel_id, sent.id).await?;
    events
        .until(mark, "MESSAGE_DELETE", |event| {
            matches!(event, Event::MessageDelete(delete) if delete.id == sent.id).then_some(())
        })
        .await?;
    match http.message(sent.channel_id, sent.id).await {
        Ok(_) => bail!("a deleted message can still be fetched"),
        Err(error) => match error.kind() {
            ErrorType::Response { error: ApiError::General(error), .. } if error.code == UNKNOWN_MESSAGE => {}
            _ => return Err(error).context("a deleted message must be 10008"),
        },
    }
    http.delete_message(reply.channel_id, reply.id).await?;
    Ok(())
}

async fn history(http: &Client, channel: Id<ChannelMarker>) -> Result<()> {
    let mut ids = Vec::with_capacity(HISTORY);
    for number in 0..HISTORY {
        ids.push(http.create_message(channel).content(&format!("history {number}")).await?.model().await?.id);
    }
    let newest_first = |from: usize, to: usize| ids[from..to].iter().rev().copied().collect::<Vec<_>>();

    let mut everything = keys(http.channel_messages(channel).limit(100).await?.models().await?);
    while let Some(&oldest) = everything.last() {
        let page = keys(http.channel_messages(channel).before(oldest).limit(100).await?.models().await?);
        if page.is_empty() {
            break;
        }
        check(everything.len() < HISTORY, "paging ends")?;
        everything.extend(page);
    }
    check(everything == newest_first(0, HISTORY), "all pages together are all messages, newest first")?;
    let before = keys(http.channel_messages(channel).before(ids[110]).limit(100).await?.models().await?);
    check(before == newest_first(10, 110), "before: the 100 newest below the anchor")?;
    let after = keys(http.channel_messages(channel).after(ids[49]).limit(50).await?.models().await?);
    check(after == newest_first(50, 100), "after: the 50 oldest above the anchor, newest first")?;
    let around = keys(http.channel_messages(channel).around(ids[60]).limit(21).await?.models().await?);
    check(around == newest_first(50, 71), "around: ten on each side and the anchor")
}

fn keys(messages: Vec<Message>) -> Vec<Id<MessageMarker>> {
    messages.into_iter().map(|message| message.id).collect()
}

async fn resume_without_gap(
    target: &Target,
    http: &Client,
    events: &mut Events,
    relay: &Relay,
    channel: Id<ChannelMarker>,
) -> Result<()> {
    let mark = events.mark();
    let (progress, mut posted) = watch::channel(0_usize);
    // Another REST caller: a client with connections of its own.
    let poster = client(target);
    let posting = tokio::spawn(async move {
        let mut ids = Vec::with_capacity(RESUME_TOTAL);
        for number in 0..RESUME_TOTAL {
            ids.push(
                poster.create_message(channel).content(&format!("resume {number}")).await?.model().await?.id,
            );
            progress.send_replace(ids.len());
        }
        anyhow::Ok(ids)
    });
    reached(&mut posted, RESUME_BEFORE_CUT).await?;
    events.hold(true);
    relay.cut();
    reached(&mut posted, RESUME_BEFORE_CUT + RESUME_MISSED).await?;
    events.hold(false);
    let posted = posting.await.context("the other caller")??;
    events.until(mark, "RESUMED", |event| matches!(event, Event::Resumed).then_some(())).await?;

    // A last message after everything else: once it arrives, any repeated message has arrived too.
    let last = http.create_message(channel).content("resume end").await?.model().await?.id;
    events
        .until(mark, "the last message", |event| {
            matches!(event, Event::MessageCreate(create) if create.id == last).then_some(())
        })
        .await?;

    let since = &events.log()[mark..];
    let count = |wanted: fn(&Event) -> bool| since.iter().filter(|event| wanted(event)).count();
    check(count(|event| matches!(event, Event::Resumed)) == 1, "the session was resumed once")?;
    check(count(|event| matches!(event, Event::Ready(_))) == 0, "no fresh session was begun")?;
    let received: Vec<_> = since
        .iter()
        .filter_map(|event| match event {
            Event::MessageCreate(create) if create.channel_id == channel && create.id != last => {
                Some(create.id)
            }
            _ => None,
        })
        .collect();
    let lengths =
        format!("every message once and in order; expected {}, got {}", posted.len(), received.len());
    check(received == posted, &lengths)
}

/// Waits until the other caller has posted `count` messages.
async fn reached(posted: &mut watch::Receiver<usize>, count: usize) -> Result<()> {
    /// Time for sixty messages under Discord's usual limit of five in five seconds, doubled.
    const POSTING_MAX: Duration = Duration::from_secs(120);
    tokio::time::timeout(POSTING_MAX, posted.wait_for(|&done| done >= count))
        .await
        .with_context(|| {
            format!("the other caller did not post {count} messages within {} s", POSTING_MAX.as_secs())
        })?
        .context("the other caller ended early")?;
    Ok(())
}
