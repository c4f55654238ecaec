//! A browser that looks at pages: Chromium, headless, from Debian's package.

use std::path::Path;
use std::process::{Command, Stdio};

use ultramarine_runtime::skip;

/// A browser, if there is one.
///
/// # Panics
/// If there is none and `ULTRAMARINE_REQUIRE_CHROMIUM` is 1.
pub fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.into_iter().find(|name| {
        let asked = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        let is_required = std::env::var_os("ULTRAMARINE_REQUIRE_CHROMIUM").is_some_and(|value| value == "1");
        assert!(
            !is_required,
            "ULTRAMARINE_REQUIRE_CHROMIUM is 1, and there is no Chromium"
        );
        skip::say("the page in a browser: there is no Chromium (Debian's package `chromium`)");
    }
    found
}

/// What a page became after some seconds, and what the browser complained of.
pub fn browse(browser: &str, folder: &Path, url: &str, width: u32, more: &[&str]) -> (String, String) {
    let output = Command::new("timeout")
        .args([
            "60",
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .args(["--enable-logging=stderr", "--virtual-time-budget=6000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--window-size={width},2400"))
        .args(more)
        .arg(url)
        .output()
        .expect("coreutils has `timeout`");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}
