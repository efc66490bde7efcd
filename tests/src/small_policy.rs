//! A policy of a few instructions, for tests that start a relay repeatedly.
//!
//! A start spends most of its time compiling the policy, with a compiler that is itself unoptimised in tests. This
//! policy returns name and properties unchanged and the page `/other`: the guard allows exactly that for the numbered
//! events of the tests' plan. The policy refuses events with other properties.

const SKELETON: &str = include_str!("../hostile/skeleton.wat");

/// The answer is at 64: tag, name, page, referrer, properties. Data from the host is at 4096 and above, and is
/// discarded after each event.
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
    {before}
    ;; The first property's key lies at its beginning.
    (if (local.get $props_len) (then
      (if (i32.or
            (i32.ne (i32.load offset=4 (local.get $props)) (i32.const 1))
            (i32.ne (i32.load8_u (i32.load (local.get $props))) (i32.const 0x6e)))
        (then
          (i32.store (i32.const 64) (i32.const 1))
          (i32.store (i32.const 68) (i32.const 1))
          (return (i32.const 64))))))
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

/// Loops for a URL that ends with `slow`, with an instruction that costs little fuel and much time.
const SLOW: &str = "
    (if (i32.ge_u (local.get $url_len) (i32.const 4)) (then
      (if (i32.eq (i32.const 0x776f6c73)
            (i32.load (i32.sub (i32.add (local.get $url) (local.get $url_len)) (i32.const 4))))
        (then (loop (drop (memory.grow (i32.const 0))) (br 0))))))";

/// The component.
pub(crate) fn wasm() -> Vec<u8> {
    with("")
}

/// A component that uses all of its time for a URL that ends with `slow`.
pub(crate) fn slow_wasm() -> Vec<u8> {
    with(SLOW)
}

fn with(before: &str) -> Vec<u8> {
    let module = MODULE.replace("{before}", before);
    let text = SKELETON.replace("{module}", &module).replace("{beside}", "");
    wat::parse_str(text).unwrap()
}
