//! Channel overwrites: their keys, and what who does not administer the guild can neither give away nor take
//! back.

use serde_json::{Value, json};
use weir_proto::data::Overwrite;

use crate::harness::{Bot, Place, Served, id};

const MANAGE_CHANNELS: u64 = 1 << 4;
const SEND_MESSAGES: u64 = 1 << 11;
const MANAGE_MESSAGES: u64 = 1 << 13;
const MENTION_EVERYONE: u64 = 1 << 17;
const MANAGE_ROLES: u64 = 1 << 28;
const ADMINISTRATOR: u64 = 1 << 3;
const NO_PERMISSION: (u16, u64) = (403, 50_013);
const INVALID: (u16, u64) = (400, 50_035);
const ROLE: u32 = 0;
const MEMBER: u32 = 1;

/// A guild whose everyone cannot write, with a caller who manages its channels and roles and has nothing
/// else.
struct Stage {
    served: Served,
    owner: Bot,
    manager: Bot,
    place: Place,
}

impl Stage {
    async fn set() -> Self {
        let (served, owner, place) = Served::with_guild("owner").await;
        let manager = served.bot("manager");
        let role = served.role(place.guild, MANAGE_CHANNELS | MANAGE_ROLES, 5);
        served.join(&manager, place.guild, &[role]);
        let mut world = served.data.world();
        world.roles.get_mut(&place.guild).unwrap().permissions &= !(SEND_MESSAGES | MENTION_EVERYONE);
        drop(world);
        Self { served, owner, manager, place }
    }

    /// A channel with these overwrites.
    fn channel(&self, overwrites: &[(u64, u32, u64, u64)]) -> String {
        let rows = overwrites.iter().map(|&(id, r#type, allow, deny)| Overwrite { id, r#type, allow, deny });
        format!("/channels/{}", self.served.channel(self.place.guild, |row| row.overwrites = rows.collect()))
    }

    async fn change(&self, bot: &Bot, channel: &str, overwrites: &[(u64, u32, u64, u64)]) -> (u16, u64) {
        self.served.patch(bot, channel, json!({ "permission_overwrites": list(overwrites) })).await.outcome()
    }

    async fn create(
        &self,
        bot: &Bot,
        overwrites: &[(u64, u32, u64, u64)],
        parent: Option<&str>,
    ) -> (u16, u64) {
        let parent = parent.map(|path| path.trim_start_matches("/channels/"));
        let body = json!({"name": "made", "parent_id": parent, "permission_overwrites": list(overwrites)});
        self.served.post(bot, &format!("/guilds/{}/channels", self.place.guild), body).await.outcome()
    }
}

fn list(overwrites: &[(u64, u32, u64, u64)]) -> Value {
    let entry = |&(id, kind, allow, deny): &(u64, u32, u64, u64)| json!({"id": id.to_string(), "type": kind, "allow": allow.to_string(), "deny": deny.to_string()});
    overwrites.iter().map(entry).collect()
}

#[tokio::test]
async fn a_denial_is_not_lifted_by_another_type_for_its_id() {
    let stage = Stage::set().await;
    let (guild, manager) = (stage.place.guild, stage.manager.id);
    for (before, flipped) in [
        ((guild, ROLE, 0, MANAGE_MESSAGES), (guild, MEMBER, 0, MANAGE_MESSAGES)),
        ((manager, MEMBER, 0, MANAGE_MESSAGES), (manager, ROLE, 0, MANAGE_MESSAGES)),
    ] {
        let channel = stage.channel(&[before]);
        let outcome = stage.change(&stage.manager, &channel, &[flipped]).await;
        assert!(matches!(outcome.0, 400 | 403), "{flipped:?}: {outcome:?}");
        let stored = stage.served.get(&stage.owner, &channel).await.ok();
        assert_eq!(stored["permission_overwrites"], list(&[before]));
    }
}

#[tokio::test]
async fn an_id_stands_in_a_list_once() {
    let stage = Stage::set().await;
    let guild = stage.place.guild;
    let pair = [
        (guild, ROLE, 0, SEND_MESSAGES),
        (guild, ROLE, SEND_MESSAGES | MANAGE_MESSAGES | MENTION_EVERYONE, 0),
    ];
    let channel = stage.channel(&[pair[0]]);
    for bot in [&stage.manager, &stage.owner] {
        assert_eq!(stage.change(bot, &channel, &pair).await, INVALID);
        assert_eq!(stage.create(bot, &pair, None).await, INVALID);
        let types = [(guild, ROLE, 0, 0), (guild, MEMBER, 0, 0)];
        assert_eq!(stage.change(bot, &channel, &types).await, INVALID, "not even with two types");
    }
    let stored = stage.served.get(&stage.owner, &channel).await.ok();
    assert_eq!(stored["permission_overwrites"], list(&pair[..1]));
}

#[tokio::test]
async fn a_member_is_no_role_and_a_role_is_no_member() {
    let stage = Stage::set().await;
    let channel = stage.channel(&[]);
    for wrong in [(stage.place.guild, MEMBER, 0, 0), (stage.owner.id, ROLE, 0, 0)] {
        let outcome = stage.change(&stage.owner, &channel, &[wrong]).await;
        assert_eq!(outcome, (400, 50_028), "{wrong:?}");
        assert_eq!(stage.create(&stage.owner, &[wrong], None).await, (400, 50_028), "{wrong:?}");
    }
}

#[tokio::test]
async fn whoever_lacks_a_permission_neither_denies_it_nor_lifts_a_denial() {
    let stage = Stage::set().await;
    let guild = stage.place.guild;
    let denied = [(guild, ROLE, 0, MANAGE_MESSAGES)];
    let channel = stage.channel(&denied);
    assert_eq!(stage.change(&stage.manager, &channel, &[]).await, NO_PERMISSION);
    let allowed = [(guild, ROLE, MANAGE_MESSAGES, 0)];
    assert_eq!(stage.change(&stage.manager, &channel, &allowed).await, NO_PERMISSION);
    let more = [denied[0], (stage.manager.id, MEMBER, 0, SEND_MESSAGES)];
    assert_eq!(stage.change(&stage.manager, &channel, &more).await, NO_PERMISSION);
    assert_eq!(stage.create(&stage.manager, &denied, None).await, NO_PERMISSION);
    assert_eq!(stage.change(&stage.manager, &channel, &denied).await, (200, 0), "it stays as it is");
}

#[tokio::test]
async fn what_is_held_in_the_guild_is_unlocked_in_a_channel_that_was_locked() {
    let stage = Stage::set().await;
    let guild = stage.place.guild;
    let role = stage.served.role(guild, MANAGE_CHANNELS | MANAGE_ROLES | SEND_MESSAGES, 6);
    let keeper = stage.served.bot("keeper");
    stage.served.join(&keeper, guild, &[role]);
    let channel = stage.channel(&[]);
    assert_eq!(stage.change(&keeper, &channel, &[(guild, ROLE, 0, SEND_MESSAGES)]).await, (200, 0));
    assert_eq!(stage.change(&keeper, &channel, &[]).await, (200, 0), "the lock was its own");
}

#[tokio::test]
async fn only_administrators_hand_out_the_managing_of_roles_in_a_channel() {
    let stage = Stage::set().await;
    let administrator = stage.served.bot("administrator");
    let role = stage.served.role(stage.place.guild, ADMINISTRATOR, 7);
    stage.served.join(&administrator, stage.place.guild, &[role]);
    for entry in [(stage.manager.id, MEMBER, MANAGE_ROLES, 0), (stage.place.guild, ROLE, 0, MANAGE_ROLES)] {
        let plain = stage.channel(&[]);
        assert_eq!(stage.create(&stage.manager, &[entry], None).await, NO_PERMISSION);
        assert_eq!(stage.change(&stage.manager, &plain, &[entry]).await, NO_PERMISSION);
        assert_eq!(stage.create(&administrator, &[entry], None).await.0, 201);
        assert_eq!(stage.change(&administrator, &plain, &[entry]).await.0, 200);
        assert_eq!(stage.change(&stage.owner, &plain, &[]).await.0, 200);
    }
    let given = stage.channel(&[(stage.manager.id, MEMBER, MANAGE_ROLES, 0)]);
    assert_eq!(stage.change(&stage.manager, &given, &[]).await, NO_PERMISSION, "nor do others take it");
}

#[tokio::test]
async fn administrator_in_an_overwrite_makes_nobody_an_administrator() {
    let stage = Stage::set().await;
    let entry = (stage.manager.id, MEMBER, ADMINISTRATOR, 0);
    let channel = stage.channel(&[entry]);
    let more = [entry, (stage.owner.id, MEMBER, MANAGE_ROLES, 0)];
    assert_eq!(stage.change(&stage.manager, &channel, &more).await, NO_PERMISSION);
}

#[tokio::test]
async fn who_was_given_the_managing_of_roles_in_a_channel_allows_there_what_it_lacks() {
    let stage = Stage::set().await;
    let manager = stage.manager.id;
    let own = (manager, MEMBER, MANAGE_ROLES, 0);
    let channel = stage.channel(&[own]);
    let other = stage.served.bot("other");
    let gift = (other.id, MEMBER, MANAGE_MESSAGES | SEND_MESSAGES, 0);
    assert_eq!(stage.change(&stage.manager, &channel, &[own, gift]).await, (200, 0));
    let plain = stage.channel(&[]);
    assert_eq!(stage.change(&stage.manager, &plain, &[gift]).await, NO_PERMISSION, "but there only");
    let further = [own, (other.id, MEMBER, MANAGE_ROLES, 0)];
    assert_eq!(stage.change(&stage.manager, &channel, &further).await, NO_PERMISSION);
    let denied =
        stage.channel(&[(stage.place.guild, ROLE, MANAGE_ROLES, 0), (manager, MEMBER, 0, MANAGE_ROLES)]);
    let outcome = stage
        .change(
            &stage.manager,
            &denied,
            &[(stage.place.guild, ROLE, MANAGE_ROLES, 0), (manager, MEMBER, 0, MANAGE_ROLES), gift],
        )
        .await;
    assert_eq!(outcome, NO_PERMISSION, "a denial wins over it");
}

#[tokio::test]
async fn a_channel_made_in_a_category_may_repeat_its_overwrites_word_by_word() {
    let stage = Stage::set().await;
    let guild = stage.place.guild;
    let of_category =
        [(guild, ROLE, MANAGE_MESSAGES, 0), (stage.owner.id, MEMBER, MANAGE_ROLES, MANAGE_MESSAGES)];
    let category = stage.channel(&of_category);
    let category_id = category.trim_start_matches("/channels/").parse::<u64>().unwrap();
    stage.served.data.world().channels.get_mut(&category_id).unwrap().r#type = 4;
    assert_eq!(stage.create(&stage.manager, &of_category, Some(&category)).await.0, 201);
    let turned = [of_category[1], of_category[0]];
    assert_eq!(stage.create(&stage.manager, &turned, Some(&category)).await.0, 201, "in any order");
    let with_less_denied = [(guild, ROLE, MANAGE_MESSAGES, 0), (stage.owner.id, MEMBER, MANAGE_ROLES, 0)];
    assert_eq!(stage.create(&stage.manager, &with_less_denied, Some(&category)).await, NO_PERMISSION);
    assert_eq!(stage.create(&stage.manager, &of_category, None).await, NO_PERMISSION);
    // It holds in the category what the first entry allows.
    let held_there = [(stage.owner.id, MEMBER, MANAGE_MESSAGES, 0)];
    assert_eq!(stage.create(&stage.manager, &held_there, Some(&category)).await.0, 201);
    assert_eq!(stage.create(&stage.manager, &held_there, None).await, NO_PERMISSION);
}

#[tokio::test]
async fn a_list_that_still_names_a_deleted_role_is_taken_without_it() {
    let stage = Stage::set().await;
    let gone = 77;
    let channel = stage.channel(&[(gone, ROLE, 0, MANAGE_MESSAGES | MANAGE_ROLES)]);
    let kept = (stage.place.guild, ROLE, 0, MANAGE_CHANNELS);
    let outcome = stage
        .change(&stage.manager, &channel, &[(gone, ROLE, 0, MANAGE_MESSAGES | MANAGE_ROLES), kept])
        .await;
    assert_eq!(outcome, (200, 0));
    let stored = stage.served.get(&stage.owner, &channel).await.ok();
    assert_eq!(stored["permission_overwrites"], list(&[kept]));
}

#[tokio::test]
async fn bits_that_mean_nothing_are_not_stored() {
    let stage = Stage::set().await;
    let channel = stage.channel(&[]);
    let nonsense = 1 << 47 | 1 << 60;
    let given = [(stage.place.guild, ROLE, SEND_MESSAGES | nonsense, nonsense)];
    assert_eq!(stage.change(&stage.owner, &channel, &given).await, (200, 0));
    let stored = stage.served.get(&stage.owner, &channel).await.ok();
    assert_eq!(stored["permission_overwrites"], list(&[(stage.place.guild, ROLE, SEND_MESSAGES, 0)]));
    let roles = format!("/guilds/{}/roles", stage.place.guild);
    let body = json!({"permissions": (nonsense | SEND_MESSAGES).to_string()});
    let role = stage.served.post(&stage.owner, &roles, body.clone()).await.ok();
    assert_eq!(role["permissions"], SEND_MESSAGES.to_string());
    let changed = stage.served.patch(&stage.owner, &format!("{roles}/{}", id(&role["id"])), body).await.ok();
    assert_eq!(changed["permissions"], SEND_MESSAGES.to_string());
}
