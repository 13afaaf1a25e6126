//! Who may do what: one matrix of callers and routes, and the hierarchy of roles.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Bot, Place, Served, id, outcome};

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
    // Joining by hand needs an invitation's permission, and members have it by default: take it from all but
    // the upper three.
    let mut world = served.data.world();
    world.roles.get_mut(&place.guild).unwrap().permissions &= !CREATE_INSTANT_INVITE;
    drop(world);
    (cast, place)
}

const NO_PERMISSION: (u16, u64) = (403, 50_013);

/// A row: what is done, and what becomes of it for each of the cast.
struct Row {
    name: &'static str,
    method: Method,
    /// Each segment in capitals stands for an id; see [`path`].
    path: &'static str,
    body: Value,
    /// A letter for each of the cast; see [`outcome`].
    outcomes: &'static str,
}

/// The path of a row, with the ids of what is there or is made for this request.
fn path(row: &Row, served: &Served, place: Place, cast: &Cast) -> String {
    let segment = |segment: &str| -> String {
        let id = match segment {
            "CHANNEL" => place.channel,
            "NEW-CHANNEL" => served.channel(place.guild, |_| {}),
            "DENYING-CHANNEL" => served.channel(place.guild, |row| {
                // What the manager holds nowhere. What it holds in the guild it may unlock.
                let deny = MANAGE_MESSAGES;
                row.overwrites.push(weir_proto::data::Overwrite {
                    id: place.guild,
                    r#type: 0,
                    allow: 0,
                    deny,
                });
            }),
            "OTHERS-MESSAGE" => served.message(place.channel, served.bot("someone else").id, |_| {}),
            "GUILD" => place.guild,
            "LOW-ROLE" => served.role(place.guild, 0, 2),
            "HIGH-ROLE" => served.role(place.guild, 0, 9),
            "MEMBER" => cast.member.id,
            "OWNER" => cast.owner.id,
            "NEW-USER" => served.bot("new").id,
            "VICTIM" => {
                let victim = served.bot("victim");
                served.join(&victim, place.guild, &[]);
                victim.id
            }
            fixed => return fixed.to_owned(),
        };
        id.to_string()
    };
    let segments: Vec<String> = row.path.split('/').map(segment).collect();
    format!("/api/v10{}", segments.join("/"))
}

fn rows() -> Vec<Row> {
    const MESSAGES: &str = "/channels/CHANNEL/messages";
    const MESSAGE: &str = "/channels/CHANNEL/messages/OTHERS-MESSAGE";
    const REACTIONS: &str = "/channels/CHANNEL/messages/OTHERS-MESSAGE/reactions";
    const THUMBS: &str = "/channels/CHANNEL/messages/OTHERS-MESSAGE/reactions/%F0%9F%91%8D";
    const OWN_THUMB: &str = "/channels/CHANNEL/messages/OTHERS-MESSAGE/reactions/%F0%9F%91%8D/@me";
    const MEMBERS_THUMB: &str = "/channels/CHANNEL/messages/OTHERS-MESSAGE/reactions/%F0%9F%91%8D/MEMBER";
    const BULK: &str = "/channels/CHANNEL/messages/bulk-delete";
    let row = |name, method, path, body, outcomes| Row { name, method, path, body, outcomes };
    let two = json!({"messages": ["9000000000000000001", "9000000000000000002"]});
    let unlock = json!({"permission_overwrites": [{"id": "1", "type": 1, "allow": "32", "deny": "0"}]});
    let new_role = json!({"name": "r", "permissions": "0"});
    vec![
        row("see a channel", Method::GET, "/channels/CHANNEL", json!(null), "nnkkkkkkk"),
        row("read a page", Method::GET, MESSAGES, json!(null), "nnkkkkkkk"),
        row("read a message", Method::GET, MESSAGE, json!(null), "nnkpkkkkk"),
        row("send", Method::POST, MESSAGES, json!({"content": "x"}), "nnpkkkkkk"),
        row("type", Method::POST, "/channels/CHANNEL/typing", json!(null), "nnpdddddd"),
        row("edit another's text", Method::PATCH, MESSAGE, json!({"content": "x"}), "nnaaaaaaa"),
        row("hide another's embeds", Method::PATCH, MESSAGE, json!({"flags": 4}), "nnpppkpkk"),
        row("delete another's message", Method::DELETE, MESSAGE, json!(null), "nnpppdpdd"),
        row("delete in bulk", Method::POST, BULK, two, "nnpppdpdd"),
        row("list pins", Method::GET, "/channels/CHANNEL/messages/pins", json!(null), "nnkkkkkkk"),
        row("list pins as before", Method::GET, "/channels/CHANNEL/pins", json!(null), "nnkkkkkkk"),
        row("pin", Method::PUT, "/channels/CHANNEL/messages/pins/OTHERS-MESSAGE", json!(null), "nnpppdpdd"),
        row("pin as before", Method::PUT, "/channels/CHANNEL/pins/OTHERS-MESSAGE", json!(null), "nnpppdpdd"),
        row(
            "unpin",
            Method::DELETE,
            "/channels/CHANNEL/messages/pins/OTHERS-MESSAGE",
            json!(null),
            "nnpppdpdd",
        ),
        row(
            "unpin as before",
            Method::DELETE,
            "/channels/CHANNEL/pins/OTHERS-MESSAGE",
            json!(null),
            "nnpppdpdd",
        ),
        row("react", Method::PUT, OWN_THUMB, json!(null), "nndpddddd"),
        row("take a reaction back", Method::DELETE, OWN_THUMB, json!(null), "nndpddddd"),
        row("remove a member's reaction", Method::DELETE, MEMBERS_THUMB, json!(null), "nnppddpdd"),
        row("list who reacted", Method::GET, THUMBS, json!(null), "nnkpkkkkk"),
        row("clear one emoji", Method::DELETE, THUMBS, json!(null), "nnpppdpdd"),
        row("clear reactions", Method::DELETE, REACTIONS, json!(null), "nnpppdpdd"),
        row("change a channel", Method::PATCH, "/channels/CHANNEL", json!({"topic": "t"}), "nnppppkkk"),
        row("hand out overwrites", Method::PATCH, "/channels/NEW-CHANNEL", unlock, "nppppppkk"),
        row(
            "clear overwrites",
            Method::PATCH,
            "/channels/DENYING-CHANNEL",
            json!({"permission_overwrites": []}),
            "nppppppkk",
        ),
        row("delete a channel", Method::DELETE, "/channels/NEW-CHANNEL", json!(null), "npppppkkk"),
        row("see a guild", Method::GET, "/guilds/GUILD", json!(null), "nkkkkkkkk"),
        row("list channels", Method::GET, "/guilds/GUILD/channels", json!(null), "nkkkkkkkk"),
        row("list members", Method::GET, "/guilds/GUILD/members", json!(null), "nkkkkkkkk"),
        row("see a member", Method::GET, "/guilds/GUILD/members/MEMBER", json!(null), "nkkkkkkkk"),
        row("list roles", Method::GET, "/guilds/GUILD/roles", json!(null), "nkkkkkkkk"),
        row("create a channel", Method::POST, "/guilds/GUILD/channels", json!({"name": "c"}), "npppppccc"),
        row("create a role", Method::POST, "/guilds/GUILD/roles", new_role, "npppppkkk"),
        row(
            "create a role above oneself",
            Method::POST,
            "/guilds/GUILD/roles",
            json!({"permissions": "32"}),
            "nppppppkk",
        ),
        row("delete a low role", Method::DELETE, "/guilds/GUILD/roles/LOW-ROLE", json!(null), "npppppddd"),
        row("delete a high role", Method::DELETE, "/guilds/GUILD/roles/HIGH-ROLE", json!(null), "npppppppd"),
        row("add a member", Method::PUT, "/guilds/GUILD/members/NEW-USER", json!({}), "nppppppcc"),
        row("kick a member", Method::DELETE, "/guilds/GUILD/members/VICTIM", json!(null), "npppppddd"),
        row("kick the owner", Method::DELETE, "/guilds/GUILD/members/OWNER", json!(null), "npppppppp"),
        // Last but for the owner: it ends the guild.
        row("delete the guild", Method::DELETE, "/guilds/GUILD", json!(null), "noooooood"),
    ]
}

#[tokio::test]
async fn the_matrix_of_callers_and_routes() {
    let served = Served::start().await;
    let (cast, place) = stage(&served).await;
    let mut wrong = Vec::new();
    for row in rows() {
        assert_eq!(row.outcomes.len(), cast.columns().len(), "{}", row.name);
        for ((who, bot), expected) in cast.columns().into_iter().zip(row.outcomes.chars().map(outcome)) {
            let path = path(&row, &served, place, &cast);
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
        let path = path(&row, &served, place, &cast);
        let answer = served.ask(&nobody, row.method, &path, row.body).await;
        assert_eq!(answer.outcome(), (401, 0), "{}", row.name);
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
