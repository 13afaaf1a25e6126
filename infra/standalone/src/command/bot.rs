//! `weir bot create`.

use clap::Subcommand;
use serde_json::json;
use weir_data_client::{DataClient, DataError};
use weir_discord::{
    permission::Permissions,
    token::{BotToken, SECRET_BYTES},
};
use weir_proto::{
    data::{CreateUserRequest, GetGuildRequest, Member, PutMemberRequest, PutRoleRequest, Role, User},
    id::{GuildId, UserId},
};

use super::{Context, answered, now_ms, options, words};
use crate::{
    error::CommandError,
    output::Done,
    reach::{IfAbsent, Service},
};

/// Longest name, in characters. Discord's longest name of an author has as many.
const NAME_MAX: usize = 80;
/// Name of the role that bots get in a guild.
const ROLE: &str = "weir bots";

/// `weir bot …`
#[derive(Debug, Subcommand)]
pub(crate) enum BotAction {
    /// Create a bot and print its token, once: only its hash is stored
    Create {
        /// Its name
        name: String,
        /// Add it to this guild, as an administrator
        #[arg(long, value_name = "ID")]
        guild: Option<GuildId>,
    },
}

/// A bot that was created.
pub(crate) struct Bot {
    /// Its row.
    pub(crate) user: User,
    /// Its credential.
    pub(crate) token: BotToken,
}

/// Runs the command.
pub(crate) async fn run(action: BotAction, context: &Context) -> Result<Done, CommandError> {
    let BotAction::Create { name, guild } = action;
    words("a bot's name", &name, NAME_MAX)?;
    if name.is_empty() {
        return Err(CommandError::Usage { problem: "a bot's name has at least one letter".to_owned() });
    }
    // A guild can only be in a store that exists already.
    let absent = if guild.is_some() { IfAbsent::Refuse } else { IfAbsent::Make };
    let service = Service::server_or_store(&context.target(), absent).await?;
    let outcome = create_in(&service.client, &name, guild).await;
    let note = service.note().map(|note| format!("{note}; start a server with `weir`"));
    service.close().await;
    let bot = outcome?;
    let token = bot.token.reveal();
    let done = Done {
        text: format!(
            "bot {} has id {}\ntoken {token}\nkeep it: it is not stored and cannot be shown again",
            bot.user.username, bot.user.id
        ),
        json: json!({ "user_id": bot.user.id.to_string(), "token": token }),
    };
    Ok(done.noting(note))
}

async fn create_in(client: &DataClient, name: &str, guild: Option<GuildId>) -> Result<Bot, CommandError> {
    let role = match guild {
        // The role is looked up before the bot is created, so that a guild that does not exist leaves nothing
        // behind.
        Some(guild) => Some((guild.get(), role_of(client, guild.get()).await?)),
        None => None,
    };
    let bot = create(client, name).await?;
    if let Some((guild_id, role_id)) = role {
        join(client, guild_id, bot.user.id, vec![role_id]).await?;
    }
    Ok(bot)
}

/// Creates a bot. It takes two steps, because a token names its user and the service makes the user's id. A
/// bot whose second step failed can do nothing.
///
/// # Errors
/// [`CommandError`]
pub(crate) async fn create(client: &DataClient, name: &str) -> Result<Bot, CommandError> {
    let act = || format!("cannot create the bot {name:?}");
    let user = User { username: name.to_owned(), bot: true, ..User::default() };
    let request = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
    let reply = answered(act(), client.create_user(&request, &options()).await)?;
    let user = reply.user.ok_or(CommandError::Incomplete { what: "user" })?;
    let id = UserId::try_from(user.id).map_err(|_| CommandError::Incomplete { what: "user's id" })?;
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(CommandError::Random)?;
    let token = BotToken::generate(id, now_ms() / 1_000, &secret);
    let request = CreateUserRequest { user: Some(user.clone()), token_hash: token.hash().0.to_vec() };
    answered(act(), client.create_user(&request, &options()).await)?;
    Ok(Bot { user, token })
}

/// Returns the guild's role for bots, and creates it if it is missing.
async fn role_of(client: &DataClient, guild_id: u64) -> Result<u64, CommandError> {
    let request = GetGuildRequest { guild_id, ..GetGuildRequest::default() };
    let reply = match client.get_guild(&request, &options()).await {
        Err(DataError::NotFound { .. }) => {
            return Err(CommandError::NotFound { what: format!("guild {guild_id}") });
        }
        reply => answered(format!("cannot read guild {guild_id}"), reply)?,
    };
    let state = reply.state.ok_or(CommandError::Incomplete { what: "guild" })?;
    let serves = |role: &&Role| {
        role.name == ROLE && Permissions(role.permissions).contains(Permissions::ADMINISTRATOR)
    };
    if let Some(role) = state.roles.iter().find(serves) {
        return Ok(role.id);
    }
    let role = Role {
        guild_id,
        name: ROLE.to_owned(),
        permissions: Permissions::ADMINISTRATOR.0,
        position: state.roles.iter().map(|role| role.position).max().unwrap_or(0) + 1,
        ..Role::default()
    };
    let request = PutRoleRequest { role: Some(role), basis: None };
    let act = format!("cannot create the role {ROLE:?} in guild {guild_id}");
    let reply = answered(act, client.put_role(&request, &options()).await)?;
    Ok(reply.role.ok_or(CommandError::Incomplete { what: "role" })?.id)
}

async fn join(
    client: &DataClient,
    guild_id: u64,
    user_id: u64,
    role_ids: Vec<u64>,
) -> Result<(), CommandError> {
    let member = Member { guild_id, user_id, role_ids, joined_at_ms: now_ms(), ..Member::default() };
    let request = PutMemberRequest { member: Some(member), basis: None };
    let act = format!("cannot add the bot {user_id} to guild {guild_id}");
    answered(act, client.put_member(&request, &options()).await).map(drop)
}
