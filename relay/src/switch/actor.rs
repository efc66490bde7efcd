//! Who turns a switch, and whether they still may.

use crate::store::Store;
use rusqlite::Connection;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the database before a turn. When it does not answer in time, the turn goes on: "off" must not wait
/// for a disk that hangs, and "on" is checked again when it is recorded.
const ASK_WITHIN: Duration = Duration::from_millis(500);

/// Who turns a switch.
#[derive(Clone)]
pub struct Turner {
    pub(super) name: String,
    still_may: Option<StillMay>,
}

type StillMay = Arc<dyn Fn(&Connection) -> rusqlite::Result<bool> + Send + Sync>;

impl std::fmt::Debug for Turner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turner({})", self.name)
    }
}

/// One that always may, such as the operator at the command line.
impl From<&str> for Turner {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            still_may: None,
        }
    }
}

impl Turner {
    /// One that may as long as the database says so. It is asked before the turn, and again in the transaction that
    /// records "on", so that an account that is changed meanwhile turns nothing on.
    pub fn checked(
        name: &str,
        still_may: impl Fn(&Connection) -> rusqlite::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            still_may: Some(Arc::new(still_may)),
        }
    }

    /// Within a transaction: whether they still may.
    pub(super) fn may(&self, db: &Connection) -> rusqlite::Result<bool> {
        match &self.still_may {
            Some(still_may) => still_may(db),
            None => Ok(true),
        }
    }

    /// Whether the database says that they must not turn it any more. `false` while it cannot be read.
    pub(super) async fn is_revoked(&self, store: &Store) -> bool {
        if self.still_may.is_none() {
            return false;
        }
        let this = self.clone();
        let asked = store.run(move |db| this.may(db));
        matches!(tokio::time::timeout(ASK_WITHIN, asked).await, Ok(Ok(false)))
    }
}
