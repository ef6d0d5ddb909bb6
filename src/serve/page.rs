//! The page in parts, each with a version: what changed is sent, the rest is not. Reads the state, changes nothing.

use std::collections::BTreeMap;

use flow::digest::Use;
use flow::run::watch::Standing;
use serde_json::{Map, Value, json};

use super::board::{Board, State};
use super::detail;
use super::draw;
use super::html::Html;
use super::http::{Answer, Request, encode};
use super::state::Live;
use crate::console::format;

const SKELETON: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Failures told in full; the rest is found by the search.
const MOST_FAILURES: usize = 3;
/// Stages at work that are shown.
const MOST_RUNNING: usize = 12;
/// Of these so many with a curve.
const MOST_CURVES: usize = 6;
/// Groups of at most so many stages are squares that lead to their stages; larger ones are one drawing.
const MOST_SQUARES: usize = 60;
/// Stages that a search lists.
const MOST_FOUND: usize = 100;
/// Between two questions of the page, while a run goes on and otherwise.
const NEXT_MS: (u32, u32) = (1000, 5000);

/// One part of the page.
struct Part {
    id: String,
    version: String,
    html: Html,
}

impl Part {
    fn new(id: impl Into<String>, html: Html) -> Self {
        Self {
            id: id.into(),
            version: Use::File.digest(html.as_str().as_bytes()).short(),
            html,
        }
    }
}

/// Answers a request.
pub(super) fn answer(live: &mut Live, request: &Request) -> Answer {
    match request.path.as_str() {
        "" => {
            live.refresh();
            Answer::of("text/html; charset=utf-8", whole(live, request))
        }
        "changes" => {
            live.refresh();
            Answer::of("application/json", changes(live, request))
        }
        "page.css" => Answer::of(
            "text/css; charset=utf-8",
            format!("{}{STYLE}", report::render::html::STYLE),
        ),
        "page.js" => Answer::of("text/javascript; charset=utf-8", SCRIPT),
        _ => Answer::refusal(404, "there is nothing here"),
    }
}

fn is_going(live: &Live) -> bool {
    matches!(live.standing, Some(Standing::Going | Standing::Silent(_)))
}

fn next_ms(live: &Live) -> u32 {
    if is_going(live) { NEXT_MS.0 } else { NEXT_MS.1 }
}

fn whole(live: &mut Live, request: &Request) -> String {
    let mut title = Html::new();
    title.text(&window_title(live));
    let mut body = Html::new();
    for part in parts(live, request) {
        body.raw("<section id=\"")
            .text(&part.id)
            .raw("\" data-version=\"")
            .text(&part.version);
        body.raw("\">").html(&part.html).raw("</section>\n");
    }
    let mut page = String::with_capacity(SKELETON.len() + body.as_str().len());
    // In one pass: what a person wrote may hold the name of a place.
    let mut rest = SKELETON;
    while let Some(at) = rest.find('{') {
        page.push_str(&rest[..at]);
        rest = &rest[at..];
        let places = [
            ("{title}", title.as_str().to_owned()),
            ("{next}", next_ms(live).to_string()),
            ("{parts}", body.as_str().to_owned()),
        ];
        match places.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, text)) => {
                page.push_str(text);
                rest = &rest[name.len()..];
            }
            None => {
                page.push('{');
                rest = &rest[1..];
            }
        }
    }
    page.push_str(rest);
    page
}

/// The parts whose versions the page does not have, and the order of all.
fn changes(live: &mut Live, request: &Request) -> String {
    let have: BTreeMap<&str, &str> = (request.value("have").unwrap_or_default().split(','))
        .filter_map(|pair| pair.split_once(':'))
        .collect();
    let parts = parts(live, request);
    let order: Vec<&str> = parts.iter().map(|part| part.id.as_str()).collect();
    let changed: Map<String, Value> = (parts.iter())
        .filter(|part| have.get(part.id.as_str()) != Some(&part.version.as_str()))
        .map(|part| (part.id.clone(), json!([part.version, part.html.as_str()])))
        .collect();
    json!({
        "title": window_title(live),
        "next_ms": next_ms(live),
        "order": order,
        "changed": changed,
    })
    .to_string()
}

fn parts(live: &mut Live, request: &Request) -> Vec<Part> {
    let mut parts = vec![Part::new("head", head(live))];
    let chosen = chosen(live, request);
    if let Some(html) = detail::stage(live, chosen, request.value("stage")) {
        parts.push(Part::new("stage", html));
    }
    if let Some(html) = failures(live) {
        parts.push(Part::new("failures", html));
    }
    if let Some(html) = running(live) {
        parts.push(Part::new("running", html));
    }
    if live.board.groups.len() > 1 {
        let mut html = Html::new();
        html.raw("<h2>From stage to stage</h2><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Graph of stages\">");
        draw::graph(&mut html, &live.board);
        html.raw("</div>");
        parts.push(Part::new("graph", html));
    }
    parts.push(Part::new("find", search(live, request.value("find"))));
    for at in 0..live.board.groups.len() {
        parts.push(Part::new(format!("group-{at}"), group(live, at)));
    }
    if let Some(html) = warnings(live) {
        parts.push(Part::new("warnings", html));
    }
    parts
}

/// The stage that the address names: by its name, or by its place in a grid.
fn chosen(live: &Live, request: &Request) -> Option<usize> {
    if let Some(name) = request.value("stage") {
        return live.board.find(name);
    }
    let (group, at) = request.value("at")?.split_once('.')?;
    let group = live.board.groups.get(group.parse::<usize>().ok()?)?;
    group.cells.get(at.parse::<usize>().ok()?).copied()
}

/// The state of the whole: its word, and its class in the style.
fn outcome(live: &Live) -> (&'static str, State) {
    let board = &live.board;
    let failed = board.count(State::Failed);
    match (&live.standing, &board.ended) {
        (None, _) => ("no run yet", State::Left),
        (Some(Standing::Killed), _) => ("killed", State::Failed),
        (_, Some(ended)) => match ended.interrupted {
            Some(_) => ("interrupted", State::Stopped),
            None if ended.counts.failed > 0 => ("failed", State::Failed),
            None if ended.counts.skipped > 0 => ("incomplete", State::Skipped),
            None => ("done", State::Done),
        },
        (Some(Standing::Silent(_)), None) => ("silent", State::Stopped),
        (Some(_), None) if failed > 0 => ("running, with failures", State::Failed),
        (Some(_), None) => ("running", State::Running),
    }
}

fn made(live: &Live) -> (usize, usize) {
    let made = live.board.count(State::Done) + live.board.count(State::Cached);
    (made, live.board.cells.len())
}

fn window_title(live: &Live) -> String {
    let (made, all) = made(live);
    let (word, _) = outcome(live);
    format!("{made}/{all} {word} · {}", live.board.pipeline)
}

fn head(live: &mut Live) -> Html {
    let now = Live::now();
    let (word, state) = outcome(live);
    let (made, all) = made(live);
    let going = is_going(live);
    let left = if going {
        live.board.seconds_left(now)
    } else {
        None
    };
    let board = &live.board;
    let mut html = Html::new();
    html.raw("<p class=\"eyebrow\">").text(live.pipeline());
    if let Some(head) = &board.head {
        html.raw(" · run ")
            .text(&head.run)
            .raw(" · on ")
            .text(&head.host);
    }
    html.raw("</p><h1>")
        .text(&board.pipeline)
        .raw(" <span class=\"badge s-")
        .text(state.word());
    html.raw("\">")
        .text(word)
        .raw("</span></h1><p class=\"lead numbers\"><b>");
    html.text(&format::count(made as u64))
        .raw("</b> of <b>")
        .text(&format::counted(all, "stage"));
    html.raw("</b> ").raw(if going || board.ended.is_some() {
        "done"
    } else {
        "have a result"
    });
    for state in [
        State::Failed,
        State::Running,
        State::Pausing,
        State::Stopped,
    ] {
        let count = board.count(state);
        if count > 0 {
            html.raw(", <b>")
                .text(&format::count(count as u64))
                .raw("</b> ")
                .text(state.word());
        }
    }
    match (&board.ended, board.began) {
        (Some(ended), _) => {
            html.raw(" · took ").text(&format::duration(ended.seconds));
        }
        (None, Some(began)) if going => {
            html.raw(" · ")
                .text(&format::clock(now - began))
                .raw(" so far");
        }
        _ => {}
    }
    if let Some((seconds, is_all)) = left {
        html.raw(if is_all {
            " · about <b>"
        } else {
            " · at least <b>"
        });
        html.text(&format::clock(seconds)).raw("</b> left");
    }
    html.raw("</p>");
    let mut counts = [0; 8];
    for group in &board.groups {
        for (sum, count) in counts.iter_mut().zip(group.counts) {
            *sum += count;
        }
    }
    draw::bar(&mut html, &counts);
    html.raw("<ul class=\"key numbers\">");
    for (state, count) in State::ALL
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
    {
        html.raw("<li><svg viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect class=\"s-")
            .text(state.word());
        html.raw("\" width=\"1\" height=\"1\"/></svg>")
            .text(&format::count(count as u64))
            .raw(" ");
        html.text(state.word()).raw("</li>");
    }
    html.raw("</ul>");
    let holder = live.holder.as_deref().unwrap_or("its process");
    match live.standing {
        Some(Standing::Killed) => {
            html.raw("<p class=\"lost\">The run was killed: ")
                .text(holder);
            html.raw(" is gone. The same <code>pipeline run</code> goes on from there.</p>");
        }
        Some(Standing::Silent(seconds)) => {
            // In steps, so that it is not sent anew every second.
            let seconds = (seconds / 10.0).floor() * 10.0;
            html.raw("<p class=\"lost\">Nothing was heard of ")
                .text(holder)
                .raw(" for ");
            html.text(&format::duration(seconds))
                .raw(": it may be gone, or reads large files.</p>");
        }
        _ => {}
    }
    if let Some(ended) = &board.ended {
        for report in &ended.reports {
            html.raw("<p>Report of ")
                .text(&report.stage)
                .raw(": <code>")
                .text(&report.path);
            html.raw("/index.html</code></p>");
        }
    }
    html
}

fn stage_link(html: &mut Html, name: &str) {
    html.raw("<a href=\"?stage=")
        .text(&encode(name))
        .raw("#stage\">")
        .name(name)
        .raw("</a>");
}

fn failures(live: &Live) -> Option<Html> {
    let board = &live.board;
    let failed: Vec<usize> = board.in_state(State::Failed).collect();
    if failed.is_empty() {
        return None;
    }
    let mut html = Html::new();
    html.raw("<h2>")
        .text(&format::counted(failed.len(), "stage"))
        .raw(" failed</h2><div class=\"cards\">");
    for cell in failed.iter().take(MOST_FAILURES) {
        let cell = &board.cells[*cell];
        html.raw("<div class=\"card bad\"><h3>");
        stage_link(&mut html, &cell.name);
        html.raw("</h3>");
        if let Some(error) = &cell.error {
            html.raw("<p>").text(&error.message).raw("</p>");
            if let Some(help) = &error.help {
                html.raw("<p class=\"soft small\">").text(help).raw("</p>");
            }
        }
        html.raw("</div>");
    }
    html.raw("</div>");
    if failed.len() > MOST_FAILURES {
        html.raw("<p class=\"more\"><a href=\"?find=failed#find\">All ")
            .text(&format::count(failed.len() as u64));
        html.raw(" that failed</a></p>");
    }
    Some(html)
}

fn running(live: &mut Live) -> Option<Html> {
    let now = Live::now();
    let mut cells: Vec<usize> = live.board.in_state(State::Running).collect();
    cells.extend(live.board.in_state(State::Pausing));
    if cells.is_empty() {
        return None;
    }
    // Those with progress first: they are what people wait for.
    cells.sort_by_key(|cell| live.board.cells[*cell].progress.is_none());
    let mut html = Html::new();
    html.raw("<h2>At work</h2><div class=\"cards\">");
    let mut drawn = 0;
    for at in cells.iter().take(MOST_RUNNING) {
        html.raw("<div class=\"card\"><h3>");
        stage_link(&mut html, &live.board.cells[*at].name);
        html.raw("</h3>");
        detail::pace(&mut html, &mut live.board.cells[*at], now);
        if drawn < MOST_CURVES
            && let Some((group, name, curve)) = live.curves(*at).in_order().first()
        {
            drawn += 1;
            draw::curve(
                &mut html,
                &format!("{group}: {}", name.replace('_', " ")),
                curve,
            );
        }
        html.raw("</div>");
    }
    html.raw("</div>");
    if cells.len() > MOST_RUNNING {
        html.raw("<p class=\"more\"><a href=\"?find=running#find\">All ")
            .text(&format::count(cells.len() as u64));
        html.raw(" at work</a></p>");
    }
    Some(html)
}

fn search(live: &Live, wanted: Option<&str>) -> Html {
    let board = &live.board;
    let wanted = wanted.unwrap_or_default().trim();
    let mut html = Html::new();
    html.raw("<h2>Stages</h2><form role=\"search\"><label for=\"wanted\">Find</label><input id=\"wanted\" name=\"find\" maxlength=\"200\" placeholder=\"a name, or failed, running, left\" value=\"");
    html.text(wanted).raw("\"><button>Find</button></form>");
    if wanted.is_empty() {
        return html;
    }
    let state = State::ALL.into_iter().find(|state| state.word() == wanted);
    let lower = wanted.to_lowercase();
    let fits = |at: &usize| match state {
        Some(state) => board.cells[*at].state == state,
        None => board.cells[*at].name.to_lowercase().contains(&lower),
    };
    let found: Vec<usize> = (0..board.cells.len()).filter(fits).collect();
    html.raw("<p>")
        .text(&format::counted(found.len(), "stage"))
        .raw(" found");
    if found.len() > MOST_FOUND {
        html.raw(", the first ").text(&MOST_FOUND.to_string());
    }
    html.raw(".</p><ul class=\"list\">");
    for at in found.iter().take(MOST_FOUND) {
        let cell = &board.cells[*at];
        html.raw("<li><span class=\"badge s-")
            .text(cell.state.word())
            .raw("\">")
            .text(cell.state.word());
        html.raw("</span> ");
        stage_link(&mut html, &cell.name);
        if let Some(seconds) = cell.seconds {
            html.raw(" <span class=\"soft\">")
                .text(&format::duration(seconds))
                .raw("</span>");
        }
        html.raw("</li>");
    }
    html.raw("</ul>");
    html
}

fn group(live: &Live, at: usize) -> Html {
    let board = &live.board;
    let group = &board.groups[at];
    let mut html = Html::new();
    let is_one = group.cells.len() == 1;
    html.raw(if is_one {
        "<div class=\"group one\">"
    } else {
        "<div class=\"group\">"
    });
    if is_one {
        squares(&mut html, board, at);
    }
    html.raw("<h3>")
        .text(&group.name)
        .raw(" <span>")
        .text(&group.kind)
        .raw("</span> <span class=\"numbers\">");
    match group.cells.as_slice() {
        [one] => {
            let cell = &board.cells[*one];
            html.text(cell.state.word());
            if let Some(seconds) = cell.seconds {
                html.raw(" in ").text(&format::duration(seconds));
            }
        }
        _ => {
            html.text(&draw::sums(&group.counts));
        }
    }
    html.raw("</span></h3>");
    if group.cells.len() > MOST_SQUARES {
        draw::bar(&mut html, &group.counts);
        draw::grid(&mut html, board, at);
    } else if !is_one {
        squares(&mut html, board, at);
    }
    html.raw("</div>");
    html
}

/// Each stage as a square that leads to it.
fn squares(html: &mut Html, board: &Board, at: usize) {
    html.raw("<ul class=\"cells\">");
    for cell in &board.groups[at].cells {
        let cell = &board.cells[*cell];
        let sign = match cell.state {
            State::Failed => "✗",
            State::Running => "▸",
            State::Stopped => "■",
            _ => "·",
        };
        let label = format!("{}: {}", cell.name, cell.state.word());
        html.raw("<li><a class=\"s-")
            .text(cell.state.word())
            .raw("\" href=\"?stage=");
        html.text(&encode(&cell.name))
            .raw("#stage\" title=\"")
            .text(&label);
        html.raw("\" aria-label=\"")
            .text(&label)
            .raw("\">")
            .raw(sign)
            .raw("</a></li>");
    }
    html.raw("</ul>");
}

fn warnings(live: &Live) -> Option<Html> {
    let board = &live.board;
    if board.warnings.is_empty() {
        return None;
    }
    let mut html = Html::new();
    html.raw("<h2>Warnings</h2><ul class=\"list\">");
    for warning in &board.warnings {
        html.raw("<li>").text(warning).raw("</li>");
    }
    if board.more_warnings > 0 {
        html.raw("<li>and ")
            .text(&format::count(board.more_warnings as u64))
            .raw(" more</li>");
    }
    html.raw("</ul>");
    Some(html)
}
