//! The sandbox against the policy shipped and against hostile ones, written as text components.
//!
//! What a hostile policy puts into its output is the guard's business and tested end to end.

use super::*;
use crate::config;
use relay_event::event::{Prop, Value};
use relay_event::scrub;

fn plan() -> Plan {
    config::default_plan().unwrap()
}

fn limits() -> PolicyConfig {
    PolicyConfig { fuel: 2_000_000, memory_bytes_max: 4 * 1024 * 1024, ..PolicyConfig::default() }
}

fn event() -> Visible {
    let prop = |key: &str, value| Prop { key: key.into(), value };
    Visible {
        name: "Activity Rated".into(),
        url: "https://panel.example.com/#/w/acme-prod/p/billing-7/tenants".into(),
        referrer: Some("https://search.example.org/?q=jane".into()),
        props: vec![
            prop("activity", Value::Text("project-created".into())),
            prop("user", Value::Text("jane@example.com".into())),
            prop("rating", Value::Integer(5)),
        ],
    }
}

/// A component of the policy world whose two functions have these bodies, in WebAssembly text.
fn hostile(configure: &str, scrub: &str, extra: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
          (core module $m
            (memory (export "memory") 1)
            (global $heap (mut i32) (i32.const 4096))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
              (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
              (global.set $heap (i32.add (local.get $at) (local.get 3)))
              (local.get $at))
            (func $configure (export "configure") (param i32 i32) (result i32) {configure})
            (func $scrub (export "scrub") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {scrub})
            {extra})
          (core instance $i (instantiate $m))
          (type $value' (variant (case "text" string) (case "integer" s64) (case "decimal" f64) (case "boolean" bool)))
          (type $refusal' (enum "missing-prop" "unsafe" "unwanted"))
          (component $shim
            (import "value" (type $value (eq $v0)))
          )
        )"#
    ).replace("(component $shim\n            (import \"value\" (type $value (eq $v0)))\n          )", ""))
    .unwrap()
}

#[test]
fn placeholder() {
    let _ = (plan(), limits(), event(), hostile as fn(&str, &str, &str) -> Vec<u8>, scrub::page);
}
