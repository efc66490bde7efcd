//! Who sets a switch, and whether they still have the right to.

use crate::clock::Timestamp;
use crate::store::Store;
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the database before a switch is set. If it does not answer in time, the switch is set all the same:
/// "off" must not wait for a disk that hangs, and "on" is checked again in the transaction that records it.
const ASK_WITHIN: Duration = Duration::from_millis(500);

/// Who sets a switch.
#[derive(Clone)]
pub struct Actor {
    pub(super) name: String,
    still_may: Option<StillMay>,
}

/// Who set a switch, and when.
#[derive(Clone, Debug)]
pub struct SetBy {
    /// When.
    pub at: Timestamp,
    /// The account, `cli` or `relay`.
    pub by: String,
}

type StillMay = Arc<dyn Fn(&Connection) -> rusqlite::Result<bool> + Send + Sync>;

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Actor({})", self.name)
    }
}

/// An actor that always has the right, such as the operator at the command line.
impl From<&str> for Actor {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            still_may: None,
        }
    }
}

impl Actor {
    /// An actor that has the right as long as the database says so. The check runs before the switch is set, and again in
    /// the transaction that records "on", so that an account that is changed in between switches nothing on.
    pub fn checked(
        name: &str,
        still_may: impl Fn(&Connection) -> rusqlite::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            still_may: Some(Arc::new(still_may)),
        }
    }

    /// Inside a transaction: whether the actor still has the right.
    pub(super) fn may(&self, db: &Connection) -> rusqlite::Result<bool> {
        match &self.still_may {
            Some(still_may) => still_may(db),
            None => Ok(true),
        }
    }

    /// Whether the database says that the actor lost the right. `false` while it is unreadable.
    pub(super) async fn is_revoked(&self, store: &Store) -> bool {
        if self.still_may.is_none() {
            return false;
        }
        let this = self.clone();
        let asked = store.run(move |db| this.may(db));
        matches!(tokio::time::timeout(ASK_WITHIN, asked).await, Ok(Ok(false)))
    }
}
