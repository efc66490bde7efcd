//! What is done about a database that is damaged: it never keeps a relay from starting.
//!
//! The file is set aside, and what can still be read goes into a new one, table by table and row by row. Only
//! who holds the folder's lock may do this. What says that collection is on has to be beyond doubt; an
//! uncertain switch is off.

use super::{OpenError, open, path};
use crate::clock::Moment;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Most damaged files kept beside the database. The oldest are deleted.
const KEPT_MAX: usize = 3;
/// How long the check at the start may take. A database that is too large for it is used as it is: damage is
/// then noticed where it is met.
const CHECK_MAX: Duration = Duration::from_secs(10);
/// A file that is more times shorter than its header says is not lengthened: the header will be wrong.
const CUT_MAX: u64 = 1024;
/// Rows tried one by one behind a place that cannot be read, before the strides get longer.
const SMALL_STRIDES: u32 = 256;
/// How far numbers of events are set on, so that none is given out twice though the newest were lost.
const SEQ_GAP: i64 = 1_000_000;

/// Tables with their columns. Their rows are found by number.
const TABLES: [(&str, &[&str]); 8] = [
    (
        "account",
        &["name", "password_hash", "created_at", "version", "disabled_at"],
    ),
    ("switch_log", &["id", "site", "is_on", "at", "by", "purged"]),
    ("switch", &["site", "is_on", "changed_at", "changed_by"]),
    ("policy_log", &["id", "at", "sha256", "source"]),
    (
        "delivered",
        &["day", "upstream", "site", "event", "count", "head", "tail"],
    ),
    (
        "acceptance",
        &["site", "upstream", "first_at", "last_at", "drops"],
    ),
    (
        "spool",
        &["seq", "bucket", "site", "stored_at", "record", "not_before"],
    ),
    (
        "quarantine",
        &["id", "bucket", "site", "stored_at", "record", "at", "reason"],
    ),
];

/// What was saved of a damaged database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Where the damaged file is now.
    pub set_aside: PathBuf,
    /// Events that wait and were saved.
    pub events: u64,
    /// Rows of all other kinds that were saved.
    pub others: u64,
    /// Whether some rows are known to be lost. More may be.
    pub some_lost: bool,
}

/// Opens the database of a folder whose lock is held. A damaged one is rebuilt.
///
/// # Errors
/// When the folder or the file cannot be used, or a newer relay wrote it.
pub fn open_or_rebuild(folder: &Path, now: Moment) -> Result<(Connection, Option<Rebuilt>), OpenError> {
    finish_interrupted(folder)?;
    if is_header_sound(&path(folder)) {
        match open(folder) {
            Ok(db) if is_sound(&db) => return Ok((db, None)),
            Ok(_) | Err(OpenError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    rebuild(folder, now).map(|(db, rebuilt)| (db, Some(rebuilt)))
}

/// Whether SQLite finds nothing wrong, within [`CHECK_MAX`]. Looked at after an orderly stop too: a disk can spoil a file
/// that nobody uses. The indices are checked as well: an event that is in none would never be sent.
fn is_sound(db: &Connection) -> bool {
    let handle = db.get_interrupt_handle();
    let (done, waiting) = mpsc::channel::<()>();
    let verdict: rusqlite::Result<String> = std::thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(CHECK_MAX) == Err(RecvTimeoutError::Timeout) {
                handle.interrupt();
            }
        });
        let verdict = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
        drop(done);
        verdict
    });
    match verdict {
        Ok(verdict) => verdict == "ok",
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            tracing::warn!("the check of the database was given up after {CHECK_MAX:?}");
            true
        }
        Err(_) => false,
    }
}

/// Ends a rebuild that a crash interrupted: the new file is whole once the old one is out of the way.
fn finish_interrupted(folder: &Path) -> Result<(), OpenError> {
    let (database, fresh) = (path(folder), fresh(folder));
    // What a rebuild had saved so far; it is begun anew.
    let _ = fs::remove_dir_all(workshop(folder));
    let done = match (database.exists(), fresh.exists()) {
        (false, true) => {
            // The old one's log, which must not be taken for the new one's. Mostly it is out of the way already.
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(with_suffix(&database, suffix));
            }
            fs::rename(&fresh, &database)
        }
        (true, true) => fs::remove_file(&fresh),
        _ => Ok(()),
    };
    done.map_err(|error| OpenError::Folder(folder.to_owned(), error))
}

fn fresh(folder: &Path) -> PathBuf {
    folder.join("relay.db.new")
}

fn workshop(folder: &Path) -> PathBuf {
    folder.join("rebuild")
}

/// Saves what can be read into a new database and puts it in the place of the old one.
pub(super) fn rebuild(folder: &Path, now: Moment) -> Result<(Connection, Rebuilt), OpenError> {
    let unusable = |error| OpenError::Folder(folder.to_owned(), error);
    let (database, fresh) = (path(folder), fresh(folder));
    // Made in a folder of its own, so that it is opened as every other is.
    let workshop = workshop(folder);
    let _ = fs::remove_dir_all(&workshop);
    super::make_folder(&workshop)?;
    let new = open(&workshop)?;
    let failed = |error| OpenError::Database(database.clone(), error);
    let (events, others, some_lost) = save(&database, &new, now).map_err(failed)?;
    new.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")
        .map_err(failed)?;
    new.close().map_err(|(_, error)| failed(error))?;
    fs::rename(path(&workshop), &fresh).map_err(unusable)?;
    let _ = fs::remove_dir_all(&workshop);
    sync(folder);

    let set_aside = folder.join(format!("relay.db.broken-{}", now.0));
    // From here on the new file counts: see `finish_interrupted`.
    fs::rename(&database, &set_aside).map_err(unusable)?;
    move_aside(&database, "-wal", &set_aside);
    let _ = fs::remove_file(with_suffix(&database, "-shm"));
    fs::rename(&fresh, &database).map_err(unusable)?;
    sync(folder);
    keep_newest(folder);
    let rebuilt = Rebuilt {
        set_aside,
        events,
        others,
        some_lost,
    };
    tracing::error!(
        events,
        others,
        some_lost,
        set_aside = %rebuilt.set_aside.display(),
        "the database was damaged: it was set aside, and what could be read was saved into a new one"
    );
    Ok((open(folder)?, rebuilt))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn move_aside(database: &Path, suffix: &str, set_aside: &Path) {
    // Mostly there is none.
    let _ = fs::rename(with_suffix(database, suffix), with_suffix(set_aside, suffix));
}

/// Makes renames last. Where a folder cannot be synced, a crash may undo them in order, which is no loss.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

fn keep_newest(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut broken: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("relay.db.broken-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .collect();
    // Milliseconds since 1970 keep their number of digits until 2286.
    broken.sort_unstable();
    for path in broken.iter().rev().skip(KEPT_MAX) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(with_suffix(path, suffix));
        }
    }
}

/// What the header of each of our databases has at fixed places: SQLite's name, pages of 4096 bytes, a log
/// beside it, no reserved bytes; the format of the tables; no automatic vacuum and UTF-8.
const HEADER: [(u64, &[u8]); 4] = [
    (0, b"SQLite format 3\0\x10\0\x02\x02\0\x40\x20\x20"),
    (44, &[0, 0, 0, 4]),
    (52, &[0, 0, 0, 0, 0, 0, 0, 1]),
    (64, &[0, 0, 0, 0]),
];
const PAGE_BYTES: u64 = 4096;

/// Whether the header is one of ours, or there is none yet. SQLite takes some damage to it for a wish, such
/// as another text encoding or not to be written.
fn is_header_sound(database: &Path) -> bool {
    let Ok(file) = File::open(database) else {
        return true;
    };
    if file.metadata().is_ok_and(|file| file.len() == 0) {
        return true;
    }
    HEADER.iter().all(|(at, want)| {
        let mut found = vec![0; want.len()];
        let read = file.read_exact_at(&mut found, *at).is_ok();
        // Before the first tables get from the log into the file, the later places are empty.
        let unset = *at > 0 && found.iter().all(|byte| *byte == 0);
        read && (found == *want || unset)
    })
}

/// Writes the header as it has to be, and gives a file that was cut off its length back: SQLite reads nothing
/// at all of one that is shorter than its header says. Zeros are no page, so nothing is made up.
fn mend(database: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(database)?;
    for (at, bytes) in HEADER {
        file.write_all_at(bytes, at)?;
    }
    let mut pages = [0; 4];
    file.read_exact_at(&mut pages, 28)?;
    let (is, was) = (
        file.metadata()?.len(),
        PAGE_BYTES * u64::from(u32::from_be_bytes(pages)),
    );
    if is < was && was / CUT_MAX <= is {
        file.set_len(was)?;
    }
    Ok(())
}

/// Copies all that can be read: events, other rows, and whether some were lost.
fn save(database: &Path, new: &Connection, now: Moment) -> rusqlite::Result<(u64, u64, bool)> {
    // What cannot be mended is read as it is.
    let _ = mend(database);
    let old = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let tx = new.unchecked_transaction()?;
    let (mut events, mut others, mut some_lost, mut log_whole) = (0, 0, false, false);
    for (table, columns) in TABLES {
        let copied = copy(&old, &tx, table, columns)?;
        some_lost |= !copied.whole;
        match table {
            "spool" => events = copied.rows,
            _ => others += copied.rows,
        }
        if table == "switch_log" {
            log_whole = copied.whole;
        }
    }
    copy_seen(&old, &tx);
    // On only where the log's last word agrees, and the log is whole.
    tx.execute(
        "UPDATE switch SET is_on = 0 WHERE NOT ?1 OR is_on <> 1 OR NOT EXISTS (
            SELECT 1 FROM switch_log AS log
            WHERE log.id = (SELECT max(id) FROM switch_log WHERE site = switch.site)
            AND log.is_on = 1 AND log.at = switch.changed_at AND log.by = switch.changed_by
        )",
        [log_whole],
    )?;
    let given: rusqlite::Result<i64> = old.query_row(
        "SELECT seq FROM sqlite_sequence WHERE name = 'spool'",
        [],
        |row| row.get(0),
    );
    let highest: i64 = tx.query_row("SELECT coalesce(max(seq), 0) FROM spool", [], |row| row.get(0))?;
    // A damaged number must not bring the end of all numbers near. Where nothing tells the last one, the
    // milliseconds since 1970 are higher: nobody stores an event in each of them for long.
    let known = given.ok().filter(|given| (0..1 << 48).contains(given));
    let given = known.unwrap_or(now.0);
    tx.execute("DELETE FROM sqlite_sequence WHERE name = 'spool'", [])?;
    tx.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('spool', ?1)",
        [given.max(highest) + SEQ_GAP],
    )?;
    tx.commit()?;
    Ok((events, others, some_lost))
}

struct Copied {
    rows: u64,
    whole: bool,
}

/// Copies a table in the order of its rows' numbers. Behind a row that cannot be read it looks for the next
/// one that can, in strides that grow, until there are no more numbers.
fn copy(old: &Connection, new: &Connection, table: &str, columns: &[&str]) -> rusqlite::Result<Copied> {
    let mut copied = Copied { rows: 0, whole: true };
    let select = |columns: &[&str]| {
        let list = columns.join(", ");
        let select =
            format!("SELECT rowid, {list} FROM {table} NOT INDEXED WHERE rowid >= ?1 ORDER BY rowid");
        old.prepare(&select).ok()
    };
    // A table of an earlier relay lacks the last columns.
    let readable = (1..=columns.len())
        .rev()
        .find_map(|n| Some((&columns[..n], select(&columns[..n])?)));
    let Some((columns, mut select)) = readable else {
        copied.whole = false;
        return Ok(copied);
    };
    let (list, marks) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
    let mut insert = new.prepare(&format!(
        "INSERT OR IGNORE INTO {table} ({list}) VALUES ({marks})"
    ))?;
    let (mut from, mut strides) = (i64::MIN, 0_u32);
    loop {
        let mut read = || -> rusqlite::Result<()> {
            let mut rows = select.query([from])?;
            while let Some(row) = rows.next()? {
                let number: i64 = row.get(0)?;
                if number < from {
                    // Pages in the wrong order: what follows was there already.
                    return Err(rusqlite::Error::InvalidQuery);
                }
                (from, strides) = (number.saturating_add(1), 0);
                let values: rusqlite::Result<Vec<Value>> =
                    (1..=columns.len()).map(|column| row.get(column)).collect();
                // What is no value any more, or not of its column's kind, is lost.
                match values.and_then(|values| insert.execute(params_from_iter(values))) {
                    Ok(1) => copied.rows += 1,
                    _ => copied.whole = false,
                }
            }
            Ok(())
        };
        if read().is_ok() {
            return Ok(copied);
        }
        copied.whole = false;
        // Numbers begin at 1.
        from = from.max(0);
        let stride = 1_i64 << strides.saturating_sub(SMALL_STRIDES).min(62);
        strides += 1;
        from = match from.checked_add(stride) {
            Some(next) => next,
            None => return Ok(copied),
        };
    }
}

/// Copies the ids of the last hour, as far as they can be read in one go: without one, a batch that is
/// repeated just now is stored twice.
fn copy_seen(old: &Connection, new: &Connection) {
    let copied = || -> rusqlite::Result<()> {
        let mut insert = new.prepare("INSERT OR IGNORE INTO seen_ids (at, ids) VALUES (?1, ?2)")?;
        let mut select = old.prepare("SELECT at, ids FROM seen_ids ORDER BY id")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            insert.execute((row.get::<_, Value>(0)?, row.get::<_, Value>(1)?))?;
        }
        Ok(())
    };
    let _ = copied();
}
