//! This file knows how the page `/dashboard` is served: one file, and a policy under which a browser runs nothing else.

use std::sync::LazyLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The URL.
pub const DASHBOARD: &str = "/dashboard";
/// The page, its style and its script included.
const PAGE: &str = include_str!("dashboard.html");

/// What a browser may do with the page (Content Security Policy, level 3): run the one script and apply the one style
/// that are in it, and ask the node that served it.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        source_hash(PAGE, "script"),
        source_hash(PAGE, "style")
    )
});

/// `GET /dashboard`.
pub async fn dashboard() -> impl IntoResponse {
    let head: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, &POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // The page belongs to the node's version.
        (CACHE_CONTROL, "no-cache"),
    ];
    (head, PAGE)
}

/// Names the text of an element as a policy does.
fn source_hash(page: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let after = page.split_once(open.as_str()).map_or("", |(_, after)| after);
    let text = after.split_once(close.as_str()).map_or("", |(text, _)| text);
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_names_nothing_elsewhere() {
        assert!(PAGE.len() < 60_000, "{} bytes", PAGE.len());
        for foreign in [
            "http://",
            "https://",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "insertAdjacent",
            "document.write",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        // Neither is allowed by the policy, so neither may be wanted.
        for inline in [" style=\"", " onclick=", " onload=", "javascript:", "eval("] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_by_their_hashes() {
        // `printf "alert('Hello, world.');" | openssl dgst -sha256 -binary | base64`, from the policy's specification.
        let hash = "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=";
        assert_eq!(
            source_hash("<p><script>alert('Hello, world.');</script>", "script"),
            hash
        );
        assert!(POLICY.starts_with("default-src 'none';"), "{}", *POLICY);
        let nothing = source_hash("", "script");
        assert!(!POLICY.contains(&nothing), "both elements are found");
    }
}
