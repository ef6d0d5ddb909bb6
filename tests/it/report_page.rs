//! The page of a report as a browser shows it: from the disk, without scripts, wide and narrow, light, dark, printed.
//!
//! The page has no script; a test's own copy gets one, which measures what was laid out and writes it into the title.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::space::{Space, skip};

/// A pipeline whose report shows every part that needs no training.
const PIPELINE: &str = r#"
doc: Every part of a page.
stages:
  score:
    kind: command
    matrix: { task: [ner, re] }
    replicate: { seed: [1, 2, 3] }
    with:
      script: |
        seed=$(sed -n 's/.*"seed": *\([0-9]*\).*/\1/p' params.json)
        echo "{\"metric\": \"f1\", \"dataset\": \"wards\", \"split\": \"test\", \"value\": 9$seed.5}" > scores.jsonl
        printf '%s\n' '{"example_id":"s1","text":"naloxone relieved nausea","gold":[{"start":0,"end":8,"label":"Drug"},{"start":18,"end":24,"label":"Disease","error":"missed"}],"predicted":[{"start":0,"end":8,"label":"Drug"}],"correct":false}' '{"example_id":"s2","text":"fever","gold":[{"start":0,"end":5,"label":"Disease"}],"predicted":[{"start":0,"end":5,"label":"Disease"}],"correct":true}' > samples.jsonl
        for step in 1 2 3 4 5 6 7 8 9 10; do echo "{\"step\": $step, \"loss\": $((20 - step - seed))}"; done > log.jsonl
      params: { task: "${matrix.task}", seed: "${replicate.seed}" }
    numbers: scores.jsonl
    outputs: { samples: samples.jsonl, log: log.jsonl }
  table:
    kind: report
    needs: { scores: { all: score }, samples: { all: score, output: samples }, logs: { all: score, output: log } }
    with:
      title: Every part of a page
      text: With a *very* long word, antidisestablishmentarianism-antidisestablishmentarianism-antidisestablishmentarianism.
      sections:
        - table:
            title: Beside others
            rows: [task]
            numbers: [{ metric: f1, label: F1 }, { metric: f1, label: F1 again }, { metric: f1, label: And a third time }, { metric: f1, label: And a fourth }, { metric: f1, label: And a fifth }, { metric: f1, label: And a sixth }]
            reference: Paper
        - table:
            title: Among others
            rows: [task]
            numbers: [{ metric: f1, label: F1 }]
            system: Ours
            published: [{ system: BioBERT, source: "Lee et al. 2020", f1: 89.71 }]
        - chart: { title: Every seed, kind: dots, metric: f1, x: task }
        - curves: { title: Loss, from: logs, y: loss, series: task }
        - confusion: { from: samples }
        - samples: { from: samples }
      ledger:
        - { what: Epochs, chosen: three, why: Chosen on the development split., where: { task: ner } }
expect:
  - { metric: f1, where: { task: ner }, value: 92.5, tolerance: 3, source: Table 7 }
  - { metric: f1, where: { task: re }, value: 60, tolerance: 1, source: Table 7 }
  - { metric: f1, where: { task: qa }, value: 60 }
"#;

/// Forbids every script but the one that measures.
const NO_SCRIPTS: &str =
    r#"<meta http-equiv="Content-Security-Policy" content="script-src 'nonce-measure'">"#;

/// Measures the page: what it is of, where each text stands, whether it is wider than the window, and the smallest
/// contrast of any text.
const MEASURE: &str = r#"<script nonce="measure">
const channel = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const over = (top, below) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const paint of [below, top]) { canvas.fillStyle = paint; canvas.fillRect(0, 0, 1, 1) }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const paper = element => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
  return layers.reduce((below, top) => `rgb(${over(top, below).join()})`, 'rgb(255,255,255)');
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let least = [99, ''], count = 0;
const places = [];
for (let node = texts.nextNode(); node; node = texts.nextNode()) {
  const element = node.parentElement;
  if (!node.data.trim() || element.closest('script,style,title,desc,.hidden') || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const ground = paper(element), ink = element.closest('svg') ? style.fill : style.color;
  const [a, b] = [light(over(ink, ground)), light(over(ground, ground))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  count += 1;
  const box = document.createRange();
  box.selectNodeContents(node);
  const { x, y, width, height } = box.getBoundingClientRect();
  places.push([node.data.trim(), x, y, width, height, style.fontSize, ink].join(' '));
  if (ratio < least[0]) least = [ratio, node.data.trim().slice(0, 40) + ' in ' + element.className];
}
const root = document.documentElement;
const answer = {
  width: root.clientWidth, wide: root.scrollWidth, ground: getComputedStyle(document.body).backgroundColor,
  contrast: least[0], where: least[1], texts: count, places,
  scrolling: [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1).length,
  headers: document.querySelectorAll('th').length, scoped: document.querySelectorAll('th[scope]').length,
  tables: document.querySelectorAll('table').length, captions: document.querySelectorAll('table > caption').length,
  pictures: document.querySelectorAll('svg').length,
  named: [...document.querySelectorAll('svg')].filter(svg => svg.querySelector(':scope > title') && svg.getAttribute('role') === 'img').length,
  fetched: performance.getEntriesByType('resource').map(one => one.name),
};
document.title = 'measured ' + JSON.stringify(answer);
</script>"#;

struct Browser {
    program: &'static str,
    space: Space,
}

impl Browser {
    fn find() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let program = names
            .into_iter()
            .find(|name| Command::new(name).arg("--version").output().is_ok())?;
        let browser = Self {
            program,
            space: Space::new(),
        };
        browser.space.write("empty.html", "<p>here");
        let page = browser.space.path("empty.html");
        let (dom, _) = browser.call(&page, &["--dump-dom"]);
        dom.contains("here").then_some(browser)
    }

    /// Opens a file without any network: what is asked for beyond the disk fails. Output and errors.
    fn call(&self, page: &Path, arguments: &[&str]) -> (String, String) {
        let output = Command::new(self.program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--hide-scrollbars",
                "--disable-extensions",
                "--disable-background-networking",
                "--disable-sync",
                "--disable-component-update",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--virtual-time-budget=2000",
            ])
            .args(arguments)
            .arg(format!(
                "--user-data-dir={}",
                self.space.path("profile").display()
            ))
            .arg(format!("file://{}", page.display()))
            .env("HOME", self.space.root())
            .output()
            .expect("the browser starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// What the measuring script found in a window of this width.
    fn measure(&self, page: &Path, width: u32, more: &[&str]) -> Value {
        let size = format!("--window-size={width},900");
        let arguments = [&["--dump-dom", &size][..], more].concat();
        let (dom, errors) = self.call(page, &arguments);
        let found = dom
            .split("<title>measured ")
            .nth(1)
            .and_then(|rest| rest.split("</title>").next())
            .unwrap_or_else(|| panic!("nothing was measured: {errors}"));
        let found = found.replace("&quot;", "\"").replace("&amp;", "&");
        serde_json::from_str(&found.replace("&lt;", "<").replace("&gt;", ">")).expect("JSON")
    }
}

/// A copy of a page that measures itself, with its own scripts or without.
fn measuring(space: &Space, name: &str, page: &str, scripts: bool) -> PathBuf {
    let (head, body) = page.split_once("<body").expect("a body");
    let (body, tail) = body.rsplit_once("</body>").expect("a body's end");
    let rules = if scripts { "" } else { NO_SCRIPTS };
    let head = head.replacen("<head>", &format!("<head>{rules}"), 1);
    space.write(name, format!("{head}<body{body}{MEASURE}</body>{tail}"));
    space.path(name)
}

/// Whatever its place in the file, and also when the other one alone was made anew.
#[test]
fn the_latest_report_is_the_one_that_rests_on_the_most() {
    let text = r#"
stages:
  score:
    kind: command
    replicate: { seed: [1, 2] }
    with: { script: "echo '{\"metric\": \"f1\", \"value\": 90}' > scores.jsonl" }
    numbers: scores.jsonl
  main: { kind: report, needs: { scores: { all: score } }, with: { title: Main } }
  aside: { kind: report, needs: { scores: { all: score, where: { seed: 1 } } }, with: { title: Aside } }
"#;
    let space = Space::with(text);
    let title = |link: &str| {
        let page = space.read(&format!("reports/p/{link}/report.md"));
        page.lines().next().expect("a title").to_owned()
    };
    space.call(&["run", "p.yaml"]).exits(0);
    assert_eq!([title("latest"), title("aside")], ["# Main", "# Aside"]);
    space.write("p.yaml", text.replace("Aside", "Beside"));
    space.call(&["run", "p.yaml"]).exits(0);
    assert_eq!([title("latest"), title("aside")], ["# Main", "# Beside"]);
}

#[test]
fn a_browser_reads_the_page_from_the_disk() {
    let Some(browser) = Browser::find() else {
        return skip("there is no browser that starts (`apt-get install chromium`)");
    };
    let space = Space::with(PIPELINE);
    space.call(&["run", "p.yaml"]).exits(0);
    let page = space.path("reports/p/latest/index.html");
    let text = fs_err::read_to_string(&page).expect("the page");
    assert!(!text.contains("<script"), "the page itself has no script");
    for part in [
        "Of 3 stated numbers",
        "Among others",
        "1st of 3",
        "naloxone",
        "id=\"ledger-1\"",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }

    // Where no script may run everything stands in the same place; in a page that needs one it does not.
    let places = |name: &str, text: &str, scripts: bool| {
        let copy = measuring(&space, name, text, scripts);
        browser.measure(&copy, 1280, &[])["places"].clone()
    };
    let needy = "<html><head></head><body>here<script>document.body.append(' and there')</script></body></html>";
    for (text, alike) in [(text.as_str(), true), (needy, false)] {
        let on = places("on.html", text, true);
        let off = places("off.html", text, false);
        assert!(!off.as_array().expect("a list").is_empty(), "{off}");
        assert_eq!(on == off, alike, "with scripts: {on}\nwithout: {off}");
    }

    let measured = measuring(&space, "measured.html", &text, true);
    let light = browser.measure(
        &measured,
        1280,
        &["--blink-settings=preferredColorScheme=1"],
    );
    let dark = browser.measure(
        &measured,
        1280,
        &["--blink-settings=preferredColorScheme=0"],
    );
    assert_ne!(light["ground"], dark["ground"]);
    for (name, found) in [("light", &light), ("dark", &dark)] {
        let contrast = found["contrast"].as_f64().expect("a ratio");
        assert!(contrast >= 4.5, "{name}: {contrast} at {}", found["where"]);
        assert!(found["texts"].as_u64() > Some(100), "{found}");
    }
    assert_eq!(
        light["fetched"],
        serde_json::json!([]),
        "nothing is asked for"
    );
    assert_eq!(light["scrolling"], 0, "six columns of numbers fit");
    assert_eq!(light["headers"], light["scoped"], "headers have a scope");
    assert_eq!(light["tables"], light["captions"], "tables have a caption");
    assert_eq!(light["pictures"], light["named"], "pictures have a name");
    assert!(light["pictures"].as_u64() > Some(4), "{light}");

    // Narrow windows are wider than asked for in headless browsers, so a frame takes the width of a telephone.
    let frame = "<!doctype html><title>none</title><body style='margin:0'><iframe src='measured.html' style='width:390px;height:900px;border:0'></iframe>\
        <script>addEventListener('load', () => setTimeout(() => { document.title = frames[0].document.title }, 200))</script>";
    space.write("narrow.html", frame);
    let narrow = browser.measure(
        &space.path("narrow.html"),
        800,
        &["--allow-file-access-from-files"],
    );
    assert_eq!(narrow["width"], 390, "{narrow}");
    assert_eq!(
        narrow["wide"], 390,
        "the page itself does not scroll sideways"
    );
    assert!(
        narrow["scrolling"].as_u64() > Some(0),
        "wide tables do: {narrow}"
    );

    let paper = space.path("page.pdf");
    let print = format!("--print-to-pdf={}", paper.display());
    browser.call(&page, &[&print, "--no-pdf-header-footer"]);
    let bytes = fs_err::read(&paper).expect("a file of pages");
    let n_pages = bytes
        .windows(11)
        .filter(|part| *part == b"/Type /Page")
        .count();
    assert!(
        bytes.starts_with(b"%PDF-") && bytes.len() > 20_000,
        "{} bytes",
        bytes.len()
    );
    assert!(n_pages >= 2, "{n_pages} pages");
}
