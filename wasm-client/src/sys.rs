//! The only file that imports from the page: the functions of `js/page.js`.

use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

#[wasm_bindgen(module = "/js/page.js")]
extern "C" {
    /// Starts listening and returns the loader's handle. `exports` are this module's own functions; of the loader's
    /// options, `ended` is called when the module has switched itself off, and `token` is the page token that came with
    /// the configuration.
    pub(crate) fn attach(exports: JsValue, endpoint: &str, site: &str, options: JsValue) -> JsValue;
    /// Stops listening, for good.
    pub(crate) fn detach();
    /// The page's referrer, empty if unknown.
    pub(crate) fn referrer() -> String;
    /// 32 lower-case hexadecimal digits from the browser's secure random source.
    pub(crate) fn random_id() -> String;
    /// Calls `wake` after this many milliseconds, replacing an earlier timer.
    pub(crate) fn wake_in(ms: u32);
    /// The browser's random value of this UTC day and, in its first hour, after a space, that of the previous day.
    pub(crate) fn visitor() -> String;
    /// Milliseconds on a monotonic clock, which wraps after 49 days.
    pub(crate) fn now() -> u32;
    /// POSTs a body and calls `answer`. `parting`: the page may never run again.
    pub(crate) fn send(flight: u32, body: &str, parting: bool);
}
