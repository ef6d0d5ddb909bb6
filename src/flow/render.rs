//! The graph of stages as a drawing: dot, Mermaid or SVG, a matrix collapsed to one box. Knows nothing of results.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr;

use crate::graph::awaited;
use crate::layered::{BOX_HEIGHT, GAP_X, lay_out};
use crate::spec::Workflow;

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// Graphviz.
    Dot,
    /// Mermaid, as Markdown viewers draw it.
    Mermaid,
    /// A drawing that needs no other program.
    Svg,
}

impl FromStr for GraphFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dot" => Ok(Self::Dot),
            "mermaid" => Ok(Self::Mermaid),
            "svg" => Ok(Self::Svg),
            other => Err(format!("`{other}` is not `dot`, `mermaid` or `svg`")),
        }
    }
}

/// One box: a stage of the file with all its instances.
struct StageBox<'a> {
    stage: &'a str,
    kind: &'a str,
    instances: usize,
}

/// The drawing as text. Equal workflows give equal bytes.
#[must_use]
pub fn render_graph(workflow: &Workflow, format: GraphFormat) -> String {
    let (boxes, edges) = collapse(workflow);
    match format {
        GraphFormat::Dot => dot(&boxes, &edges),
        GraphFormat::Mermaid => mermaid(&boxes, &edges),
        GraphFormat::Svg => svg(&workflow.name, &boxes, &edges),
    }
}

/// The SVG of [`render_graph`] with a word on how each stage of the file came out, in place of its kind, and the same
/// in words: what each stage needs. Stages without such a word are left out.
#[must_use]
pub fn draw_run(workflow: &Workflow, words: &BTreeMap<String, String>) -> (String, Vec<String>) {
    let (boxes, edges) = collapse(workflow);
    let is_in = |at: usize| words.contains_key(boxes[at].stage);
    let mut places = vec![0; boxes.len()];
    let mut shown: Vec<StageBox<'_>> = Vec::new();
    for (at, one) in boxes.iter().enumerate().filter(|(at, _)| is_in(*at)) {
        places[at] = shown.len();
        shown.push(StageBox {
            stage: one.stage,
            kind: &words[one.stage],
            instances: one.instances,
        });
    }
    let edges: BTreeSet<(usize, usize)> = (edges.into_iter())
        .filter(|(from, to)| is_in(*from) && is_in(*to))
        .map(|(from, to)| (places[from], places[to]))
        .collect();
    let told = (0..shown.len()).map(|at| {
        let needed = edges.iter().filter(|(from, to)| *to == at && from != to);
        let needed: Vec<&str> = needed.map(|(from, _)| shown[*from].stage).collect();
        let needs = match needed.is_empty() {
            true => "needs no other".to_owned(),
            false => format!("needs {}", needed.join(", ")),
        };
        format!("{}{} {needs}", shown[at].stage, shown[at].count())
    });
    (svg(&workflow.name, &shown, &edges), told.collect())
}

/// Boxes in the workflow's order, and which box is needed by which.
fn collapse(workflow: &Workflow) -> (Vec<StageBox<'_>>, BTreeSet<(usize, usize)>) {
    let mut boxes: Vec<StageBox<'_>> = Vec::new();
    let mut by_name = BTreeMap::new();
    let mut edges = BTreeSet::new();
    for stage in &workflow.stages {
        let at = *by_name.entry(stage.stage.as_str()).or_insert_with(|| {
            boxes.push(StageBox {
                stage: &stage.stage,
                kind: &stage.kind,
                instances: 0,
            });
            boxes.len() - 1
        });
        boxes[at].instances += 1;
        for source in awaited(stage) {
            let from = by_name[workflow.stages[source.index()].stage.as_str()];
            edges.insert((from, at));
        }
    }
    (boxes, edges)
}

impl StageBox<'_> {
    fn count(&self) -> String {
        if self.instances == 1 {
            String::new()
        } else {
            format!(" ×{}", self.instances)
        }
    }
}

fn dot(boxes: &[StageBox<'_>], edges: &BTreeSet<(usize, usize)>) -> String {
    let mut text = String::from("digraph pipeline {\n  rankdir=LR;\n  node [shape=box];\n");
    for b in boxes {
        let _ = writeln!(
            text,
            "  \"{0}\" [label=\"{0}{1}\\n{2}\"];",
            b.stage,
            b.count(),
            b.kind
        );
    }
    for (from, to) in edges {
        let _ = writeln!(
            text,
            "  \"{}\" -> \"{}\";",
            boxes[*from].stage, boxes[*to].stage
        );
    }
    text.push_str("}\n");
    text
}

fn mermaid(boxes: &[StageBox<'_>], edges: &BTreeSet<(usize, usize)>) -> String {
    // Numbers name the boxes, since words such as `end` mean something to Mermaid.
    let mut text = String::from("flowchart LR\n");
    for (at, b) in boxes.iter().enumerate() {
        let _ = writeln!(text, "  s{at}[\"{}{}<br/>{}\"]", b.stage, b.count(), b.kind);
    }
    for (from, to) in edges {
        let _ = writeln!(text, "  s{from} --> s{to}");
    }
    text
}

const LETTER: usize = 8;

/// Arrows that follow from others are left out; see [`lay_out`].
fn svg(name: &str, boxes: &[StageBox<'_>], edges: &BTreeSet<(usize, usize)>) -> String {
    let widths: Vec<usize> = (boxes.iter())
        .map(|b| {
            let title = b.stage.chars().count() + b.count().chars().count();
            title.max(b.kind.chars().count()) * LETTER + 24
        })
        .collect();
    let layout = lay_out(&widths, edges);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n<title>{2}</title>\n<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#667\"/></marker></defs>\n",
        layout.width,
        layout.height,
        escape(name)
    );
    for arrow in &layout.arrows {
        let mut way = String::new();
        for pair in arrow.chunks_exact(2) {
            let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
            let step = if way.is_empty() { "M" } else { "L" };
            let bend = GAP_X / 2;
            let _ = write!(
                way,
                "{step}{x1} {y1}C{} {y1} {} {y2} {x2} {y2}",
                x1 + bend,
                x2.saturating_sub(bend)
            );
        }
        let _ = writeln!(
            text,
            "<path d=\"{way}\" fill=\"none\" stroke=\"#667\" marker-end=\"url(#arrow)\"/>"
        );
    }
    for (b, (x, y, width)) in boxes.iter().zip(&layout.boxes) {
        let middle = x + width / 2;
        let _ = writeln!(
            text,
            "<g><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"6\" fill=\"#f4f6fa\" stroke=\"#445\"/><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#112\">{}{}</text><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#556\" font-size=\"11\">{}</text></g>",
            y + 19,
            escape(b.stage),
            b.count(),
            y + 35,
            escape(b.kind)
        );
    }
    text.push_str("</svg>\n");
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::testing::workflow;

    fn drawn(format: GraphFormat) -> String {
        let workflow = workflow(
            "stages:\n  data: {kind: tool, outputs: {a: a}}\n  tune: {kind: tool, matrix: {t: [x, y]}, needs: {d: data}, outputs: {o: o}}\n  end: {kind: tool, needs: {d: data, all: {all: tune}}}\n",
        );
        render_graph(&workflow, format)
    }

    #[test]
    fn dot_has_one_box_a_stage() {
        assert_eq!(
            drawn(GraphFormat::Dot),
            "digraph pipeline {\n  rankdir=LR;\n  node [shape=box];\n  \"data\" [label=\"data\\ntool\"];\n  \"tune\" [label=\"tune ×2\\ntool\"];\n  \"end\" [label=\"end\\ntool\"];\n  \"data\" -> \"tune\";\n  \"data\" -> \"end\";\n  \"tune\" -> \"end\";\n}\n"
        );
    }

    #[test]
    fn a_run_is_drawn_without_what_it_left_out() {
        let workflow = workflow(
            "stages:\n  data: {kind: tool, outputs: {a: a}}\n  tune: {kind: tool, matrix: {t: [x, y]}, needs: {d: data}, outputs: {o: o}}\n  end: {kind: tool, needs: {d: data, all: {all: tune}}}\n",
        );
        let words = [("tune", "1 executed, 1 cached"), ("end", "failed")];
        let words = words.map(|(stage, word)| (stage.to_owned(), word.to_owned()));
        let (drawn, told) = draw_run(&workflow, &words.into());
        assert_eq!(told, ["tune ×2 needs no other", "end needs tune"]);
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert!(drawn.contains(">1 executed, 1 cached<") && !drawn.contains(">data<"));
    }

    #[test]
    fn mermaid_survives_its_own_words() {
        assert_eq!(
            drawn(GraphFormat::Mermaid),
            "flowchart LR\n  s0[\"data<br/>tool\"]\n  s1[\"tune ×2<br/>tool\"]\n  s2[\"end<br/>tool\"]\n  s0 --> s1\n  s0 --> s2\n  s1 --> s2\n"
        );
    }

    #[test]
    fn svg_draws_every_box() {
        let text = drawn(GraphFormat::Svg);
        assert_eq!(text.matches("<rect").count(), 3);
        // From `data` to `end` there is a way already.
        assert_eq!(text.matches("marker-end").count(), 2);
        assert!(text.contains("tune ×2") && text.ends_with("</svg>\n"));
        assert_eq!(text, drawn(GraphFormat::Svg));
        assert!("png".parse::<GraphFormat>().is_err());
    }
}
