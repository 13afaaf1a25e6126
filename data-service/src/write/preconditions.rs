//! Preconditions of a guild's change: the rows that its caller saw must be unchanged. Pure.
//!
//! A caller reads a guild, judges (may this member give away that role?), and sends a change. Other changes
//! may happen between the reading and the change's turn. The turn decides the order, so only here is it known
//! that the judgement still holds.

use std::collections::BTreeMap;

use weir_proto::data::{Basis, GuildState, Member, RowSeen};

use super::error::{CHANNELS_MAX, ChangeError, ROLES_MAX};

/// Members that a basis may name; each costs the turn a read. A change concerns two: its author and its
/// target.
pub(crate) const MEMBERS_MAX: usize = 8;

/// # Errors
/// [`ChangeError::Invalid`] for a basis that names more rows than a guild can have, or more members than a
/// turn reads.
pub(crate) fn check(basis: &Basis) -> Result<(), ChangeError> {
    let Basis { roles, channels, members } = basis;
    if roles.len() > ROLES_MAX || channels.len() > CHANNELS_MAX || members.len() > MEMBERS_MAX {
        return Err(ChangeError::Invalid(format!(
            "a basis names at most {ROLES_MAX} roles, {CHANNELS_MAX} channels and {MEMBERS_MAX} members"
        )));
    }
    Ok(())
}

/// Checks that each row of the basis is as the caller saw it. `members`: the existing ones that the basis
/// names, by user.
///
/// # Errors
/// [`ChangeError::Conflict`] with the first kind of row that changed.
pub(crate) fn holds(
    basis: &Basis,
    state: Option<&GuildState>,
    members: &BTreeMap<u64, Member>,
) -> Result<(), ChangeError> {
    let role = |id| state?.roles.iter().find(|role| role.id == id).map(|role| role.rev);
    let channel = |id| state?.channels.iter().find(|channel| channel.id == id).map(|channel| channel.rev);
    all(&basis.roles, role, "role")?;
    all(&basis.channels, channel, "channel")?;
    all(&basis.members, |id| members.get(&id).map(|member| member.rev), "member")
}

fn all(seen: &[RowSeen], now: impl Fn(u64) -> Option<u64>, what: &'static str) -> Result<(), ChangeError> {
    let same = seen.iter().all(|row| now(row.id) == row.rev);
    if same { Ok(()) } else { Err(ChangeError::Conflict(what)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_proto::data::{Channel, Role};

    use super::*;

    /// Rows by id; some ids are missing.
    fn rows() -> impl Strategy<Value = BTreeMap<u64, u64>> {
        proptest::collection::btree_map(1_u64..8, 1_u64..4, 0..6)
    }

    fn state(roles: &BTreeMap<u64, u64>, channels: &BTreeMap<u64, u64>) -> GuildState {
        GuildState {
            roles: roles.iter().map(|(&id, &rev)| Role { id, rev, ..Role::default() }).collect(),
            channels: channels.iter().map(|(&id, &rev)| Channel { id, rev, ..Channel::default() }).collect(),
            ..GuildState::default()
        }
    }

    fn members(rows: &BTreeMap<u64, u64>) -> BTreeMap<u64, Member> {
        rows.iter().map(|(&user_id, &rev)| (user_id, Member { user_id, rev, ..Member::default() })).collect()
    }

    fn seen(ids: &[u64], rows: &BTreeMap<u64, u64>) -> Vec<RowSeen> {
        ids.iter().map(|&id| RowSeen { id, rev: rows.get(&id).copied() }).collect()
    }

    proptest! {
        #[test]
        fn a_basis_holds_exactly_while_no_row_that_it_names_has_changed(
            before in (rows(), rows(), rows()),
            after in (rows(), rows(), rows()),
            ids in proptest::collection::vec(1_u64..8, 0..4),
        ) {
            let basis = Basis {
                roles: seen(&ids, &before.0),
                channels: seen(&ids, &before.1),
                members: seen(&ids, &before.2),
            };
            prop_assert!(holds(&basis, Some(&state(&before.0, &before.1)), &members(&before.2)).is_ok());
            let same = ids.iter().all(|id| {
                before.0.get(id) == after.0.get(id)
                    && before.1.get(id) == after.1.get(id)
                    && before.2.get(id) == after.2.get(id)
            });
            let outcome = holds(&basis, Some(&state(&after.0, &after.1)), &members(&after.2));
            prop_assert_eq!(outcome.is_ok(), same);
            prop_assert!(same || matches!(outcome, Err(ChangeError::Conflict(_))));
        }
    }

    #[test]
    fn of_a_guild_that_is_gone_nothing_holds_but_an_empty_basis() {
        let basis = Basis { roles: vec![RowSeen { id: 1, rev: Some(1) }], ..Basis::default() };
        assert!(matches!(holds(&basis, None, &BTreeMap::new()), Err(ChangeError::Conflict("role"))));
        assert!(holds(&Basis::default(), None, &BTreeMap::new()).is_ok());
    }

    #[test]
    fn a_basis_is_bounded() {
        let rows = |count| vec![RowSeen::default(); count];
        assert!(check(&Basis { members: rows(MEMBERS_MAX), ..Basis::default() }).is_ok());
        for long in [
            Basis { members: rows(MEMBERS_MAX + 1), ..Basis::default() },
            Basis { roles: rows(ROLES_MAX + 1), ..Basis::default() },
            Basis { channels: rows(CHANNELS_MAX + 1), ..Basis::default() },
        ] {
            assert!(matches!(check(&long), Err(ChangeError::Invalid(_))));
        }
    }
}
