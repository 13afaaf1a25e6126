//! Replies: what they refer to, when that is not there, whom they ping.

use serde_json::{Value, json};

use crate::harness::{Served, id, ids};

fn reply_to(message: u64) -> Value {
    json!({"content": "a reply", "message_reference": {"message_id": message.to_string()}})
}

#[tokio::test]
async fn a_reply_shows_its_target_and_pings_its_author() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let place = served.guild(&ann).await;
    let target = served.message(place.channel, bob.id, |_| {});
    let reply = served.post(&ann, &place.messages(), reply_to(target)).await.ok();
    assert_eq!(reply["type"], 19);
    assert_eq!(id(&reply["message_reference"]["message_id"]), target);
    assert_eq!(id(&reply["message_reference"]["channel_id"]), place.channel);
    assert_eq!(reply["referenced_message"]["author"]["username"], "bob");
    assert_eq!(ids(&reply["mentions"]), [bob.id]);

    let mut quiet = reply_to(target);
    quiet["allowed_mentions"] = json!({"parse": ["users"], "replied_user": false});
    assert_eq!(served.post(&ann, &place.messages(), quiet).await.ok()["mentions"], json!([]));
}

#[tokio::test]
async fn a_missing_target_is_a_form_error_unless_told_otherwise() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let elsewhere = served.channel(place.guild, |_| {});
    let there = served.message(elsewhere, ann.id, |_| {});
    let mut other_channel = reply_to(there);
    other_channel["message_reference"]["channel_id"] = json!(elsewhere.to_string());
    for body in [reply_to(12_345), reply_to(there), other_channel] {
        let answer = served.post(&ann, &place.messages(), body).await;
        assert_eq!(answer.outcome(), (400, 50_035));
        let leaf = &answer.json()["errors"]["message_reference"]["_errors"][0];
        assert_eq!(leaf["code"], "MESSAGE_REFERENCE_UNKNOWN_MESSAGE");
    }
    let mut anyway = reply_to(12_345);
    anyway["message_reference"]["fail_if_not_exists"] = json!(false);
    let plain = served.post(&ann, &place.messages(), anyway).await.ok();
    assert_eq!(
        (&plain["type"], plain.get("message_reference"), plain.get("referenced_message")),
        (&json!(0), None, None)
    );
}

#[tokio::test]
async fn a_deleted_target_is_null_and_one_off_the_page_is_absent() {
    let (served, ann, place) = Served::with_guild("ann").await;
    let target = served.message(place.channel, ann.id, |_| {});
    let reply = id(&served.post(&ann, &place.messages(), reply_to(target)).await.ok()["id"]);
    let both = served.get(&ann, &place.messages()).await.ok();
    assert_eq!(id(&both[0]["referenced_message"]["id"]), target);
    let one = served.get(&ann, &format!("{}?limit=1", place.messages())).await.ok();
    assert_eq!((id(&one[0]["id"]), one[0].get("referenced_message")), (reply, None));
    served.delete(&ann, &format!("{}/{target}", place.messages())).await;
    let read = served.get(&ann, &format!("{}/{reply}", place.messages())).await.ok();
    assert_eq!(read.get("referenced_message"), Some(&Value::Null));
}

#[tokio::test]
async fn an_edited_reply_still_pings_whom_it_pinged() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let place = served.guild(&ann).await;
    let target = served.message(place.channel, bob.id, |_| {});
    let reply = served.post(&ann, &place.messages(), reply_to(target)).await.ok();
    let path = format!("{}/{}", place.messages(), id(&reply["id"]));
    let edited = served.patch(&ann, &path, json!({"content": "changed"})).await.ok();
    assert_eq!(
        (ids(&edited["mentions"]), &edited["referenced_message"]["author"]["username"]),
        (vec![bob.id], &json!("bob"))
    );
}

#[tokio::test]
async fn an_edit_pings_nobody_who_was_spared_by_the_reply() {
    let served = Served::start().await;
    let (ann, bob) = (served.bot("ann"), served.bot("bob"));
    let place = served.guild(&ann).await;
    let mut quiet = reply_to(served.message(place.channel, bob.id, |_| {}));
    quiet["allowed_mentions"] = json!({"parse": [], "replied_user": false});
    let reply = served.post(&ann, &place.messages(), quiet).await.ok();
    let path = format!("{}/{}", place.messages(), id(&reply["id"]));
    assert_eq!(served.patch(&ann, &path, json!({"content": "changed"})).await.ok()["mentions"], json!([]));
}

#[tokio::test]
async fn a_reply_needs_the_history() {
    let (served, owner, ann, place) = Served::with_member("owner", "ann").await;
    let target = served.message(place.channel, owner.id, |_| {});
    served.data.world().roles.get_mut(&place.guild).unwrap().permissions &= !(1 << 16);
    assert_eq!(served.post(&ann, &place.messages(), reply_to(target)).await.outcome(), (403, 160_002));
}
