//! The on-disk format of a record: a version, a checksum, the event.
//!
//! The checksum covers all columns of the row that matter, to detect a flipped bit in any of them. The first five bytes
//! keep their meaning in all later versions: they distinguish a record of a newer relay from a damaged one.

use crate::guard::Scrubbed;
use relay_event::Outcome;

/// The version of the record. Raise it with any change of [`Scrubbed`]'s fields.
const VERSION: u8 = 1;
/// Bytes before the event: the version, and a CRC-32 in little endian.
const HEADER: usize = 5;

/// The columns of a row that its checksum covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'r> {
    pub(super) bucket: i64,
    pub(super) site: &'r [u8],
    pub(super) stored_at: i64,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is damaged.
    Corrupt,
    /// It is undamaged, and a newer relay wrote it.
    Newer,
}

impl Unreadable {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Corrupt => Outcome::Corrupt,
            Self::Newer => Outcome::Newer,
        }
    }
}

impl Row<'_> {
    /// Bytes of a record besides its event.
    #[cfg(test)]
    pub(super) const HEADER: usize = HEADER;

    /// The bytes to store.
    pub(super) fn seal(self, event: &[u8]) -> Vec<u8> {
        self.seal_as(VERSION, event)
    }

    /// [`Self::seal`], under another version.
    pub(super) fn seal_as(self, version: u8, event: &[u8]) -> Vec<u8> {
        let mut record = Vec::with_capacity(HEADER + event.len());
        record.push(version);
        record.extend_from_slice(&self.checksum(version, event).to_le_bytes());
        record.extend_from_slice(event);
        record
    }

    /// The event of a stored record.
    pub(super) fn unseal(self, record: &[u8]) -> Result<Scrubbed, Unreadable> {
        let (header, event) = record.split_at_checked(HEADER).ok_or(Unreadable::Corrupt)?;
        let (version, checksum) = (header[0], &header[1..]);
        if self.checksum(version, event).to_le_bytes() != checksum {
            return Err(Unreadable::Corrupt);
        }
        if version != VERSION {
            return Err(Unreadable::Newer);
        }
        // Undamaged, but with fields that this version does not write.
        Scrubbed::from_bytes(event).ok_or(Unreadable::Newer)
    }

    fn checksum(self, version: u8, event: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[version]);
        hasher.update(&self.bucket.to_le_bytes());
        hasher.update(&self.stored_at.to_le_bytes());
        // Includes its length, so that no byte can move from the site to the event.
        hasher.update(&(self.site.len() as u64).to_le_bytes());
        hasher.update(self.site);
        hasher.update(event);
        hasher.finalize()
    }
}

/// The event of a row `bucket, site, stored_at, record`, starting at a column. A column of an unexpected type counts as
/// damage.
pub(super) fn read(row: &rusqlite::Row<'_>, from: usize) -> Result<Scrubbed, Unreadable> {
    let read = || -> Option<(Row<'_>, &[u8])> {
        let columns = Row {
            bucket: row.get(from).ok()?,
            site: row.get_ref(from + 1).ok()?.as_bytes().ok()?,
            stored_at: row.get(from + 2).ok()?,
        };
        Some((columns, row.get_ref(from + 3).ok()?.as_blob().ok()?))
    };
    let (columns, record) = read().ok_or(Unreadable::Corrupt)?;
    columns.unseal(record)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SITE, event};
    use super::*;

    const ROW: Row<'_> = Row {
        bucket: 5,
        site: SITE.as_bytes(),
        stored_at: 1_800_000_000_000,
    };

    #[test]
    fn any_flipped_bit_is_noticed() {
        let written = event("Used", 5);
        let record = ROW.seal(&written.to_bytes());
        assert_eq!(record.len(), written.to_bytes().len() + Row::HEADER);
        assert!(ROW.unseal(&record) == Ok(written));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ROW.unseal(&flipped).err(), Some(Unreadable::Corrupt), "bit {bit}");
        }
        for length in 0..record.len() {
            let torn = ROW.unseal(&record[..length]).err();
            assert_eq!(torn, Some(Unreadable::Corrupt), "{length} bytes");
        }
        let elsewhere = [
            Row { bucket: 4, ..ROW },
            Row {
                site: b"panel.example.con",
                ..ROW
            },
            Row {
                stored_at: ROW.stored_at + 1,
                ..ROW
            },
        ];
        for row in elsewhere {
            assert_eq!(row.unseal(&record).err(), Some(Unreadable::Corrupt), "{row:?}");
        }
    }

    #[test]
    fn a_record_of_a_newer_relay_is_not_guessed_at() {
        let written = event("Used", 5).to_bytes();
        let check = |what: &str, record: &[u8], want: Option<Unreadable>| {
            assert_eq!(ROW.unseal(record).err(), want, "{what}");
        };
        check("an event without a header", &written, Some(Unreadable::Corrupt));
        check("this version", &ROW.seal_as(1, &written), None);
        check(
            "the next version",
            &ROW.seal_as(2, b"who knows"),
            Some(Unreadable::Newer),
        );
        check(
            "this version, another event",
            &ROW.seal_as(1, b"{\"site\":2}"),
            Some(Unreadable::Newer),
        );
        check(
            "the next version, damaged",
            &ROW.seal_as(2, b"who knows")[..9],
            Some(Unreadable::Corrupt),
        );
    }
}
