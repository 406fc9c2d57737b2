//! A page in a real browser, as a person has it before them: headless Chromium, driven over its `DevTools` pipe.
//!
//! A story fails if its page logs an error or asks anything of another host, whatever else the story looks at; no name but
//! this machine's is resolved. The browser ends with the story, even with one that is killed: it reads our pipe as long as
//! it lives. Debian's `chromium` is fetched by `tests/debian-program` where it is missing.

mod screen;
mod wire;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wait;
use wire::Wire;

/// Chromium reads commands from descriptor 3 and answers on 4.
const WITH_ITS_PIPE: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >&2"#;

/// Root has no sandbox to offer, a container little shared memory; nothing is asked of the network but by the page.
const OPTIONS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--force-color-profile=srgb",
    "--lang=en-GB",
];

/// A browser with one page. Dropped, it is killed, and the story fails if the page had a complaint that nobody took.
pub(crate) struct Page {
    process: Child,
    wire: Wire,
    session: String,
    /// Scheme, host and port of what was opened last.
    origin: String,
    complaints: Vec<String>,
    /// Somebody has looked at its last complaints.
    is_closed: bool,
    /// Its profile, and what it says.
    home: TempDir,
}

impl Page {
    /// An empty page.
    #[track_caller]
    pub(crate) fn blank() -> Self {
        let home = TempDir::with_prefix("modelbeat-browser-").expect("a temporary folder");
        let said = File::create(home.path().join("said")).expect("a file");
        let mut process = Command::new("sh")
            .args(["-c", WITH_ITS_PIPE, "sh"])
            .arg(chromium())
            .args(OPTIONS)
            .arg(format!("--user-data-dir={}", home.path().display()))
            .arg("about:blank")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said)
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let wire = Wire::new(
            process.stdin.take().expect("piped"),
            process.stdout.take().expect("piped"),
        );
        let mut page = Self {
            process,
            wire,
            session: String::new(),
            origin: String::new(),
            complaints: Vec::new(),
            is_closed: false,
            home,
        };
        page.attach();
        page
    }

    /// A page that has loaded.
    #[track_caller]
    pub(crate) fn open(url: &str) -> Self {
        let mut page = Self::blank();
        page.go(url);
        page
    }

    /// Leaves for another page, and waits until that has loaded.
    #[track_caller]
    pub(crate) fn go(&mut self, url: &str) {
        self.origin = origin(url);
        let answer = self.command("Page.navigate", &json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until(
            &format!("{url} to have loaded"),
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        );
    }

    /// What a script's expression is, once it is; a promise is awaited.
    #[track_caller]
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let value = self.attempt(expression);
        value.unwrap_or_else(|why| panic!("`{expression}`: {why}"))
    }

    /// Waits until a script's expression is something: neither false, null nor empty.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, expression: &str) -> Value {
        wait::until(what, || match self.attempt(expression)? {
            Value::Null | Value::Bool(false) => Err(format!("not `{expression}`")),
            Value::String(text) if text.is_empty() => Err(format!("`{expression}` is empty")),
            value => Ok(value),
        })
    }

    /// What the page did wrong until now: told here, it does not fail the story any more.
    #[track_caller]
    pub(crate) fn take_complaints(&mut self) -> Vec<String> {
        // The answer comes behind all that happened before it.
        self.evaluate("0");
        std::mem::take(&mut self.complaints)
    }

    /// What the page did wrong until now; what it does before it is gone is nobody's business any more.
    #[track_caller]
    pub(crate) fn close(mut self) -> Vec<String> {
        let complaints = self.take_complaints();
        self.is_closed = true;
        complaints
    }

    fn attempt(&mut self, expression: &str) -> Result<Value, String> {
        let options =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &options)?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            why => Err(why["exception"]["description"].to_string()),
        }
    }

    #[track_caller]
    fn command(&mut self, method: &str, options: &Value) -> Value {
        let answer = self.call(method, options);
        answer.unwrap_or_else(|why| panic!("{method} {options}: {why}"))
    }

    fn call(&mut self, method: &str, options: &Value) -> Result<Value, String> {
        let answer = self.wire.call(&self.session, method, options);
        let seen: Vec<String> = self
            .wire
            .events()
            .filter_map(|event| complaint(&event, &self.origin))
            .collect();
        self.complaints.extend(seen);
        answer
    }

    #[track_caller]
    fn attach(&mut self) {
        let blank = json!({ "url": "about:blank" });
        let target = match self.wire.call("", "Target.createTarget", &blank) {
            Ok(made) => made["targetId"].clone(),
            Err(why) => panic!("chromium did not start: {why}\n{}", self.said()),
        };
        let flat = json!({ "targetId": target, "flatten": true });
        let attached = self.command("Target.attachToTarget", &flat);
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            self.command(&format!("{domain}.enable"), &json!({}));
        }
        // A picture is of the page.
        let hidden = json!({ "hidden": true });
        self.command("Emulation.setScrollbarsHidden", &hidden);
        // A page nobody looks at has no focus to move.
        let on = json!({ "enabled": true });
        self.command("Emulation.setFocusEmulationEnabled", &on);
    }

    /// Without what it says wherever there is no desktop.
    fn said(&self) -> String {
        let said = fs::read_to_string(self.home.path().join("said")).unwrap_or_default();
        let lines = said.lines().filter(|line| !line.contains(":dbus/"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let complaints = if thread::panicking() {
            eprintln!("chromium said:\n{}", self.said());
            Vec::new()
        } else if self.is_closed {
            Vec::new()
        } else {
            self.take_complaints()
        };
        let id = i32::try_from(self.process.id()).expect("a process id");
        kill_process_group(Pid::from_raw(id).expect("not zero"), Signal::KILL).ok();
        self.process.wait().ok();
        assert!(complaints.is_empty(), "the page: {complaints:#?}");
    }
}

#[track_caller]
fn chromium() -> OsString {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debian-program");
    let found = Command::new(&script).arg("chromium").output();
    let found = found.unwrap_or_else(|why| panic!("{}: {why}", script.display()));
    assert!(
        found.status.success(),
        "there is no browser to look with: {}",
        String::from_utf8_lossy(&found.stderr)
    );
    String::from_utf8(found.stdout)
        .expect("a path")
        .trim()
        .into()
}

/// `http://127.0.0.1:9700/x` → `http://127.0.0.1:9700/`; other schemes are their own.
fn origin(url: &str) -> String {
    let (scheme, behind) = url.split_once("://").unwrap_or((url, ""));
    let host = behind.split('/').next().unwrap_or_default();
    format!("{scheme}://{host}/")
}

/// What an event says that a good page never does.
fn complaint(event: &Value, origin: &str) -> Option<String> {
    let told = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(format!("threw {}", told["exceptionDetails"])),
        "Runtime.consoleAPICalled" if matches!(told["type"].as_str()?, "error" | "assert") => {
            Some(format!("logged {}", told["args"]))
        }
        "Log.entryAdded" if told["entry"]["level"] == "error" => {
            Some(format!("the browser logged {}", told["entry"]))
        }
        "Page.javascriptDialogOpening" => Some(format!("opened a dialog: {}", told["message"])),
        "Network.requestWillBeSent" => {
            let url = told["request"]["url"].as_str()?;
            let own = url.starts_with(origin) || url.starts_with("data:");
            (!own).then(|| format!("asked another host: {url}"))
        }
        _ => None,
    }
}

mod tests {
    use super::Page;
    use crate::wait;
    use std::fs;

    const PAGE: &str = "data:text/html,<meta name=viewport content='width=device-width'><title>A page</title><button aria-label='Count' \
        onclick='this.textContent=++n'>0</button><script>let n=0</script>";

    #[test]
    fn a_browser_shows_a_page_and_obeys() {
        let mut page = Page::open(PAGE);
        assert_eq!(page.evaluate("document.title"), "A page");
        page.press("Tab");
        page.press("Enter");
        page.press("Enter");
        page.until(
            "two clicks",
            "document.querySelector('button').textContent === '2'",
        );
        let names = page.accessible();
        assert!(
            names.contains(&("button".to_owned(), "Count".to_owned())),
            "{names:?}"
        );
        page.size(390, 844);
        assert_eq!(page.evaluate("innerWidth"), 390);
        page.dark(true);
        assert_eq!(
            page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches"),
            true
        );
        let picture = page.picture();
        assert!(picture.starts_with(b"\x89PNG"));
    }

    #[test]
    fn a_browser_sees_what_a_page_does_wrong() {
        let page = Page::open(
            "data:text/html,<script>console.error('mistaken')</script><script>nothing()</script>\
             <img src='http://elsewhere.example/picture.png'>",
        );
        let complaints = page.close().join("\n");
        for part in [
            "mistaken",
            "nothing is not defined",
            "another host: http://elsewhere.example/",
        ] {
            assert!(complaints.contains(part), "no {part:?} in: {complaints}");
        }
    }

    #[test]
    fn a_browser_ends_with_its_story() {
        let page = Page::open(PAGE);
        let profile = page.home.path().display().to_string();
        assert!(!processes_with(&profile).is_empty());
        drop(page);
        wait::until("the browser to be gone", || {
            match processes_with(&profile) {
                none if none.is_empty() => Ok(()),
                left => Err(format!("{left:?}")),
            }
        });
    }

    /// Command lines of living processes that hold a text.
    fn processes_with(text: &str) -> Vec<String> {
        let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).into_owned())
        });
        lines.filter(|line| line.contains(text)).collect()
    }
}
