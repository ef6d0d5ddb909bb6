//! `pipeline serve`: what the page shows, what it refuses, and that it writes nothing. One test opens it in a browser.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::follow::{AtWork, waiting};
use crate::space::{PATIENCE, Space, skip, wait_until};

/// A page being served.
struct Page {
    _server: AtWork,
    /// `127.0.0.1:4711`.
    place: String,
    /// `/secret/`.
    top: String,
}

/// What came back.
struct Reply {
    status: u16,
    headers: String,
    body: String,
}

impl Page {
    fn of(space: &Space, arguments: &[&str]) -> Self {
        let mut server = AtWork::start(space, &[&["serve"], arguments].concat(), "served");
        let mut line = String::new();
        let output = server.child().stdout.take().expect("piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("readable");
        let address = line.trim().strip_prefix("http://").unwrap_or_else(|| {
            panic!("no address: `{line}`\n{}", space.read("served"));
        });
        let (place, top) = address.split_once('/').expect("a path");
        Self {
            place: place.to_owned(),
            top: format!("/{top}"),
            _server: server,
        }
    }

    fn address(&self) -> String {
        format!("http://{}{}", self.place, self.top)
    }

    /// Bytes as they are, and all that comes back.
    fn say(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(&self.place).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("answered");
        let text = String::from_utf8(bytes).expect("text");
        let (headers, body) = text.split_once("\r\n\r\n").expect("headers end");
        let status = headers.split(' ').nth(1).expect("a status");
        Reply {
            status: status.parse().expect("a number"),
            headers: headers.to_owned(),
            body: body.to_owned(),
        }
    }

    fn ask(&self, line: &str) -> Reply {
        self.say(&format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn get(&self, below: &str) -> String {
        let reply = self.ask(&format!("GET {}{below}", self.top));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    fn shows(&self, below: &str, text: &str) {
        wait_until(text, || self.get(below).contains(text));
    }
}

/// Every file and folder of a project with bytes and times.
fn everything(top: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, std::time::SystemTime)> {
    walkdir::WalkDir::new(top)
        .into_iter()
        .map(|entry| {
            let entry = entry.expect("readable");
            let metadata = entry.metadata().expect("readable");
            let bytes = metadata
                .is_file()
                .then(|| fs_err::read(entry.path()).expect("readable"));
            (
                entry.into_path(),
                (bytes, metadata.modified().expect("known")),
            )
        })
        .collect()
}

#[test]
fn a_run_is_shown_while_it_goes_on() {
    let space = waiting("echo what went wrong; exit 3");
    let mut run = AtWork::start(&space, &["run", "p.yaml"], "ran");
    wait_until("the run", || space.exists("begun"));
    // Without a file: that of the run.
    let page = Page::of(&space, &[]);
    page.shows("", "running</span></h1>");
    let text = page.get("");
    for expected in [
        "<title>1/3 running · p</title>",
        "<b>1</b> of <b>3 stages</b> done, <b>1</b> running",
        "aria-label=\"waits: running\"",
        "aria-label=\"last: left\"",
        "<h2>At work</h2>",
    ] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    let detail = page.get("?stage=waits");
    assert!(
        detail.contains("begun</pre>") || detail.contains("begun\n</pre>"),
        "{detail}"
    );
    // Of what the page has nothing is sent again.
    let news: Value = serde_json::from_str(&page.get("changes")).expect("JSON");
    let parts = news["changed"].as_object().expect("parts");
    let order: Vec<&str> = news["order"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        order,
        [
            "head", "running", "graph", "find", "group-0", "group-1", "group-2"
        ]
    );
    assert_eq!(parts.len(), order.len());
    let have: Vec<String> = (parts.iter())
        .map(|(id, part)| format!("{id}:{}", part[0].as_str().expect("a version")))
        .collect();
    space.write("go", "");
    run.child().wait().expect("ends");
    page.shows("", "failed</span></h1>");
    let news = page.get(&format!("changes?have={}", have.join(",")));
    let news: Value = serde_json::from_str(&news).expect("JSON");
    let changed: Vec<&String> = news["changed"].as_object().expect("parts").keys().collect();
    assert!(
        !changed.iter().any(|id| *id == "find" || *id == "group-0"),
        "{changed:?}"
    );
    assert!(changed.iter().any(|id| *id == "group-2"), "{changed:?}");
    assert_eq!(news["title"], "2/3 failed · p");
    // What failed comes first, in words.
    assert_eq!(news["order"][1], "failures");
    let detail = page.get("?stage=last");
    assert!(detail.contains("what went wrong"), "{detail}");
    assert!(page.get("?find=failed").contains("1 stage found"));
    assert!(page.get("?at=1.0").contains("<h2>waits"));
}

#[test]
fn a_killed_run_is_told() {
    let space = waiting("echo 3 > out");
    let mut run = AtWork::start(&space, &["run", "p.yaml"], "ran");
    wait_until("the run", || space.exists("begun"));
    let page = Page::of(&space, &["p.yaml"]);
    page.shows("", "running</span></h1>");
    run.child().kill().expect("killed");
    page.shows("", "killed</span></h1>");
    assert!(page.get("").contains("aria-label=\"waits: stopped\""));
    // Whoever goes on is seen.
    space.write("go", "");
    space.run(&[]).exits(0);
    page.shows("", "done</span></h1>");
    assert!(page.get("").contains("<title>3/3 done · p</title>"));
}

#[test]
fn looking_writes_nothing() {
    let space = waiting("echo 3 > out");
    let page = Page::of(&space, &["p.yaml"]);
    assert!(page.get("").contains("no run yet</span></h1>"));
    assert!(!space.exists("cache"), "not even a folder");
    drop(page);
    space.write("go", "");
    space.run(&[]).exits(0);
    space.write("served", "");
    let before = everything(space.root());
    let page = Page::of(&space, &["p.yaml"]);
    for below in [
        "",
        "?stage=last",
        "changes?stage=first",
        "?find=a",
        "page.css",
        "page.js",
        "?at=0.0",
    ] {
        page.get(below);
    }
    drop(page);
    let after = everything(space.root());
    // What this test itself writes: the server's messages.
    let is_ours = |path: &&PathBuf| !path.ends_with("served") && *path != space.root();
    let paths = |all: &BTreeMap<_, _>| -> Vec<PathBuf> { all.keys().cloned().collect() };
    assert_eq!(paths(&before), paths(&after));
    for path in before.keys().filter(is_ours) {
        assert!(before[path] == after[path], "{} changed", path.display());
    }
}

#[test]
fn only_those_who_know_the_address_are_answered() {
    let space = waiting("echo 3 > out");
    let page = Page::of(&space, &["p.yaml"]);
    let top = &page.top;
    assert!(top.len() > 32, "{top}");
    let from = |host: &str| {
        page.say(&format!("GET {top} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .status
    };
    assert_eq!(from("localhost:1"), 200);
    assert_eq!(from("127.0.0.1"), 200);
    assert_eq!(
        from("evil.example"),
        403,
        "a name that was made to point here"
    );
    assert_eq!(from("127.0.0.1.evil.example"), 403);
    assert_eq!(page.say(&format!("GET {top} HTTP/1.0\r\n\r\n")).status, 403);
    for path in [
        "/",
        "/page.js",
        "/x/../",
        &top[..top.len() - 2],
        &top.to_uppercase().replace("/", "//"),
    ] {
        assert_eq!(page.ask(&format!("GET {path}")).status, 404, "{path}");
    }
    for below in [
        "../p.yaml",
        "..%2fp.yaml",
        "%2e%2e/p.yaml",
        "p.yaml",
        "/etc/passwd",
        "cache",
        "page.html",
        "changes/",
    ] {
        let reply = page.ask(&format!("GET {top}{below}"));
        assert_eq!(reply.status, 404, "{below}");
        assert_eq!(reply.body, "there is nothing here\n");
    }
    for stage in ["..%2f..%2fetc%2fpasswd", "%00", "first%5B..%5D", "%ff"] {
        assert!(
            page.get(&format!("?stage={stage}"))
                .contains("There is no stage"),
            "{stage}"
        );
    }
    for at in ["9.0", "0.9", "-1.0", "0.18446744073709551616", "x"] {
        assert!(
            !page.get(&format!("?at={at}")).contains("id=\"stage\""),
            "{at}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let reply = page.ask(&format!("{method} {top}"));
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.headers.contains("\r\nAllow: GET, HEAD\r\n"));
    }
    let reply = page.ask(&format!("HEAD {top}"));
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert!(reply.headers.contains("\r\nContent-Length: "));
    for header in [
        "Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self';",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        "Referrer-Policy: no-referrer",
        "Cross-Origin-Resource-Policy: same-origin",
        "Cache-Control: no-store",
    ] {
        assert!(reply.headers.contains(header), "{}", reply.headers);
    }
    assert!(!reply.headers.contains("unsafe"), "{}", reply.headers);
}

#[test]
fn what_is_too_much_is_refused() {
    let space = waiting("echo 3 > out");
    let page = Page::of(&space, &["p.yaml"]);
    let long = "x".repeat(40_000);
    assert_eq!(page.ask(&format!("GET {}?{long}", page.top)).status, 431);
    let many = "A: b\r\n".repeat(200);
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n{many}\r\n", page.top);
    assert_eq!(page.say(&request).status, 431);
    assert_eq!(page.say("\u{16}\u{3}\u{1} not HTTP\r\n\r\n").status, 400);
    // Who says nothing takes a place, and there are not many.
    let silent: Vec<TcpStream> = (0..16)
        .map(|_| TcpStream::connect(&page.place).expect("connects"))
        .collect();
    wait_until("no place is left", || {
        let mut stream = TcpStream::connect(&page.place).expect("connects");
        let mut text = String::new();
        // A place that is free answers nothing by itself; what is sent then is a request like any other.
        let _ = stream
            .write_all(format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", page.top).as_bytes());
        let _ = stream.read_to_string(&mut text);
        text.starts_with("HTTP/1.1 503 ")
    });
    drop(silent);
    wait_until("places are free again", || {
        page.ask(&format!("GET {}", page.top)).status == 200
    });
}

#[test]
fn other_machines_see_nothing_unless_asked() {
    let space = waiting("echo 3 > out");
    let refused = space
        .call(&["serve", "p.yaml", "--address", "0.0.0.0"])
        .exits(2);
    refused.says("can be reached from other machines");
    let page = Page::of(&space, &["p.yaml", "--address", "0.0.0.0", "--public"]);
    assert!(
        space.read("served").contains("it is not encrypted"),
        "{}",
        space.read("served")
    );
    assert!(page.top.len() > 32);
    drop(page);
    space
        .call(&["serve"])
        .exits(2)
        .says("no run in `cache` tells which pipeline to show");
    space
        .call(&["serve", "q.yaml"])
        .exits(2)
        .says("did you mean `p.yaml`?");
}

const HOSTILE: &str = "\"><img src=x onerror=alert(1)><script>alert(2)</script>";

#[test]
fn whatever_people_write_stays_text() {
    let space = Space::with(
        "doc: '<script>alert(0)</script>'
stages:
  bad:
    kind: command
    matrix: { word: ['\"><img src=x onerror=alert(1)><script>alert(2)</script>'] }
    with: { argv: [sh, -c, 'printf \"%s\\033[31m\\n\" \"$1\"; exit 1', sh, '${matrix.word}'] }
    outputs: { out: out }
",
    );
    space.run(&[]).exits(1);
    let page = Page::of(&space, &["p.yaml"]);
    let name = "bad%5Bword%3D%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%3Cscript%3Ealert(2)%3C%2Fscript%3E%5D";
    let hostile = HOSTILE.replace(' ', "+");
    for below in [
        String::new(),
        format!("?stage={name}"),
        format!("?stage={hostile}"),
        format!("?find={hostile}"),
        "?at=0.0".to_owned(),
    ] {
        let text = page.get(&below);
        assert!(
            !text.contains("<img") && !text.contains("<script>"),
            "{below}:\n{text}"
        );
        assert_eq!(text.matches("<script").count(), 1, "{below}: ours alone");
        assert!(!text.contains('\u{1b}'));
    }
    assert!(
        page.get("?at=0.0")
            .contains("&lt;img src=x onerror=alert(1)&gt;")
    );
}

/// Many stages are one drawing, and only what changes is sent.
#[test]
fn ten_thousand_stages_stay_small() {
    let numbers: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let space = Space::with(&format!(
        "stages:\n  part:\n    kind: command\n    matrix: {{ n: [{}] }}\n    with: {{ argv: [touch, \"${{matrix.n}}\"] }}\n    outputs: {{ out: out }}\n",
        numbers.join(", ")
    ));
    let page = Page::of(&space, &["p.yaml"]);
    let text = page.get("");
    assert!(text.contains("0</b> of <b>10,000 stages</b>"), "{text}");
    assert!(text.len() < 20_000, "{} bytes", text.len());
    assert!(page.get("?at=0.9999").contains("<h2>part[<wbr>n=9999]"));
    assert!(
        page.get("?find=n=77")
            .contains("111 stages found, the first 100")
    );
}

/// The script of the page runs in a browser under the page's own rules, and what it asks for is put in place.
#[test]
fn a_browser_shows_the_page() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names
        .iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok());
    let Some(browser) = found else {
        return skip("there is no browser (`apt-get install chromium`)");
    };
    let space = waiting("echo 3 > out");
    let mut run = AtWork::start(&space, &["run", "p.yaml"], "ran");
    wait_until("the run", || space.exists("begun"));
    let page = Page::of(&space, &["p.yaml"]);
    page.shows("", "running</span></h1>");
    let profile = Space::new();
    let show = |width: u32| {
        let output = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-extensions",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-sync",
                "--disable-component-update",
            ])
            .args([
                "--enable-logging=stderr",
                "--virtual-time-budget=3000",
                "--dump-dom",
            ])
            .arg(format!("--window-size={width},900"))
            .arg(format!(
                "--user-data-dir={}",
                profile.path("profile").display()
            ))
            .arg(format!("{}?stage=waits", page.address()))
            .env("HOME", profile.root())
            .output()
            .expect("the browser starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8_lossy(&output.stdout).into_owned(), errors)
    };
    let (dom, errors) = show(1280);
    if dom.is_empty() {
        return skip(&format!("the browser does not start here: {errors}"));
    }
    assert!(
        dom.contains("Live: looks for news every 1 s."),
        "{dom}\n{errors}"
    );
    assert!(dom.contains("1/3 running · p</title>"), "{dom}");
    assert!(dom.contains("aria-label=\"waits: running\""), "{dom}");
    assert!(
        !errors.contains("Content Security Policy") && !errors.contains("Uncaught"),
        "{errors}"
    );
    space.write("go", "");
    run.child().wait().expect("ends");
    page.shows("", "done</span></h1>");
    let (dom, errors) = show(390);
    assert!(dom.contains("3/3 done · p</title>"), "{dom}\n{errors}");
    assert!(dom.contains("looks for news every 5 s."), "{dom}\n{errors}");
}
