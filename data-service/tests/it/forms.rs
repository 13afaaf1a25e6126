//! The data service checks the form of stored rows, independently of the api: names, bounds, keys, and bits
//! with a meaning.

use weir_data_client::{DataClient, DataError};
use weir_proto::{
    admin::BeginImportRequest,
    data::{
        Channel, CreateGuildRequest, CreateUserRequest, EditMessageRequest, Guild, Member, PutChannelRequest,
        PutMemberRequest, PutRoleRequest, Role, User,
    },
    overwrite,
};

use crate::node::{Place, Talk, World, options};

/// A code point of four bytes: the longest that a character can be.
const WIDE: &str = "\u{1F600}";

fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, DataError>) {
    assert!(matches!(answer, Err(DataError::Invalid { .. })), "{what}: {answer:?}");
}

struct Puts<'a>(&'a DataClient, Place);

impl Puts<'_> {
    async fn role(&self, role: Role) -> Result<Role, DataError> {
        let role = Role { guild_id: self.1.guild, ..role };
        let request = PutRoleRequest { role: Some(role), basis: None };
        Ok(self.0.put_role(&request, &options()).await?.message.role.unwrap())
    }

    async fn channel(&self, channel: Channel) -> Result<Channel, DataError> {
        let channel = Channel { guild_id: self.1.guild, ..channel };
        let request = PutChannelRequest { channel: Some(channel), basis: None };
        Ok(self.0.put_channel(&request, &options()).await?.message.channel.unwrap())
    }

    async fn member(&self, nick: &str, role_ids: Vec<u64>) -> Result<Member, DataError> {
        let (guild_id, user_id) = (self.1.guild, self.1.user);
        let member = Member { guild_id, user_id, nick: nick.into(), role_ids, ..Member::default() };
        let request = PutMemberRequest { member: Some(member), basis: None };
        Ok(self.0.put_member(&request, &options()).await?.message.member.unwrap())
    }

    async fn user(&self, user: User) -> Result<User, DataError> {
        let request = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
        Ok(self.0.create_user(&request, &options()).await?.message.user.unwrap())
    }

    async fn guild(&self, roles: Vec<Role>, members: Vec<Member>) -> Result<u32, DataError> {
        let guild = Guild { name: "g".into(), owner_id: self.1.user, ..Guild::default() };
        let request = CreateGuildRequest { guild: Some(guild), roles, members, ..Default::default() };
        Ok(self.0.create_guild(&request, &options()).await?.message.state.unwrap().member_count)
    }
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_guild_have_their_form_whoever_sends_them() {
    let (_world, node) = World::with_node(1).await;
    let puts = Puts(&node.client, node.place().await);
    let role = |name: &str| Role { name: name.into(), ..Role::default() };
    let made = puts.role(Role { permissions: u64::MAX, ..role("r") }).await.unwrap();
    assert_eq!(made.permissions, overwrite::BITS, "a bit without a meaning is not stored");
    puts.role(role(&WIDE.repeat(100))).await.unwrap();
    for name in ["", "a\0b", &WIDE.repeat(101)] {
        refused("a role's name", puts.role(role(name)).await);
        refused("a channel's name", puts.channel(Channel { name: name.into(), ..Channel::default() }).await);
    }
    for topic in ["a\0b", &WIDE.repeat(1_025)] {
        let channel = Channel { name: "c".into(), topic: topic.into(), ..Channel::default() };
        refused("a topic", puts.channel(channel).await);
    }
    let nick = WIDE.repeat(32);
    assert_eq!(puts.member(&nick, (1..=250).collect()).await.unwrap().nick, nick);
    refused("a nick", puts.member(&WIDE.repeat(33), vec![]).await);
    refused("a nick", puts.member("a\0b", vec![]).await);
    refused("a role twice", puts.member("n", vec![7, 8, 7]).await);
    refused("no role's id", puts.member("n", vec![0]).await);
    refused("too many roles", puts.member("n", (1..=251).collect()).await);
}

#[tokio::test(start_paused = true)]
async fn a_guild_begins_with_each_role_and_member_once() {
    let (_world, node) = World::with_node(2).await;
    let puts = Puts(&node.client, node.place().await);
    let role = |id: u64, name: &str| Role { id, name: name.into(), ..Role::default() };
    let member = |user_id: u64| Member { user_id, ..Member::default() };
    assert_eq!(puts.guild(vec![role(0, "@everyone"), role(0, "r")], vec![member(5)]).await.unwrap(), 1);
    refused("two of one id", puts.guild(vec![role(8, "a"), role(8, "b")], vec![]).await);
    refused("a role's name", puts.guild(vec![role(0, "")], vec![]).await);
    refused("one member twice", puts.guild(vec![], vec![member(5), member(5)]).await);
    refused("nobody", puts.guild(vec![], vec![member(0)]).await);
    let nick = Member { nick: WIDE.repeat(33), ..member(5) };
    refused("a nick", puts.guild(vec![], vec![nick]).await);
    let guild = Guild { id: 77 << 22, name: "g".into(), owner_id: 5, ..Guild::default() };
    let roles = vec![role(0, "@everyone"), role(77 << 22, "also the guild's")];
    let request = CreateGuildRequest { guild: Some(guild), roles, ..CreateGuildRequest::default() };
    refused("two with the guild's id", node.client.create_guild(&request, &options()).await);
    let guild = Guild { name: "a\0b".into(), owner_id: 5, ..Guild::default() };
    let request = CreateGuildRequest { guild: Some(guild), ..CreateGuildRequest::default() };
    refused("a guild's name", node.client.create_guild(&request, &options()).await);
}

#[tokio::test(start_paused = true)]
async fn users_messages_and_imports_have_their_form_too() {
    let (_world, node, place) = World::with_place(3).await;
    let puts = Puts(&node.client, place);
    let user = |username: &str| User { username: username.into(), ..User::default() };
    puts.user(user(&WIDE.repeat(80))).await.unwrap();
    for name in ["", "a\0b", &WIDE.repeat(81)] {
        refused("a username", puts.user(user(name)).await);
    }
    refused("a global name", puts.user(User { global_name: "a\0b".into(), ..user("u") }).await);
    let talk = Talk(&node.client, place);
    refused("a content", talk.create("a\0b").await);
    let said = talk.create("said").await.unwrap();
    refused("a content", talk.edit(said.id, "a\0b").await);
    let request = EditMessageRequest {
        channel_id: place.channel,
        message_id: said.id,
        embeds_json: Some("[\0]".into()),
        ..EditMessageRequest::default()
    };
    refused("embeds", node.client.edit_message(&request, &options()).await);
    let begin = |guild: &str, channel: &str, author: &str| BeginImportRequest {
        job: vec![7; 32],
        guild_name: guild.into(),
        channel_names: vec![channel.into()],
        author_names: vec![author.into()],
        authors_total: 1,
        ..BeginImportRequest::default()
    };
    for (guild, channel, author) in
        [("", "c", "a"), ("g\0", "c", "a"), ("g", "", "a"), ("g", "c", ""), ("g", "c", &WIDE.repeat(81))]
    {
        let request = begin(guild, channel, author);
        refused("an import's names", node.client.begin_import(&request, &options()).await);
    }
    let request = begin(&WIDE.repeat(100), &WIDE.repeat(100), &WIDE.repeat(80));
    node.client.begin_import(&request, &options()).await.unwrap();
}
