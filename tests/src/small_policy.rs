//! A policy of a few instructions, for tests that start a relay again and again.
//!
//! Most of a start is compiling the policy, which is optimised by a compiler that is not. This one gives
//! name and properties as they came and the page `/other`: as much as the guard lets pass for the numbered
//! events of the tests' plan.

const SKELETON: &str = include_str!("../hostile/skeleton.wat");

/// The answer lies at 64: tag, name, page, referrer, properties. What the host writes lies from 4096 on,
/// and is forgotten after each event.
const MODULE: &str = r#"(core module $m
  (memory (export "memory") 16)
  (data (i32.const 16) "/other")
  (global $next (mut i32) (i32.const 4096))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "configure") (param i32 i32) (result i32)
    (global.set $next (i32.const 4096))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.const 64))
  (func (export "scrub")
    (param $name i32) (param $name_len i32) (param $url i32) (param $url_len i32)
    (param i32 i32 i32) (param $props i32) (param $props_len i32) (result i32)
    (i32.store (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (local.get $name))
    (i32.store (i32.const 72) (local.get $name_len))
    (i32.store (i32.const 76) (i32.const 16))
    (i32.store (i32.const 80) (i32.const 6))
    (i32.store (i32.const 84) (i32.const 0))
    (i32.store (i32.const 96) (local.get $props))
    (i32.store (i32.const 100) (local.get $props_len))
    (i32.const 64))
  (func (export "post") (param i32) (global.set $next (i32.const 4096))))"#;

/// The component.
pub(crate) fn wasm() -> Vec<u8> {
    let text = SKELETON.replace("{module}", MODULE).replace("{beside}", "");
    wat::parse_str(text).unwrap()
}
