//! Salvage against a new, empty file: the figures of ADR 0027.
//!
//! A database with waiting, delivered and purged events, accounts and a switch that is on is damaged in many ways.
//! `cargo test -p feedback-relay --lib store::tests::damage -- --nocapture` prints the table.

#![expect(clippy::print_stdout, reason = "its table")]

use super::super::{open, open_or_rebuild, path};
use super::{PAGE, one};
use crate::clock::Timestamp;
use rusqlite::Connection;
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Events that were stored: the first are delivered, the last are purged, and the others wait.
const DELIVERED: i64 = 800;
const WAITING: i64 = 2000;
const PURGED: i64 = 200;
const ACCOUNTS: i64 = 5;
const COUNTS: i64 = 300;

/// An event's lane, site, time and record, which differ in each event.
type Event = (i64, String, i64, Vec<u8>);

fn event(seq: i64) -> Event {
    let site = if seq > DELIVERED + WAITING { "off" } else { "on" };
    let record = format!("{seq:08}").into_bytes().repeat(45);
    (seq * 37 % 64, site.into(), NOW.0 - 100_000 + seq, record)
}

/// A database file, and the places in it.
#[derive(Clone)]
struct Image {
    bytes: Vec<u8>,
    /// As it was before events were delivered and purged.
    earlier: Vec<u8>,
    /// The pages of each table and index, its root first.
    pages: BTreeMap<String, Vec<usize>>,
}

impl Image {
    /// Written by the relay's own connection, whose settings decide what deleted rows leave behind.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut db = open(folder.path()).unwrap();
        let tx = db.transaction().unwrap();
        for seq in 1..=DELIVERED + WAITING + PURGED {
            let sql = "INSERT INTO spool (bucket, site, stored_at, lane, record) VALUES (0, ?2, ?3, ?1, ?4)";
            tx.execute(sql, event(seq)).unwrap();
        }
        for n in 0..ACCOUNTS {
            let sql = "INSERT INTO account (name, password_hash, created_at) VALUES (?1, 'hash', 1)";
            tx.execute(sql, [format!("user {n}")]).unwrap();
        }
        for n in 0..COUNTS {
            let sql = "INSERT INTO delivered VALUES (?1, 'upstream', 'on', 'event', 7, 0, 0)";
            tx.execute(sql, [n]).unwrap();
        }
        tx.execute_batch(
            "INSERT INTO switch VALUES ('on', 1, 5, 'user 0'), ('off', 0, 6, 'user 0');
             INSERT INTO switch_log VALUES (1, 'on', 1, 5, 'user 0', 0), (2, 'off', 0, 6, 'user 0', 200);",
        )
        .unwrap();
        tx.commit().unwrap();
        let bytes = |db: &Connection| {
            db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
            std::fs::read(path(folder.path())).unwrap()
        };
        let earlier = bytes(&db);
        let gone = [DELIVERED, DELIVERED + WAITING];
        db.execute("DELETE FROM spool WHERE seq <= ?1 OR seq > ?2", gone)
            .unwrap();
        let bytes = bytes(&db);
        let mut pages = BTreeMap::<String, Vec<usize>>::new();
        let mut select = db
            .prepare("SELECT name, pageno FROM dbstat ORDER BY path")
            .unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let pages = pages.entry(row.get(0).unwrap()).or_default();
            pages.push(row.get(1).unwrap());
        }
        Self {
            bytes,
            earlier,
            pages,
        }
    }

    fn page(&mut self, number: usize) -> &mut [u8] {
        &mut self.bytes[(number - 1) * PAGE..][..PAGE]
    }

    /// Zeroes the n-th page of a table or an index; the 0th is its root.
    fn zero(&mut self, name: &str, n: usize) {
        let page = self.pages[name][n];
        self.page(page).fill(0);
    }

    /// The first page of the list of free pages.
    fn trunk(&self) -> usize {
        let number = self.bytes[32..36].try_into().unwrap();
        usize::try_from(u32::from_be_bytes(number)).unwrap()
    }

    /// Overwrites 8 pages, chosen by a seed, with noise; not the first one. Returns their numbers.
    fn noise(&mut self, seed: u64) -> Vec<usize> {
        let mut state = seed * 2 + 1;
        let mut next = || {
            // Xorshift, so that each run is the same.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..64).for_each(|_| _ = next());
        let count = (self.bytes.len() / PAGE) as u64;
        let mut noisy = Vec::new();
        for _ in 0..8 {
            let page = usize::try_from(2 + next() % (count - 1)).unwrap();
            self.page(page).fill_with(|| next().to_le_bytes()[0]);
            noisy.push(page);
        }
        noisy
    }

    /// The pages from a number on are those of the earlier file, as after a checkpoint whose last writes were lost.
    fn lose_writes(&mut self, from: usize) {
        let from = (from - 1) * PAGE;
        self.bytes[from..].copy_from_slice(&self.earlier[from..]);
    }
}

/// The rows of a database.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    kept: i64,
    resurrected: i64,
    accounts: i64,
    counts: i64,
    is_on: bool,
}

impl Rows {
    fn of(db: &Connection) -> Self {
        let mut found = Self {
            accounts: one(db, "SELECT count(*) FROM account"),
            counts: one(db, "SELECT count(*) FROM delivered WHERE count = 7"),
            is_on: one(db, "SELECT count(*) FROM switch WHERE is_on AND site = 'on'") == 1,
            ..Self::default()
        };
        let off = one(db, "SELECT count(*) FROM switch WHERE is_on AND site <> 'on'");
        assert_eq!(off, 0, "damage turns no site on");
        let mut select = db
            .prepare("SELECT lane, site, stored_at, record, seq FROM spool")
            .unwrap();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let seq = row.get(4).unwrap();
            let read = || Ok::<Event, rusqlite::Error>((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            if (DELIVERED + 1..=DELIVERED + WAITING).contains(&seq) {
                // The checksum of a record does not cover its number.
                found.kept += i64::from(read().unwrap() == event(seq));
            } else {
                found.resurrected += i64::from(read().unwrap() == event(seq));
            }
        }
        found
    }

    fn print(&self, damage: &str) {
        let Self {
            kept,
            resurrected,
            accounts,
            counts,
            is_on,
        } = self;
        let switch = if *is_on { "on" } else { "off" };
        println!("| {damage} | {kept} | {resurrected} | {accounts} | {counts} | {switch} |");
    }
}

/// The rows after a start on a damaged file.
fn salvage(bytes: &[u8]) -> Rows {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(path(folder.path()), bytes).unwrap();
    let (db, _) = open_or_rebuild(folder.path(), NOW).unwrap();
    Rows::of(&db)
}

#[test]
fn salvage_keeps_the_rows_of_undamaged_pages_and_turns_nothing_on() {
    let sound = Image::new();
    println!("| damage | kept | resurrected | accounts | counts | switch |");
    println!("|---|---:|---:|---:|---:|---|");
    // The damage; the events kept at least, the accounts, and whether the site is still on.
    let check = |damage: &str, harm: &dyn Fn(&mut Image), kept: i64, accounts: i64, is_on: bool| {
        let mut image = sound.clone();
        harm(&mut image);
        let found = salvage(&image.bytes);
        found.print(damage);
        assert!(found.kept >= kept, "{damage}: {found:?}");
        assert_eq!((found.accounts, found.is_on), (accounts, is_on), "{damage}");
        found
    };
    let zero = |damage: &str, name: &str, pages: &[usize], kept: i64, accounts: i64, is_on: bool| {
        let harm = |image: &mut Image| pages.iter().for_each(|n| image.zero(name, *n));
        check(damage, &harm, kept, accounts, is_on)
    };
    let half: Vec<usize> = (1..=201).step_by(2).collect();
    zero("first page of the file", "sqlite_schema", &[0], 0, 0, false);
    zero("root of the events", "spool", &[0], 0, 5, true);
    zero("a leaf of the events", "spool", &[50], 1990, 5, true);
    zero("their first leaf", "spool", &[1], 1990, 5, true);
    zero("their first leaf and another", "spool", &[1, 100], 1980, 5, true);
    zero("their last leaf and another", "spool", &[201, 100], 1980, 5, true);
    zero("every other leaf of the events", "spool", &half, 950, 5, true);
    zero("a leaf of an index", "spool_lane", &[3], 2000, 5, true);
    zero("the switches", "switch", &[0], 2000, 5, false);
    zero("the history of the switches", "switch_log", &[0], 2000, 5, false);
    zero("the accounts", "account", &[0], 2000, 0, true);
    let number = |image: &mut Image| {
        let page = image.pages["spool"][50];
        let page = image.page(page);
        // A cell begins with its length in two bytes; its number follows.
        let cell = usize::from(u16::from_be_bytes([page[12], page[13]]));
        page[cell + 2] ^= 0x40;
    };
    check("a bit of an event's number", &number, 1999, 5, true);
    let cut = |image: &mut Image| image.bytes.truncate(image.bytes.len() / 2);
    check("cut off at half", &cut, 600, 5, true);
    let cut = |image: &mut Image| image.bytes.truncate(image.bytes.len() - 100);
    check("cut off in the last page", &cut, 2000, 5, true);
    let free = |image: &mut Image| {
        let page = image.trunk();
        image.page(page).fill(0xa5);
    };
    check("list of free pages", &free, 2000, 5, true);
    for seed in 1..=3 {
        let noisy = sound.clone().noise(seed);
        let is_spared = |table: &str| !noisy.contains(&sound.pages[table][0]);
        check(
            &format!("noise on eight pages ({seed})"),
            &|image| drop(image.noise(seed)),
            1900,
            if is_spared("account") { 5 } else { 0 },
            is_spared("switch") && is_spared("switch_log"),
        );
    }
    let half = sound.bytes.len() / PAGE / 2;
    check(
        "lost writes: second half",
        &|image| image.lose_writes(half),
        2000,
        5,
        true,
    );
    let found = check(
        "lost writes: all but the first page",
        &|image| image.lose_writes(2),
        2000,
        5,
        true,
    );
    assert_eq!(
        found.resurrected,
        DELIVERED + PURGED,
        "the file does not say that they are gone"
    );
}

#[test]
fn no_flipped_bit_of_the_header_loses_anything() {
    let sound = Image::new();
    let want = salvage(&sound.bytes);
    for at in 0..100 {
        let mut bytes = sound.bytes.clone();
        bytes[at] ^= 0x10;
        assert_eq!(salvage(&bytes), want, "byte {at}");
    }
}
