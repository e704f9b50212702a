//! How many sessions of a listener a user or a database has.
//!
//! One table for all workers. Only what has a session is in it, so it is no larger than there are
//! connections.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::model::name::Name;
use crate::proxy::postgres::startup::Login;

/// Longer names are cut by PostgreSQL (`NAMEDATALEN`): they are no other users.
const NAME_BYTES_MAX: usize = 63;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limited {
    /// `max_connections_per_user`
    User,
    /// `max_connections_per_database`
    Database,
}

impl Limited {
    /// What a client beyond the limit is told, in PostgreSQL's words.
    pub fn refusal(self, login: &Login<'_>) -> String {
        let (what, name) = match self {
            Limited::User => ("role", login.user),
            Limited::Database => ("database", login.database),
        };
        let name = String::from_utf8_lossy(cut(name));
        format!("too many connections for {what} \"{name}\"")
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Quotas(DashMap<Key, usize>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    listener: Name,
    limited: Limited,
    name: Box<[u8]>,
}

/// How many sessions there may be; 0 = any number.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Of one user.
    pub user: usize,
    /// Of one database.
    pub database: usize,
}

impl Quotas {
    /// Counts a session until the result is dropped.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn take(
        self: &Arc<Self>,
        listener: &Name,
        login: &Login<'_>,
        most: Most,
    ) -> Result<Vec<Counted>, Limited> {
        let mut counted = Vec::new();
        for (limited, name, most) in [
            (Limited::User, login.user, most.user),
            (Limited::Database, login.database, most.database),
        ] {
            // A physical replication connection is in no database.
            if most == 0 || name.is_empty() {
                continue;
            }
            let key = Key {
                listener: listener.clone(),
                limited,
                name: cut(name).into(),
            };
            let mut count = self.0.entry(key.clone()).or_insert(0);
            if *count >= most {
                return Err(limited);
            }
            *count += 1;
            drop(count);
            counted.push(Counted(Arc::clone(self), key));
        }
        Ok(counted)
    }
}

fn cut(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

/// A session that counts, until dropped.
#[derive(Debug)]
pub struct Counted(Arc<Quotas>, Key);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.0.0.entry(self.1.clone()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most {
        user: 2,
        database: 3,
    };

    fn login<'a>(user: &'a str, database: &'a str) -> Login<'a> {
        Login {
            user: user.as_bytes(),
            database: database.as_bytes(),
        }
    }

    #[test]
    fn users_and_databases_are_counted_for_each_listener_while_sessions_live() {
        let quotas = Arc::new(Quotas::default());
        let (write, read) = (Name::from("write"), Name::from("read"));
        let take = |listener, user, database| quotas.take(listener, &login(user, database), MOST);
        let first = take(&write, "app", "orders").unwrap();
        let _second = take(&write, "app", "orders").unwrap();
        assert_eq!(take(&write, "app", "orders").unwrap_err(), Limited::User);
        let _other = take(&read, "app", "orders").unwrap();
        let _third = take(&write, "web", "orders").unwrap();
        assert_eq!(
            take(&write, "web", "orders").unwrap_err(),
            Limited::Database
        );
        // What was refused for its database does not count for its user.
        let _elsewhere = take(&write, "web", "stock").unwrap();
        drop(first);
        let _again = take(&write, "app", "orders").unwrap();
        assert_eq!(take(&write, "app", "stock").unwrap_err(), Limited::User);
    }

    #[test]
    fn nothing_is_kept_of_who_has_no_session() {
        let quotas = Arc::new(Quotas::default());
        let listener = Name::from("write");
        let long = "u".repeat(100);
        for _ in 0..2 {
            let one = quotas.take(&listener, &login(&long, "a"), MOST).unwrap();
            let two = quotas.take(&listener, &login(&long[..63], "a"), MOST);
            let none = quotas.take(&listener, &login(&long[..70], "a"), MOST);
            assert_eq!((two.is_ok(), none.unwrap_err()), (true, Limited::User));
            drop((one, two));
            assert!(quotas.0.is_empty());
        }
        let most = Most {
            user: 0,
            database: 1,
        };
        let replication = quotas.take(&listener, &login("repl", ""), most);
        assert!(replication.is_ok_and(|counted| counted.is_empty()));
    }

    #[test]
    fn a_refusal_names_what_is_full() {
        let login = login("app", "orders");
        let said = Limited::User.refusal(&login);
        assert_eq!(said, "too many connections for role \"app\"");
        let said = Limited::Database.refusal(&login);
        assert_eq!(said, "too many connections for database \"orders\"");
    }
}
