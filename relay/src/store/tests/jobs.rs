//! Jobs that fail or panic, and a full queue of them.

use super::*;
use std::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_or_stumbles_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (threaded, writer) = Store::start(open(folder.path()).unwrap(), Clock::system()).unwrap();
    let inline = Store::inline(open_in_memory().unwrap());
    for store in [threaded.clone(), inline] {
        let (good, twice, stumbled, last) = tokio::join!(
            store.run(|db| insert(db, "alice")),
            store.run(|db| insert(db, "bob").and(insert(db, "bob"))),
            store.run(|db| -> rusqlite::Result<()> {
                insert(db, "carol")?;
                panic!("on purpose");
            }),
            store.run(|db| insert(db, "dora")),
        );
        assert_eq!((good, last), (Ok(1), Ok(1)));
        assert!(
            matches!(twice, Err(StoreError::Failed(DbErrorKind::Other(_)))),
            "{twice:?}"
        );
        assert_eq!(stumbled, Err(StoreError::Failed(DbErrorKind::Panicked)));
        assert_eq!(store.run(count).await, Ok(2), "the failed ones left nothing");
        assert!(store.is_alive());
    }
    drop(threaded);
    tokio::task::spawn_blocking(move || writer.join()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_a_job_that_must_not_wait_and_loses_none_that_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = Store::start(open(folder.path()).unwrap(), Clock::system()).unwrap();
    let (began, has_begun) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let (result, results) = mpsc::channel();
    let holds = move |_: &Connection| {
        began.send(()).unwrap();
        Ok(is_released.recv().is_err())
    };
    store.offer(holds, |_| {});
    has_begun.recv().unwrap();
    let offer = || {
        let result = result.clone();
        store.offer(
            |db| db.query_row("SELECT 1", (), |row| row.get::<_, i64>(0)),
            move |end| result.send(end).unwrap(),
        );
    };
    // The writer has one job, and the queue takes the others.
    (0..QUEUE_MAX).for_each(|_| offer());
    assert!(results.try_recv().is_err(), "all of them wait");
    offer();
    assert_eq!(results.try_recv(), Ok(Err(StoreError::Full)), "at once");
    drop(release);
    for _ in 0..QUEUE_MAX {
        assert_eq!(results.recv().unwrap(), Ok(1));
    }
    drop(store);
    writer.join();
}
