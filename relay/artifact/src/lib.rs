//! Compiled policies, sealed by the process that compiled them.
//!
//! wasmtime loads native code through an `unsafe` function, because it runs whatever bytes it is given. This
//! crate wraps that one call. [`compile`] seals its output with a keyed hash, and [`open`] loads only bytes whose
//! seal it can verify, so the bytes may come from a pipe, a file or anywhere else: a torn, damaged or foreign
//! artifact is an error, and the caller compiles again. `docs/adr/0018` says why the relay compiles this way.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::hash::{DefaultHasher, Hash, Hasher};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Length of a [`Key`] in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of the seal in front of the native code, in bytes.
const SEAL_BYTES: usize = 32;
/// Distinguishes these seals from anything else that a key might sign. Change it with the layout.
const PURPOSE: &[u8] = b"feedback-relay compiled policy 1";

/// Proves that an artifact was made by a process that held the key: the relay or its compiler.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// Uses these bytes. They must be random, and known only to processes of the same owner.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to store them in a private file or to pass them to the compiler.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// Why an artifact was not loaded. In every case the remedy is to compile the component again.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bytes are truncated, damaged, sealed with another key, or belong to another component, another
    /// version of wasmtime or another engine configuration.
    #[error(
        "its seal does not match: it is damaged, or it was made for another component or by another version"
    )]
    Seal,
    /// wasmtime rejects the artifact, for example because it was compiled for features that this processor lacks.
    #[error("wasmtime cannot load it: {0:#}")]
    Engine(wasmtime::Error),
}

/// Compiles a component and seals the native code for [`open`].
///
/// Takes as much time and memory as the component demands. Call it only in a process with limits on both.
///
/// # Errors
/// Those of [`Engine::precompile_component`]: the bytes are not a valid component.
pub fn compile(engine: &Engine, wasm: &[u8], key: &Key) -> wasmtime::Result<Vec<u8>> {
    let native = engine.precompile_component(wasm)?;
    let seal = seal(engine, wasm, key, &native).finalize().into_bytes();
    Ok([seal.as_slice(), &native].concat())
}

/// Loads the output of [`compile`] for this component, this key and an equal engine.
///
/// # Errors
/// [`OpenError::Seal`] for any other bytes.
#[expect(unsafe_code, reason = "loading native code is what this crate exists for")]
pub fn open(engine: &Engine, wasm: &[u8], key: &Key, artifact: &[u8]) -> Result<Component, OpenError> {
    let (claimed, native) = artifact.split_at_checked(SEAL_BYTES).ok_or(OpenError::Seal)?;
    // Compares in constant time.
    seal(engine, wasm, key, native)
        .verify_slice(claimed)
        .map_err(|_| OpenError::Seal)?;
    // SAFETY: `Component::deserialize` requires that the bytes were produced by `Engine::precompile_component` and
    // not modified since. The seal is an HMAC-SHA256 over all of them, and only `compile` makes one, of the bytes
    // that `precompile_component` has just returned. So bytes with a valid seal are unmodified output of
    // `precompile_component`, unless another user knows the key, which is random, in memory or in a file that
    // only the owner of this process can read; who can read it can also replace this program. The seal covers
    // wasmtime's exact version and the engine's settings as well, so that a fix in the compiler is not
    // undone by an artifact from before it. The bytes are in our own memory, and no one writes to them between
    // the verification and the call, which copies them.
    unsafe { Component::deserialize(engine, native) }.map_err(OpenError::Engine)
}

/// The seal of native code made from this component by this engine's compiler.
fn seal(engine: &Engine, wasm: &[u8], key: &Key, native: &[u8]) -> Hmac<Sha256> {
    let mut compatibility = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    // HMAC pads a key with zeros to a block of the hash.
    let mut block = [0; 64];
    block[..KEY_BYTES].copy_from_slice(&key.0);
    // Parts of a fixed length, so that no two inputs run together as the same bytes.
    Hmac::<Sha256>::new(&block.into())
        .chain_update(PURPOSE)
        .chain_update(compatibility.finish().to_be_bytes())
        .chain_update(Sha256::digest(wasm))
        .chain_update(native)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::Config;

    const KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];

    fn engine(fuel: bool) -> Engine {
        let mut config = Config::new();
        config.wasm_component_model(true).consume_fuel(fuel);
        Engine::new(&config).unwrap()
    }

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn only_an_unmodified_artifact_of_the_same_component_key_and_engine_is_loaded() {
        let engine = engine(true);
        let wasm = component("(component (core module (func (export \"f\"))))");
        let key = Key::new(KEY);
        let good = compile(&engine, &wasm, &key).unwrap();
        assert!(open(&engine, &wasm, &key, &good).is_ok());

        let check = |what: &str, engine: &Engine, wasm: &[u8], key: &Key, artifact: &[u8]| {
            let refused = open(engine, wasm, key, artifact).err();
            assert!(matches!(refused, Some(OpenError::Seal)), "{what}: {refused:?}");
        };
        let other = component("(component)");
        check("another component", &engine, &other, &key, &good);
        check("another key", &engine, &wasm, &Key::new([8; KEY_BYTES]), &good);
        check("other settings", &self::engine(false), &wasm, &key, &good);
        for length in [0, 1, SEAL_BYTES - 1, SEAL_BYTES, good.len() / 2, good.len() - 1] {
            check("a torn file", &engine, &wasm, &key, &good[..length]);
        }
        check("a longer file", &engine, &wasm, &key, &[&good[..], &[0]].concat());
        for at in (0..good.len()).step_by(97).chain([good.len() - 1]) {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            check("a flipped bit", &engine, &wasm, &key, &damaged);
        }
        check("zeros", &engine, &wasm, &key, &vec![0; good.len()]);
        let bare = &good[SEAL_BYTES..];
        check(
            "wasmtime's own artifact, without a seal",
            &engine,
            &wasm,
            &key,
            bare,
        );
    }

    #[test]
    fn what_is_not_a_component_is_not_compiled() {
        for wasm in [&b"junk"[..], &component("(module)")] {
            assert!(compile(&engine(true), wasm, &Key::new(KEY)).is_err());
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key::new(KEY)), "Key(hidden)");
    }
}
