//! Who may do what: one matrix of callers and routes, and the hierarchy of roles.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Bot, Place, Served, id};

const KICK_MEMBERS: u64 = 1 << 1;
const CREATE_INSTANT_INVITE: u64 = 1;
const MANAGE_CHANNELS: u64 = 1 << 4;
const VIEW_CHANNEL: u64 = 1 << 10;
const SEND_MESSAGES: u64 = 1 << 11;
const MANAGE_MESSAGES: u64 = 1 << 13;
const READ_MESSAGE_HISTORY: u64 = 1 << 16;
const MANAGE_ROLES: u64 = 1 << 28;
const ADMINISTRATOR: u64 = 1 << 3;

/// The callers of the matrix, in the order of its columns.
struct Cast {
    stranger: Bot,
    blind: Bot,
    silent: Bot,
    newcomer: Bot,
    member: Bot,
    moderator: Bot,
    manager: Bot,
    administrator: Bot,
    owner: Bot,
}

impl Cast {
    fn columns(&self) -> [(&'static str, &Bot); 9] {
        [
            ("stranger", &self.stranger),
            ("blind", &self.blind),
            ("silent", &self.silent),
            ("newcomer", &self.newcomer),
            ("member", &self.member),
            ("moderator", &self.moderator),
            ("manager", &self.manager),
            ("administrator", &self.administrator),
            ("owner", &self.owner),
        ]
    }
}

/// A guild whose channel denies each of three roles one thing.
async fn stage(served: &Served) -> (Cast, Place) {
    let owner = served.bot("owner");
    let place = served.guild(&owner).await;
    let role = |permissions, position| served.role(place.guild, permissions, position);
    let denying = |permission| {
        let id = role(0, 1);
        let overwrite = weir_proto::data::Overwrite { id, r#type: 0, allow: 0, deny: permission };
        served.data.world().channels.get_mut(&place.channel).unwrap().overwrites.push(overwrite);
        id
    };
    let bot = |name: &str, role: Option<u64>| {
        let bot = served.bot(name);
        served.join(&bot, place.guild, role.as_slice());
        bot
    };
    let cast = Cast {
        stranger: served.bot("stranger"),
        blind: bot("blind", Some(denying(VIEW_CHANNEL))),
        silent: bot("silent", Some(denying(SEND_MESSAGES))),
        newcomer: bot("newcomer", Some(denying(READ_MESSAGE_HISTORY))),
        member: bot("member", None),
        moderator: bot("moderator", Some(role(MANAGE_MESSAGES, 5))),
        manager: bot("manager", Some(role(MANAGE_CHANNELS | MANAGE_ROLES | KICK_MEMBERS, 6))),
        administrator: bot("administrator", Some(role(ADMINISTRATOR, 7))),
        owner,
    };
    // Joining by hand needs an invitation's permission, and members have it by default: take it from all but the upper three.
    let mut world = served.data.world();
    world.roles.get_mut(&place.guild).unwrap().permissions &= !CREATE_INSTANT_INVITE;
    drop(world);
    (cast, place)
}

type Outcome = (u16, u64);
const OK: Outcome = (200, 0);
const CREATED: Outcome = (201, 0);
const DONE: Outcome = (204, 0);
const NO_ACCESS: Outcome = (403, 50_001);
const NO_PERMISSION: Outcome = (403, 50_013);
const NOT_THE_AUTHOR: Outcome = (403, 50_005);
const NOT_THE_OWNER: Outcome = (403, 20_018);

/// A row: what is done, and what becomes of it for each of the cast.
struct Row {
    name: &'static str,
    method: Method,
    path: fn(&Served, Place, &Cast) -> String,
    body: Value,
    outcomes: [Outcome; 9],
}

fn others_message(served: &Served, place: Place, _: &Cast) -> String {
    let author = served.bot("someone else");
    format!("{}/{}", place.messages(), served.message(place.channel, author.id, |_| {}))
}

fn rows() -> Vec<Row> {
    let (n, p) = (NO_ACCESS, NO_PERMISSION);
    let row = |name, method, path, body, outcomes| Row { name, method, path, body, outcomes };
    vec![
        row(
            "see a channel",
            Method::GET,
            |_, place, _| format!("/channels/{}", place.channel),
            json!(null),
            [n, n, OK, OK, OK, OK, OK, OK, OK],
        ),
        row(
            "read a page",
            Method::GET,
            |_, place, _| place.messages(),
            json!(null),
            [n, n, OK, OK, OK, OK, OK, OK, OK],
        ),
        row("read a message", Method::GET, others_message, json!(null), [n, n, OK, p, OK, OK, OK, OK, OK]),
        row(
            "send",
            Method::POST,
            |_, place, _| place.messages(),
            json!({"content": "x"}),
            [n, n, p, OK, OK, OK, OK, OK, OK],
        ),
        row(
            "type",
            Method::POST,
            |_, place, _| format!("/channels/{}/typing", place.channel),
            json!(null),
            [n, n, p, DONE, DONE, DONE, DONE, DONE, DONE],
        ),
        row(
            "edit another's text",
            Method::PATCH,
            others_message,
            json!({"content": "x"}),
            [
                n,
                n,
                NOT_THE_AUTHOR,
                NOT_THE_AUTHOR,
                NOT_THE_AUTHOR,
                NOT_THE_AUTHOR,
                NOT_THE_AUTHOR,
                NOT_THE_AUTHOR,
                NOT_THE_AUTHOR,
            ],
        ),
        row(
            "hide another's embeds",
            Method::PATCH,
            others_message,
            json!({"flags": 4}),
            [n, n, p, p, p, OK, p, OK, OK],
        ),
        row(
            "delete another's message",
            Method::DELETE,
            others_message,
            json!(null),
            [n, n, p, p, p, DONE, p, DONE, DONE],
        ),
        row(
            "delete in bulk",
            Method::POST,
            |_, place, _| format!("{}/bulk-delete", place.messages()),
            json!({"messages": ["9000000000000000001", "9000000000000000002"]}),
            [n, n, p, p, p, DONE, p, DONE, DONE],
        ),
        row(
            "change a channel",
            Method::PATCH,
            |_, place, _| format!("/channels/{}", place.channel),
            json!({"topic": "t"}),
            [n, n, p, p, p, p, OK, OK, OK],
        ),
        row(
            "hand out overwrites",
            Method::PATCH,
            |served, place, _| format!("/channels/{}", served.channel(place.guild, |_| {})),
            json!({"permission_overwrites": [{"id": "1", "type": 1, "allow": "32", "deny": "0"}]}),
            [n, p, p, p, p, p, p, OK, OK],
        ),
        row(
            "clear overwrites",
            Method::PATCH,
            |served, place, _| {
                // What the manager holds nowhere. What it holds in the guild it may unlock.
                let denied = weir_proto::data::Overwrite {
                    id: place.guild,
                    r#type: 0,
                    allow: 0,
                    deny: MANAGE_MESSAGES,
                };
                format!("/channels/{}", served.channel(place.guild, |row| row.overwrites.push(denied)))
            },
            json!({"permission_overwrites": []}),
            [n, p, p, p, p, p, p, OK, OK],
        ),
        row(
            "delete a channel",
            Method::DELETE,
            |served, place, _| format!("/channels/{}", served.channel(place.guild, |_| {})),
            json!(null),
            [n, p, p, p, p, p, OK, OK, OK],
        ),
        row(
            "see a guild",
            Method::GET,
            |_, place, _| format!("/guilds/{}", place.guild),
            json!(null),
            [n, OK, OK, OK, OK, OK, OK, OK, OK],
        ),
        row(
            "list channels",
            Method::GET,
            |_, place, _| format!("/guilds/{}/channels", place.guild),
            json!(null),
            [n, OK, OK, OK, OK, OK, OK, OK, OK],
        ),
        row(
            "list members",
            Method::GET,
            |_, place, _| format!("/guilds/{}/members", place.guild),
            json!(null),
            [n, OK, OK, OK, OK, OK, OK, OK, OK],
        ),
        row(
            "see a member",
            Method::GET,
            |_, place, cast| format!("/guilds/{}/members/{}", place.guild, cast.member.id),
            json!(null),
            [n, OK, OK, OK, OK, OK, OK, OK, OK],
        ),
        row(
            "list roles",
            Method::GET,
            |_, place, _| format!("/guilds/{}/roles", place.guild),
            json!(null),
            [n, OK, OK, OK, OK, OK, OK, OK, OK],
        ),
        row(
            "create a channel",
            Method::POST,
            |_, place, _| format!("/guilds/{}/channels", place.guild),
            json!({"name": "c"}),
            [n, p, p, p, p, p, CREATED, CREATED, CREATED],
        ),
        row(
            "create a role",
            Method::POST,
            |_, place, _| format!("/guilds/{}/roles", place.guild),
            json!({"name": "r", "permissions": "0"}),
            [n, p, p, p, p, p, OK, OK, OK],
        ),
        row(
            "create a role above oneself",
            Method::POST,
            |_, place, _| format!("/guilds/{}/roles", place.guild),
            json!({"permissions": "32"}),
            [n, p, p, p, p, p, p, OK, OK],
        ),
        row(
            "delete a low role",
            Method::DELETE,
            |served, place, _| format!("/guilds/{}/roles/{}", place.guild, served.role(place.guild, 0, 2)),
            json!(null),
            [n, p, p, p, p, p, DONE, DONE, DONE],
        ),
        row(
            "delete a high role",
            Method::DELETE,
            |served, place, _| format!("/guilds/{}/roles/{}", place.guild, served.role(place.guild, 0, 9)),
            json!(null),
            [n, p, p, p, p, p, p, p, DONE],
        ),
        row(
            "add a member",
            Method::PUT,
            |served, place, _| format!("/guilds/{}/members/{}", place.guild, served.bot("new").id),
            json!({}),
            [n, p, p, p, p, p, p, CREATED, CREATED],
        ),
        row(
            "kick a member",
            Method::DELETE,
            |served, place, _| {
                let victim = served.bot("victim");
                served.join(&victim, place.guild, &[]);
                format!("/guilds/{}/members/{}", place.guild, victim.id)
            },
            json!(null),
            [n, p, p, p, p, p, DONE, DONE, DONE],
        ),
        row(
            "kick the owner",
            Method::DELETE,
            |_, place, cast| format!("/guilds/{}/members/{}", place.guild, cast.owner.id),
            json!(null),
            [n, p, p, p, p, p, p, p, p],
        ),
        // Last but for the owner: it ends the guild.
        row(
            "delete the guild",
            Method::DELETE,
            |_, place, _| format!("/guilds/{}", place.guild),
            json!(null),
            [
                n,
                NOT_THE_OWNER,
                NOT_THE_OWNER,
                NOT_THE_OWNER,
                NOT_THE_OWNER,
                NOT_THE_OWNER,
                NOT_THE_OWNER,
                NOT_THE_OWNER,
                DONE,
            ],
        ),
    ]
}

#[tokio::test]
async fn the_matrix_of_callers_and_routes() {
    let served = Served::start().await;
    let (cast, place) = stage(&served).await;
    let mut wrong = Vec::new();
    for row in rows() {
        for ((who, bot), expected) in cast.columns().into_iter().zip(row.outcomes) {
            let path = format!("/api/v10{}", (row.path)(&served, place, &cast));
            let answer = served.ask(bot, row.method.clone(), &path, row.body.clone()).await;
            let outcome = match answer.status.is_success() {
                // A created message has no code, and its body is no error.
                true => (answer.status.as_u16(), 0),
                false => answer.outcome(),
            };
            if outcome != expected {
                wrong.push(format!("{who} / {}: {outcome:?}, not {expected:?}", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn without_a_token_every_route_is_401() {
    let served = Served::start().await;
    let (cast, place) = stage(&served).await;
    let nobody = Bot { id: 0, token: "none".to_owned() };
    for row in rows() {
        let path = format!("/api/v10{}", (row.path)(&served, place, &cast));
        assert_eq!(
            served.ask(&nobody, row.method, &path, row.body).await.outcome(),
            (401, 0),
            "{}",
            row.name
        );
    }
}

#[tokio::test]
async fn without_history_a_page_is_empty_and_not_refused() {
    let served = Served::start().await;
    let (cast, place) = stage(&served).await;
    served.message(place.channel, cast.member.id, |_| {});
    assert_eq!(served.get(&cast.newcomer, &place.messages()).await.ok(), json!([]));
    assert_eq!(served.get(&cast.member, &place.messages()).await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn ones_own_message_needs_no_permission_to_edit_or_delete() {
    let served = Served::start().await;
    let (cast, place) = stage(&served).await;
    let path = format!("{}/{}", place.messages(), served.message(place.channel, cast.silent.id, |_| {}));
    assert_eq!(served.patch(&cast.silent, &path, json!({"content": "mine"})).await.ok()["content"], "mine");
    assert_eq!(served.delete(&cast.silent, &path).await.status, 204);
}

#[tokio::test]
async fn what_the_system_wrote_is_not_edited_and_partly_not_deleted() {
    let served = Served::start().await;
    let (cast, place) = stage(&served).await;
    let system = |kind| {
        format!(
            "{}/{}",
            place.messages(),
            served.message(place.channel, cast.owner.id, |row| row.r#type = kind)
        )
    };
    assert_eq!(served.patch(&cast.owner, &system(7), json!({"content": "x"})).await.outcome(), (403, 50_021));
    assert_eq!(served.delete(&cast.owner, &system(3)).await.outcome(), (403, 50_021));
    assert_eq!(served.delete(&cast.owner, &system(7)).await.status, 204);
}

#[tokio::test]
async fn nobody_grants_a_role_that_stands_above_his_own_or_bits_he_lacks() {
    let served = Served::start().await;
    let (cast, place) = stage(&served).await;
    let below = served.role(place.guild, 0, 3);
    let above = served.role(place.guild, 0, 8);
    let grant = |role| format!("/guilds/{}/members/{}/roles/{role}", place.guild, cast.member.id);
    assert_eq!(served.put(&cast.manager, &grant(below), json!(null)).await.status, 204);
    assert_eq!(served.put(&cast.manager, &grant(above), json!(null)).await.outcome(), NO_PERMISSION);
    assert_eq!(served.put(&cast.moderator, &grant(below), json!(null)).await.outcome(), NO_PERMISSION);
    assert_eq!(served.put(&cast.owner, &grant(above), json!(null)).await.status, 204);

    let role = |id| format!("/guilds/{}/roles/{id}", place.guild);
    let raise = json!({"permissions": MANAGE_MESSAGES.to_string()});
    assert_eq!(served.patch(&cast.manager, &role(below), raise.clone()).await.outcome(), NO_PERMISSION);
    assert_eq!(served.patch(&cast.owner, &role(below), raise).await.status, 200);
    let lower = json!({"permissions": "0"});
    assert_eq!(
        served.patch(&cast.manager, &role(below), lower).await.outcome(),
        NO_PERMISSION,
        "taking is an act too"
    );
    let named = served.patch(&cast.manager, &role(below), json!({"name": "ok"})).await.ok();
    assert_eq!(id(&named["id"]), below);
}
