//! A headless Chromium, driven over the DevTools protocol on two pipes.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::wait::wait_for;

/// A browser with one page; killed when dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// What the page wrote to the console as an error, and exceptions.
    complaints: Vec<String>,
    _profile: TempDir,
}

/// A browser on a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(60);

impl Browser {
    /// A browser with an empty page.
    pub(crate) fn start() -> Self {
        let profile = TempDir::new().unwrap();
        // The protocol is on descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec chromium \"$@\" 3<&0 4>&1 0</dev/null 1>&2",
                "sh",
            ])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .args(["--remote-debugging-pipe"])
            .args([format!("--user-data-dir={}", profile.path().display())])
            .args(["about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { return };
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            input: child.stdin.take().unwrap(),
            child,
            answers,
            session: None,
            next: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().map(ToOwned::to_owned);
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(1440, 900);
        browser
    }

    /// Opens `path` of the admin listener and waits until it is loaded.
    pub(crate) fn open(&mut self, admin: SocketAddr, path: &str) {
        self.open_as("", admin, path);
    }

    /// The same with credentials (`user:password@`).
    pub(crate) fn open_as(&mut self, who: &str, admin: SocketAddr, path: &str) {
        let url = format!("http://{who}{admin}{path}");
        self.call("Page.navigate", json!({"url": url}));
        let start = Instant::now();
        let loaded = "location.href !== 'about:blank' && document.readyState === 'complete'";
        while self.run(loaded) != true {
            assert!(start.elapsed() < LIMIT, "{url} does not load");
        }
    }

    /// What an expression of the page's script is.
    pub(crate) fn run(&mut self, expression: &str) -> Value {
        let arguments = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let answer = self.call("Runtime.evaluate", arguments);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// The text of the first element that `selector` finds; empty where there is none.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let selector = json!(selector);
        let text = self.run(&format!(
            "document.querySelector({selector})?.textContent ?? ''"
        ));
        text.as_str().unwrap().to_owned()
    }

    /// Waits until an expression of the page's script is true.
    #[track_caller]
    pub(crate) fn wait(&mut self, what: &str, expression: &str) {
        wait_for(LIMIT, what, || (self.run(expression) == true).then_some(()));
    }

    /// The names that assistive technology has for elements of these roles.
    pub(crate) fn names_of(&mut self, roles: &[&str]) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        let nodes = nodes.filter(|node| node["ignored"] == false);
        let named = nodes.filter_map(|node| {
            let role = node["role"]["value"].as_str()?;
            let name = node["name"]["value"].as_str().unwrap_or_default();
            roles
                .contains(&role)
                .then(|| (role.to_owned(), name.to_owned()))
        });
        named.collect()
    }

    /// The size of the window.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// `light` or `dark`.
    pub(crate) fn scheme(&mut self, scheme: &str) {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": feature}));
    }

    /// Whether pages may run scripts.
    pub(crate) fn scripts(&mut self, on: bool) {
        self.call(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": !on}),
        );
    }

    /// The window as PNG, in base64.
    pub(crate) fn screenshot(&mut self, whole: bool) -> String {
        let how = json!({"format": "png", "captureBeyondViewport": whole});
        let shot = self.call("Page.captureScreenshot", how);
        shot["data"].as_str().unwrap().to_owned()
    }

    /// Errors of the page so far.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.input
            .write_all(message.to_string().as_bytes())
            .unwrap();
        self.input.write_all(&[0]).unwrap();
        loop {
            let answer = self
                .answers
                .recv_timeout(LIMIT)
                .expect("the browser answers");
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let is_error = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => params["type"] == "error",
            Some("Log.entryAdded") => params["entry"]["level"] == "error",
            _ => false,
        };
        if is_error {
            self.complaints.push(params.to_string());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself once its pipe is closed, with all its processes; asked first.
        let _ = self
            .input
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(5)
        {
            super::wait::pause(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
