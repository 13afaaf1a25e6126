//! Who may put whom into a guild: anybody who may invite, or only with the user's own consent.

use http::Method;
use serde_json::{Value, json};
use weir_api::AddMembers;
use weir_discord::token::{BotToken, SECRET_BYTES};
use weir_proto::id::UserId;

use crate::harness::{Bot, Place, Served};

const CONSENT_NEEDED: (u16, u64) = (403, 50_025);

struct Stage {
    served: Served,
    owner: Bot,
    victim: Bot,
    place: Place,
}

impl Stage {
    async fn set(add_members: AddMembers) -> Self {
        let served = Served::with(|config| {
            config.rate_limits = None;
            config.add_members = add_members;
        })
        .await;
        let (owner, victim) = (served.bot("owner"), served.bot("victim"));
        let place = served.guild(&owner).await;
        Self { served, owner, victim, place }
    }

    async fn add(&self, body: Value) -> (u16, u64) {
        let path = format!("/guilds/{}/members/{}", self.place.guild, self.victim.id);
        self.served.put(&self.owner, &path, body).await.outcome()
    }

    async fn found_with(&self, members: &[u64]) -> (u16, u64) {
        let members: Vec<String> = members.iter().map(u64::to_string).collect();
        let body = json!({"name": "a guild", "members": members});
        self.served.ask(&self.owner, Method::POST, "/servers", body).await.outcome()
    }

    fn is_in(&self) -> bool {
        self.served.data.world().members.contains_key(&(self.place.guild, self.victim.id))
    }
}

#[tokio::test]
async fn openly_whoever_may_invite_adds_and_no_token_is_looked_at() {
    let stage = Stage::set(AddMembers::Open).await;
    assert_eq!(stage.found_with(&[stage.victim.id]).await, (201, 0));
    assert_eq!(stage.add(json!({"access_token": "x"})).await, (201, 0));
    assert!(stage.is_in());
}

#[tokio::test]
async fn nobody_is_added_without_its_own_token_where_consent_is_asked_for() {
    let stage = Stage::set(AddMembers::Consent).await;
    let user = UserId::try_from(stage.victim.id).unwrap();
    let forged = BotToken::generate(user, 1_790_000_000, &[9; SECRET_BYTES]).reveal().to_owned();
    for body in [
        json!({}),
        json!({"access_token": null}),
        json!({"access_token": 7}),
        json!({"access_token": "x"}),
        json!({"access_token": stage.owner.token}),
        json!({ "access_token": forged }),
    ] {
        assert_eq!(stage.add(body.clone()).await, CONSENT_NEEDED, "{body}");
    }
    let path = format!("/guilds/{}/members/{}", stage.place.guild, stage.victim.id);
    let refused = stage.served.put(&stage.owner, &path, json!({})).await.json();
    assert!(refused["message"].as_str().unwrap().contains("api.add_members"), "{refused}");
    assert_eq!(stage.found_with(&[stage.victim.id]).await, CONSENT_NEEDED);
    assert!(!stage.is_in());
    assert_eq!(stage.found_with(&[]).await, (201, 0));
    assert_eq!(stage.found_with(&[stage.owner.id]).await, (201, 0), "that is the owner itself");
}

#[tokio::test]
async fn whose_token_is_given_is_added_and_again_for_nothing() {
    let stage = Stage::set(AddMembers::Consent).await;
    for token in [stage.victim.token.clone(), format!("Bot {}", stage.victim.token)] {
        assert_eq!(stage.add(json!({ "access_token": token })).await, (201, 0));
        assert!(stage.is_in());
        assert_eq!(stage.add(json!({})).await, (204, 0), "it is there already");
        stage.served.data.world().members.remove(&(stage.place.guild, stage.victim.id));
    }
}

#[tokio::test]
async fn a_guess_costs_the_data_service_one_look_as_it_does_elsewhere() {
    let stage = Stage::set(AddMembers::Consent).await;
    let user = UserId::try_from(stage.victim.id).unwrap();
    let guess = BotToken::generate(user, 1_790_000_000, &[9; SECRET_BYTES]).reveal().to_owned();
    // The owner's own is known from then on.
    stage.served.get(&stage.owner, "/users/@me").await.ok();
    stage.served.data.take_calls();
    for _ in 0..20 {
        assert_eq!(stage.add(json!({ "access_token": guess })).await, CONSENT_NEEDED);
    }
    let looks = stage.served.data.take_calls().into_iter().filter(|call| *call == "ResolveToken").count();
    // More only if this machine takes longer than tokens are remembered, five seconds.
    assert!((1..=3).contains(&looks), "{looks} looks for 20 guesses");
}
