//! A guest as text: a component whose core module is written by hand.

use super::super::{load, plan};
use crate::config::SitePlan;
use crate::policy::sandbox::{LoadError, Sandbox};

const SKELETON: &str = include_str!("../../../../../../tests/hostile/skeleton.wat");

/// The parts of a core module that answers each event with its name and the page `/other`.
pub(super) struct Guest {
    /// The memory, and any other definitions that precede the functions.
    pub(super) memory: &'static str,
    /// Further definitions.
    pub(super) extra: &'static str,
    /// Runs first in `configure` and `realloc`.
    pub(super) configure: &'static str,
    pub(super) realloc: &'static str,
    /// Runs in `scrub` before and after it writes its answer.
    pub(super) before: &'static str,
    pub(super) after: &'static str,
    /// Called once the host has read the answer.
    pub(super) post: &'static str,
    /// Other parts of the component.
    pub(super) beside: &'static str,
    /// Whether the module gets `$new` and `$drop` of a resource.
    pub(super) has_resource: bool,
}

pub(super) const TAME: Guest = Guest {
    memory: r#"(memory (export "memory") 1)"#,
    extra: "",
    configure: "",
    realloc: "",
    before: "",
    after: "",
    post: "",
    beside: "",
    has_resource: false,
};

impl Guest {
    pub(super) fn wat(&self) -> String {
        let Self {
            memory,
            extra,
            configure,
            realloc,
            before,
            after,
            post,
            beside,
            has_resource,
        } = self;
        let [imports, resource, given] = match has_resource {
            true => [
                r#"(import "r" "new" (func $new (param i32) (result i32)))
                   (import "r" "drop" (func $drop (param i32)))"#,
                "(type $r (resource (rep i32)))
                 (core func $new (canon resource.new $r))
                 (core func $drop (canon resource.drop $r))",
                r#"(instantiate $m (with "r" (instance (export "new" (func $new)) (export "drop" (func $drop)))))"#,
            ],
            false => ["", "", "(instantiate $m)"],
        };
        // The answer is at address 64: tag, name, url, referrer, properties. The heap starts at 4096, with the plan
        // at its beginning.
        let module = format!(
            r#"{resource}
(core module $m
  {imports}
  {memory}
  (data (i32.const 16) "/other")
  (data (i32.const 32) "\ff\fe\ed\a0\80\c0\af")
  (global $next (mut i32) (i32.const 4096))
  (global $kept (mut i32) (i32.const 4096))
  {extra}
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    {realloc}
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "configure") (param i32 i32) (result i32)
    {configure}
    (global.set $kept (global.get $next))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.const 64))
  (func (export "scrub")
    (param $name i32) (param $name_len i32) (param $url i32) (param $url_len i32)
    (param i32 i32 i32) (param $props i32) (param $props_len i32) (result i32)
    {before}
    (global.set $next (global.get $kept))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (local.get $name))
    (i32.store (i32.const 72) (local.get $name_len))
    (i32.store (i32.const 76) (i32.const 16))
    (i32.store (i32.const 80) (i32.const 6))
    (i32.store (i32.const 84) (i32.const 0))
    (i32.store (i32.const 96) (i32.const 0))
    (i32.store (i32.const 100) (i32.const 0))
    {after}
    (i32.const 64))
  (func (export "post") (param i32) {post}))"#
        );
        let text = SKELETON.replace("(instantiate $m)", given);
        text.replace("{module}", &module).replace("{beside}", beside)
    }

    pub(super) fn load(&self) -> Result<(Sandbox, SitePlan), LoadError> {
        let plan = plan("is honest");
        let wasm = wat::parse_str(self.wat()).unwrap_or_else(|error| panic!("{error}"));
        load(&wasm, &plan).map(|sandbox| (sandbox, plan))
    }
}
