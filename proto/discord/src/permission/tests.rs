//! Hand-made cases of each step, and properties that compare with a reference that follows Discord's
//! description word by word.

use proptest::prelude::*;
use weir_proto::data::{Channel, Guild, GuildState, Member, Overwrite, Role};

use super::{Permissions as P, *};
use crate::sample::{self, ALICE, BOB, GENERAL, GUILD, OWNER, SECRET, STAFF};

fn overwrite(id: u64, kind: u32, allow: P, deny: P) -> Overwrite {
    Overwrite { id, r#type: kind, allow: allow.0, deny: deny.0 }
}

/// A guild of one channel; @everyone holds `everyone`, STAFF holds `staff`.
fn guild(everyone: P, staff: P, channel: Channel) -> GuildState {
    GuildState {
        guild: Some(Guild { id: GUILD, owner_id: OWNER, ..Guild::default() }),
        roles: vec![
            sample::role(GUILD, everyone),
            sample::role(STAFF, staff),
            sample::role(STAFF + 1, P::NONE),
        ],
        channels: vec![channel],
        ..GuildState::default()
    }
}

fn with(kind: u32, overwrites: Vec<Overwrite>) -> Channel {
    Channel { overwrites, ..sample::channel(GENERAL, kind) }
}

fn held(state: &GuildState, member: &Member) -> P {
    permissions_in(state, state.channels.first(), member)
}

const TALK: P = P(P::VIEW_CHANNEL.0 | P::SEND_MESSAGES.0);

#[test]
fn the_owner_and_administrators_hold_everything_past_every_overwrite() {
    let closed = vec![overwrite(GUILD, 0, P::NONE, P::ALL), overwrite(ALICE, 1, P::NONE, P::ALL)];
    let state = guild(P::NONE, P::ADMINISTRATOR, with(0, closed));
    assert_eq!(held(&state, &sample::member(OWNER, &[])), P::ALL);
    assert_eq!(held(&state, &sample::member(ALICE, &[STAFF])), P::ALL);
    assert_eq!(permissions_in(&state, None, &sample::member(ALICE, &[STAFF])), P::ALL);
    assert_eq!(held(&state, &sample::member(ALICE, &[])), P::NONE);
}

#[test]
fn administrator_from_an_overwrite_is_no_administrator() {
    let state = guild(TALK, P::NONE, with(0, vec![overwrite(ALICE, 1, P::ADMINISTRATOR, P::SEND_MESSAGES)]));
    let held = held(&state, &sample::member(ALICE, &[]));
    assert!(!held.contains(P::SEND_MESSAGES) && !held.contains(P::MANAGE_CHANNELS));
}

#[test]
fn overwrites_of_a_role_that_is_gone_neither_allow_nor_deny() {
    let gone = 999;
    let (allow, deny) = (overwrite(gone, 0, P::PIN_MESSAGES, P::NONE), overwrite(gone, 0, P::NONE, TALK));
    for overwrites in [vec![allow], vec![deny]] {
        let state = guild(TALK, P::NONE, with(0, overwrites));
        assert_eq!(held(&state, &sample::member(ALICE, &[gone])), TALK);
    }
}

#[test]
fn roles_add_up_and_absent_roles_grant_nothing() {
    let state = guild(P::VIEW_CHANNEL, P::SEND_MESSAGES, with(0, vec![]));
    assert_eq!(permissions_in(&state, None, &sample::member(ALICE, &[STAFF, 999])), TALK);
    assert_eq!(permissions_in(&state, None, &sample::member(ALICE, &[999])), P::VIEW_CHANNEL);
}

#[test]
fn a_later_step_wins_and_within_a_step_allow_wins() {
    let other = STAFF + 1;
    let deny_everyone = overwrite(GUILD, 0, P::NONE, P::SEND_MESSAGES);
    let allow_staff = overwrite(STAFF, 0, P::SEND_MESSAGES, P::NONE);
    let deny_other = overwrite(other, 0, P::NONE, P::SEND_MESSAGES);
    let deny_alice = overwrite(ALICE, 1, P::NONE, P::SEND_MESSAGES);
    let allow_alice = overwrite(ALICE, 1, P::SEND_MESSAGES, P::NONE);
    // Each case has overwrites, the member's roles, and whether the member may send.
    let cases = [
        (vec![], vec![], true),
        (vec![deny_everyone], vec![], false),
        (vec![deny_everyone, allow_staff], vec![], false),
        (vec![deny_everyone, allow_staff], vec![STAFF], true),
        // Their order in the list does not matter, only their kind.
        (vec![allow_staff, deny_everyone], vec![STAFF], true),
        (vec![deny_other, allow_staff], vec![STAFF, other], true),
        (vec![allow_staff, deny_other], vec![other, STAFF], true),
        (vec![allow_staff, deny_alice], vec![STAFF], false),
        (vec![deny_other, allow_alice], vec![other], true),
        (vec![deny_everyone, deny_other, allow_alice], vec![other], true),
        // A role's id in a member's overwrite, or the reverse, does not count for this member.
        (vec![overwrite(STAFF, 1, P::NONE, P::SEND_MESSAGES)], vec![STAFF], true),
        (vec![overwrite(ALICE, 0, P::NONE, P::SEND_MESSAGES)], vec![], true),
    ];
    for (overwrites, roles, may) in cases {
        let state = guild(TALK, P::NONE, with(0, overwrites.clone()));
        let held = held(&state, &sample::member(ALICE, &roles));
        assert_eq!(held.contains(P::SEND_MESSAGES), may, "{overwrites:?} {roles:?}");
    }
}

#[test]
fn what_cannot_be_used_is_not_held() {
    let loud = TALK
        | P::MENTION_EVERYONE
        | P::SEND_TTS_MESSAGES
        | P::ATTACH_FILES
        | P::EMBED_LINKS
        | P::ADD_REACTIONS;
    let alice = sample::member(ALICE, &[]);
    let hidden = guild(loud, P::NONE, with(0, vec![overwrite(GUILD, 0, P::NONE, P::VIEW_CHANNEL)]));
    assert_eq!(held(&hidden, &alice), P::NONE);
    let silent = guild(loud, P::NONE, with(0, vec![overwrite(GUILD, 0, P::NONE, P::SEND_MESSAGES)]));
    assert_eq!(held(&silent, &alice), P::VIEW_CHANNEL | P::ADD_REACTIONS);
    let locked = guild(loud, P::NONE, with(2, vec![]));
    assert_eq!(held(&locked, &alice), P::VIEW_CHANNEL);
    let open = guild(loud | P::CONNECT, P::NONE, with(2, vec![]));
    assert_eq!(held(&open, &alice), loud | P::CONNECT);
    // In the guild at large nothing is implied: the bits are those of the roles.
    assert_eq!(permissions_in(&hidden, None, &alice), loud);
}

#[test]
fn threads_follow_their_parent() {
    let threads = P::SEND_MESSAGES_IN_THREADS;
    let parent = with(0, vec![overwrite(STAFF, 0, threads, P::SEND_MESSAGES)]);
    let mut state = guild(TALK, P::NONE, parent);
    let thread = |kind| Channel { parent_id: GENERAL, ..sample::channel(77, kind) };
    state.channels.extend([
        thread(11),
        Channel { id: 78, ..thread(12) },
        Channel { id: 79, parent_id: 5, ..thread(11) },
    ]);
    let check = |member: &Member, id: u64| {
        let channel = state.channels.iter().find(|channel| channel.id == id);
        permissions_in(&state, channel, member)
    };
    let (plain, staff) = (sample::member(ALICE, &[]), sample::member(BOB, &[STAFF]));
    assert_eq!(check(&plain, 77), P::VIEW_CHANNEL);
    assert_eq!(check(&staff, 77), P::VIEW_CHANNEL | threads | P::SEND_MESSAGES);
    assert_eq!(check(&staff, 78), P::NONE, "private threads need MANAGE_THREADS");
    assert_eq!(check(&staff, 79), P::NONE, "an orphan is invisible");
    assert_eq!(check(&sample::member(OWNER, &[]), 79), P::ALL);
}

#[test]
fn a_view_knows_who_sees_what() {
    let state = sample::state();
    let view = GuildView::new(&state).expect("has its guild");
    let all = [GENERAL, SECRET, sample::CATEGORY];
    let ids = |member: &Member| {
        let sees = |id: &u64| view.permissions(member, *id).contains(P::VIEW_CHANNEL);
        all.into_iter().filter(sees).collect::<Vec<_>>()
    };
    assert_eq!(ids(&sample::member(BOB, &[])), [GENERAL, sample::CATEGORY]);
    assert_eq!(ids(&sample::member(ALICE, &[STAFF])), all);
    assert_eq!(ids(&sample::member(OWNER, &[])), all);
    assert_eq!(view.permissions(&sample::member(OWNER, &[]), 12), P::NONE, "no channel of the guild");
    assert!(GuildView::new(&GuildState::default()).is_none());
    assert_eq!(permissions_in(&GuildState::default(), None, &sample::member(OWNER, &[])), P::NONE);
}

#[test]
fn hierarchy_goes_by_position_then_by_age() {
    let rank = |id, position| Role { position, ..sample::role(id, P::NONE) };
    let mut state = guild(P::NONE, P::NONE, with(0, vec![]));
    state.roles = vec![rank(GUILD, 0), rank(1, 5), rank(2, 5), rank(3, 4)];
    let member = |roles: &[u64]| sample::member(ALICE, roles);
    assert_eq!(highest_role(&state, &member(&[2, 3, 1, GUILD])).map(|role| role.id), Some(1));
    assert_eq!(highest_role(&state, &member(&[GUILD])), None);
    let role = |id: u64| state.roles.iter().find(|role| role.id == id);
    for (actor, other, above) in [
        (member(&[1]), role(2), true),
        (member(&[2]), role(1), false),
        (member(&[1]), role(1), false),
        (member(&[3]), role(2), false),
        (member(&[3]), None, true),
        (member(&[]), None, false),
        (sample::member(OWNER, &[]), role(1), true),
    ] {
        assert_eq!(outranks(&state, &actor, other), above, "{actor:?} {other:?}");
    }
}

#[test]
fn permissions_are_decimal_text() {
    assert_eq!(serde_json::to_string(&P::ALL).expect("text"), format!("\"{}\"", P::ALL.0));
    assert_eq!("1024".parse(), Ok(P::VIEW_CHANNEL));
    for text in ["", "+1", "-1", "0x1", "18446744073709551616"] {
        assert!(text.parse::<P>().is_err(), "{text:?}");
    }
    assert_eq!(format!("{:?}", TALK), "{\"VIEW_CHANNEL\", \"SEND_MESSAGES\"}");
    // Bit 47 has no meaning.
    assert_eq!(P::ALL.0, (1 << 53) - 1 - (1 << 47));
}

/// The algorithm as Discord describes it, with sets of bits as plain numbers.
fn reference(state: &GuildState, channel: &Channel, member: &Member) -> u64 {
    let guild = state.guild.as_ref().expect("generated with a guild");
    if guild.owner_id == member.user_id {
        return P::ALL.0;
    }
    let mut bits = 0;
    for role in &state.roles {
        if role.id == guild.id || member.role_ids.contains(&role.id) {
            bits |= role.permissions;
        }
    }
    if bits & (1 << 3) != 0 {
        return P::ALL.0;
    }
    for step in 0..3 {
        let (mut allow, mut deny) = (0, 0);
        for one in &channel.overwrites {
            let concerns = match step {
                0 => one.r#type == 0 && one.id == guild.id,
                1 => {
                    one.r#type == 0
                        && one.id != guild.id
                        && member.role_ids.contains(&one.id)
                        && state.roles.iter().any(|role| role.id == one.id)
                }
                _ => one.r#type == 1 && one.id == member.user_id,
            };
            if concerns {
                allow |= one.allow;
                deny |= one.deny;
            }
        }
        bits &= !deny;
        bits |= allow;
    }
    if bits & (1 << 10) == 0 {
        return 0;
    }
    if (channel.r#type == 2 || channel.r#type == 13) && bits & (1 << 20) == 0 {
        return 1 << 10;
    }
    if bits & (1 << 11) == 0 {
        bits &= !(1 << 12 | 1 << 14 | 1 << 15 | 1 << 17);
    }
    bits
}

/// A channel's type and its overwrites as (id, type, allow, deny).
type ChannelShape = (u32, Vec<(u64, u32, u64, u64)>);

prop_compose! {
    /// There are few ids and mostly the bits that matter, so that rules often meet.
    fn any_guild()(
        owner in 1..4_u64,
        roles in prop::collection::vec(bits(), 4),
        channels in prop::collection::vec(
            (prop::sample::select(vec![0_u32, 2, 4, 5, 13]), prop::collection::vec((1..5_u64, 0..2_u32, bits(), bits()), 0..6)),
            1..80,
        ),
    ) -> GuildState {
        let channel = |(id, (kind, overwrites)): (u64, ChannelShape)| Channel {
            id,
            r#type: kind,
            overwrites: overwrites.into_iter().map(|(id, r#type, allow, deny)| Overwrite { id, r#type, allow, deny }).collect(),
            ..Channel::default()
        };
        GuildState {
            guild: Some(Guild { id: 1, owner_id: owner, ..Guild::default() }),
            roles: (1..).zip(roles).map(|(id, permissions)| Role { id, permissions, ..Role::default() }).collect(),
            channels: (0..).zip(channels).map(|(nth, shape)| channel((1_000 - nth, shape))).collect(),
            ..GuildState::default()
        }
    }
}

fn bits() -> impl Strategy<Value = u64> {
    prop::collection::vec(prop::sample::select(vec![10_u32, 11, 11, 12, 14, 15, 17, 20, 6, 3, 13]), 0..4)
        .prop_map(|bits| bits.into_iter().fold(0, |sum, bit| sum | 1 << bit))
}

proptest! {
    #[test]
    fn all_ways_agree_with_the_reference(
        state in any_guild(),
        user_id in 1..5_u64,
        role_ids in prop::collection::vec(1..6_u64, 0..4),
    ) {
        let member = Member { guild_id: 1, user_id, role_ids, ..Member::default() };
        let view = GuildView::new(&state).expect("has its guild");
        for channel in &state.channels {
            let expected = P(reference(&state, channel, &member));
            prop_assert_eq!(permissions_in(&state, Some(channel), &member), expected);
            prop_assert_eq!(view.permissions(&member, channel.id), expected);
        }
    }
}

#[test]
fn in_a_direct_message_its_two_users_take_part_and_nobody_manages() {
    let channel = Channel { id: 9, r#type: 1, recipient_ids: vec![3, 4], ..Channel::default() };
    for user in [3, 4] {
        let held = permissions_in_direct(&channel, user);
        assert!(held.contains(P::VIEW_CHANNEL | P::SEND_MESSAGES));
        assert!(held.contains(P::READ_MESSAGE_HISTORY));
        for denied in [P::MANAGE_MESSAGES, P::MANAGE_CHANNELS, P::MENTION_EVERYONE] {
            assert!(!held.intersects(denied), "{denied:?}");
        }
    }
    assert_eq!(permissions_in_direct(&channel, 5), P::NONE);
    assert_eq!(permissions_in_direct(&Channel { guild_id: 1, ..channel }, 3), P::NONE, "a guild's");
}
