//! Rebuilds a damaged database: damage never keeps a relay from starting.
//!
//! The damaged file is set aside, and everything that is still readable is copied into a new one, table by table and row
//! by row. This requires the folder's lock. A site stays on only if its record is beyond doubt; an uncertain switch is
//! off.

use super::{OpenError, open, path, schema};
use crate::clock::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Statement, params_from_iter};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Most damaged files kept beside the database. The oldest are deleted.
const KEPT_MAX: usize = 3;
/// Before the time at which a damaged file was set aside.
const BROKEN: &str = ".broken-";
/// Time limit of the check at the start. If a database is too large for it, the relay uses it as it is, and detects damage
/// when a job reads it.
const CHECK_MAX: Duration = Duration::from_secs(10);
/// Numbers of rows end here. A higher one is damaged, and must not use up the range.
const ROWIDS_MAX: i64 = 1 << 48;
/// Events get numbers from this far above the highest known one, so that no number is used twice even if the newest events
/// were lost.
const SEQ_GAP: i64 = 1_000_000;

/// The rows that a rebuild saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Waiting events.
    pub events: u64,
    /// Rows of all other kinds.
    pub others: u64,
    /// Whether some rows are known to be lost. More may be.
    pub some_lost: bool,
}

/// An open database, and its rebuild if it was damaged.
pub(super) type Opened = (Connection, Option<Rebuilt>);

/// Opens the database of a folder whose lock is held, and rebuilds a damaged one.
///
/// # Errors
/// If the folder or the file cannot be used, or another version of the relay wrote it.
pub fn open_or_rebuild(folder: &Path, now: Timestamp) -> Result<Opened, OpenError> {
    finish_interrupted(folder)?;
    if is_header_sound(&path(folder)) {
        match open(folder) {
            Ok(db) if is_sound(&db) => return Ok((db, None)),
            Ok(_) | Err(OpenError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    rebuild(folder, now)
}

/// Whether SQLite finds no damage within [`CHECK_MAX`]. Runs after an orderly stop too, because a disk can damage a file
/// at rest. It also checks the indices: an event missing from an index would never be sent.
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
            tracing::warn!("the check of the database was abandoned after {CHECK_MAX:?}");
            true
        }
        Err(_) => false,
    }
}

/// A file of the database, or of the one beside it.
fn file(folder: &Path, suffix: &str) -> PathBuf {
    folder.join(format!("relay.db{suffix}"))
}

/// The folder in which the new database is made, so that the ordinary code opens it.
fn workshop(folder: &Path) -> PathBuf {
    folder.join("rebuild")
}

/// Completes a rebuild that a crash interrupted. The new file is complete once the old one is out of the way; until then
/// the rebuild starts again.
fn finish_interrupted(folder: &Path) -> Result<(), OpenError> {
    if !path(folder).exists() && path(&workshop(folder)).exists() {
        replace(folder).map_err(|error| OpenError::Folder(folder.to_owned(), error))?;
    }
    let _ = fs::remove_dir_all(workshop(folder));
    Ok(())
}

/// Puts the new database into the place of the old one.
fn replace(folder: &Path) -> io::Result<()> {
    // SQLite must not take the old file's log for the new one's. Usually there is none.
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(file(folder, suffix));
    }
    fs::rename(path(&workshop(folder)), path(folder))?;
    sync(folder);
    Ok(())
}

/// Saves all readable rows into a new database and replaces the old one with it.
pub(super) fn rebuild(folder: &Path, now: Timestamp) -> Result<Opened, OpenError> {
    let unusable = |error| OpenError::Folder(folder.to_owned(), error);
    let failed = |error| OpenError::Database(path(folder), error);
    let workshop = workshop(folder);
    let _ = fs::remove_dir_all(&workshop);
    super::make_folder(&workshop)?;
    let new = open(&workshop)?;
    let rebuilt = save(&path(folder), &new, now).map_err(failed)?;
    new.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")
        .map_err(failed)?;
    new.close().map_err(|(_, error)| failed(error))?;
    sync(&workshop);

    let set_aside = |suffix| file(folder, &format!("{BROKEN}{}{suffix}", now.0));
    // From here on the new file counts: see `finish_interrupted`.
    fs::rename(path(folder), set_aside("")).map_err(unusable)?;
    // Usually there is none.
    let _ = fs::rename(file(folder, "-wal"), set_aside("-wal"));
    replace(folder).map_err(unusable)?;
    let _ = fs::remove_dir(&workshop);
    keep_newest(folder);
    tracing::error!(
        events = rebuilt.events,
        others = rebuilt.others,
        some_lost = rebuilt.some_lost,
        set_aside = %set_aside("").display(),
        "the database was damaged: it was set aside, and its readable rows were saved into a new one"
    );
    Ok((open(folder)?, Some(rebuilt)))
}

/// Makes renames durable. If a folder cannot be synced, a crash may undo them in order, which loses nothing.
fn sync(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

fn keep_newest(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let made = |name: String| name.strip_prefix("relay.db")?.strip_prefix(BROKEN)?.parse().ok();
    let mut broken: Vec<i64> = names.filter_map(made).collect();
    broken.sort_unstable();
    for made in broken.iter().rev().skip(KEPT_MAX) {
        for suffix in ["", "-wal"] {
            let _ = fs::remove_file(file(folder, &format!("{BROKEN}{made}{suffix}")));
        }
    }
}

/// The last page on which a table or an index begins. An automatic vacuum keeps these pages at the beginning.
const LAST_ROOT: u8 = 19;
/// Bytes that the header of each of our databases has at fixed offsets: SQLite's name, pages of 4096 bytes, WAL mode, no
/// reserved bytes; the schema format; automatic vacuum and UTF-8; the vacuum is incremental. Behind them what is there
/// until the first checkpoint.
const HEADER: [(u64, &[u8], &[u8]); 4] = [
    (0, NAME, NAME),
    (44, &[0, 0, 0, 4], &[0; 4]),
    (52, &[0, 0, 0, LAST_ROOT, 0, 0, 0, 1], &[0, 0, 0, 1, 0, 0, 0, 0]),
    (64, &[0, 0, 0, 1], &[0, 0, 0, 1]),
];
const NAME: &[u8] = b"SQLite format 3\0\x10\0\x02\x02\0\x40\x20\x20";

/// Whether the header is one of ours, or there is none yet. SQLite takes some damage to it for a setting, such as another
/// text encoding or a read-only file.
fn is_header_sound(database: &Path) -> bool {
    let Ok(file) = File::open(database) else {
        return true;
    };
    if file.metadata().is_ok_and(|file| file.len() == 0) {
        return true;
    }
    let has = |at: u64, either: &[&[u8]]| {
        let mut found = vec![0; either[0].len()];
        file.read_exact_at(&mut found, at).is_ok() && either.contains(&&*found)
    };
    is_of_other_version(&file) || HEADER.iter().all(|(at, want, first)| has(*at, &[want, first]))
}

/// Whether the header is that of another version of the relay, which is not for this one to judge.
fn is_of_other_version(file: &File) -> bool {
    let field = |at: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at).ok()?;
        Some(i32::from_be_bytes(bytes).into())
    };
    // SQLite's `user_version` and `application_id`.
    matches!((field(60), field(68)), (Some(version), Some(signature)) if schema::is_other(version, signature))
}

/// Writes the expected header. SQLite reads nothing of a file that is shorter than its header says; with zero there it
/// counts the pages itself.
fn mend(database: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(database)?;
    file.write_all_at(&[0; 4], 28)?;
    HEADER
        .iter()
        .try_for_each(|(at, bytes, _)| file.write_all_at(bytes, *at))
}

/// Copies all readable rows.
fn save(database: &Path, new: &Connection, now: Timestamp) -> rusqlite::Result<Rebuilt> {
    // If the repair fails, the file is read as it is.
    let _ = mend(database);
    let old = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let tx = new.unchecked_transaction()?;
    let (mut rebuilt, mut log_is_whole) = (Rebuilt::default(), false);
    // A new database has its heartbeat.
    let tables = "SELECT tables.name, group_concat(columns.name, ', ')
        FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name NOT IN ('heartbeat', 'sqlite_sequence') GROUP BY 1";
    let mut tables = new.prepare(tables)?;
    let mut tables = tables.query([])?;
    let given: rusqlite::Result<i64> = old.query_row(
        "SELECT seq FROM sqlite_sequence WHERE name = 'spool'",
        [],
        |row| row.get(0),
    );
    let given = given.ok().filter(|given| (0..ROWIDS_MAX).contains(given));
    while let Some(row) = tables.next()? {
        let (table, columns): (String, String) = (row.get(0)?, row.get(1)?);
        let top = given.filter(|_| table == "spool").unwrap_or(ROWIDS_MAX);
        let (rows, is_whole) = copy(&old, &tx, &table, &columns, top)?;
        rebuilt.some_lost |= !is_whole;
        match table.as_str() {
            "spool" => rebuilt.events = rows,
            _ => rebuilt.others += rows,
        }
        log_is_whole |= is_whole && table == "switch_log";
    }
    // On only if the last row of the log agrees, and the log is complete.
    tx.execute(
        "UPDATE switch SET is_on = 0 WHERE NOT ?1 OR is_on <> 1 OR NOT EXISTS (
            SELECT 1 FROM switch_log AS log
            WHERE log.id = (SELECT max(id) FROM switch_log WHERE site = switch.site)
            AND log.is_on = 1 AND log.at = switch.changed_at AND log.by = switch.changed_by
        )",
        [log_is_whole],
    )?;
    // If the last number is unknown, the milliseconds since 1970 are higher than any: no relay stores an event per
    // millisecond for long.
    tx.execute("DELETE FROM sqlite_sequence WHERE name = 'spool'", [])?;
    tx.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'spool', max(?1, coalesce(max(seq), 0)) + ?2 FROM spool",
        [given.unwrap_or(now.0), SEQ_GAP],
    )?;
    tx.commit()?;
    Ok(rebuilt)
}

/// Copies a table. Returns the number of rows, and whether none is known to be lost.
///
/// Reads up to the first unreadable place, then from the highest number down. Below an unreadable place it searches for
/// readable rows in strides that double, and reads back up from there.
fn copy(
    old: &Connection,
    new: &Connection,
    table: &str,
    columns: &str,
    top: i64,
) -> rusqlite::Result<(u64, bool)> {
    let select = |range: &str| {
        old.prepare(&format!(
            "SELECT rowid, {columns} FROM {table} NOT INDEXED WHERE rowid {range}"
        ))
    };
    let (Ok(mut up), Ok(mut down)) = (
        select(">= ?1 ORDER BY rowid"),
        select("<= ?1 ORDER BY rowid DESC"),
    ) else {
        return Ok((0, false));
    };
    let marks = vec!["?"; up.column_count() - 1].join(", ");
    let insert = format!("INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})");
    let mut target = Target {
        insert: new.prepare(&insert)?,
        rows: 0,
        is_whole: true,
    };
    if target.fill(&mut up, &mut 0).is_err() {
        target.is_whole = false;
        let (mut from, mut stride) = (top, 1);
        while from > 0 {
            let (mut back, rows) = (from, target.rows);
            if target.fill(&mut down, &mut from).is_ok() {
                from = 0;
            }
            if target.rows > rows {
                // Up to the unreadable place above.
                let _ = target.fill(&mut up, &mut back);
                stride = 1;
            }
            from -= stride;
            stride *= 2;
        }
    }
    Ok((target.rows, target.is_whole))
}

/// A table of the new database.
struct Target<'new> {
    insert: Statement<'new>,
    rows: u64,
    is_whole: bool,
}

impl Target<'_> {
    /// Inserts the rows from a number on, and moves it along.
    ///
    /// # Errors
    /// At an unreadable place.
    fn fill(&mut self, select: &mut Statement<'_>, from: &mut i64) -> rusqlite::Result<()> {
        let columns = 1..select.column_count();
        let mut rows = select.query([*from])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let values: rusqlite::Result<Vec<Value>> =
                columns.clone().map(|column| row.get(column)).collect();
            // A row is lost if its number is out of range or there already, or a value is unreadable or of the wrong type.
            let saved = values.and_then(|values| match number {
                0..ROWIDS_MAX => self.insert.execute(params_from_iter(values)),
                _ => Ok(0),
            });
            if saved.is_ok_and(|rows| rows == 1) {
                (self.rows, *from) = (self.rows + 1, number);
            } else {
                self.is_whole = false;
            }
        }
        Ok(())
    }
}
