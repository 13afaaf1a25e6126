//! What is tried: how a guild begins, and what its bots ask for.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    ADMINISTRATOR, BOTS, CREATE_INSTANT_INVITE, KICK_MEMBERS, MANAGE_CHANNELS, MANAGE_MESSAGES, MANAGE_ROLES,
    NONSENSE, SEND_MESSAGES, VIEW_CHANNEL,
};

/// An entry: whom it names (a role below 5, else a bot), its type, allow, deny. Types are mostly the right
/// ones.
pub(super) type Entry = (usize, bool, u64, u64);

/// What a bot tries. Things are named by their place among those that there are, modulo their number.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Overwrite(usize, Vec<Entry>),
    NewChannel(Option<usize>, Option<Vec<Entry>>),
    Move(usize, usize),
    DeleteChannel(usize),
    NewRole(u64),
    EditRole(usize, u64),
    DeleteRole(usize),
    Grant(usize, usize),
    Revoke(usize, usize),
    Add(usize, Vec<usize>),
    Kick(usize),
    Leave,
}

/// How a guild begins: permissions of @everyone and of the roles by position, the bots' roles, the channels'
/// overwrites.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) everyone: u64,
    pub(super) roles: Vec<u64>,
    pub(super) held: Vec<BTreeSet<usize>>,
    pub(super) channels: Vec<(bool, Vec<Entry>)>,
}

fn bits() -> impl Strategy<Value = u64> {
    let pool = [
        (6, VIEW_CHANNEL),
        (6, SEND_MESSAGES),
        (6, MANAGE_MESSAGES),
        (8, MANAGE_ROLES),
        (8, MANAGE_CHANNELS),
        (3, KICK_MEMBERS),
        (3, CREATE_INSTANT_INVITE),
        (1, ADMINISTRATOR),
        (1, NONSENSE),
    ];
    let bit = prop::strategy::Union::new_weighted(pool.map(|(weight, bit)| (weight, Just(bit))).to_vec());
    prop::collection::vec(bit, 0..5).prop_map(|bits| bits.into_iter().fold(0, |all, bit| all | bit))
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0..9_usize, prop::bool::weighted(0.9), bits(), bits()), 0..4)
}

pub(super) fn start() -> impl Strategy<Value = Start> {
    let held = prop::collection::vec(prop::collection::btree_set(0..4_usize, 0..4), BOTS);
    let channels = prop::collection::vec((any::<bool>(), entries()), 1..5);
    (bits(), prop::collection::vec(bits(), 4), held, channels).prop_map(
        |(everyone, roles, held, channels)| Start {
            everyone: everyone | VIEW_CHANNEL,
            roles,
            held,
            channels,
        },
    )
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let some = 0..12_usize;
    prop_oneof![
        8 => (some.clone(), entries()).prop_map(|(channel, list)| Act::Overwrite(channel, list)),
        3 => (prop::option::of(some.clone()), prop::option::of(entries())).prop_map(|(parent, list)| Act::NewChannel(parent, list)),
        1 => (some.clone(), some.clone()).prop_map(|(channel, parent)| Act::Move(channel, parent)),
        1 => some.clone().prop_map(Act::DeleteChannel),
        2 => bits().prop_map(Act::NewRole),
        3 => (some.clone(), bits()).prop_map(|(role, bits)| Act::EditRole(role, bits)),
        1 => some.clone().prop_map(Act::DeleteRole),
        3 => (some.clone(), some.clone()).prop_map(|(bot, role)| Act::Grant(bot, role)),
        2 => (some.clone(), some.clone()).prop_map(|(bot, role)| Act::Revoke(bot, role)),
        2 => (some.clone(), prop::collection::vec(some.clone(), 0..3)).prop_map(|(bot, roles)| Act::Add(bot, roles)),
        1 => some.prop_map(Act::Kick),
        1 => Just(Act::Leave),
    ]
}
