//! Jobs that fail, stumble and meet a database that says no.

use super::*;

fn count(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM account", (), |row| row.get(0))
}

fn insert(db: &Connection, name: &str) -> rusqlite::Result<usize> {
    db.execute("INSERT INTO account VALUES (?1, 'hash', 1)", [name])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_or_stumbles_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (threaded, writer) = Store::start(open(folder.path()).unwrap()).unwrap();
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
            matches!(twice, Err(StoreError::Failed(Trouble::Other(_)))),
            "{twice:?}"
        );
        assert_eq!(stumbled, Err(StoreError::Failed(Trouble::Panicked)));
        assert_eq!(store.run(count).await, Ok(2), "the failed ones left nothing");
        assert!(store.is_alive());
    }
    drop(threaded);
    tokio::task::spawn_blocking(move || writer.join()).await.unwrap();
}
