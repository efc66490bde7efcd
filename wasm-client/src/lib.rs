//! The module's interface for the page. No error in here reaches the page, and a panic only switches the module off (in
//! `js/page.js`).
//! The path of an event: page → `client` → `delivery` with its `queue` → `session` → page.

mod address;
mod client;
mod delivery;
mod engagement;
mod json;
mod queue;
mod session;
mod sys;

use client::{Change, Client, Consent, View};
use delivery::Answer;
use session::{ask, part, run};
use sys::random_id;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// Starts collecting for a user who has opted in to `categories` (separated by commas), and returns the page's handle
/// with `track`, `rate` and `stop`. For `exports` and `options` see `sys::attach`.
#[wasm_bindgen]
pub fn start(
    exports: JsValue,
    endpoint: &str,
    site: &str,
    plan: u32,
    categories: &str,
    options: JsValue,
) -> JsValue {
    let consent = Consent::new(site, plan, categories);
    session::begin(Client::new(consent, &sys::referrer()));
    sys::attach(exports, endpoint, site, options)
}

/// The page is shown for the first time, or again from the back-forward cache.
#[wasm_bindgen]
pub fn open(now_ms: u32, url: &str, visible: bool, focused: bool) {
    run(|client| client.open(View::new(now_ms, url, visible, focused), &mut random_id));
}

/// The address may have changed; `replaced` means that the previous one is no longer in the history, `unasked` that the
/// user has not interacted with this page yet.
#[wasm_bindgen]
pub fn navigate(now_ms: u32, url: &str, visible: bool, focused: bool, replaced: bool, unasked: bool) {
    let view = View::new(now_ms, url, visible, focused);
    run(|client| client.navigate(view, Change::new(replaced, unasked), &mut random_id));
}

/// The page was shown or hidden, or gained or lost focus. A hidden page may never run again.
#[wasm_bindgen]
pub fn attend(now_ms: u32, url: &str, visible: bool, focused: bool) {
    run(|client| client.attend(View::new(now_ms, url, visible, focused), &mut random_id));
    if !visible {
        part();
    }
}

/// The visible lower edge of the scrolled element, and its height, in CSS pixels; `elsewhere` means that it is a
/// different element than before.
#[wasm_bindgen]
pub fn scroll(bottom: u32, height: u32, elsewhere: bool) {
    ask(|client| client.scroll(bottom, height, elsewhere));
}

/// Reports a user action; see `Client::track` for the format of `props`.
#[wasm_bindgen]
pub fn track(name: &str, props: &str) {
    run(|client| client.track(name, props, &mut random_id));
}

/// The user rates an activity.
#[wasm_bindgen]
pub fn rate(activity: &str, rating: f64) {
    run(|client| client.rate(activity, rating, &mut random_id));
}

/// The timer has fired.
#[wasm_bindgen]
pub fn wake() {
    let values = sys::visitor();
    run(|client| {
        client.visitor(&values);
        client.wake()
    });
}

/// The browser is online again.
#[wasm_bindgen]
pub fn online() {
    run(Client::online);
}

/// A request has ended. `status` is 0 if there was no answer or one that is not the relay's, and `delivery::RENEWED` if
/// its page token was refused and there is a new one; `retry_after_s` is negative without a Retry-After.
#[wasm_bindgen]
pub fn answer(flight: u32, status: u16, retry_after_s: i32, random: u32) {
    run(|client| client.answer(Answer::new(flight, status, retry_after_s, random)));
}

/// The user opted out, or the page is finished: discards everything.
#[wasm_bindgen]
pub fn stop() {
    session::end();
}

/// The number of events refused or lost since the start.
#[wasm_bindgen]
pub fn dropped() -> u32 {
    ask(|client| client.dropped())
}
