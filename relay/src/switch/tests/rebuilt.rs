//! Memory and a database that disagree: the database was rebuilt, or changed by other means.

use super::*;

#[tokio::test(start_paused = true)]
async fn after_a_rebuild_memory_follows_the_disk_towards_off_and_never_towards_on() {
    // The state before, the harm to the database, and the state after the rebuild.
    let check = async |what: &str, on: bool, harm: &str, is_on: bool, history: &[&str]| {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        if !on {
            desk.turn(false, "bob").await.unwrap();
        }
        folder.database().execute_batch(harm).unwrap();
        desk.rebuild().await;
        assert_eq!(desk.is_open().await, is_on, "{what}: at once");
        let settled = || folder.history() == history;
        until(what, settled).await;
        assert_eq!(desk.is_open().await, is_on, "{what}");
        assert_eq!(desk.purged(), u64::from(!is_on) * 2, "{what}");
        desk.kill().await;
        let again = folder.open().await;
        assert_eq!(again.is_open().await, is_on, "{what}: after a restart");
    };
    let alice = "alice on";
    check("nothing", true, "", true, &[alice]).await;
    let relay = "relay off 2";
    check(
        "the switch is lost",
        true,
        "DELETE FROM switch",
        false,
        &[alice, relay],
    )
    .await;
    check(
        "the history is lost",
        true,
        "DELETE FROM switch_log",
        false,
        &[relay],
    )
    .await;
    check(
        "they differ",
        true,
        "UPDATE switch SET changed_at = changed_at + 1",
        false,
        &[alice, relay],
    )
    .await;
    let undo = "DELETE FROM switch_log WHERE id = 2; UPDATE switch SET is_on = 1, changed_by = 'alice'";
    check("off is lost", false, undo, false, &[alice, "bob off"]).await;
    check("off is kept", false, "", false, &[alice, "bob off 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_lost_the_switch_cuts_what_is_in_flight() {
    let folder = Folder::new();
    let desk = folder.open_on().await;
    let permit = desk.site().permit().unwrap();
    folder.database().execute_batch("DELETE FROM switch").unwrap();
    desk.rebuild().await;
    assert!(!desk.is_open().await, "nobody gets leave any more");
    assert!(!desk.site().is_on());
    assert!(!permit.is_cut(), "what is in flight may end by itself");
    let started = tokio::time::Instant::now();
    permit.cut().await;
    assert!(started.elapsed() <= GRACE + Duration::from_secs(1));
    assert_eq!(desk.purged(), 0, "what is in flight is waited for");
    drop(permit);
    until("it is purged", || desk.purged() == 2).await;
    assert_eq!(desk.by().as_deref(), Some("relay"));
    // An administrator can turn it on again.
    desk.turn(true, "alice").await.unwrap();
    assert!(desk.is_open().await);
}

#[tokio::test(start_paused = true)]
async fn on_right_after_a_rebuild_that_lost_it_begins_anew() {
    let folder = Folder::new();
    let desk = folder.open_on().await;
    folder.database().execute_batch("DELETE FROM switch").unwrap();
    desk.rebuild().await;
    desk.turn(true, "alice").await.unwrap();
    assert!(desk.is_open().await);
    assert_eq!(desk.purged(), 2);
    assert_eq!(folder.history(), ["alice on", "relay off 2", "alice on"]);
}

#[tokio::test(start_paused = true)]
async fn a_database_changed_by_other_means_turns_it_off_and_never_on() {
    let check = async |what: &str, on: bool, change: &str| {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        if !on {
            desk.turn(false, "bob").await.unwrap();
        }
        folder.database().execute_batch(change).unwrap();
        until(what, || {
            folder.history().last().is_some_and(|last| last.contains("off"))
        })
        .await;
        assert!(!desk.is_open().await, "{what}");
        let is_on = || {
            look(&folder.database(), &folder.path(), SITE, Timestamp(START))
                .unwrap()
                .0
        };
        until(what, || !is_on()).await;
        assert_eq!(desk.purged(), 2, "{what}");
    };
    check("off", true, "UPDATE switch SET is_on = 0").await;
    let on = "INSERT INTO switch_log SELECT 9, site, 1, at, by, 0 FROM switch_log WHERE id = 1;
        UPDATE switch SET is_on = 1, changed_by = 'alice'";
    check("on", false, on).await;
}
