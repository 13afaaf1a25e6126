//! Users, applications, guilds, channels, roles, members: the ordinary course.

use serde_json::{Value, json};

use crate::harness::{Served, id, ids};

#[tokio::test]
async fn a_login_finds_its_user_and_application() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let me = served.get(&ann, "/users/@me").await.ok();
    assert_eq!((id(&me["id"]), &me["bot"], &me["mfa_enabled"]), (ann.id, &json!(true), &json!(false)));
    for path in ["/oauth2/applications/@me", "/applications/@me"] {
        let application = served.get(&ann, path).await.ok();
        assert_eq!((id(&application["id"]), id(&application["owner"]["id"])), (ann.id, ann.id));
    }
    let other = served.get(&ann, &format!("/users/{}", bob.id)).await.ok();
    assert_eq!((&other["username"], other.get("mfa_enabled")), (&json!("bob"), None));
    assert_eq!(id(&served.get(&ann, "/users/%40me").await.ok()["id"]), ann.id);
    assert_eq!(served.get(&ann, "/users/5").await.outcome(), (404, 10_013));
    assert_eq!(served.get(&ann, "/users/0").await.outcome(), (400, 50_035));
    assert_eq!(served.get(&ann, "/users/0").await.outcome(), (400, 50_035));
}

#[tokio::test]
async fn a_guild_starts_with_everyone_a_channel_and_its_owner() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    let created = served.post(&ann, "/guilds", json!({"name": "  the club  "})).await;
    assert_eq!(created.status, 201);
    let guild = created.json();
    let guild_id = id(&guild["id"]);
    assert_eq!((&guild["name"], id(&guild["owner_id"])), (&json!("the club"), ann.id));
    assert_eq!((ids(&guild["roles"]), &guild["roles"][0]["name"]), (vec![guild_id], &json!("@everyone")));
    let channels = served.get(&ann, &format!("/guilds/{guild_id}/channels")).await.ok();
    assert_eq!((&channels[0]["name"], &channels[0]["type"]), (&json!("general"), &json!(0)));
    let members = served.get(&ann, &format!("/guilds/{guild_id}/members")).await.ok();
    assert_eq!(id(&members[0]["user"]["id"]), ann.id);
    let counted = served.get(&ann, &format!("/guilds/{guild_id}?with_counts=true")).await.ok();
    assert_eq!(counted["approximate_member_count"], 1);
    assert_eq!(
        served.get(&ann, &format!("/guilds/{guild_id}")).await.ok().get("approximate_member_count"),
        None
    );
    for name in ["x".to_owned(), "x".repeat(101)] {
        assert_eq!(served.post(&ann, "/guilds", json!({"name": name})).await.outcome(), (400, 50_035));
    }
}

#[tokio::test]
async fn ones_guilds_are_listed_in_pages_and_left() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let mut guilds = Vec::new();
    for _ in 0..5 {
        guilds.push(served.guild(&ann).await.guild);
    }
    served.join(&bob, guilds[2], &[]);
    let list = async |bot, query: String| served.get(bot, &format!("/users/@me/guilds{query}")).await.ok();
    let all = list(&ann, String::new()).await;
    assert_eq!(ids(&all), guilds);
    assert_eq!((&all[0]["owner"], all[0]["permissions"].is_string()), (&json!(true), true));
    assert_eq!(ids(&list(&ann, format!("?after={}&limit=2", guilds[1])).await), guilds[2..4]);
    assert_eq!(ids(&list(&ann, format!("?before={}&limit=2", guilds[4])).await), guilds[2..4]);
    let of_bob = list(&bob, "?with_counts=1".into()).await;
    assert_eq!((ids(&of_bob), &of_bob[0]["owner"]), (vec![guilds[2]], &json!(false)));
    assert_eq!(of_bob[0]["approximate_member_count"], 2);

    assert_eq!(served.delete(&bob, &format!("/users/@me/guilds/{}", guilds[2])).await.status, 204);
    assert_eq!(list(&bob, String::new()).await, json!([]));
    assert_eq!(
        served.delete(&bob, &format!("/users/@me/guilds/{}", guilds[2])).await.outcome(),
        (403, 50_001)
    );
    assert_eq!(
        served.delete(&ann, &format!("/users/@me/guilds/{}", guilds[0])).await.outcome(),
        (400, 50_035)
    );
}

#[tokio::test]
async fn channels_are_created_changed_and_deleted_with_their_category() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let path = format!("/guilds/{}/channels", place.guild);
    let category = served.post(&ann, &path, json!({"name": "Area", "type": 4})).await;
    assert_eq!(category.status, 201);
    let category = id(&category.json()["id"]);
    let body = json!({"name": "Big Talk", "parent_id": category.to_string(), "topic": "t", "rate_limit_per_user": 5});
    let text = served.post(&ann, &path, body).await.ok();
    assert_eq!(
        (&text["name"], id(&text["parent_id"]), &text["topic"]),
        (&json!("big-talk"), category, &json!("t"))
    );
    let positions: Vec<_> = served
        .get(&ann, &path)
        .await
        .ok()
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["position"].clone())
        .collect();
    assert_eq!(positions, [0, 1, 2]);

    let one = format!("/channels/{}", id(&text["id"]));
    let edited = served.patch(&ann, &one, json!({"name": "small", "topic": null})).await.ok();
    assert_eq!(
        (&edited["name"], &edited["topic"], &edited["rate_limit_per_user"]),
        (&json!("small"), &Value::Null, &json!(5))
    );
    let newest = served.message(id(&text["id"]), ann.id, |_| {});
    for restarted in [false, true] {
        served.data.world().restarted = restarted;
        let shown = served.get(&ann, &one).await.ok();
        assert_eq!(id(&shown["last_message_id"]), newest, "restarted: {restarted}");
        let all = served.get(&ann, &path).await.ok();
        let listed = all.as_array().unwrap().iter().find(|row| row["id"] == shown["id"]).unwrap();
        assert_eq!(id(&listed["last_message_id"]), newest, "in the list, restarted: {restarted}");
        let changed = served.patch(&ann, &one, json!({"position": 1})).await.ok();
        assert_eq!(id(&changed["last_message_id"]), newest, "changed, restarted: {restarted}");
    }

    let gone = served.delete(&ann, &format!("/channels/{category}")).await.ok();
    assert_eq!(id(&gone["id"]), category);
    assert_eq!(served.get(&ann, &one).await.ok()["parent_id"], Value::Null, "orphaned, not deleted");
    assert_eq!(served.get(&ann, &format!("/channels/{category}")).await.outcome(), (404, 10_003));
    let orphan = json!({"name": "x", "parent_id": category.to_string()});
    assert_eq!(served.post(&ann, &path, orphan).await.outcome(), (400, 50_035));
    let voice = served.post(&ann, &path, json!({"name": "Loud Place", "type": 2})).await.ok();
    assert_eq!((&voice["name"], voice["bitrate"].is_number()), (&json!("Loud Place"), true));
    let category = served.post(&ann, &path, json!({"name": "no text", "type": 4})).await.ok();
    let into = format!("/channels/{}/messages", id(&category["id"]));
    assert_eq!(served.post(&ann, &into, json!({"content": "x"})).await.outcome(), (400, 50_008));
}

#[tokio::test]
async fn overwrites_hide_a_channel_from_those_they_deny() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let hidden = json!({"name": "hidden", "permission_overwrites": [
        {"id": place.guild.to_string(), "type": 0, "allow": "0", "deny": "1024"},
    ]});
    let channel = served.post(&ann, &format!("/guilds/{}/channels", place.guild), hidden).await.ok();
    assert_eq!(channel["permission_overwrites"][0]["deny"], "1024");
    let path = format!("/channels/{}", id(&channel["id"]));
    assert_eq!(served.get(&bob, &path).await.outcome(), (403, 50_001));
    let allow = json!({"permission_overwrites": [{"id": bob.id.to_string(), "type": 1, "allow": "1024", "deny": "0"}]});
    served.patch(&ann, &path, allow).await.ok();
    assert_eq!(served.get(&bob, &path).await.status, 200);
    let unknown = json!({"permission_overwrites": [{"id": "5", "type": 0, "allow": "0", "deny": "0"}]});
    assert_eq!(served.patch(&ann, &path, unknown).await.outcome(), (400, 50_028));
}

#[tokio::test]
async fn what_is_made_in_a_hidden_category_is_hidden() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let path = format!("/guilds/{}/channels", place.guild);
    let deny = json!([{"id": place.guild.to_string(), "type": 0, "allow": "0", "deny": "1024"}]);
    let body = json!({"name": "area", "type": 4, "permission_overwrites": deny});
    let category = served.post(&ann, &path, body).await.ok();
    let inside = served.post(&ann, &path, json!({"name": "inside", "parent_id": category["id"]})).await.ok();
    assert_eq!(inside["permission_overwrites"], category["permission_overwrites"]);
    assert_eq!(served.get(&bob, &format!("/channels/{}", id(&inside["id"]))).await.outcome(), (403, 50_001));
    let body = json!({"name": "open", "parent_id": category["id"], "permission_overwrites": []});
    let open = served.post(&ann, &path, body).await.ok();
    assert_eq!(served.get(&bob, &format!("/channels/{}", id(&open["id"]))).await.status, 200);
}

#[tokio::test]
async fn guilds_have_bounded_channels_and_roles() {
    let (served, ann, place) = Served::with_guild("ann").await;
    for _ in 0..499 {
        served.channel(place.guild, |_| {});
    }
    for _ in 0..249 {
        served.role(place.guild, 0, 1);
    }
    let path = format!("/guilds/{}", place.guild);
    assert_eq!(
        served.post(&ann, &format!("{path}/channels"), json!({"name": "x"})).await.outcome(),
        (400, 30_013)
    );
    assert_eq!(served.post(&ann, &format!("{path}/roles"), json!({})).await.outcome(), (400, 30_005));
}

#[tokio::test]
async fn roles_are_created_changed_granted_and_deleted() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let path = format!("/guilds/{}/roles", place.guild);
    let plain = served.post(&ann, &path, json!({})).await;
    assert_eq!((plain.status.as_u16(), &plain.json()["name"]), (200, &json!("new role")));
    let role =
        served.post(&ann, &path, json!({"name": "mods", "permissions": "8192", "color": 255})).await.ok();
    assert_eq!(
        (&role["permissions"], &role["color"], &role["position"]),
        (&json!("8192"), &json!(255), &json!(1))
    );
    let one = format!("{path}/{}", id(&role["id"]));
    assert_eq!(served.patch(&ann, &one, json!({"hoist": true})).await.ok()["name"], "mods");
    assert_eq!(served.get(&ann, &path).await.ok().as_array().unwrap().len(), 3);

    let member = format!("/guilds/{}/members/{}", place.guild, bob.id);
    let grant = format!("{member}/roles/{}", id(&role["id"]));
    for _ in 0..2 {
        assert_eq!(served.put(&ann, &grant, json!(null)).await.status, 204, "idempotent");
    }
    assert_eq!(served.get(&ann, &member).await.ok()["roles"], json!([role["id"]]));
    assert_eq!(served.delete(&ann, &grant).await.status, 204);
    assert_eq!(served.get(&ann, &member).await.ok()["roles"], json!([]));

    assert_eq!(served.delete(&ann, &one).await.status, 204);
    assert_eq!(served.delete(&ann, &one).await.outcome(), (404, 10_011));
    assert_eq!(
        served.delete(&ann, &format!("{path}/{}", place.guild)).await.outcome(),
        (400, 50_028),
        "@everyone stays"
    );
}

#[tokio::test]
async fn members_join_are_listed_and_kicked() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let path = format!("/guilds/{}/members", place.guild);
    let bots: Vec<_> = (0..4).map(|number| served.bot(&format!("bot {number}"))).collect();
    for bot in &bots {
        let joined = served
            .put(&ann, &format!("{path}/{}", bot.id), json!({"access_token": "any", "nick": "n"}))
            .await;
        assert_eq!((joined.status.as_u16(), id(&joined.json()["user"]["id"])), (201, bot.id));
    }
    assert_eq!(
        served.put(&ann, &format!("{path}/{}", bots[0].id), json!({})).await.status,
        204,
        "is one already"
    );
    assert_eq!(served.put(&ann, &format!("{path}/5"), json!({})).await.outcome(), (404, 10_013));
    let list = async |query: &str| {
        let page = served.get(&ann, &format!("{path}{query}")).await.ok();
        page.as_array().unwrap().iter().map(|member| id(&member["user"]["id"])).collect::<Vec<_>>()
    };
    let mut all = vec![ann.id];
    all.extend(bots.iter().map(|bot| bot.id));
    all.sort_unstable();
    assert_eq!(list("?limit=1000").await, all);
    assert_eq!(list("").await, all[..1], "one unless told");
    assert_eq!(list(&format!("?limit=2&after={}", all[1])).await, all[2..4]);
    assert_eq!(served.get(&ann, &format!("{path}?limit=1001")).await.outcome(), (400, 50_035));
    assert_eq!(served.delete(&ann, &format!("{path}/{}", bots[0].id)).await.status, 204);
    assert_eq!(served.get(&ann, &format!("{path}/{}", bots[0].id)).await.outcome(), (404, 10_007));
}

#[tokio::test]
async fn a_deleted_guild_is_unknown() {
    let (served, ann, place) = Served::with_guild("ann").await;
    assert_eq!(served.delete(&ann, &format!("/guilds/{}", place.guild)).await.status, 204);
    assert_eq!(served.get(&ann, &format!("/guilds/{}", place.guild)).await.outcome(), (404, 10_004));
    assert_eq!(served.get(&ann, &place.messages()).await.outcome(), (404, 10_003));
}
