//! Addresses and keys of cryptocurrencies.

use super::label::Topics;
use super::scan::runs;
use super::view::View;
use super::{Found, Kind};
use std::ops::{Range, RangeInclusive};

/// Shortest and longest address, in characters.
const LENGTH: RangeInclusive<usize> = 25..=120;
/// The checksum constants of bech32 and bech32m (BIP 173, BIP 350).
const BECH32: [u32; 2] = [1, 0x2bc8_30a3];
const BECH32_ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// The human-readable parts of common addresses, to find those with a typing error as well.
const BECH32_NAMES: &[&[u8]] = &[
    b"bc", b"tb", b"bcrt", b"ltc", b"addr", b"cosmos", b"lnbc", b"nsec", b"npub",
];

/// Prefixes and lengths of addresses and keys in base58.
const BASE58: &[(&[u8], RangeInclusive<usize>)] = &[
    (b"1", 26..=35),       // Bitcoin, paid to a key
    (b"3", 26..=35),       // Bitcoin, paid to a script
    (b"4", 95..=106),      // Monero
    (b"5", 51..=51),       // Bitcoin, private key
    (b"8", 95..=95),       // Monero, subaddress
    (b"A", 34..=34),       // Dogecoin, script
    (b"D", 34..=34),       // Dogecoin
    (b"DdzFF", 100..=110), // Cardano, Byron
    (b"Ae2", 55..=62),     // Cardano, Byron
    (b"K", 52..=52),       // Bitcoin, private key
    (b"KT1", 36..=36),     // Tezos
    (b"L", 34..=34),       // Litecoin
    (b"L", 52..=52),       // Bitcoin, private key
    (b"M", 34..=34),       // Litecoin, script
    (b"T", 34..=34),       // Tron
    (b"X", 34..=34),       // Dash
    (b"m", 34..=34),       // Bitcoin, test
    (b"n", 34..=34),       // Bitcoin, test
    (b"r", 25..=35),       // Ripple
    (b"t1", 35..=35),      // Zcash
    (b"tz", 36..=36),      // Tezos
    (b"xprv", 107..=112),  // Bitcoin, extended keys
    (b"xpub", 107..=112),
    (b"ypub", 107..=112),
    (b"zpub", 107..=112),
];
/// Lengths of base58 addresses that are found only by their label: Solana, Polkadot.
const BASE58_LABELLED: RangeInclusive<usize> = 32..=48;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().longest < *LENGTH.start() || view.has().digits == 0 {
        return;
    }
    for range in runs(view.bytes(), u8::is_ascii_alphanumeric) {
        let token = view.piece(&range).as_bytes();
        if LENGTH.contains(&token.len()) && is_address(view, token, &range) {
            found.add(Kind::Wallet, range);
        }
    }
}

fn is_address(view: &View<'_>, token: &[u8], range: &Range<usize>) -> bool {
    is_ethereum(token) || is_bech32(token) || is_base58(token) || is_base32(token) || {
        is_mixed_base58(token)
            && BASE58_LABELLED.contains(&token.len())
            && view.labelled(range, Topics::WALLET)
    }
}

/// `0x` and the last twenty bytes of a key's hash (EIP-55), or the key itself.
fn is_ethereum(token: &[u8]) -> bool {
    matches!(token, [b'0', b'x' | b'X', hex @ ..] if matches!(hex.len(), 40 | 64)
        && hex.iter().all(u8::is_ascii_hexdigit))
}

/// Stellar's addresses and secrets: base32, always 56 characters.
fn is_base32(token: &[u8]) -> bool {
    token.len() == 56
        && matches!(token, [b'G' | b'S', ..])
        && token.iter().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
        && token.iter().filter(|b| b.is_ascii_digit()).count() > 2
}

fn is_base58(token: &[u8]) -> bool {
    let known = |(head, lengths): &(&[u8], RangeInclusive<usize>)| {
        token.starts_with(head) && lengths.contains(&token.len())
    };
    BASE58.iter().any(known) && is_mixed_base58(token)
}

/// Whether a token is in the base58 alphabet and is not a word: it has both cases and digits.
fn is_mixed_base58(token: &[u8]) -> bool {
    let mut digits = 0;
    let (mut upper, mut lower) = (false, false);
    for b in token {
        match b {
            b'0' | b'O' | b'I' | b'l' => return false,
            b'1'..=b'9' => digits += 1,
            b'A'..=b'Z' => upper = true,
            b'a'..=b'z' => lower = true,
            _ => return false,
        }
    }
    upper && lower && digits >= 2
}

/// A name, a `1`, and data with a checksum, all in one case.
fn is_bech32(token: &[u8]) -> bool {
    let one_case = !token.iter().any(u8::is_ascii_uppercase) || !token.iter().any(u8::is_ascii_lowercase);
    let Some(separator) = token
        .iter()
        .rposition(|b| *b == b'1')
        .filter(|at| *at > 0 && one_case)
    else {
        return false;
    };
    let (name, data) = token.split_at(separator);
    let data = data.get(1..).unwrap_or_default();
    let value = |b: &u8| {
        let at = BECH32_ALPHABET.iter().position(|c| *c == b.to_ascii_lowercase());
        at.and_then(|at| u32::try_from(at).ok())
    };
    if data.len() < 20 || !data.iter().all(|b| value(b).is_some()) {
        return false;
    }
    let lower = |b: &u8| u32::from(b.to_ascii_lowercase());
    let expanded = name
        .iter()
        .map(|b| lower(b) >> 5)
        .chain(std::iter::once(0))
        .chain(name.iter().map(|b| lower(b) & 31))
        .chain(data.iter().filter_map(value));
    BECH32.contains(&polymod(expanded)) || BECH32_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The checksum of BIP 173.
fn polymod(values: impl Iterator<Item = u32>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum: u32, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ value;
        let taps = GENERATOR
            .iter()
            .enumerate()
            .filter(|(bit, _)| top >> bit & 1 == 1);
        taps.fold(next, |sum, (_, tap)| sum ^ tap)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn wallets_are_found_and_their_likes_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        let one = |token: &str| check(&format!("to {token}, please"), &[token]);
        one("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa");
        one("3P14159f73E4gFr7JterCCQh9QjiTjiZrG");
        one("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
        one("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4");
        one("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0");
        one("split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w");
        one("0x52908400098527886E0F7030069857D2E4169EE7");
        one("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh");
        one("TJRabPrwbZy45sbavfcjinPJC18kjpRTv8");
        one("GBRPYHIL2CI3FNQ4BXLFMNDLFJUNPU2HY3ZMFSHONUCEOASW7QC7OX2H");
        // With a typing error.
        one("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5");
        check(
            "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3x",
            &[],
        );
        // Words, hashes, other lengths.
        check(
            "LandingZoneSubscriptionOwnerRoleXY and 1BuiLdingBuiLdingBuiLding",
            &[],
        );
        check(
            "1A1zP1eP5QGefi2DMPTfTL5S 0x52908400098527886E0F7030069857D2E4169EE",
            &[],
        );
        check("https://panel.example/building-blocks/1/definitions", &[]);
        // Only with a label.
        check("7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV2", &[]);
        check(
            "solana wallet 7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV2",
            &["7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV2"],
        );
    }
}
