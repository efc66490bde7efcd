//! A record as it is on disk: a version, a checksum, the event.
//!
//! The checksum covers everything that matters about the row, so that a flipped bit anywhere in it is
//! noticed. The first five bytes are the same in every version to come: only so can a record of a newer
//! relay be told from a damaged one.

use crate::guard::Scrubbed;
use relay_event::Outcome;

/// The version written today.
const VERSION: u8 = 1;
/// What a record begins with that was written before records had a version: its JSON. No single flipped
/// bit makes a [`VERSION`] of it or the other way round.
const LEGACY: u8 = b'{';
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
    /// It is not what was written.
    Corrupt,
    /// It is, and by a relay that knows more than this one.
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

    /// As a relay of another version would.
    pub(super) fn seal_as(self, version: u8, event: &[u8]) -> Vec<u8> {
        let mut record = Vec::with_capacity(HEADER + event.len());
        record.push(version);
        record.extend_from_slice(&self.checksum(version, event).to_le_bytes());
        record.extend_from_slice(event);
        record
    }

    /// The event of stored bytes.
    pub(super) fn unseal(self, record: &[u8]) -> Result<Scrubbed, Unreadable> {
        if record.first() == Some(&LEGACY) {
            let event = Scrubbed::from_bytes(record).ok_or(Unreadable::Corrupt)?;
            // Without a checksum, what is written twice has to agree at least.
            let agrees = event.site().as_bytes() == self.site;
            return if agrees {
                Ok(event)
            } else {
                Err(Unreadable::Corrupt)
            };
        }
        let (header, event) = record.split_at_checked(HEADER).ok_or(Unreadable::Corrupt)?;
        let (version, checksum) = (header[0], &header[1..]);
        if self.checksum(version, event).to_le_bytes() != checksum {
            return Err(Unreadable::Corrupt);
        }
        if version != VERSION {
            return Err(Unreadable::Newer);
        }
        // Undamaged, and yet nothing this relay would have written.
        Scrubbed::from_bytes(event).ok_or(Unreadable::Newer)
    }

    fn checksum(self, version: u8, event: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[version]);
        hasher.update(&self.bucket.to_le_bytes());
        hasher.update(&self.stored_at.to_le_bytes());
        // With its length, so that nothing can move over from the site to the event.
        hasher.update(&(self.site.len() as u64).to_le_bytes());
        hasher.update(self.site);
        hasher.update(event);
        hasher.finalize()
    }
}

/// The event of a row `bucket, site, stored_at, record` from a column on. A column of another kind than
/// was written is damage as well.
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
    fn any_flipped_bit_is_noticed_and_a_record_of_another_version_is_told_from_it() {
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
    fn records_of_earlier_relays_are_read_and_those_of_newer_ones_are_not_guessed_at() {
        let written = event("Used", 5).to_bytes();
        let check = |what: &str, record: &[u8], want: Option<Unreadable>| {
            assert_eq!(ROW.unseal(record).err(), want, "{what}");
        };
        check("before there were versions", &written, None);
        let other = String::from_utf8(written.clone())
            .unwrap()
            .replace("panel.", "other.");
        check(
            "of another site than its row",
            other.as_bytes(),
            Some(Unreadable::Corrupt),
        );
        check(
            "half of it",
            &written[..written.len() / 2],
            Some(Unreadable::Corrupt),
        );
        check("this version", &ROW.seal_as(1, &written), None);
        check(
            "the next version",
            &ROW.seal_as(2, b"who knows"),
            Some(Unreadable::Newer),
        );
        check(
            "this version, another event",
            &ROW.seal_as(1, b"{\"v\":2}"),
            Some(Unreadable::Newer),
        );
        check(
            "the next version, damaged",
            &ROW.seal_as(2, b"who knows")[..9],
            Some(Unreadable::Corrupt),
        );
    }
}
