//! Files made by `cargo xtask bundle` and built into the binary: the browser's, the pages, the policy.

use crate::http::problem::Problem;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

/// What `cargo xtask bundle` made. A debug build reads the folder at its first use, a release build carries it inside. The folder may be missing, so that `cargo check` needs nothing but Rust.
#[derive(RustEmbed)]
#[folder = "bundle/"]
#[allow_missing = true]
struct Bundle;

/// What our pages may do: nothing from elsewhere, no inline code, no strings made into code.
pub const PAGE_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";

/// The default policy component.
pub fn default_policy() -> Option<Cow<'static, [u8]>> {
    Bundle::get("policy.wasm").map(|file| file.data)
}

/// The loader and the module. Pages of any origin may load them: they hold nothing secret.
pub(super) async fn browser(uri: Uri, headers: HeaderMap) -> Response {
    let name = uri.path().rsplit('/').next().unwrap_or("");
    let mut response = file("browser", name, &headers);
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response.headers_mut().insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("cross-origin"),
    );
    response
}

/// The admin page.
pub(super) async fn admin(uri: Uri, headers: HeaderMap) -> Response {
    page("admin", &uri, &headers)
}

/// A page's files below one folder of the bundle; `/` is its `index.html`.
pub fn page(folder: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    let name = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        name => name,
    };
    file(folder, name, headers)
}

fn file(folder: &str, name: &str, request: &HeaderMap) -> Response {
    let asset = |name: &str| ASSETS.get(&format!("{folder}/{name}"));
    match asset(name) {
        Some(found) => found.answer(request),
        None if asset("index.html").is_none() && folder != "browser" => Problem::new(
            StatusCode::NOT_FOUND,
            "not_built",
            "Not built in",
            "This binary was built without its pages. Run `cargo xtask bundle` and build again.",
        )
        .into_response(),
        None => Problem::not_found().into_response(),
    }
}

/// Every file of a folder by its path, made once. All answers share its bytes: a thousand of them that are not read take no more
/// memory than one.
static ASSETS: LazyLock<HashMap<String, Asset>> = LazyLock::new(|| {
    Bundle::iter()
        .filter(|path| path.contains('/'))
        .filter_map(|path| Some((path.to_string(), Asset::new(&path)?)))
        .collect()
});

/// A file and all that its answers carry.
struct Asset {
    plain: Bytes,
    /// The same, as `cargo xtask bundle` compressed it.
    brotli: Option<Bytes>,
    etag: HeaderValue,
    media_type: HeaderValue,
}

impl Asset {
    fn new(path: &str) -> Option<Self> {
        let file = Bundle::get(path)?;
        let mut etag = String::with_capacity(34);
        etag.push('"');
        for byte in &file.metadata.sha256_hash()[..16] {
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        let media_type = match file.metadata.mimetype() {
            text @ ("text/html" | "text/css" | "text/javascript") => format!("{text}; charset=utf-8"),
            other => other.to_owned(),
        };
        Some(Self {
            plain: shared(file.data),
            brotli: Bundle::get(&format!("{path}.br")).map(|file| shared(file.data)),
            etag: etag.parse().ok()?,
            media_type: media_type.parse().ok()?,
        })
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let common = [
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        let unchanged = request
            .get(header::IF_NONE_MATCH)
            .is_some_and(|v| v.as_bytes() == self.etag.as_bytes());
        if unchanged {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let page = [
            (header::CONTENT_TYPE, self.media_type.clone()),
            (
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(PAGE_POLICY),
            ),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        match self.brotli.as_ref().filter(|_| takes_brotli(request)) {
            Some(brotli) => {
                let coding = [(header::CONTENT_ENCODING, "br")];
                (common, page, coding, brotli.clone()).into_response()
            }
            None => (common, page, self.plain.clone()).into_response(),
        }
    }
}

/// A file's bytes without a copy: those in the binary, or in a debug build those that were read.
fn shared(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    }
}

/// Whether the browser takes Brotli.
fn takes_brotli(request: &HeaderMap) -> bool {
    let accepted = request
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    accepted.split(',').any(|coding| coding.trim() == "br")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn all_answers_share_the_bytes_of_a_file() {
        let Some(path) = ASSETS.keys().find(|path| path.starts_with("browser/")) else {
            return; // Built without `cargo xtask bundle`.
        };
        for accepted in ["", "br"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            let bytes = async || {
                let answer = file("browser", &path["browser/".len()..], &headers);
                answer.into_body().collect().await.unwrap().to_bytes()
            };
            let [one, other] = [bytes().await, bytes().await];
            assert!(
                !one.is_empty() && one.as_ptr() == other.as_ptr(),
                "{path} {accepted}"
            );
        }
        for name in [
            "../policy.wasm",
            "..",
            "",
            "/etc/passwd",
            "client.js/../client.js",
        ] {
            assert_eq!(
                file("browser", name, &HeaderMap::new()).status(),
                StatusCode::NOT_FOUND,
                "{name}"
            );
        }
    }
}
