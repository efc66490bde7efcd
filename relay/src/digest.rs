//! Digests that identify files and policies, and keyed hashes.

use hmac::{Hmac, KeyInit};
use sha2::{Digest, Sha256};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The SHA-256 of these bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// An HMAC-SHA-256 under this key.
pub fn hmac(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    Hmac::new_from_slice(key).expect("any key length is fine")
}

/// The cell of a key among `cells`. It cannot be predicted without the seed.
pub fn cell_of(seed: [u8; 16], key: &(impl Hash + ?Sized), cells: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (seed, key).hash(&mut hasher);
    usize::try_from(hasher.finish() % cells as u64).unwrap_or(0)
}
