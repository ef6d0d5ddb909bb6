//! The graph of stages as a drawing: dot, Mermaid or SVG, a matrix collapsed to one box. Knows nothing of results.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::str::FromStr;

use crate::graph::awaited;
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

const BOX_HEIGHT: usize = 44;
const GAP_X: usize = 56;
const GAP_Y: usize = 20;
const MARGIN: usize = 16;
const LETTER: usize = 8;

/// Columns by the longest way from a stage that needs nothing; inside a column, by where the needed boxes stand.
fn svg(name: &str, boxes: &[StageBox<'_>], edges: &BTreeSet<(usize, usize)>) -> String {
    let mut rank = vec![0_usize; boxes.len()];
    // Instances of one stage may need each other, so that boxes can form a ring: as many rounds as boxes bound it.
    for _ in 0..boxes.len() {
        let mut moved = false;
        for (from, to) in edges {
            if from != to && rank[*to] < rank[*from] + 1 && rank[*from] + 1 < boxes.len() {
                rank[*to] = rank[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let columns = rank.iter().max().map_or(0, |last| last + 1);
    let mut places = vec![(0_usize, 0_usize); boxes.len()];
    let mut row_of = vec![0_usize; boxes.len()];
    let mut x = MARGIN;
    let mut height = 0;
    let mut widths = vec![0; boxes.len()];
    for column in 0..columns {
        let mut members: Vec<usize> = (0..boxes.len()).filter(|b| rank[*b] == column).collect();
        members.sort_by_key(|member| {
            let rows: Vec<usize> = edges
                .iter()
                .filter(|(from, to)| to == member && rank[*from] < column)
                .map(|(from, _)| row_of[*from])
                .collect();
            (rows.iter().sum::<usize>() * 16 / rows.len().max(1), *member)
        });
        let letters = members
            .iter()
            .map(|b| {
                let title = boxes[*b].stage.chars().count() + boxes[*b].count().chars().count();
                title.max(boxes[*b].kind.chars().count())
            })
            .max()
            .unwrap_or(0);
        let width = letters * LETTER + 24;
        for (row, member) in members.into_iter().enumerate() {
            row_of[member] = row;
            widths[member] = width;
            places[member] = (x, MARGIN + row * (BOX_HEIGHT + GAP_Y));
            height = height.max(places[member].1 + BOX_HEIGHT);
        }
        x += width + GAP_X;
    }
    let width = x.saturating_sub(GAP_X) + MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {0}\" width=\"{width}\" height=\"{0}\" font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n<title>{1}</title>\n<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#667\"/></marker></defs>\n",
        height + MARGIN,
        escape(name)
    );
    for (from, to) in edges.iter().filter(|(from, to)| from != to) {
        let (x1, y1) = (
            places[*from].0 + widths[*from],
            places[*from].1 + BOX_HEIGHT / 2,
        );
        let (x2, y2) = (places[*to].0, places[*to].1 + BOX_HEIGHT / 2);
        let bend = GAP_X / 2;
        let _ = writeln!(
            text,
            "<path d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#667\" marker-end=\"url(#arrow)\"/>",
            x1 + bend,
            x2.saturating_sub(bend)
        );
    }
    for (at, b) in boxes.iter().enumerate() {
        let (x, y) = places[at];
        let middle = x + widths[at] / 2;
        let _ = writeln!(
            text,
            "<g><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{BOX_HEIGHT}\" rx=\"6\" fill=\"#f4f6fa\" stroke=\"#445\"/><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#112\">{}{}</text><text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#556\" font-size=\"11\">{}</text></g>",
            widths[at],
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
    fn svg_draws_every_box_and_arrow() {
        let text = drawn(GraphFormat::Svg);
        assert_eq!(text.matches("<rect").count(), 3);
        assert_eq!(text.matches("marker-end").count(), 3);
        assert!(text.contains("tune ×2") && text.ends_with("</svg>\n"));
        assert_eq!(text, drawn(GraphFormat::Svg));
        assert!("png".parse::<GraphFormat>().is_err());
    }
}
