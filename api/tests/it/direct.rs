//! Direct messages: how they are opened, and who may do what in them.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Bot, Served, id, ids, outcome};

/// Opens, and returns the channel's id.
async fn open(served: &Served, bot: &Bot, other: &Bot) -> u64 {
    let body = json!({"recipient_id": other.id.to_string()});
    id(&served.post(bot, "/users/@me/channels", body).await.ok()["id"])
}

async fn post_short(served: &Served, bot: &Bot, body: Value) -> Answer {
    served.ask(bot, Method::POST, "/messages", body).await
}

async fn history(served: &Served, bot: &Bot, channel: u64) -> Answer {
    served.ask(bot, Method::GET, &format!("/history?channel={channel}"), Value::Null).await
}

#[tokio::test]
async fn a_message_to_a_user_is_one_request_and_both_read_it() {
    let served = Served::start().await;
    let (ann, bob, eve) = (served.bot("ann"), served.bot("bob"), served.bot("eve"));
    let body = json!({"user": bob.id.to_string(), "content": "hi", "nonce": "1"});
    let first = post_short(&served, &ann, body.clone()).await.ok();
    assert_eq!((&first["content"], first.get("guild_id")), (&json!("hi"), None));
    let again = post_short(&served, &ann, body).await.ok();
    assert_eq!(again["id"], first["id"], "deduplicates by nonce");
    let back = post_short(&served, &bob, json!({"user": ann.id, "content": "hello"})).await.ok();
    assert_eq!(back["channel_id"], first["channel_id"], "one channel, whoever writes first");
    let channel = id(&first["channel_id"]);
    for bot in [&ann, &bob] {
        let page = history(&served, bot, channel).await.ok();
        assert_eq!(ids(&page["messages"]), [id(&back["id"]), id(&first["id"])]);
    }
    assert_eq!(history(&served, &eve, channel).await.outcome(), (403, 50_001));
    let context = served.data.world().context.clone().unwrap();
    assert_eq!((context.guild_id, context.member), (0, None), "gateways are told of no guild");
}

#[tokio::test]
async fn opening_returns_discords_object_and_the_same_one_again() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let body = json!({"recipient_id": bob.id.to_string()});
    let answer = served.post(&ann, "/users/@me/channels", body.clone()).await;
    assert_eq!(answer.status, 200);
    let opened = answer.json();
    assert_eq!(
        (&opened["type"], &opened["last_message_id"], &opened["flags"]),
        (&json!(1), &Value::Null, &json!(0))
    );
    assert_eq!(opened["recipients"].as_array().unwrap().len(), 1);
    assert_eq!(
        (id(&opened["recipients"][0]["id"]), &opened["recipients"][0]["username"]),
        (bob.id, &json!("bob"))
    );
    assert!(opened.get("guild_id").is_none() && opened.get("name").is_none());
    let channel = id(&opened["id"]);
    let sent =
        served.post(&ann, &format!("/channels/{channel}/messages"), json!({"content": "x"})).await.ok();
    let again = served.post(&ann, "/users/@me/channels", body).await.ok();
    assert_eq!((&again["id"], &again["last_message_id"]), (&opened["id"], &sent["id"]));
    let seen = served.get(&bob, &format!("/channels/{channel}")).await.ok();
    assert_eq!((&seen["id"], &seen["last_message_id"]), (&opened["id"], &sent["id"]));
    assert_eq!(id(&seen["recipients"][0]["id"]), ann.id, "each is shown the other");
    // Listed for nobody, as for Discord's bots.
    assert_eq!(served.get(&ann, "/users/@me/channels").await.ok(), json!([]));
}

#[tokio::test]
async fn whom_nobody_can_write_to_is_refused_and_nothing_is_made() {
    let served = Served::start().await;
    let ann = served.bot("ann");
    let own = ann.id.to_string();
    for (recipient, outcome) in [
        (json!(own), (403, 50_007)),
        (json!("1234567890123456789"), (400, 50_033)),
        (json!("0"), (400, 50_035)),
        (json!(0), (400, 50_035)),
        (json!("ann"), (400, 50_035)),
        (json!("-1"), (400, 50_035)),
        (json!("18446744073709551616"), (400, 50_035)),
        (json!(1.5), (400, 50_035)),
        (json!([own]), (400, 50_035)),
        (Value::Null, (400, 50_035)),
    ] {
        let opened = served.post(&ann, "/users/@me/channels", json!({"recipient_id": recipient})).await;
        assert_eq!(opened.outcome(), outcome, "open with {recipient}");
        let sent = post_short(&served, &ann, json!({"user": recipient, "content": "x"})).await;
        assert_eq!(sent.outcome(), outcome, "write to {recipient}");
    }
    for group in ["recipients", "access_tokens"] {
        let body = json!({group: [served.bot("bob").id.to_string()]});
        let refused = served.post(&ann, "/users/@me/channels", body).await;
        assert_eq!(refused.outcome(), (400, 50_035));
        assert_eq!(refused.json()["errors"][group]["_errors"][0]["code"], "FEATURE_UNSUPPORTED");
    }
    // A message that cannot be opens nothing.
    let bob = served.bot("bob");
    let empty = post_short(&served, &ann, json!({"user": bob.id.to_string(), "content": " "})).await;
    assert_eq!(empty.outcome(), (400, 50_006));
    assert!(served.data.world().channels.is_empty());
}

/// What is done, by whom, and what becomes of it: author and other are the two users; an administrator of a
/// guild that all are in and a stranger are not.
#[tokio::test]
async fn the_matrix_of_callers_and_routes() {
    let (served, administrator, place) = Served::with_guild("administrator").await;
    let (author, other, stranger) = (served.bot("author"), served.bot("other"), served.bot("stranger"));
    for bot in [&author, &other] {
        served.join(bot, place.guild, &[]);
    }
    let channel = open(&served, &author, &other).await;
    let cast =
        [("author", &author), ("other", &other), ("administrator", &administrator), ("stranger", &stranger)];
    let message = || served.message(channel, author.id, |_| {});
    // A path's MESSAGE is a new one each time.
    let at = |rest: &str| format!("/api/v10/channels/{channel}{rest}");
    let (page, one, bulk) = (at("/messages"), at("/messages/MESSAGE"), at("/messages/bulk-delete"));
    let reactions = at("/messages/MESSAGE/reactions");
    let thumbs = format!("{reactions}/%F0%9F%91%8D");
    let (own_thumb, authors_thumb) = (format!("{thumbs}/@me"), format!("{thumbs}/{}", author.id));
    let short = json!({"channel": channel.to_string(), "content": "x"});
    let two = json!({"messages": [message().to_string(), message().to_string()]});
    let rows: Vec<(&str, Method, String, Value, &str)> = vec![
        ("see it", Method::GET, at(""), Value::Null, "kknn"),
        ("read a page", Method::GET, page.clone(), Value::Null, "kknn"),
        ("read it short", Method::GET, format!("/history?channel={channel}"), Value::Null, "kknn"),
        ("read a message", Method::GET, one.clone(), Value::Null, "kknn"),
        ("send", Method::POST, page, json!({"content": "x"}), "kknn"),
        ("send short", Method::POST, "/messages".to_owned(), short, "kknn"),
        ("type", Method::POST, at("/typing"), Value::Null, "ddnn"),
        ("edit the text", Method::PATCH, one.clone(), json!({"content": "y"}), "kann"),
        ("hide the embeds", Method::PATCH, one.clone(), json!({"flags": 4}), "kmnn"),
        ("delete a message", Method::DELETE, one, Value::Null, "dmnn"),
        ("delete in bulk", Method::POST, bulk, two, "mmnn"),
        ("react", Method::PUT, own_thumb.clone(), Value::Null, "ddnn"),
        ("take a reaction back", Method::DELETE, own_thumb, Value::Null, "ddnn"),
        ("remove the author's reaction", Method::DELETE, authors_thumb, Value::Null, "dmnn"),
        ("list who reacted", Method::GET, thumbs.clone(), Value::Null, "kknn"),
        ("clear one emoji", Method::DELETE, thumbs, Value::Null, "mmnn"),
        ("clear reactions", Method::DELETE, reactions, Value::Null, "mmnn"),
        ("list pins", Method::GET, at("/messages/pins"), Value::Null, "kknn"),
        ("list pins as before", Method::GET, at("/pins"), Value::Null, "kknn"),
        ("pin", Method::PUT, at("/messages/pins/MESSAGE"), Value::Null, "ddnn"),
        ("pin as before", Method::PUT, at("/pins/MESSAGE"), Value::Null, "ddnn"),
        ("unpin", Method::DELETE, at("/messages/pins/MESSAGE"), Value::Null, "ddnn"),
        ("unpin as before", Method::DELETE, at("/pins/MESSAGE"), Value::Null, "ddnn"),
        ("change the channel", Method::PATCH, at(""), json!({"name": "x"}), "mmnn"),
        ("close it", Method::DELETE, at(""), Value::Null, "mmnn"),
    ];
    let mut wrong = Vec::new();
    for (name, method, path, body, outcomes) in rows {
        let path = || path.replace("MESSAGE", &message().to_string());
        assert_eq!(outcomes.len(), cast.len(), "{name}");
        for ((who, bot), expected) in cast.into_iter().zip(outcomes.chars().map(outcome)) {
            let answer = served.ask(bot, method.clone(), &path(), body.clone()).await;
            let outcome =
                if answer.status.is_success() { (answer.status.as_u16(), 0) } else { answer.outcome() };
            if outcome != expected {
                wrong.push(format!("{who} / {name}: {outcome:?}, not {expected:?}"));
            }
        }
        let nobody = Bot { id: 0, token: "none".to_owned() };
        let answer = served.ask(&nobody, method, &path(), body).await;
        if answer.outcome() != (401, 0) {
            wrong.push(format!("nobody / {name}: {:?}", answer.outcome()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(served.data.world().channels.contains_key(&channel));
}

#[tokio::test]
async fn nobody_is_pinged_as_everyone_and_a_reply_knows_its_message() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let channel = open(&served, &ann, &bob).await;
    let path = format!("/channels/{channel}/messages");
    let content = format!("@everyone and <@{}>", bob.id);
    let first = served.post(&ann, &path, json!({"content": content})).await.ok();
    assert_eq!((&first["mention_everyone"], id(&first["mentions"][0]["id"])), (&json!(false), bob.id));
    let reply = json!({"content": "yes", "message_reference": {"message_id": first["id"]}});
    let reply = served.post(&bob, &path, reply).await.ok();
    assert_eq!((&reply["type"], &reply["referenced_message"]["id"]), (&json!(19), &first["id"]));
    // A message of another channel is none of this one.
    let place = served.guild(&ann).await;
    let elsewhere = served.message(place.channel, ann.id, |_| {});
    let stray = json!({"content": "x", "message_reference": {"message_id": elsewhere.to_string()}});
    assert_eq!(served.post(&bob, &path, stray).await.outcome(), (400, 50_035));
}

#[tokio::test]
async fn what_the_data_service_cannot_say_is_passed_on() {
    use weir_connect::{ConnectError, error::Code};
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    for (code, status) in [(Code::Unknown, 503), (Code::Unavailable, 503), (Code::Internal, 500)] {
        served.data.fail_next("OpenDirect", ConnectError::new(code, "as ordered"));
        let body = json!({"recipient_id": bob.id.to_string()});
        assert_eq!(served.post(&ann, "/users/@me/channels", body).await.status, status, "{code}");
    }
    open(&served, &ann, &bob).await;
}
