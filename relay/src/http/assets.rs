//! Files made by `cargo xtask bundle` and built into the binary: the browser's, the pages, the policy.

use crate::http::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::borrow::Cow;
use std::fmt::Write;

/// What `cargo xtask bundle` made. A debug build reads the folder at run time, a release build
/// carries it inside. The folder may be missing, so that `cargo check` needs nothing but Rust.
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
    // Names are looked up in a list; nothing outside the bundle can be named, but be plain about it.
    if name.contains("..") || name.contains('\\') {
        return Problem::not_found().into_response();
    }
    let path = format!("{folder}/{name}");
    match Bundle::get(&path) {
        Some(file) => found(
            file,
            Bundle::get(&format!("{path}.br")).filter(|_| takes_brotli(request)),
            request,
        ),
        None if Bundle::get(&format!("{folder}/index.html")).is_none() && folder != "browser" => {
            Problem::new(
                StatusCode::NOT_FOUND,
                "not_built",
                "Not built in",
                "This binary was built without its pages. Run `cargo xtask bundle` and build again.",
            )
            .into_response()
        }
        None => Problem::not_found().into_response(),
    }
}

/// Whether the browser takes Brotli. What `cargo xtask bundle` compressed is then sent as it is.
fn takes_brotli(request: &HeaderMap) -> bool {
    let accepted = request
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    accepted.split(',').any(|coding| coding.trim() == "br")
}

fn found(file: EmbeddedFile, compressed: Option<EmbeddedFile>, request: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let mut etag = String::with_capacity(34);
    etag.push('"');
    for byte in &hash[..16] {
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    let unchanged = request
        .get(header::IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let common = [
        (header::ETAG, etag),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    if unchanged {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let media_type = file.metadata.mimetype().to_owned();
    let media_type = match media_type.as_str() {
        "text/html" | "text/css" | "text/javascript" => format!("{media_type}; charset=utf-8"),
        _ => media_type,
    };
    let policy = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY.to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    let vary = [(header::VARY, "accept-encoding")];
    match compressed {
        Some(compressed) => {
            let coding = [(header::CONTENT_ENCODING, "br")];
            (common, policy, vary, coding, compressed.data.into_owned()).into_response()
        }
        None => (common, policy, vary, file.data.into_owned()).into_response(),
    }
}
