//! Changes by an account that is changed at the same time.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An account that the database finds unchanged this many times, then changed.
fn may(times: usize) -> Actor {
    let asked = AtomicUsize::new(0);
    Actor::checked("bob", move |_| Ok(asked.fetch_add(1, Ordering::SeqCst) < times))
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_changed_turns_nothing() {
    let check = async |what: &str, is_on: bool, turn: bool, times: usize, want: bool| {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        if !is_on {
            desk.turn(false, "alice").await.unwrap();
        }
        let history = folder.history();
        let turned = desk.spool.switches.set(SITE, turn, may(times)).await;
        match want {
            true => assert!(turned.is_ok(), "{what}: {turned:?}"),
            false => assert!(matches!(turned, Err(SetError::Revoked)), "{what}: {turned:?}"),
        }
        let now_on = if want { turn } else { is_on };
        assert_eq!(desk.is_open().await, now_on, "{what}");
        assert_eq!(folder.history().len() > history.len(), want, "{what}");
        assert_eq!(
            desk.by().as_deref(),
            Some(if want { "bob" } else { "alice" }),
            "{what}"
        );
        desk.kill().await;
        assert_eq!(
            folder.open().await.is_open().await,
            now_on,
            "{what}: after a restart"
        );
    };
    check("off", true, false, 1, true).await;
    check("on", false, true, 2, true).await;
    check("off, revoked before", true, false, 0, false).await;
    check("on, revoked before", false, true, 0, false).await;
    check("on, revoked while it is recorded", false, true, 1, false).await;
}

#[tokio::test(start_paused = true)]
async fn off_needs_no_database_that_says_who_may() {
    for (trouble, kept) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        let troubled = trouble.begin(&folder);
        let off = desk.spool.switches.set(SITE, false, may(1)).await;
        assert!(
            matches!(off, Err(SetError::Unrecorded { .. })),
            "{trouble:?}: {off:?}"
        );
        assert!(!desk.is_open().await, "{trouble:?}");
        assert_eq!(desk.site().recorded(), kept, "{trouble:?}");
        let on = desk.spool.switches.set(SITE, true, may(2)).await;
        assert!(on.is_err() && !desk.is_open().await, "{trouble:?}: {on:?}");
        troubled.end();
        desk.recorded().await;
        assert_eq!(folder.history(), ["alice on", "bob off 2"], "{trouble:?}");
    }
}
