//! `needs:` of one stage: what each source means. Knows nothing of other stages' instances.

use super::decode::from_node;
use super::matrix::axis_text;
use super::node::{Entry, Node, Value};
use super::paths::{inside, is_glob};
use super::suggest;
use super::{check_name, name_help};
use crate::diagnostic::Diagnostic;
use crate::kind::Ports;
use crate::source::Span;

/// One entry of `needs:`, understood but not yet linked.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) port: String,
    pub(crate) place: String,
    pub(crate) span: Span,
    pub(crate) source: Source,
}

/// What a need names.
#[derive(Debug)]
pub(crate) enum Source {
    Path(String),
    Glob(String),
    Stage(Wanted),
    All(Wanted),
}

/// A stage of the file, perhaps one output of it, perhaps some of its instances.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) stage: String,
    pub(crate) span: Span,
    pub(crate) output: Option<(String, Span)>,
    pub(crate) filter: Vec<Filter>,
}

/// One axis of `where:`.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) axis: String,
    pub(crate) span: Span,
    pub(crate) values: Vec<(String, Span)>,
}

/// Reads `needs:` of one instance and holds its ports against those of the kind.
pub(crate) fn read(
    node: Option<&Node>,
    ports: &Ports,
    stage: &str,
    stage_span: Span,
    kind: &str,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Need> {
    let entries = match node.map(|node| (&node.value, node)) {
        None | Some((Value::Null, _)) => &[],
        Some((Value::Map(entries), _)) => entries.as_slice(),
        Some((_, node)) => {
            problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!(
                        "`needs` of stage `{stage}` is {}, not a map",
                        node.type_name()
                    ),
                )
                .at(node.span, "")
                .help("write `needs: { port: source }`; a source is a stage or a path"),
            );
            return Vec::new();
        }
    };
    let names: Vec<&str> = ports.inputs.iter().map(|port| port.name).collect();
    let mut needs = Vec::new();
    for entry in entries {
        if !ports.any_input && !names.contains(&entry.key.as_str()) {
            let help = suggest::help(
                &entry.key,
                names.iter().copied(),
                "stages of this kind read nothing",
            );
            problems.push(
                Diagnostic::error(
                    "spec::unknown_input",
                    format!("unknown input `{}` in stage `{stage}`", entry.key),
                )
                .at(entry.key_span, format!("not an input of `{kind}`"))
                .help(help),
            );
            continue;
        }
        if !check_name(&entry.key) {
            problems.push(
                Diagnostic::error(
                    "spec::name",
                    format!("`{}` cannot name an input", entry.key),
                )
                .at(entry.key_span, "")
                .help(name_help(&entry.key)),
            );
            continue;
        }
        needs.extend(need(entry, stage, problems));
    }
    for port in &ports.inputs {
        let given = entries.iter().any(|entry| entry.key == port.name);
        if !given && !port.optional {
            let span = node.map_or(stage_span, |node| node.span);
            problems.push(
                Diagnostic::error(
                    "spec::missing_input",
                    format!("stage `{stage}` has no input `{}`", port.name),
                )
                .at(span, format!("`{kind}` reads `{}`", port.name))
                .help(format!(
                    "add `{}: SOURCE` under `needs:`; a source is a stage or a path",
                    port.name
                )),
            );
        }
    }
    let is_given = |name: &&&str| entries.iter().any(|entry| entry.key == **name);
    let given: Vec<&&str> = ports.one_of.iter().filter(is_given).collect();
    if !ports.one_of.is_empty() && given.len() != 1 {
        let span = node.map_or(stage_span, |node| node.span);
        let names = |names: &mut dyn Iterator<Item = &&str>, word: &str| {
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            names.join(word)
        };
        let wanted = names(&mut ports.one_of.iter(), " or ");
        let (message, help) = match given.as_slice() {
            [] => (
                format!("stage `{stage}` has no input {wanted}"),
                format!("add one of {wanted} under `needs:`; a source is a stage or a path"),
            ),
            several => (
                format!(
                    "stage `{stage}` has the inputs {} at once",
                    names(&mut several.iter().copied(), " and ")
                ),
                "keep one of them; make another stage for the other".to_owned(),
            ),
        };
        problems.push(
            Diagnostic::error("spec::one_input", message)
                .at(span, format!("`{kind}` reads {wanted}"))
                .help(help),
        );
    }
    needs
}

fn need(entry: &Entry, stage: &str, problems: &mut Vec<Diagnostic>) -> Option<Need> {
    let node = &entry.value;
    let mut place = entry.key.clone();
    let source = match &node.value {
        Value::String(text) => short_form(text, node.span, entry, stage, problems)?,
        Value::Map(_) => {
            let (source, place_as) = long_form(node, entry, stage, problems)?;
            if let Some(place_as) = place_as {
                place = place_as;
            }
            source
        }
        _ => {
            problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!("input `{}` of stage `{stage}` is {}, not a source", entry.key, node.type_name()),
                )
                .at(node.span, "")
                .at_if(node.defined, "defined here")
                .help("a source is a stage, `stage.output`, a path with a `/`, or `{ all: stage }` for every instance; each further source needs a name of its own"),
            );
            return None;
        }
    };
    Some(Need {
        port: entry.key.clone(),
        place,
        span: node.span,
        source,
    })
}

fn path_source(path: &str) -> Source {
    let path = path
        .strip_prefix("./")
        .filter(|p| !p.is_empty())
        .unwrap_or(path);
    if is_glob(path) {
        Source::Glob(path.to_owned())
    } else {
        let trimmed = path.trim_end_matches('/');
        Source::Path(if trimmed.is_empty() { path } else { trimmed }.to_owned())
    }
}

fn short_form(
    text: &str,
    span: Span,
    entry: &Entry,
    stage: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<Source> {
    if text.contains('/') {
        return Some(path_source(text));
    }
    let (name, output) = match text.split_once('.') {
        Some((name, output)) => (name, Some(output)),
        None => (text, None),
    };
    if text.contains('[') {
        problems.push(
            Diagnostic::error(
                "spec::source",
                format!("input `{}` of stage `{stage}` selects an instance", entry.key),
            )
            .at(span, "")
            .help("write `{ stage: NAME, where: { axis: value } }`; a pattern of files begins with `./`"),
        );
        return None;
    }
    if text.is_empty() || text.contains(['*', '?']) {
        problems.push(
            Diagnostic::error(
                "spec::source",
                format!("input `{}` of stage `{stage}` names no source", entry.key),
            )
            .at(span, "")
            .help("write a stage, or a path with a `/` such as `./*.txt`"),
        );
        return None;
    }
    Some(Source::Stage(Wanted {
        stage: name.to_owned(),
        span,
        output: output.map(|output| (output.to_owned(), span)),
        filter: Vec::new(),
    }))
}

fn long_form(
    node: &Node,
    entry: &Entry,
    stage: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<(Source, Option<String>)> {
    let before = problems.len();
    let what = format!("input `{}` of stage `{stage}`", entry.key);
    let forms: Vec<&str> = ["file", "stage", "all"]
        .into_iter()
        .filter(|key| node.find(key).is_some())
        .collect();
    let [form] = forms.as_slice() else {
        problems.push(
            Diagnostic::error(
                "spec::source",
                format!("{what} names no source, or several"),
            )
            .at(node.span, "")
            .help("write one of `file: PATH`, `stage: NAME`, `all: NAME`"),
        );
        return None;
    };
    let allowed: &[&str] = match *form {
        "file" => &["file", "as"],
        _ => &[*form, "output", "where", "as"],
    };
    for key in node.entries() {
        if !allowed.contains(&key.key.as_str()) {
            problems.push(
                Diagnostic::error(
                    "spec::unknown_key",
                    format!("unknown key `{}` in {what}", key.key),
                )
                .at(key.key_span, format!("not a key beside `{form}`"))
                .help(suggest::help(
                    &key.key,
                    allowed.iter().copied(),
                    "remove it",
                )),
            );
        }
    }
    let mut text = |key: &str| -> Option<(String, Span)> {
        let entry = node.find(key)?;
        match from_node::<String>(&entry.value, &format!("`{key}` of {what}")) {
            Ok(text) => Some((text, entry.value.span)),
            Err(found) => {
                problems.extend(found);
                None
            }
        }
    };
    let (named, output, place) = (text(form), text("output"), text("as"));
    let place = match place.map(|(place, span)| (inside(&place), place, span)) {
        None => None,
        Some((Ok(place), ..)) => Some(place),
        Some((Err(why), place, span)) => {
            problems.push(
                Diagnostic::error(
                    "spec::path",
                    format!("`{place}` cannot be the place of {what}: {why}"),
                )
                .at(span, "")
                .help("write a relative path that stays inside the stage's folder"),
            );
            None
        }
    };
    let filter = node
        .find("where")
        .map_or_else(Vec::new, |entry| filters(&entry.value, &what, problems));
    let (name, span) = named?;
    if problems.len() > before {
        return None;
    }
    let wanted = || Wanted {
        stage: name.clone(),
        span,
        output,
        filter,
    };
    let source = match *form {
        "file" if name.is_empty() => return None,
        "file" => path_source(&name),
        "stage" => Source::Stage(wanted()),
        _ => Source::All(wanted()),
    };
    Some((source, place))
}

fn filters(node: &Node, what: &str, problems: &mut Vec<Diagnostic>) -> Vec<Filter> {
    if !matches!(node.value, Value::Map(_)) {
        problems.push(
            Diagnostic::error(
                "spec::wrong_type",
                format!("`where` of {what} is {}, not a map", node.type_name()),
            )
            .at(node.span, "")
            .help("write `where: { axis: value }`; a list of values takes each of them"),
        );
    }
    node.entries()
        .iter()
        .map(|entry| {
            let values = match &entry.value.value {
                Value::Sequence(items) => items.iter().map(|i| (axis_text(i), i.span)).collect(),
                _ => vec![(axis_text(&entry.value), entry.value.span)],
            };
            Filter {
                axis: entry.key.clone(),
                span: entry.key_span,
                values,
            }
        })
        .collect()
}
