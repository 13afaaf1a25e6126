//! Hazard 46: a caller that leaves at any of its await points skips no step of the write path.

mod leaves;

use std::time::Duration;

use prost::Message as _;
use tokio::time::sleep;
use weir_data_client::{DataClient, DataError};
use weir_proto::{
    admin::{
        BeginImportRequest, BeginImportResponse, Limit, LimitKind, ListLimitChangesRequest,
        ListLimitsRequest, SetLimitRequest, UnsetLimitRequest,
    },
    data::{
        CreateUserRequest, DeleteMessageRequest, EditMessageRequest, GetGuildRequest, GetMemberRequest,
        GetUsersRequest, Member, Message, OpenDirectRequest, PutMemberRequest, ResolveTokenRequest, User,
    },
    id::UserId,
    pair::UserPair,
};

use self::leaves::leaves;
use crate::{
    fake_bus::gist,
    fake_store::Fate,
    node::{At, Node, Place, Talk, World, begin_import, create_in, import, imported, options},
    order::assert_chained,
};

/// What the caller was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Edit,
    Delete,
    PutMember,
    WriteImport,
    OpenDirect,
    CreateUser,
    BeginImport,
    SetLimit,
    UnsetLimit,
}

/// Content of what is written by one who left.
const LEFT: &str = "by one who left";
/// The user that is created, and the hash of its token.
const NEWCOMER: u64 = 77 << 22;
const HASH: [u8; 32] = [7; 32];
/// The file that is imported.
const JOB: [u8; 32] = [9; 32];

/// What is there before anybody leaves.
struct Stage {
    world: World,
    node: Node,
    place: Place,
    first: Message,
    /// A user who is not in the guild.
    other: u64,
    /// The ids of the job, which are kept while nothing of it is written.
    job: BeginImportResponse,
}

fn job() -> BeginImportRequest {
    BeginImportRequest {
        job: JOB.into(),
        guild_name: LEFT.into(),
        channel_names: vec!["c".into()],
        author_names: vec!["a".into()],
        first_author: 0,
        authors_total: 1,
    }
}

fn found<T>(answer: Result<T, DataError>) -> Option<T> {
    match answer {
        Ok(found) => Some(found),
        Err(DataError::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

impl Stage {
    async fn new(act: Act, seed: u64) -> Self {
        let (world, node, place) = World::with_place(seed).await;
        let talk = Talk(&node.client, place);
        let first = talk.create("first").await.unwrap();
        talk.list(At::Latest, 50).await.unwrap();
        let user = User { username: "bob".into(), ..User::default() };
        let request = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
        let other = node.client.create_user(&request, &options()).await.unwrap().message.user.unwrap().id;
        // The job was begun once, and its rows were not taken.
        world.store.script_rows([Fate::NotApplied]);
        node.client.begin_import(&job(), &options()).await.unwrap_err();
        let kept = world.store.rows().settings[&("import".to_owned(), JOB.to_vec())].clone();
        let job = BeginImportResponse::decode(kept).unwrap();
        begin_import(&*world.store, vec![place.channel]).await;
        let stage = Self { world, node, place, first, other, job };
        if act == Act::UnsetLimit {
            stage.node.client.set_limit(&stage.limit(), &options()).await.unwrap();
        }
        // From here on all that is not there is remembered as absent.
        stage.assert_same("at the start").await;
        stage
    }

    /// No message can be written.
    fn limit(&self) -> SetLimitRequest {
        let limit = Limit {
            scope: format!("channel/{}", self.place.channel),
            kind: LimitKind::Writes.into(),
            set_by: "ada".into(),
            ..Limit::default()
        };
        SetLimitRequest { limit: Some(limit) }
    }

    /// Does it; true if it was answered and well.
    async fn act(&self, act: Act) -> bool {
        let (client, place, far): (&DataClient, Place, _) = (&self.node.client, self.place, options());
        match act {
            Act::Create => client.create_message(&create_in(place, LEFT), &far).await.is_ok(),
            // The guild is not told along, so that looking it up is an await point too.
            Act::Edit => {
                let request = EditMessageRequest {
                    channel_id: place.channel,
                    message_id: self.first.id,
                    content: Some(LEFT.into()),
                    ..EditMessageRequest::default()
                };
                client.edit_message(&request, &far).await.is_ok()
            }
            Act::Delete => {
                let request = DeleteMessageRequest {
                    channel_id: place.channel,
                    message_id: self.first.id,
                    context: None,
                };
                client.delete_message(&request, &far).await.is_ok()
            }
            Act::PutMember => {
                let member = Member { guild_id: place.guild, user_id: self.other, ..Member::default() };
                let request = PutMemberRequest { member: Some(member), basis: None };
                client.put_member(&request, &far).await.is_ok()
            }
            Act::WriteImport => {
                let row = Message {
                    id: imported(1_000, 0),
                    author_id: place.user,
                    content: LEFT.into(),
                    ..Message::default()
                };
                import(client, place.channel, [vec![row]]).await.is_ok()
            }
            Act::OpenDirect => {
                let request = OpenDirectRequest { user_id: place.user, recipient_id: self.other };
                client.open_direct(&request, &far).await.is_ok()
            }
            Act::CreateUser => {
                let user = User { id: NEWCOMER, username: LEFT.into(), ..User::default() };
                let request = CreateUserRequest { user: Some(user), token_hash: HASH.into() };
                client.create_user(&request, &far).await.is_ok()
            }
            Act::BeginImport => client.begin_import(&job(), &far).await.is_ok(),
            Act::SetLimit => client.set_limit(&self.limit(), &far).await.is_ok(),
            Act::UnsetLimit => {
                let scope = format!("channel/{}", place.channel);
                let request = UnsetLimitRequest { scope, kind: LimitKind::Writes.into(), who: "ada".into() };
                client.unset_limit(&request, &far).await.is_ok()
            }
        }
    }

    /// Whether it is in the database.
    fn happened(&self, act: Act) -> bool {
        let rows = self.world.store.rows();
        let history = rows.history(self.place.channel);
        let limited = rows.settings.keys().any(|(kind, _)| kind == "limit");
        match act {
            Act::Create | Act::Edit | Act::WriteImport => history.iter().any(|row| row.content == LEFT),
            Act::Delete => history.is_empty(),
            Act::PutMember => rows.members.contains_key(&(self.place.guild, self.other)),
            Act::OpenDirect => rows.direct.contains_key(&self.pair()),
            Act::CreateUser => rows.users.contains_key(&NEWCOMER),
            // Guild and names are two writes: the last counts.
            Act::BeginImport => rows.users.contains_key(&self.job.author_id_base),
            Act::SetLimit => limited,
            Act::UnsetLimit => !limited,
        }
    }

    fn pair(&self) -> UserPair {
        let id = |id| UserId::try_from(id).unwrap();
        UserPair::of(id(self.place.user), id(self.other)).unwrap()
    }

    /// All that is shown is what the database has.
    async fn assert_same(&self, when: &str) {
        let (client, place, far, store) = (&self.node.client, self.place, options(), &self.world.store);
        let talk = Talk(client, place);
        let history = store.rows().history(place.channel);
        let shown = talk.list(At::Latest, 50).await.unwrap();
        // A write in doubt may land while the question is under way.
        let later = store.rows().history(place.channel);
        let same = |rows: &[Message]| shown.iter().eq(rows.iter().rev());
        assert!(same(&history) || same(&later), "{when}: memory differs from the database");
        let first = history.iter().find(|row| row.id == self.first.id);
        assert_eq!(talk.get(self.first.id).await.unwrap().as_ref(), first, "{when}");

        let ids = [NEWCOMER, self.job.author_id_base];
        let shown = client.get_users(&GetUsersRequest { ids: ids.into() }, &far).await.unwrap();
        let kept: Vec<User> = ids.iter().filter_map(|id| store.rows().users.get(id).cloned()).collect();
        assert_eq!(shown.message.users, kept, "{when}: users");
        let shown = client.resolve_token(&ResolveTokenRequest { token_hash: HASH.into() }, &far).await;
        let shown = found(shown).and_then(|reply| reply.message.user).map(|user| user.id);
        assert_eq!(shown, store.rows().tokens.get(&HASH).copied(), "{when}: token");

        for (guild_id, user_id) in [(place.guild, self.other), (self.job.guild_id, self.job.author_id_base)] {
            let shown = client.get_member(&GetMemberRequest { guild_id, user_id }, &far).await;
            let shown = found(shown).and_then(|reply| reply.message.member);
            assert_eq!(shown, store.rows().members.get(&(guild_id, user_id)).cloned(), "{when}: member");
        }
        let shown = client
            .get_guild(&GetGuildRequest { guild_id: self.job.guild_id, ..GetGuildRequest::default() }, &far)
            .await;
        let kept = store.rows().read_guild(self.job.guild_id);
        assert_eq!(found(shown).is_some(), kept.is_some(), "{when}: guild");

        // Stored, in force and on record, or nothing of it.
        let stored = store.rows().settings.keys().filter(|(kind, _)| kind == "limit").count();
        let listed = client.list_limits(&ListLimitsRequest {}, &far).await.unwrap().message.limits;
        assert_eq!(listed.len(), stored, "{when}: limits in force and stored");
        let request = ListLimitChangesRequest { limit: 0, scope: String::new() };
        let told = client.list_limit_changes(&request, &far).await.unwrap().message.changes;
        let last_set = told.first().is_some_and(|change| change.action == "set");
        assert_eq!(last_set, stored == 1, "{when}: limits on record and stored");
    }
}

/// True if the call was answered before its caller left.
async fn leave_after(act: Act, polls: usize, seed: u64) -> bool {
    let stage = Stage::new(act, seed).await;
    let Stage { world, node, place, .. } = &stage;
    world.store.slow(Duration::from_millis(10));
    let answered = leaves(stage.act(act), polls).await.is_some_and(|well| well);
    // Readers while it is under way must not leave anything old behind.
    let talk = Talk(&node.client, *place);
    talk.list(At::Latest, 50).await.unwrap();
    talk.get(stage.first.id).await.unwrap();
    let ids = vec![NEWCOMER, stage.job.author_id_base];
    node.client.get_users(&GetUsersRequest { ids }, &options()).await.unwrap();
    sleep(Duration::from_secs(5)).await;

    let when = format!("{act:?} after {polls} polls, seed {seed}");
    world.store.assert_sound();
    let happened = stage.happened(act);
    assert!(happened || !answered, "{when}: acknowledged and not there");
    stage.assert_same(&when).await;
    let told = world.bus.of(place.channel);
    let told: Vec<&str> = told.iter().map(|record| gist(record).1).collect();
    let second = match act {
        Act::Create => Some("created"),
        Act::Edit => Some("edited"),
        Act::Delete => Some("deleted"),
        _ => None,
    };
    let expected: Vec<&str> = ["created"].into_iter().chain(second.filter(|_| happened)).collect();
    assert_eq!(told, expected, "{when}");
    assert_chained(world, place.channel);
    let direct = world.store.rows().direct.get(&stage.pair()).map(|(id, _)| *id);
    if let Some(id) = direct {
        assert_eq!(world.bus.of(id).len(), 1, "{when}: the channel is announced");
    }
    let limited = world.store.rows().settings.keys().any(|(kind, _)| kind == "limit");
    let goes_on = talk.create("the channel goes on").await;
    assert_eq!(goes_on.is_err(), limited, "{when}: {goes_on:?}");
    answered
}

#[test]
fn a_caller_that_leaves_at_any_await_point_skips_no_step() {
    for act in [
        Act::Create,
        Act::Delete,
        Act::PutMember,
        Act::WriteImport,
        Act::OpenDirect,
        Act::CreateUser,
        Act::BeginImport,
        Act::UnsetLimit,
    ] {
        leave_at_any_await_point(act);
    }
}

/// An edit passes a turn of its own.
#[test]
fn an_editor_that_leaves_at_any_await_point_skips_no_step() {
    leave_at_any_await_point(Act::Edit);
}

/// A limit is set in no turn.
#[test]
fn who_sets_a_limit_and_leaves_at_any_await_point_skips_no_step() {
    leave_at_any_await_point(Act::SetLimit);
}

fn leave_at_any_await_point(act: Act) {
    for seed in 0..4 {
        let mut polls = 0;
        while !crate::history::paused(leave_after(act, polls, seed)) {
            polls += 1;
            assert!(polls < 100, "the call is never answered");
        }
        assert!(polls >= 2, "{act:?} was answered after {polls} polls: no await point was met");
    }
}

/// Hazard 5 of the writes that pass no turn: what is not known is neither remembered nor left.
#[test]
fn rows_in_doubt_are_written_in_the_end_and_not_remembered_before() {
    let later = Fate::UnknownLater(Duration::from_millis(700));
    for act in [Act::CreateUser, Act::BeginImport, Act::WriteImport] {
        for fates in [
            vec![Fate::UnknownApplied],
            vec![Fate::UnknownNotApplied],
            vec![later],
            vec![Fate::UnknownNotApplied, Fate::NotApplied, later, Fate::UnknownNotApplied],
        ] {
            crate::history::paused(async {
                let stage = Stage::new(act, 1).await;
                stage.world.store.script_rows(fates.clone());
                let asked = tokio::time::Instant::now();
                assert!(!stage.act(act).await, "{act:?} {fates:?}");
                assert!(asked.elapsed() < Duration::from_millis(10), "callers are told at once");
                // Whatever lands when, nobody is shown what was remembered before it.
                for _ in 0..500 {
                    stage.assert_same(&format!("{act:?} {fates:?}")).await;
                    sleep(Duration::from_millis(10)).await;
                }
                match act {
                    Act::CreateUser | Act::WriteImport => assert!(stage.happened(act), "{act:?} {fates:?}"),
                    // The doubt was the guild's; the names are the next call's.
                    _ => assert!(stage.world.store.rows().read_guild(stage.job.guild_id).is_some()),
                }
                // Known, it is remembered again.
                let before = stage.world.store.reads();
                stage.assert_same("known").await;
                assert!(stage.act(act).await, "it may be repeated");
                stage.assert_same("repeated").await;
                let after = stage.world.store.reads();
                stage.assert_same("remembered").await;
                let (first, last) = (after - before, stage.world.store.reads() - after);
                assert!(last < first, "{act:?} {fates:?}: {last} reads of what is in memory, {first} before");
            });
        }
    }
}

/// A database that takes no rows: callers are refused, not gathered.
#[tokio::test(start_paused = true)]
async fn writes_without_an_answer_are_bounded() {
    let (world, node) = World::with_node(1).await;
    world.store.script_rows([Fate::Hang; 2_000]);
    let mut refused = 0;
    for id in 1..=1_500_u64 {
        let user = User { id: id << 22, username: LEFT.into(), ..User::default() };
        let request = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
        let within = weir_data_client::CallOptions::within(Duration::from_millis(1));
        match node.client.create_user(&request, &within).await {
            Err(DataError::OutcomeUnknown { .. }) => {}
            Err(DataError::Refused { .. }) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 1_500 - 1_024);
}

/// A limit in doubt: stored, in force and on record in the end, or nothing of it.
#[test]
fn a_limit_in_doubt_is_in_force_once_it_is_known() {
    let later = Fate::UnknownLater(Duration::from_millis(700));
    for act in [Act::SetLimit, Act::UnsetLimit] {
        for fates in [
            vec![Fate::UnknownApplied],
            vec![Fate::UnknownNotApplied],
            vec![later, Fate::NotApplied, Fate::UnknownNotApplied],
        ] {
            crate::history::paused(async {
                let stage = Stage::new(act, 1).await;
                stage.world.store.script_settings(fates.clone());
                let asked = tokio::time::Instant::now();
                assert!(!stage.act(act).await, "{act:?} {fates:?}");
                assert!(asked.elapsed() < Duration::from_millis(10), "callers are told at once");
                sleep(Duration::from_secs(5)).await;
                assert!(stage.happened(act), "{act:?} {fates:?}");
                stage.assert_same(&format!("{act:?} {fates:?}")).await;
                let request = ListLimitChangesRequest { limit: 0, scope: String::new() };
                let told = stage.node.client.list_limit_changes(&request, &options()).await.unwrap();
                let expected = if act == Act::SetLimit { 1 } else { 2 };
                assert_eq!(told.message.changes.len(), expected, "{act:?} {fates:?}: on record once");
            });
        }
    }
}

async fn create_user(node: &Node) -> Result<(), DataError> {
    let user = User { id: NEWCOMER, username: LEFT.into(), ..User::default() };
    let request = CreateUserRequest { user: Some(user), token_hash: Vec::new() };
    node.client.create_user(&request, &options()).await.map(drop)
}

/// Rule 3: what was sent in one reign is not sent in another, and meanwhile nothing is sent.
#[tokio::test(start_paused = true)]
async fn rows_in_doubt_are_not_sent_by_who_does_not_own() {
    for another in [false, true] {
        let (world, node) = World::with_node(1).await;
        world.store.script_rows([Fate::UnknownNotApplied]);
        assert!(matches!(create_user(&node).await, Err(DataError::OutcomeUnknown { .. })));
        world.ownership.lose();
        sleep(Duration::from_secs(30)).await;
        assert!(world.store.rows().users.is_empty(), "a fenced owner must not write");
        if another {
            world.ownership.gain_after_another(2);
        } else {
            world.ownership.gain(2);
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(world.store.rows().users.is_empty(), another);
        // Either way its memory is on again.
        let ask = async || {
            let request = GetUsersRequest { ids: vec![NEWCOMER] };
            node.client.get_users(&request, &options()).await.unwrap().message.users.len()
        };
        assert_eq!(ask().await, usize::from(!another));
        let before = world.store.reads();
        assert_eq!(ask().await, usize::from(!another));
        assert_eq!(world.store.reads(), before, "it is remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_written_while_the_tenure_is_lost_is_told_to_nobody() {
    let (world, node) = World::with_node(1).await;
    world.store.script_rows([Fate::Slow(Duration::from_secs(1))]);
    let lose = async {
        sleep(Duration::from_millis(500)).await;
        world.ownership.lose();
    };
    let (answer, ()) = tokio::join!(create_user(&node), lose);
    assert!(matches!(answer, Err(DataError::OutcomeUnknown { .. })), "{answer:?}");
    assert!(matches!(create_user(&node).await, Err(DataError::Refused { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_write_in_doubt_ends_with_the_service() {
    let (world, node) = World::with_node(1).await;
    world.store.script_rows([Fate::UnknownNotApplied; 1_000]);
    assert!(matches!(create_user(&node).await, Err(DataError::OutcomeUnknown { .. })));
    sleep(Duration::from_secs(60)).await;
    let sent = 1_000 - world.store.row_fates_left();
    assert!((30..40).contains(&sent), "{sent} times in a minute: the pauses grow up to two seconds");
    node.close().await;
    sleep(Duration::from_secs(5)).await;
    let left = world.store.row_fates_left();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.store.row_fates_left(), left);
}
