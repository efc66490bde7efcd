//! Known devices: a browser that logged in once gets a signed cookie, and from then on strangers cannot lock it out
//! ("device cookies", OWASP).
//!
//! The key that signs a cookie derives from the account's password hash. So a new password invalidates the cookie,
//! the relay stores nothing, and the cookie survives a restart. The cookie is no credential: it only gives the device
//! its own budget of guesses and its own place in the queue.

use super::lock;
use crate::clock::{self, Timestamp};
use crate::digest::hmac;
use crate::hidden::hidden_debug;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// How long a device stays known after its last login. After that it is a stranger.
pub const DEVICE_AGE_MAX: Duration = Duration::from_secs(180 * 24 * 3600);
/// Longest cookie that the relay parses, in bytes: the longest name fits.
const COOKIE_BYTES_MAX: usize = 256;
/// Separates these keys from any other use of a password hash.
const PURPOSE: &[u8] = b"feedback-relay device cookie 1";

const TIME: usize = 8;
const ID: usize = 16;

type Key = [u8; 32];

/// The keys of all accounts, so that a cookie is judged before a body is read or the database is queried.
/// [`Device::is_of`] detects a key that is out of date.
#[derive(Default)]
pub(super) struct Devices(Mutex<HashMap<String, Key>>);

hidden_debug!(Devices);

/// A device that has logged in to an account before.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    name: String,
    id: [u8; ID],
    key: Key,
}

hidden_debug!(Device);

impl Device {
    /// The account that it logged in to.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its random number.
    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    /// Whether it logged in with the password that has this hash.
    pub(super) fn is_of(&self, password_hash: &str) -> bool {
        self.key == key(password_hash)
    }
}

impl Devices {
    /// Stores an account's key. There is one key per account.
    pub(super) fn learn(&self, name: &str, password_hash: &str) {
        lock(&self.0).insert(name.to_owned(), key(password_hash));
    }

    /// Issues a cookie for a device that has just logged in.
    pub(super) fn issue(&self, name: &str, password_hash: &str, now: Timestamp) -> String {
        self.learn(name, password_hash);
        let mut payload = now.0.to_be_bytes().to_vec();
        payload.extend(clock::random::<ID>());
        payload.extend(name.as_bytes());
        let signature = sign(&key(password_hash), &payload).finalize().into_bytes();
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(payload),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    /// Returns the device that received this cookie; `None` if the cookie is forged or too old.
    pub(super) fn of(&self, cookie: &str, now: Timestamp) -> Option<Device> {
        if cookie.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let (payload, signature) = cookie.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let (issued, rest) = payload.split_first_chunk::<TIME>()?;
        let (id, name) = rest.split_first_chunk::<ID>()?;
        let name = std::str::from_utf8(name).ok()?;
        let key = *lock(&self.0).get(name)?;
        sign(&key, &payload).verify_slice(&signature).ok()?;
        let issued = Timestamp(i64::from_be_bytes(*issued));
        (now.since(issued) < DEVICE_AGE_MAX).then(|| Device {
            name: name.to_owned(),
            id: *id,
            key,
        })
    }
}

fn key(password_hash: &str) -> Key {
    let mut mac = hmac(PURPOSE);
    mac.update(password_hash.as_bytes());
    mac.finalize().into_bytes().into()
}

fn sign(key: &Key, payload: &[u8]) -> Hmac<Sha256> {
    let mut mac = hmac(key);
    mac.update(payload);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA";

    #[test]
    fn a_cookie_is_good_for_its_account_and_password_alone() {
        let devices = Devices::default();
        let cookie = devices.issue("alice", HASH, NOW);
        let device = devices.of(&cookie, NOW).unwrap();
        assert_eq!((device.name(), device.is_of(HASH)), ("alice", true));
        assert!(!device.is_of("another"), "until the password changes");
        assert_ne!(
            device,
            devices.of(&devices.issue("alice", HASH, NOW), NOW).unwrap(),
            "each device is its own"
        );

        let restarted = Devices::default();
        assert_eq!(restarted.of(&cookie, NOW), None, "no account of that name");
        restarted.learn("alice", HASH);
        assert_eq!(restarted.of(&cookie, NOW), Some(device));
        restarted.learn("alice", "another");
        assert_eq!(restarted.of(&cookie, NOW), None, "the password was changed");
    }

    #[test]
    fn a_cookie_that_was_made_up_changed_or_is_old_is_no_device() {
        let devices = Devices::default();
        devices.learn("bob", "his hash");
        let cookie = devices.issue("alice", HASH, NOW);
        let (payload, signature) = cookie.split_once('.').unwrap();
        let check = |what: &str, cookie: &str, later: Duration, known: bool| {
            assert_eq!(devices.of(cookie, NOW.plus(later)).is_some(), known, "{what}");
        };
        let none = Duration::ZERO;
        check("as it was given out", &cookie, none, true);
        check(
            "for half a year",
            &cookie,
            DEVICE_AGE_MAX - Duration::from_secs(1),
            true,
        );
        check("not longer", &cookie, DEVICE_AGE_MAX, false);
        check("empty", "", none, false);
        check("no signature", payload, none, false);
        check("an empty signature", &format!("{payload}."), none, false);
        check("half a signature", &cookie[..cookie.len() - 20], none, false);
        check("long", &"A".repeat(100_000), none, false);
        let bytes = URL_SAFE_NO_PAD.decode(payload).unwrap();
        let with = |bytes: &[u8]| format!("{}.{signature}", URL_SAFE_NO_PAD.encode(bytes));
        check("the same bytes", &with(&bytes), none, true);
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            check("another byte", &with(&changed), none, false);
        }
        let of_bob = [&bytes[..TIME + ID], b"bob"].concat();
        check("another account", &with(&of_bob), none, false);
        check("no name", &with(&bytes[..TIME + ID]), none, false);
        check("no number", &with(&bytes[..TIME + 3]), none, false);
    }
}
