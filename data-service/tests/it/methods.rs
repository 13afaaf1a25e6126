//! One sequence of calls through the methods, for any transport and any store.

use weir_data_client::{CallOptions, DataClient, DataError};
use weir_proto::{
    admin::{Limit, LimitKind, ListHotChannelsRequest, SetLimitRequest, UnsetLimitRequest},
    data::{
        self, Channel, GetChannelContextRequest, GetGuildRequest, GetMemberRequest, GetUsersRequest,
        ListChangesRequest, ListMembersRequest, ListUserGuildsRequest, Member, Message, PutChannelRequest,
        PutMemberRequest, PutRoleRequest, Role, TypingRequest, User,
    },
};

use crate::node::{At, Place, Talk, options, page_of, place};

fn ids(rows: &[Message]) -> Vec<u64> {
    rows.iter().map(|row| row.id).collect()
}

/// Calls the methods one after another and checks what each answers.
pub(crate) async fn work(client: &DataClient) {
    let place = place(client).await;
    messages(client, place).await;
    directory(client, place).await;
    crate::direct::work(client).await;
    limits(client, place).await;
    explanations(client, place).await;
}

async fn messages(client: &DataClient, place: Place) {
    let talk = Talk(client, place);
    assert!(talk.list(At::Latest, 10).await.unwrap().is_empty(), "a new channel has no history");
    let mut made = Vec::new();
    for index in 0..7 {
        made.push(talk.create(&format!("m{index}")).await.unwrap());
    }
    assert!(made.is_sorted_by(|a, b| a.id < b.id && a.rev < b.rev));
    assert!(made.iter().all(|row| row.rev == row.last_rev && row.author_id == place.user));
    let all: Vec<u64> = made.iter().map(|row| row.id).collect();

    assert_eq!(talk.contents(At::Latest, 3).await, ["m6", "m5", "m4"]);
    assert_eq!(talk.contents(At::Before(all[3]), 2).await, ["m2", "m1"]);
    assert_eq!(
        talk.contents(At::After(all[1]), 2).await,
        ["m3", "m2"],
        "the rows next to the anchor, newest first"
    );
    assert_eq!(talk.contents(At::Around(all[3]), 2).await, ["m4", "m3", "m2"]);
    assert_eq!(talk.contents(At::Around(all[3]), 5).await, ["m5", "m4", "m3", "m2", "m1"]);
    assert_eq!(talk.contents(At::Before(all[0]), 5).await, Vec::<String>::new());
    assert_eq!(talk.contents(At::After(all[6]), 5).await, Vec::<String>::new());
    assert_eq!(talk.get(all[2]).await.unwrap().unwrap().content, "m2");
    // Not `all[2] + 1`: ids minted in one millisecond are consecutive.
    assert_eq!(talk.get(all[6] + 1).await.unwrap(), None);

    let edited = talk.edit(all[2], "edited").await.unwrap();
    assert!(edited.content == "edited" && edited.last_rev > made[6].rev && edited.rev == made[2].rev);
    assert!(edited.edited_at_ms > 0);
    assert_eq!(talk.get(all[2]).await.unwrap().unwrap(), edited);
    let removed = talk.delete(all[4]).await.unwrap();
    assert!(removed > edited.last_rev);
    assert_eq!(talk.get(all[4]).await.unwrap(), None);
    assert_eq!(talk.contents(At::Latest, 5).await, ["m6", "m5", "m3", "edited", "m1"]);
    assert!(matches!(talk.delete(all[4]).await, Err(DataError::NotFound { .. })));
    assert!(matches!(talk.edit(all[4], "x").await, Err(DataError::NotFound { .. })));

    let changes = ListChangesRequest { scope_id: place.channel, after_rev: made[4].rev, limit: 0 };
    let changes = client.list_changes(&changes, &options()).await.unwrap().message;
    assert_eq!((changes.records.len(), changes.more, changes.truncated), (4, false, false));

    for broken in [
        data::ListMessagesRequest {
            before: Some(1),
            after: Some(2),
            ..page_of(place.channel, At::Latest, 1)
        },
        page_of(place.channel, At::Latest, 101),
        page_of(0, At::Latest, 1),
    ] {
        let answer = client.list_messages(&broken, &options()).await;
        assert!(matches!(answer, Err(DataError::Invalid { .. })), "{answer:?}");
    }
    assert!(matches!(talk.create(&"x".repeat(4_001)).await, Err(DataError::Invalid { .. })));
    let typing =
        TypingRequest { channel_id: place.channel, user_id: place.user, timestamp_ms: 1, context: None };
    client.typing(&typing, &options()).await.unwrap();
}

async fn directory(client: &DataClient, place: Place) {
    let far = options();
    let Place { guild, channel, user } = place;
    let hash = [7_u8; 32].to_vec();
    let request = data::CreateUserRequest {
        user: Some(User { username: "bob".into(), ..User::default() }),
        token_hash: hash.clone(),
    };
    let bob = client.create_user(&request, &far).await.unwrap().message.user.unwrap();
    let request = data::ResolveTokenRequest { token_hash: hash };
    assert_eq!(client.resolve_token(&request, &far).await.unwrap().message.user, Some(bob.clone()));
    let request = data::ResolveTokenRequest { token_hash: vec![9; 32] };
    assert!(matches!(client.resolve_token(&request, &far).await, Err(DataError::NotFound { .. })));

    let member = Member { guild_id: guild, user_id: bob.id, nick: "bobby".into(), ..Member::default() };
    let put = client
        .put_member(&PutMemberRequest { member: Some(member), basis: None }, &far)
        .await
        .unwrap()
        .message;
    assert!(put.member.as_ref().is_some_and(|row| row.joined_at_ms > 0) && put.user == Some(bob.clone()));
    let request = ListMembersRequest { guild_id: guild, after: 0, limit: 10 };
    let listed = client.list_members(&request, &far).await.unwrap().message;
    let found: Vec<u64> = listed.members.iter().map(|row| row.user_id).collect();
    assert_eq!(found, [user, bob.id]);
    assert_eq!(listed.users.len(), 2);
    let request = ListUserGuildsRequest { user_id: bob.id, after: 0, limit: 0 };
    assert_eq!(client.list_user_guilds(&request, &far).await.unwrap().message.guild_ids, [guild]);
    let users = client.get_users(&GetUsersRequest { ids: vec![bob.id, 12_345, user] }, &far).await.unwrap();
    let users: Vec<u64> = users.message.users.iter().map(|row| row.id).collect();
    assert_eq!(users, [bob.id, user], "those that exist, in the order asked for");

    let role = Role { guild_id: guild, name: "mods".into(), permissions: 8, ..Role::default() };
    let role = client
        .put_role(&PutRoleRequest { role: Some(role), basis: None }, &far)
        .await
        .unwrap()
        .message
        .role
        .unwrap();
    let second = Channel { guild_id: guild, name: "second".into(), ..Channel::default() };
    let second =
        client.put_channel(&PutChannelRequest { channel: Some(second), basis: None }, &far).await.unwrap();
    let second = second.message.channel.unwrap();
    let state = client
        .get_guild(&GetGuildRequest { guild_id: guild, ..GetGuildRequest::default() }, &far)
        .await
        .unwrap()
        .message
        .state
        .unwrap();
    assert_eq!((state.roles.len(), state.channels.len(), state.member_count), (2, 2, 2));

    let request = GetChannelContextRequest {
        channel_id: channel,
        user_id: bob.id,
        ..GetChannelContextRequest::default()
    };
    let context = client.get_channel_context(&request, &far).await.unwrap().message;
    assert_eq!(context.member.unwrap().nick, "bobby");
    assert_eq!(context.state.unwrap(), state);
    assert!(context.last_message_id > 0);

    let request = data::DeleteRoleRequest { guild_id: guild, role_id: role.id, basis: None };
    client.delete_role(&request, &far).await.unwrap();
    client
        .delete_channel(&data::DeleteChannelRequest { channel_id: second.id, basis: None }, &far)
        .await
        .unwrap();
    client
        .delete_member(&data::DeleteMemberRequest { guild_id: guild, user_id: bob.id, basis: None }, &far)
        .await
        .unwrap();
    let request = GetMemberRequest { guild_id: guild, user_id: bob.id };
    assert!(matches!(client.get_member(&request, &far).await, Err(DataError::NotFound { .. })));
    let state = client
        .get_guild(&GetGuildRequest { guild_id: guild, ..GetGuildRequest::default() }, &far)
        .await
        .unwrap()
        .message
        .state
        .unwrap();
    assert_eq!((state.roles.len(), state.channels.len(), state.member_count), (1, 1, 1));
}

async fn limits(client: &DataClient, place: Place) {
    let scope = format!("channel/{}", place.channel);
    let limit = Limit {
        scope: scope.clone(),
        kind: LimitKind::Requests.into(),
        rate: 0.0,
        set_by: "tests".into(),
        ..Limit::default()
    };
    client.set_limit(&SetLimitRequest { limit: Some(limit) }, &options()).await.unwrap();
    let refused = Talk(client, place).list(At::Latest, 1).await;
    assert!(matches!(refused, Err(DataError::Refused { .. })), "{refused:?}");
    let request = UnsetLimitRequest { scope, kind: LimitKind::Requests.into(), who: "tests".into() };
    assert!(client.unset_limit(&request, &options()).await.unwrap().message.existed);
    Talk(client, place).list(At::Latest, 1).await.unwrap();
}

async fn explanations(client: &DataClient, place: Place) {
    let talk = Talk(client, place);
    let newest = talk.create("fresh").await.unwrap();
    let asking = CallOptions { explain: true, ..options() };
    let page = page_of(place.channel, At::Latest, 5);
    let reply = client.list_messages(&page, &asking).await.unwrap();
    let explain = reply.explain.expect("asked for").to_str().unwrap().to_owned();
    assert!(explain.contains("outcome=hit") && explain.contains("History("), "{explain}");
    assert!(explain.contains(&format!("rev={}", newest.rev)) && explain.contains("owner="), "{explain}");
    let freshness = reply.freshness.expect("a token in every reply of a channel");
    let token = weir_data_service::freshness::Freshness::decode(&freshness).unwrap();
    assert_eq!((token.scope_id.get(), token.rev), (place.channel, newest.rev));
    // Also of a guild, and of a channel in which nothing was ever written.
    let empty = Channel { guild_id: place.guild, name: "empty".into(), ..Channel::default() };
    let request = PutChannelRequest { channel: Some(empty), ..PutChannelRequest::default() };
    let put = client.put_channel(&request, &options()).await.unwrap();
    let put_token = weir_data_service::freshness::Freshness::decode(&put.freshness.unwrap()).unwrap();
    let empty = put.message.channel.unwrap();
    assert_eq!((put_token.scope_id.get(), put_token.rev >= empty.rev), (place.guild, true));
    let reply = client.list_messages(&page_of(empty.id, At::Latest, 5), &asking).await.unwrap();
    assert!(reply.message.messages.is_empty() && reply.freshness.is_some());
    let request = GetGuildRequest { guild_id: place.guild, ..GetGuildRequest::default() };
    let reply = client.get_guild(&request, &asking).await.unwrap();
    let token = weir_data_service::freshness::Freshness::decode(&reply.freshness.unwrap()).unwrap();
    assert!(token.rev >= put_token.rev && reply.explain.is_some());
    let quiet = client.list_messages(&page, &options()).await.unwrap();
    assert!(quiet.explain.is_none(), "told only on request");
    let with_token = CallOptions { freshness: Some(freshness), ..options() };
    let again = client.list_messages(&page, &with_token).await.unwrap();
    assert_eq!(ids(&again.message.messages), ids(&quiet.message.messages));

    let hot =
        client.list_hot_channels(&ListHotChannelsRequest { limit: 3 }, &options()).await.unwrap().message;
    assert!(hot.channels.iter().any(|hot| hot.channel_id == place.channel));
    let request = weir_proto::admin::ExplainChannelRequest { channel_id: place.channel };
    let told = client.explain_channel(&request, &options()).await.unwrap().message;
    assert_eq!((told.last_message_id, told.tail_warm, told.unresolved_write), (newest.id, true, false));
    assert_eq!(told.buckets.len(), 1);
}
