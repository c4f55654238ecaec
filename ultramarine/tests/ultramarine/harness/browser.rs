//! A browser that looks at pages while they live: Chromium, headless, from Debian's package.
//!
//! It is told what to do by the Chrome DevTools Protocol, over two pipes: JSON objects, each with a zero byte behind
//! it.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ultramarine_runtime::skip;

use super::Process;

/// How long the browser may take for an answer, its start included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end.
const END: Duration = Duration::from_secs(5);
/// How high a page's window is.
const HEIGHT: u32 = 2400;

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

/// A browser that runs, until it is dropped.
#[derive(Debug)]
pub struct Browser {
    process: RefCell<Process>,
    commands: RefCell<ChildStdin>,
    answers: Receiver<Value>,
    asked: Cell<u64>,
    log: PathBuf,
}

impl Browser {
    /// Starts it with a profile of its own in this folder.
    pub fn start(program: &str, folder: &Path) -> Self {
        let log = folder.join("browser.log");
        // It reads commands from descriptor 3, and answers by descriptor 4.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh", program])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--enable-logging=stderr", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("the folder is writable"));
        let mut child = command.spawn().expect("there is a shell");
        let commands = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let (answered, answers) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while let Ok(1..) = output.read_until(0, &mut bytes) {
                let said: Value = serde_json::from_slice(&bytes[..bytes.len() - 1]).unwrap_or_default();
                if answered.send(said).is_err() {
                    break;
                }
                bytes.clear();
            }
        });
        Self {
            process: RefCell::new(Process(child)),
            commands: RefCell::new(commands),
            answers,
            asked: Cell::new(0),
            log,
        }
    }

    /// Opens a page in a window of its own, so that no page is hidden behind another.
    pub fn open(&self, url: &str, width: u32) -> Page<'_> {
        let target = self.call(
            "Target.createTarget",
            json!({ "url": "about:blank", "newWindow": true }),
            None,
        );
        let attached = self.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
            None,
        );
        let page = Page {
            browser: self,
            session: attached["sessionId"].as_str().expect("text").to_owned(),
        };
        page.resize(width);
        page.call("Page.navigate", json!({ "url": url }));
        page
    }

    /// What it has complained of in all its pages.
    pub fn complaints(&self) -> String {
        std::fs::read_to_string(&self.log).expect("it was made")
    }

    /// One command, and the result.
    fn call(&self, method: &str, params: Value, session: Option<&str>) -> Value {
        let id = self.asked.get() + 1;
        self.asked.set(id);
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        let written = self.commands.borrow_mut().write_all(&bytes);
        written.unwrap_or_else(|error| panic!("{method}: {error}; {}", self.complaints()));
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let said = self.answers.recv_timeout(left);
            let said = said.unwrap_or_else(|error| panic!("{method}: {error}; {}", self.complaints()));
            // What it says unasked is not looked at.
            if said["id"] == id {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked, it ends its helpers too.
        let asked = self
            .commands
            .borrow_mut()
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let until = Instant::now() + END;
        while asked.is_ok() && Instant::now() < until {
            if self
                .process
                .borrow_mut()
                .0
                .try_wait()
                .is_ok_and(|ended| ended.is_some())
            {
                return;
            }
            std::thread::sleep(super::POLL);
        }
    }
}

/// A page that is open.
#[derive(Debug)]
pub struct Page<'a> {
    browser: &'a Browser,
    session: String,
}

impl Page<'_> {
    fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(method, params, Some(&self.session))
    }

    /// Gives the window this width.
    pub fn resize(&self, width: u32) {
        let size = json!({ "width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Lets the reader prefer `light` or `dark` colours.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// What an expression of JavaScript gives in the page.
    pub fn value(&self, expression: &str) -> Value {
        let arguments = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", arguments);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].clone()
    }

    /// The text of the element with this id, as people see it; nothing, if it is hidden or not there yet.
    pub fn text(&self, id: &str) -> String {
        let shown = "(element => element && !element.hidden ? element.innerText : '')";
        let text = self.value(&format!("{shown}(document.getElementById({id:?}))"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// A picture of the page (PNG).
    pub fn picture(&self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({}));
        let data = answer["data"].as_str().expect("text");
        STANDARD.decode(data).expect("base64")
    }
}

/// Width, height and mean brightness (0 to 255) of a picture, as a page of this browser sees it.
pub fn size_and_brightness(browser: &Browser, picture: &[u8]) -> (u64, u64, f64) {
    let script = r"new Promise((done, failed) => {
        const image = new Image();
        image.onerror = () => failed(new Error('no picture'));
        image.onload = () => {
            const canvas = document.createElement('canvas'), pen = canvas.getContext('2d');
            canvas.width = image.width; canvas.height = image.height;
            pen.drawImage(image, 0, 0);
            const bytes = pen.getImageData(0, 0, image.width, image.height).data;
            let sum = 0;
            for (let at = 0; at < bytes.length; at += 4) sum += bytes[at] + bytes[at + 1] + bytes[at + 2];
            done([image.width, image.height, sum / 3 / (bytes.length / 4)]);
        };
        image.src = 'data:image/png;base64,PICTURE';
    })";
    let seen = browser
        .open("about:blank", 800)
        .value(&script.replace("PICTURE", &STANDARD.encode(picture)));
    let whole = |at: usize| seen[at].as_u64().expect("a number");
    (whole(0), whole(1), seen[2].as_f64().expect("a number"))
}
