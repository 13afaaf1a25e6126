//! Creating, reading, editing and deleting messages; mentions, nonces, pages.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Served, id, ids};

#[tokio::test]
async fn a_message_is_created_read_edited_and_deleted() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let created =
        served.post(&ann, &place.messages(), json!({"content": "hello, Wörld 👋", "nonce": 42})).await.ok();
    assert_eq!(created["content"], "hello, Wörld 👋");
    assert_eq!(created["nonce"], 42);
    assert_eq!((id(&created["author"]["id"]), &created["author"]["username"]), (ann.id, &json!("ann")));
    assert_eq!(id(&created["channel_id"]), place.channel);
    assert!(created["timestamp"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!((&created["edited_timestamp"], &created["type"]), (&Value::Null, &json!(0)));

    let path = format!("{}/{}", place.messages(), id(&created["id"]));
    let read = served.get(&ann, &path).await.ok();
    assert_eq!((&read["content"], read.get("nonce")), (&created["content"], None));

    let edited = served.patch(&ann, &path, json!({"content": "hello again"})).await.ok();
    assert_eq!(edited["content"], "hello again");
    assert!(edited["edited_timestamp"].is_string());
    assert_eq!(served.get(&ann, &path).await.ok()["content"], "hello again");

    assert_eq!(served.delete(&ann, &path).await.status, 204);
    for method in [Method::GET, Method::DELETE] {
        let answer = served.ask(&ann, method, &format!("/api/v10{path}"), json!(null)).await;
        assert_eq!(answer.outcome(), (404, 10_008));
    }
    assert_eq!(served.patch(&ann, &path, json!({"content": "x"})).await.outcome(), (404, 10_008));
}

#[tokio::test]
async fn the_event_context_spares_gateways_every_question() {
    let (served, ann, bob, place) = Served::with_member("ann", "bob").await;
    let first = served.post(&bob, &place.messages(), json!({"content": "first"})).await.ok();
    let reply =
        json!({"content": format!("<@{}> look", ann.id), "message_reference": {"message_id": first["id"]}});
    served.post(&ann, &place.messages(), reply).await.ok();
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let accepted_at = std::time::Duration::from_micros(served.data.world().accepted_at_us);
    assert!(accepted_at <= since_epoch && since_epoch - accepted_at < std::time::Duration::from_secs(60));
    let context = served.data.world().context.clone().unwrap();
    assert_eq!(context.guild_id, place.guild);
    assert_eq!(context.author.unwrap().username, "ann");
    assert_eq!(context.member.unwrap().user_id, ann.id);
    assert_eq!(context.referenced.unwrap().content, "first");
    assert_eq!(context.referenced_author.unwrap().id, bob.id);
    let mut mentioned: Vec<_> = context.mentions.iter().map(|user| user.id).collect();
    mentioned.sort_unstable();
    assert_eq!(mentioned, [ann.id, bob.id], "the text names ann, the reply pings bob");
}

#[tokio::test]
async fn one_permission_check_is_one_call_and_a_page_asks_for_its_authors_once() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let authors: Vec<_> = (0..30).map(|number| served.bot(&format!("author {number}"))).collect();
    for number in 0..100 {
        served.message(place.channel, authors[number % 30].id, |_| {});
    }
    served.data.take_calls();
    let path = format!("{}?limit=100", place.messages());
    let page = served.get(&ann, &path).await.ok();
    assert_eq!(page.as_array().unwrap().len(), 100);
    assert_eq!(page[0]["author"]["username"], "author 9");
    assert_eq!(served.data.take_calls(), ["ViewPage", "GetUsers"]);
    served.get(&ann, &path).await.ok();
    assert_eq!(served.data.take_calls(), ["ViewPage"], "the page is kept as it was rendered");
    served.post(&ann, &place.messages(), json!({"content": "x"})).await.ok();
    assert_eq!(served.data.take_calls(), ["GetChannelContext", "CreateMessage"]);
}

#[tokio::test]
async fn pages_are_newest_first_whatever_the_anchor() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let all: Vec<u64> = (0..130).map(|_| served.message(place.channel, ann.id, |_| {})).collect();
    let newest_first = |range: std::ops::Range<usize>| all[range].iter().rev().copied().collect::<Vec<_>>();
    let page =
        async |query: String| ids(&served.get(&ann, &format!("{}?{query}", place.messages())).await.ok());
    assert_eq!(page(String::new()).await, newest_first(80..130), "50 unless told");
    assert_eq!(page("limit=100".to_owned()).await, newest_first(30..130));
    assert_eq!(page(format!("limit=100&before={}", all[110])).await, newest_first(10..110));
    assert_eq!(page(format!("limit=50&after={}", all[49])).await, newest_first(50..100));
    assert_eq!(page(format!("limit=21&around={}", all[60])).await, newest_first(50..71));
    assert_eq!(
        page(format!("limit=5&before={}", all[3] + 1)).await,
        newest_first(0..4),
        "anchors need not exist"
    );
    assert_eq!(page("after=0&limit=2".to_owned()).await, newest_first(0..2));
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("before=x", "before"),
        ("before=1&after=2", "after"),
    ] {
        let answer = served.get(&ann, &format!("{}?{query}", place.messages())).await;
        assert_eq!(answer.outcome(), (400, 50_035), "{query}");
        assert!(answer.json()["errors"][field]["_errors"].is_array(), "{query}: {}", answer.json());
    }
}

#[tokio::test]
async fn a_nonce_deduplicates_only_when_enforced() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let send = async |body: Value| id(&served.post(&ann, &place.messages(), body).await.ok()["id"]);
    let first = send(json!({"content": "one", "nonce": "n"})).await;
    assert_ne!(send(json!({"content": "two", "nonce": "n"})).await, first);
    let body = json!({"content": "three", "nonce": "n", "enforce_nonce": true});
    let repeated = served.post(&ann, &place.messages(), body).await.ok();
    assert_eq!(
        (id(&repeated["id"]), &repeated["content"], &repeated["nonce"]),
        (first, &json!("one"), &json!("n"))
    );
    assert_eq!(served.data.world().messages.len(), 2);
    let too_long = json!({"content": "x", "nonce": "n".repeat(26)});
    assert_eq!(served.post(&ann, &place.messages(), too_long).await.outcome(), (400, 50_035));
}

#[tokio::test]
async fn wrong_fields_are_named_with_their_paths() {
    let (served, ann, place) = Served::with_guild("ann").await;
    for (body, outcome, path) in [
        (json!({"content": "x".repeat(2_001)}), (400, 50_035), "/errors/content/_errors/0/code"),
        (json!({"content": 5}), (400, 50_035), "/errors/content/_errors/0/code"),
        (
            json!({"embeds": [{"title": "x".repeat(257)}]}),
            (400, 50_035),
            "/errors/embeds/0/title/_errors/0/code",
        ),
        (
            json!({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}}),
            (400, 50_035),
            "/errors/allowed_mentions/users/_errors/0/code",
        ),
        (json!({"content": " \n "}), (400, 50_006), "/message"),
        (json!({}), (400, 50_006), "/message"),
    ] {
        let answer = served.post(&ann, &place.messages(), body.clone()).await;
        assert_eq!(answer.outcome(), outcome, "{body}");
        assert!(answer.json().pointer(path).is_some_and(Value::is_string), "{body}: {}", answer.json());
    }
    let two_thousand = "👋".repeat(2_000);
    let created = served.post(&ann, &place.messages(), json!({"content": two_thousand})).await.ok();
    assert_eq!(created["content"], two_thousand, "code points count, not bytes");
}

#[tokio::test]
async fn mentions_follow_the_text_the_request_and_the_permissions() {
    let served = Served::start().await;
    let (owner, ann, bob) = (served.bot("owner"), served.bot("ann"), served.bot("bob"));
    let place = served.guild(&owner).await;
    served.join(&ann, place.guild, &[]);
    let closed = served.role(place.guild, 0, 2);
    let open = served.role(place.guild, 0, 3);
    {
        let mut world = served.data.world();
        world.roles.get_mut(&open).unwrap().mentionable = true;
        // Members may not mention everyone here.
        world.roles.get_mut(&place.guild).unwrap().permissions &= !(1 << 17);
    }
    let text = format!("@everyone <@{0}> <@!{0}> <@7> <@&{closed}> <@&{open}> <@&9>", bob.id);
    let mentions = async |who, allowed: Value| {
        let mut body = json!({"content": text});
        if !allowed.is_null() {
            body["allowed_mentions"] = allowed;
        }
        let message = served.post(who, &place.messages(), body).await.ok();
        let roles: Vec<u64> = message["mention_roles"].as_array().unwrap().iter().map(id).collect();
        (ids(&message["mentions"]), roles, message["mention_everyone"].as_bool().unwrap())
    };
    assert_eq!(mentions(&ann, Value::Null).await, (vec![bob.id], vec![open], false));
    assert_eq!(mentions(&owner, Value::Null).await, (vec![bob.id], vec![closed, open], true));
    assert_eq!(mentions(&owner, json!({"parse": []})).await, (vec![], vec![], false));
    assert_eq!(mentions(&owner, json!({"roles": [closed.to_string()]})).await, (vec![], vec![closed], false));
}

#[tokio::test]
async fn embeds_and_reading_aloud_need_their_permissions_and_are_dropped_without() {
    let (served, owner, ann, place) = Served::with_member("owner", "ann").await;
    let embed = json!([{"title": "a title"}]);
    let with = served.post(&ann, &place.messages(), json!({"embeds": embed})).await.ok();
    assert_eq!(
        (&with["embeds"][0]["title"], &with["embeds"][0]["type"]),
        (&json!("a title"), &json!("rich"))
    );
    for (who, aloud) in [(&ann, false), (&owner, true)] {
        let sent = served.post(who, &place.messages(), json!({"content": "x", "tts": true})).await.ok();
        assert_eq!(sent["tts"], aloud);
    }
    served.data.world().roles.get_mut(&place.guild).unwrap().permissions &= !(1 << 14);
    let without = served.post(&ann, &place.messages(), json!({"content": "x", "embeds": embed})).await.ok();
    assert_eq!(without["embeds"], json!([]));
    assert_eq!(served.post(&ann, &place.messages(), json!({"embeds": embed})).await.outcome(), (400, 50_006));
}

#[tokio::test]
async fn an_edit_recomputes_mentions_and_keeps_what_it_does_not_name() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let place = served.guild(&ann).await;
    let body = json!({"content": format!("<@{}>", bob.id), "embeds": [{"title": "kept"}]});
    let created = served.post(&ann, &place.messages(), body).await.ok();
    let path = format!("{}/{}", place.messages(), id(&created["id"]));
    let flagged = served.patch(&ann, &path, json!({"flags": 4})).await.ok();
    assert_eq!((&flagged["flags"], ids(&flagged["mentions"])), (&json!(4), vec![bob.id]));
    let edited = served.patch(&ann, &path, json!({"content": format!("<@{}>", ann.id)})).await.ok();
    assert_eq!((ids(&edited["mentions"]), &edited["embeds"][0]["title"]), (vec![ann.id], &json!("kept")));
    let emptied = served.patch(&ann, &path, json!({"content": null, "embeds": []})).await;
    assert_eq!(emptied.outcome(), (400, 50_006));
    let cleared = served.patch(&ann, &path, json!({"content": null})).await.ok();
    assert_eq!((&cleared["content"], &cleared["flags"]), (&json!(""), &json!(4)));
}

#[tokio::test]
async fn an_unknown_author_is_shown_and_not_an_error() {
    let (served, ann, place) = Served::with_guild("ann").await;
    served.message(place.channel, 777, |_| {});
    let page = served.get(&ann, &place.messages()).await.ok();
    assert_eq!(id(&page[0]["author"]["id"]), 777);
}

#[tokio::test]
async fn messages_are_deleted_in_bulk() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let path = format!("{}/bulk-delete", place.messages());
    let all: Vec<u64> = (0..20).map(|_| served.message(place.channel, ann.id, |_| {})).collect();
    let mut messages: Vec<String> = all[..15].iter().map(u64::to_string).collect();
    messages.push("9000000000000000001".to_owned());
    assert_eq!(served.post(&ann, &path, json!({"messages": messages})).await.status, 204);
    let mut left = ids(&served.get(&ann, &place.messages()).await.ok());
    left.reverse();
    assert_eq!(left, all[15..]);
    assert_eq!(served.data.world().removed_together, [&all[..15]], "in one step");
    let one = json!({"messages": [all[16].to_string()]});
    assert_eq!(served.post(&ann, &path, one).await.outcome(), (400, 50_016));
    let old = json!({"messages": [all[16].to_string(), "175928847299117063"]});
    assert_eq!(served.post(&ann, &path, old).await.outcome(), (400, 50_034));
    assert_eq!(served.data.world().messages.len(), 5, "refused as a whole");
}

#[tokio::test]
async fn typing_reaches_the_data_service() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let answer = served.post(&ann, &format!("/channels/{}/typing", place.channel), Value::Null).await;
    assert_eq!(answer.status, 204);
    assert_eq!(served.data.world().typing, [(place.channel, ann.id)]);
}

#[tokio::test]
async fn walks_in_both_directions_visit_everything_once_whatever_the_page_size() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let all: Vec<u64> = (0..57).map(|_| served.message(place.channel, ann.id, |_| {})).collect();
    for limit in [1, 2, 3, 19, 56, 57, 58, 100] {
        let (mut down, mut up) = (Vec::new(), Vec::new());
        let mut before = u64::MAX;
        loop {
            let page = ids(&served
                .get(&ann, &format!("{}?limit={limit}&before={before}", place.messages()))
                .await
                .ok());
            let Some(last) = page.last() else { break };
            before = *last;
            down.extend(page);
        }
        let mut after = 0;
        loop {
            let page = ids(&served
                .get(&ann, &format!("{}?limit={limit}&after={after}", place.messages()))
                .await
                .ok());
            let Some(first) = page.first() else { break };
            after = *first;
            up.extend(page.iter().rev());
        }
        down.reverse();
        assert_eq!((&down, &up), (&all, &all), "limit {limit}");
    }
}
