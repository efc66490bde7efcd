//! Serves the files of the [`bundle`](crate::bundle): the browser's and those of the pages.

use crate::bundle::Bundle;
use crate::http::problem::{Kind, Problem, unless_known};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

/// The content security policy of our pages: only their own origin, no inline code, no `eval`.
pub const PAGE_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";

/// The loader and the module. Pages of any origin may load them: they contain no secrets.
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

/// The files of a page below one folder of the bundle; `/` is its `index.html`.
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
            Kind::NOT_BUILT,
            "This binary was built without its pages. Run `cargo xtask bundle` and build again.",
        )
        .into_response(),
        None => Problem::not_found().into_response(),
    }
}

/// Every file of a folder by its path, built once. All responses share its bytes: a thousand unread responses use no
/// more memory than one.
static ASSETS: LazyLock<HashMap<String, Asset>> = LazyLock::new(|| {
    Bundle::iter()
        .filter(|path| path.contains('/'))
        .filter_map(|path| Some((path.to_string(), Asset::new(&path)?)))
        .collect()
});

/// A file and the headers of its responses.
struct Asset {
    plain: Bytes,
    /// The file compressed with Brotli by `cargo xtask bundle`.
    brotli: Option<Bytes>,
    etag: String,
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
            etag,
            media_type: media_type.parse().ok()?,
        })
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let answer = unless_known(request, &self.etag, || self.whole(request));
        ([(header::CACHE_CONTROL, "no-cache")], answer).into_response()
    }

    fn whole(&self, request: &HeaderMap) -> Response {
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
                (page, coding, brotli.clone()).into_response()
            }
            None => (page, self.plain.clone()).into_response(),
        }
    }
}

/// A file's bytes without a copy: from the binary, or in a debug build from disk.
fn shared(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    }
}

/// Whether the browser accepts Brotli.
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
            assert_eq!(file("browser", name, &HeaderMap::new()).status(), 404, "{name}");
        }
    }
}
