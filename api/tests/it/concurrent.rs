//! Two requests at once: one has read and judged, then the other is served whole, then the first one's change
//! is made. What was acknowledged stays, and what was judged by the state before does not count in the state
//! after.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Bot, Place, Served, id};

const MANAGE_ROLES: u64 = 1 << 28;
const ADMINISTRATOR: u64 = 1 << 3;

/// A request to come.
struct Ask<'a> {
    bot: &'a Bot,
    method: Method,
    path: String,
    body: Value,
}

impl Ask<'_> {
    async fn send(&self, served: &Served) -> Answer {
        let path = format!("/api/v10{}", self.path);
        served.ask_aside(self.bot, self.method.clone(), &path, self.body.clone()).await
    }
}

fn put<'a>(bot: &'a Bot, path: &str) -> Ask<'a> {
    Ask { bot, method: Method::PUT, path: path.to_owned(), body: json!({}) }
}

fn patch<'a>(bot: &'a Bot, path: &str, body: Value) -> Ask<'a> {
    Ask { bot, method: Method::PATCH, path: path.to_owned(), body }
}

fn delete<'a>(bot: &'a Bot, path: &str) -> Ask<'a> {
    Ask { bot, method: Method::DELETE, path: path.to_owned(), body: Value::Null }
}

/// `slow` reads and judges; `fast` is served whole; then `slow`'s change arrives. Status and code of both,
/// `slow`'s first.
async fn overtaken(served: &Served, slow: &Ask<'_>, fast: &Ask<'_>) -> [(u16, u64); 2] {
    let held = served.data.hold_change();
    let first = slow.send(served);
    let second = async {
        held.arrived.await.expect("the slow one sends a change");
        let answer = fast.send(served).await;
        let _ = held.release.send(());
        answer
    };
    let (first, second) = tokio::join!(first, second);
    [first.outcome(), second.outcome()].map(|(status, code)| (status, if status < 400 { 0 } else { code }))
}

async fn stage() -> (Served, Bot, Place) {
    let (served, owner, place) = Served::with_guild("owner").await;
    (served, owner, place)
}

fn roles_of(served: &Served, place: Place, bot: &Bot) -> Option<Vec<u64>> {
    let world = served.data.world();
    world.members.get(&(place.guild, bot.id)).map(|member| member.role_ids.clone())
}

#[tokio::test]
async fn a_revoked_role_stays_revoked_when_another_is_granted() {
    let (served, owner, place) = stage().await;
    let (power, other) = (served.role(place.guild, ADMINISTRATOR, 2), served.role(place.guild, 0, 1));
    for revoke_first in [true, false] {
        let bea = served.bot("bea");
        served.join(&bea, place.guild, &[power]);
        let path = |role| format!("/guilds/{}/members/{}/roles/{role}", place.guild, bea.id);
        let (revoke, grant) = (delete(&owner, &path(power)), put(&owner, &path(other)));
        let (slow, fast) = if revoke_first { (&grant, &revoke) } else { (&revoke, &grant) };
        assert_eq!(overtaken(&served, slow, fast).await, [(204, 0), (204, 0)]);
        assert_eq!(roles_of(&served, place, &bea), Some(vec![other]));
    }
}

#[tokio::test]
async fn a_kicked_member_does_not_come_back_by_a_grant() {
    let (served, owner, place) = stage().await;
    let role = served.role(place.guild, 0, 1);
    for kick_first in [true, false] {
        let bea = served.bot("bea");
        served.join(&bea, place.guild, &[]);
        let member = format!("/guilds/{}/members/{}", place.guild, bea.id);
        let (kick, grant) = (delete(&owner, &member), put(&owner, &format!("{member}/roles/{role}")));
        let outcomes = if kick_first {
            overtaken(&served, &grant, &kick).await
        } else {
            overtaken(&served, &kick, &grant).await
        };
        let granted = if kick_first { (404, 10_007) } else { (204, 0) };
        assert_eq!(outcomes, if kick_first { [granted, (204, 0)] } else { [(204, 0), granted] });
        assert_eq!(roles_of(&served, place, &bea), None);
    }
}

/// In one process the second waits for the first; in another it may be faster.
#[tokio::test]
async fn of_two_who_add_one_user_the_first_adds_it() {
    let (served, owner, place) = stage().await;
    let other = served.beside().await;
    for apart in [false, true] {
        let bea = served.bot("bea");
        let add = put(&owner, &format!("/guilds/{}/members/{}", place.guild, bea.id));
        let held = served.data.hold_change();
        let second = async {
            held.arrived.await.expect("the slow one sends a change");
            if apart {
                let answer = add.send(&other).await;
                let _ = held.release.send(());
                return answer;
            }
            let release = async {
                served.data.quiet().await;
                let _ = held.release.send(());
            };
            tokio::join!(add.send(&served), release).0
        };
        let (first, second) = tokio::join!(add.send(&served), second);
        let statuses = [first.status.as_u16(), second.status.as_u16()];
        assert_eq!(statuses, if apart { [204, 201] } else { [201, 204] });
        assert_eq!(roles_of(&served, place, &bea), Some(Vec::new()));
    }
}

#[tokio::test]
async fn overwrites_and_a_topic_set_at_once_are_both_set() {
    for topic_first in [true, false] {
        let (served, owner, place) = stage().await;
        let path = format!("/channels/{}", place.channel);
        let overwrite = json!({"id": place.guild.to_string(), "type": 0, "deny": "1024", "allow": "0"});
        let hide = patch(&owner, &path, json!({"permission_overwrites": [overwrite]}));
        let topic = patch(&owner, &path, json!({"topic": "news"}));
        let (slow, fast) = if topic_first { (&hide, &topic) } else { (&topic, &hide) };
        assert_eq!(overtaken(&served, slow, fast).await, [(200, 0), (200, 0)]);
        let channel = served.get(&owner, &path).await.ok();
        assert_eq!(channel["topic"], "news");
        assert_eq!(channel["permission_overwrites"][0]["deny"], "1024");
    }
}

#[tokio::test]
async fn two_edits_of_a_role_at_once_are_both_made() {
    let (served, owner, place) = stage().await;
    let role = served.role(place.guild, ADMINISTRATOR, 1);
    let path = format!("/guilds/{}/roles/{role}", place.guild);
    let disarm = patch(&owner, &path, json!({"permissions": "0"}));
    let paint = patch(&owner, &path, json!({"color": 7}));
    assert_eq!(overtaken(&served, &paint, &disarm).await, [(200, 0), (200, 0)]);
    let world = served.data.world();
    let row = world.roles.get(&role).expect("still there");
    assert_eq!((row.permissions, row.color), (0, 7));
}

#[tokio::test]
async fn who_has_lost_the_permission_meanwhile_changes_nothing() {
    const MANAGE_CHANNELS: u64 = 1 << 4;
    const KICK_MEMBERS: u64 = 1 << 1;
    const LOST: [(u16, u64); 2] = [(403, 50_013), (204, 0)];
    let (served, owner, place) = stage().await;
    let low = served.role(place.guild, 0, 1);
    let victim = served.bot("victim");
    served.join(&victim, place.guild, &[]);
    let guild = format!("/guilds/{}", place.guild);
    let member = |bot: &Bot| format!("{guild}/members/{}", bot.id);
    let newcomer = served.bot("newcomer");
    let mallory = served.bot("mallory");
    let post = |path: String, body| Ask { bot: &mallory, method: Method::POST, path, body };
    let channel = format!("/channels/{}", place.channel);
    let acts = [
        put(&mallory, &format!("{}/roles/{low}", member(&victim))),
        delete(&mallory, &format!("{}/roles/{low}", member(&victim))),
        patch(&mallory, &format!("{guild}/roles/{low}"), json!({"name": "x"})),
        delete(&mallory, &format!("{guild}/roles/{low}")),
        post(format!("{guild}/roles"), json!({})),
        post(format!("{guild}/channels"), json!({"name": "x"})),
        patch(&mallory, &channel, json!({"topic": "x"})),
        delete(&mallory, &channel),
        delete(&mallory, &member(&victim)),
        Ask { body: json!({"nick": "x"}), ..put(&mallory, &member(&newcomer)) },
    ];
    let all = MANAGE_ROLES | MANAGE_CHANNELS | KICK_MEMBERS | 1 | 1 << 27;
    for act in acts {
        let power = served.role(place.guild, all, 5);
        served.join(&mallory, place.guild, &[power]);
        let revoke = delete(&owner, &format!("{}/roles/{power}", member(&mallory)));
        let before = snapshot(&served, place, &mallory);
        assert_eq!(overtaken(&served, &act, &revoke).await, LOST, "{} {}", act.method, act.path);
        assert_eq!(snapshot(&served, place, &mallory), before, "{} {}", act.method, act.path);
    }
}

/// All rows of the guild but one member's.
fn snapshot(served: &Served, place: Place, but: &Bot) -> String {
    let world = served.data.world();
    let members: Vec<_> = world.members.iter().filter(|(key, _)| **key != (place.guild, but.id)).collect();
    format!("{members:?} {:?} {:?}", world.roles, world.channels)
}

#[tokio::test]
async fn a_member_raised_above_the_caller_meanwhile_is_not_kicked() {
    let (served, owner, place) = stage().await;
    let (middle, high) = (served.role(place.guild, 1 << 1, 3), served.role(place.guild, 0, 8));
    let (moderator, bea) = (served.bot("moderator"), served.bot("bea"));
    served.join(&moderator, place.guild, &[middle]);
    served.join(&bea, place.guild, &[]);
    let member = format!("/guilds/{}/members/{}", place.guild, bea.id);
    let (kick, raise) = (delete(&moderator, &member), put(&owner, &format!("{member}/roles/{high}")));
    assert_eq!(overtaken(&served, &kick, &raise).await, [(403, 50_013), (204, 0)]);
    assert_eq!(roles_of(&served, place, &bea), Some(vec![high]));
}

/// All have read the member before the first of them changes it. Were each to write the list that it read
/// with its own role in it, the last would win; were that refused as a conflict, too many would be refused
/// too often.
#[tokio::test]
async fn many_roles_are_given_to_one_member_at_once() {
    let (served, owner, place) = stage().await;
    let bea = served.bot("bea");
    served.join(&bea, place.guild, &[]);
    let roles: Vec<u64> = (0..20).map(|_| served.role(place.guild, 0, 1)).collect();
    let grants = roles.iter().map(|role| {
        let grant = put(&owner, &format!("/guilds/{}/members/{}/roles/{role}", place.guild, bea.id));
        let served = &served;
        async move { grant.send(served).await.outcome() }
    });
    served.data.gather_changes(roles.len());
    let outcomes = futures_util::future::join_all(grants).await;
    assert!(outcomes.iter().all(|outcome| *outcome == (204, 0)), "{outcomes:?}");
    let mut given = roles_of(&served, place, &bea).unwrap();
    given.sort_unstable();
    assert_eq!(given, roles);
}

/// Both saw room for one more.
#[tokio::test]
async fn of_two_who_take_a_guilds_last_place_one_is_told_that_it_is_full() {
    let (served, owner, place) = stage().await;
    let guild = format!("/guilds/{}", place.guild);
    for (kind, most, code) in [("channels", 500, 30_013), ("roles", 250, 30_005)] {
        let create = || Ask {
            body: json!({"name": "x"}),
            method: Method::POST,
            ..put(&owner, &format!("{guild}/{kind}"))
        };
        let there = served.get(&owner, &format!("{guild}/{kind}")).await.ok().as_array().unwrap().len();
        for _ in there + 1..most {
            match kind {
                "roles" => served.role(place.guild, 0, 1),
                _ => served.channel(place.guild, |_| {}),
            };
        }
        let [slow, fast] = overtaken(&served, &create(), &create()).await;
        assert_eq!((slow, fast.0 < 300), ((400, code), true), "{kind} {fast:?}");
    }
}

#[tokio::test]
async fn who_is_overtaken_every_time_is_told_to_come_back() {
    use weir_connect::{Code, ConnectError};
    use weir_proto::data::{Refusal, RefusalReason};

    let (served, owner, place) = stage().await;
    let role =
        id(&served.post(&owner, &format!("/guilds/{}/roles", place.guild), json!({})).await.ok()["id"]);
    let refusal = Refusal { reason: RefusalReason::Conflict.into(), ..Refusal::default() };
    let conflict = || {
        let type_name = weir_data_client::error::REFUSAL_TYPE;
        ConnectError::new(Code::Aborted, "changed").with_detail(type_name, &refusal)
    };
    for _ in 0..10 {
        served.data.fail_next("PutRole", conflict());
    }
    served.data.take_calls();
    let path = format!("/guilds/{}/roles/{role}", place.guild);
    let answer = served.patch(&owner, &path, json!({"color": 7})).await;
    assert_eq!((answer.outcome(), answer.header("retry-after")), ((503, 130_000), "1"));
    assert_eq!(served.data.take_calls().iter().filter(|rpc| **rpc == "PutRole").count(), 10);
    assert_eq!(served.patch(&owner, &path, json!({"color": 7})).await.status, 200);
}
