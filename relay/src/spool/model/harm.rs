//! The faults: a crash during a write, flipped bits and their repair, a full disk.

use super::Act;
use super::reference::{Expected, SITES};
use super::world::{World, temporary, waiting};
use crate::spool::record;
use crate::spool::rows::ROW_OVERHEAD;
use crate::store;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

impl World {
    /// Crashes during a write: the files as they are, with `kept` 256ths of the write in the log.
    pub(super) async fn crash(&mut self, during: &Act, kept: u64, garbage: bool) {
        self.busy = None;
        let log = |folder: &Path| std::fs::read(folder.join("relay.db-wal")).unwrap_or_default();
        let (before, reference) = (log(self.folder.path()), self.reference.clone());
        Box::pin(self.act(during)).await;
        let mut after = log(self.folder.path());
        if after.len() > before.len() && after.starts_with(&before) {
            let tail = (after.len() - before.len()) as u64 * kept / 256;
            after.truncate(before.len() + usize::try_from(tail).unwrap());
            if garbage && let Some(last) = after[before.len()..].last_mut() {
                *last ^= 0x55;
            }
        }
        let next = temporary();
        std::fs::copy(store::path(self.folder.path()), store::path(next.path())).unwrap();
        std::fs::write(next.path().join("relay.db-wal"), &after).unwrap();
        self.close().await;
        self.folder = next;
        let there = {
            let db = rusqlite::Connection::open(store::path(self.folder.path())).unwrap();
            waiting(&db)
        };
        let rows = |waiting: &BTreeMap<i64, Expected>| -> Vec<_> {
            let rows = waiting.iter();
            rows.map(|(seq, event)| (*seq, event.not_before)).collect()
        };
        if there != rows(&self.reference.waiting) {
            self.reference = reference;
            assert_eq!(
                there,
                rows(&self.reference.waiting),
                "what was written is there whole or not at all"
            );
        }
        let waited = self.reference.waiting.len();
        self.open().await;
        let counts = self.desk().metrics.ledger.counts();
        assert_eq!(counts.recovered, waited as u64, "what waited is recovered");
    }

    /// Flips a bit of the closed file. Afterwards it may contain less, never more.
    pub(super) async fn flip_file(&mut self, at: u64, bit: u8) {
        self.close().await;
        let path = store::path(self.folder.path());
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let at = at % file.metadata().unwrap().len();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
        drop(file);
        let was = self.reference.clone();
        self.open().await;
        // Its effect shows at the latest when the whole spool is read.
        for lane in 0..self.readers.len() {
            let _ = self.desk().spool.take(lane, 0, 1000).await.unwrap();
            self.readers[lane].hand.clear();
        }
        for (site, domain) in SITES.iter().enumerate() {
            let is_on = self.desk().switches.site(domain).unwrap().is_on();
            assert!(!is_on || was.recorded[site], "{domain} was turned on by damage");
            (self.reference.is_on[site], self.reference.recorded[site]) = (is_on, is_on);
        }
        let db = store::open_to_look(self.folder.path()).unwrap();
        self.reference.waiting = found(&db, "spool", "not_before", &was.waiting);
        let numbers = self.reference.waiting.last_key_value();
        self.reference.highest = numbers.map_or(0, |(seq, _)| *seq);
        let mut known = was.waiting;
        known.extend((0..).zip(was.quarantined.into_iter().map(|(_, event)| event)));
        let held = found(&db, "quarantine", "at", &known).into_values();
        self.reference.quarantined = held
            .map(|event| (event.not_before.unwrap_or(0), event))
            .map(|(at, event)| {
                let not_before = None;
                (at, Expected { not_before, ..event })
            })
            .collect();
        db.close().unwrap();
        // The ids may be damaged too, and the relay remembers them in memory.
        let forget = |db: &rusqlite::Connection| db.execute("DELETE FROM seen_ids", []);
        self.store.as_ref().unwrap().run(forget).await.unwrap();
        self.reference.seen.clear();
        self.close().await;
        self.open().await;
    }

    pub(super) async fn flip_record(&mut self, n: usize, bit: usize) {
        if self.reference.waiting.is_empty() || self.is_hindered() {
            return;
        }
        let n = n % self.reference.waiting.len();
        let (seq, event) = self.reference.waiting.iter_mut().nth(n).unwrap();
        let seq = *seq;
        // A second flip could undo the first.
        if std::mem::replace(&mut event.is_damaged, true) {
            return;
        }
        let flip = move |db: &rusqlite::Connection| {
            let mut record: Vec<u8> =
                db.query_row("SELECT record FROM spool WHERE seq = ?1", [seq], |row| row.get(0))?;
            let bit = bit % (record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            db.execute("UPDATE spool SET record = ?2 WHERE seq = ?1", (seq, record))
        };
        self.store.as_ref().unwrap().run(flip).await.unwrap();
        // A lane that has it in memory would deliver it from there.
        let lanes = &self.desk().spool.lanes;
        lanes.iter().for_each(|lane| lane.tail.forget());
    }

    /// Quarantined records become readable again, as after an upgrade.
    pub(super) async fn mend(&mut self) {
        if self.is_hindered() {
            return;
        }
        let mended = self.reference.quarantined.iter_mut().map(|(_, event)| {
            // A record that was damaged in the file is unknown.
            if event.name.is_empty() {
                return None;
            }
            event.is_damaged = false;
            let columns = record::Row {
                bucket: event.bucket.into(),
                site: SITES[event.site].as_bytes(),
                stored_at: event.stored_at,
            };
            Some(columns.seal(&event.event().to_bytes()))
        });
        let mended: Vec<Option<Vec<u8>>> = mended.collect();
        let mend = move |db: &rusqlite::Connection| {
            let mut select = db.prepare("SELECT id FROM quarantine ORDER BY id")?;
            let ids: Vec<i64> = select
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for (id, record) in ids.iter().zip(&mended) {
                let sql = "UPDATE quarantine SET record = coalesce(?2, record) WHERE id = ?1";
                db.execute(sql, (id, record))?;
            }
            Ok(())
        };
        self.store.as_ref().unwrap().run(mend).await.unwrap();
    }

    /// The disk becomes full, or has space again.
    pub(super) async fn fill(&mut self, full: bool) {
        if self.busy.is_none() {
            let sql = format!("PRAGMA max_page_count = {}", if full { 1 } else { 1_000_000 });
            let store = self.store.as_ref().unwrap();
            let run = store.run(move |db| db.query_row(&sql, [], |_| Ok(()))).await;
            run.unwrap();
            self.full = full;
        }
    }
}

/// The rows of a table by number: each is known or damaged. `when` stores the time until which it is parked.
fn found(
    db: &rusqlite::Connection,
    table: &str,
    when: &str,
    known: &BTreeMap<i64, Expected>,
) -> BTreeMap<i64, Expected> {
    let sql = format!("SELECT rowid, bucket, site, stored_at, record, {when} FROM {table}");
    let mut select = db.prepare(&sql).unwrap();
    let mut rows = select.query([]).unwrap();
    let mut there = BTreeMap::new();
    while let Some(row) = rows.next().unwrap() {
        let event = record::read(row, 1);
        let name = event
            .as_ref()
            .map(|event| event.name().to_owned())
            .unwrap_or_default();
        let is_known = known.values().any(|event| event.name == name);
        // No lane has read a record that is parked.
        assert!(is_known || event.is_err(), "{name} was never stored");
        let site = row.get::<_, String>(2).unwrap_or_default();
        // A damaged one has a lane too.
        let bucket: i64 = row.get(1).unwrap();
        let bucket = u8::try_from(bucket)
            .or(u8::try_from(bucket.rem_euclid(2)))
            .unwrap();
        let expected = Expected {
            name,
            site: SITES
                .iter()
                .position(|known| *known == site)
                .unwrap_or(SITES.len()),
            bucket,
            stored_at: row.get(3).unwrap_or(0),
            not_before: row.get(5).ok().flatten(),
            is_read: false,
            is_damaged: event.is_err(),
            bytes: row.get_ref(4).unwrap().as_blob().map_or(0, <[u8]>::len) as u64 + ROW_OVERHEAD,
        };
        there.insert(row.get(0).unwrap(), expected);
    }
    there
}
