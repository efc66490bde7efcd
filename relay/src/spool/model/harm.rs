//! What is done to it: a death while it writes, and flipped bits.

use super::world::{Expected, LANES, World, numbers, temporary};
use crate::spool::record;
use crate::store;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

impl World {
    /// Dies while a batch is written: the files as they are, with so much of it in the log.
    pub(super) async fn crash(&mut self, batch: &[(u8, Option<u8>)], kept: u64, garbage: bool) {
        self.busy = None;
        let log = |folder: &Path| std::fs::read(folder.join("relay.db-wal")).unwrap_or_default();
        let before = log(self.folder.path());
        let (events, outcomes) = self.append(batch).await;
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
        let there = numbers(self.folder.path());
        let found = |name: &String| there.iter().any(|(_, there)| there.as_ref() == Some(name));
        let stored = events
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_none());
        let stored: Vec<bool> = stored.map(|(event, _)| found(&event.name)).collect();
        assert!(
            stored.iter().all(|there| *there) || stored.iter().all(|there| !there),
            "a batch is there whole or not at all"
        );
        if stored.first() == Some(&true) {
            self.note(batch, events, &outcomes);
        }
        let waited = self.waiting.len();
        self.open().await;
        let counts = self.desk().metrics.ledger.counts();
        assert_eq!(counts.recovered, waited as u64, "what waited is recovered");
    }

    /// Changes a bit of the closed file. Afterwards only less may be there.
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
        self.open().await;
        // What it did shows at the latest when everything is looked at.
        for lane in 0..LANES {
            let _ = self.desk().spool.take(lane, 0, 1000).await.unwrap();
        }
        let db = store::open_to_look(self.folder.path()).unwrap();
        let mut select = db
            .prepare("SELECT seq, bucket, site, stored_at, record, not_before FROM spool")
            .unwrap();
        let mut rows = select.query([]).unwrap();
        let mut there = BTreeMap::new();
        while let Some(row) = rows.next().unwrap() {
            let seq: i64 = row.get(0).unwrap();
            let event = record::read(row, 1);
            let bucket = row.get::<_, i64>(1).unwrap();
            let not_before = row.get(5).ok().flatten();
            let name = event
                .as_ref()
                .map(|event| event.name().to_owned())
                .unwrap_or_default();
            let known = self.waiting.values().find(|event| event.name == name);
            // One that is parked, or in no bucket that is looked into, was not looked at.
            assert!(known.is_some() || event.is_err(), "{name} was never stored");
            there.insert(
                seq,
                Expected {
                    flipped: event.is_err(),
                    bucket: u8::try_from(bucket).unwrap_or(u8::MAX),
                    stored_at: row.get(3).unwrap_or(0),
                    not_before,
                    name,
                },
            );
        }
        self.waiting = there;
        // The ids may be damaged too.
        drop(rows);
        drop(select);
        db.close().unwrap();
        self.store
            .as_ref()
            .unwrap()
            .run(|db| db.execute("DELETE FROM seen_ids", []))
            .await
            .unwrap();
        self.seen.clear();
        // They are remembered in memory, too.
        self.close().await;
        self.open().await;
    }

    pub(super) async fn flip_record(&mut self, n: usize, bit: usize) {
        if self.waiting.is_empty() || self.busy.is_some() || self.full {
            return;
        }
        let n = n % self.waiting.len();
        let (seq, event) = self.waiting.iter_mut().nth(n).unwrap();
        let seq = *seq;
        // A second flip could undo the first.
        if std::mem::replace(&mut event.flipped, true) {
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
        // One that a lane has in memory already would be delivered from there.
        let lanes = &self.desk().spool.lanes;
        lanes.iter().for_each(|lane| lane.fresh.forget());
    }
}
