//! Users for rendering: a bounded, short-lived cache in front of `GetUsers`. All users that a page names are
//! asked for in one call.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use weir_data_client::{CallOptions, DataClient, DataError};
use weir_discord::object::UserSource;
use weir_proto::data::{GetUsersRequest, Message, User};

use crate::cache::BoundedCache;

/// Most ids of one `GetUsers` call. This is the contract's bound.
const IDS_MAX: usize = 1_000;

/// Bytes that a user counts as in the cache. A user's names may have 320 bytes each and its avatar 128; most
/// names have ten.
pub(crate) const USER_BYTES: usize = 1_000;

/// Users by id.
pub(crate) type Users = BoundedCache<u64, Arc<User>>;

impl Users {
    /// Keeps users that another answer contained.
    pub(crate) fn learn<'a>(&self, users: impl IntoIterator<Item = &'a User>) {
        for user in users {
            self.insert(user.id, Arc::new(user.clone()));
        }
    }

    /// Returns those of `ids` that exist. Asks the data service for all that are not cached, at most 1,000 in
    /// one call.
    ///
    /// # Errors
    /// Those of the call.
    pub(crate) async fn find(
        &self,
        ids: BTreeSet<u64>,
        data: &DataClient,
        options: &CallOptions,
    ) -> Result<UsersById, DataError> {
        let mut known = HashMap::with_capacity(ids.len());
        let mut missing = Vec::new();
        for id in ids {
            match self.get(&id) {
                Some(user) => drop(known.insert(id, user)),
                None => missing.push(id),
            }
        }
        for ids in missing.chunks(IDS_MAX) {
            let reply = data.get_users(&GetUsersRequest { ids: ids.to_vec() }, options).await?;
            for user in reply.message.users {
                let user = Arc::new(user);
                self.insert(user.id, Arc::clone(&user));
                known.insert(user.id, user);
            }
        }
        Ok(UsersById(known))
    }
}

/// Users that were found, by id.
#[derive(Debug, Default)]
pub(crate) struct UsersById(HashMap<u64, Arc<User>>);

impl UsersById {
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }

    /// A copy of one of them.
    pub(crate) fn cloned(&self, id: u64) -> Option<User> {
        self.0.get(&id).map(|user| User::clone(user))
    }
}

impl UserSource for UsersById {
    fn user(&self, id: u64) -> Option<&User> {
        self.0.get(&id).map(|user| &**user)
    }
}

/// The ids of all users that the messages name: their authors and the mentioned users.
pub(crate) fn named<'a>(messages: impl IntoIterator<Item = &'a Message>) -> BTreeSet<u64> {
    messages
        .into_iter()
        .flat_map(|message| {
            std::iter::once(message.author_id).chain(message.mention_user_ids.iter().copied())
        })
        .filter(|id| *id != 0)
        .collect()
}
