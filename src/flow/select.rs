//! Selectors such as `finetune[task=ddi,seed=*]`: from words on the command line to stages. Knows nothing of files.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::spec::suggest;
use crate::spec::{Axis, METRICS, StageId, Workflow};

/// The stages that any of the selectors means, in the workflow's order, each once. No selector means all.
///
/// A selector is `stage` (all its instances), `stage[axis=value,…]`, or by position `stage[value,…]`;
/// `*` stands for any value, and axes that are not mentioned take any.
///
/// # Errors
/// One message for each selector that means nothing.
pub fn select(workflow: &Workflow, selectors: &[String]) -> Result<Vec<StageId>, Vec<Diagnostic>> {
    if selectors.is_empty() {
        return Ok((0_u32..)
            .zip(&workflow.stages)
            .map(|(id, _)| StageId(id))
            .collect());
    }
    let index = Index::new(workflow);
    let mut chosen = BTreeSet::new();
    let mut problems = Vec::new();
    for selector in selectors {
        match index.find(selector) {
            Ok(found) => chosen.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(chosen.into_iter().collect())
    } else {
        Err(problems)
    }
}

/// The stages of `SELECTOR[.OUTPUT]`, and the output if one is named; each of the stages has it.
///
/// # Errors
/// When the selector means nothing, or a stage has no such output.
pub fn select_output(
    workflow: &Workflow,
    text: &str,
) -> Result<(Vec<StageId>, Option<String>), Vec<Diagnostic>> {
    let (selector, output) = split_output(text);
    let stages = select(workflow, &[selector.to_owned()])?;
    let Some(output) = output else {
        return Ok((stages, None));
    };
    for id in &stages {
        let stage = &workflow.stages[id.index()];
        let names = stage.outputs.iter().map(|output| output.name.as_str());
        if output != METRICS && !names.clone().any(|name| name == output) {
            let help = suggest::help(output, names.chain([METRICS]), "it has no outputs");
            return Err(vec![
                Diagnostic::error(
                    "spec::unknown_output",
                    format!("stage `{}` has no output `{output}`", stage.name),
                )
                .help(help),
            ]);
        }
    }
    Ok((stages, Some(output.to_owned())))
}

/// Splits `SELECTOR[.OUTPUT]` at the dot after the brackets.
#[must_use]
pub fn split_output(text: &str) -> (&str, Option<&str>) {
    let after = text.rfind(']').map_or(0, |at| at + 1);
    match text[after..].find('.') {
        Some(dot) => (&text[..after + dot], Some(&text[after + dot + 1..])),
        None => (text, None),
    }
}

/// A display name such as `finetune[task=ddi,seed=1]` as its stage and its axes, values without quotes.
#[must_use]
pub fn axes_of_name(name: &str) -> (&str, Vec<(String, String)>) {
    let Some((stage, inside)) = split_name(name) else {
        return (name, Vec::new());
    };
    let axes = items(inside).unwrap_or_default().into_iter();
    let axes = axes.map(|item| (item.axis.unwrap_or_default(), bare(&item.value)));
    (stage, axes.collect())
}

/// Whether a selector means a stage of this display name, be it in the workflow or not: one of an earlier run.
#[must_use]
pub fn means_name(selector: &str, name: &str) -> bool {
    let (stage, axes) = axes_of_name(name);
    let Some((wanted, inside)) = split_name(selector) else {
        return selector == stage;
    };
    let fits = |(at, item): (usize, Item)| {
        let value = match &item.axis {
            Some(axis) => axes.iter().find(|(name, _)| name == axis),
            None => axes.get(at),
        };
        value.is_some_and(|(_, value)| item.value == "*" || *value == bare(&item.value))
    };
    wanted == stage
        && (inside.trim() == "*"
            || items(inside).is_some_and(|items| items.into_iter().enumerate().all(fits)))
}

fn split_name(name: &str) -> Option<(&str, &str)> {
    let (stage, rest) = name.split_once('[')?;
    Some((stage, rest.strip_suffix(']')?))
}

/// A value without the quotes that a name gives it, of which there may be two pairs: the axis's own and the name's.
fn bare(value: &str) -> String {
    let inner = |text: &str| match text.starts_with('"') {
        true => serde_json::from_str::<String>(text).ok(),
        false => None,
    };
    let once = inner(value).unwrap_or_else(|| value.to_owned());
    inner(&once).unwrap_or(once)
}

struct Index<'a> {
    workflow: &'a Workflow,
    by_stage: BTreeMap<&'a str, Vec<StageId>>,
}

/// One item between the brackets.
struct Item {
    axis: Option<String>,
    value: String,
}

impl<'a> Index<'a> {
    fn new(workflow: &'a Workflow) -> Self {
        let mut by_stage: BTreeMap<&str, Vec<StageId>> = BTreeMap::new();
        for (id, stage) in (0_u32..).zip(&workflow.stages) {
            by_stage.entry(&stage.stage).or_default().push(StageId(id));
        }
        Self { workflow, by_stage }
    }

    fn find(&self, selector: &str) -> Result<Vec<StageId>, Diagnostic> {
        let (name, inside) = match selector.split_once('[') {
            None => (selector, None),
            Some((name, rest)) => match rest.strip_suffix(']') {
                Some(inside) => (name, Some(inside)),
                None => {
                    return Err(wrong(format!("`{selector}` has no closing `]`"))
                        .help("write `stage[axis=value]`, in quotes for the shell"));
                }
            },
        };
        if let Some(reason) = self.workflow.left_out.get(name) {
            let message = format!("the stage `{name}` is left out by its `when`: {reason}");
            return Err(Diagnostic::error("spec::left_out", message)
                .help("`--set` gives a parameter another value"));
        }
        let Some(instances) = self.by_stage.get(name) else {
            return Err(Diagnostic::error(
                "spec::unknown_stage",
                format!("unknown stage `{name}`"),
            )
            .help(suggest::help(
                name,
                self.by_stage.keys().copied(),
                "the pipeline has no stages",
            )));
        };
        let Some(inside) = inside.filter(|inside| inside.trim() != "*") else {
            return Ok(instances.clone());
        };
        let items = items(inside).ok_or_else(|| {
            wrong(format!(
                "`{selector}` has brackets or quotes that do not close"
            ))
            .help("write `stage[axis=value]`, in quotes for the shell")
        })?;
        let axes = &self.workflow.stages[instances[0].index()].axes;
        let wanted = place(name, &items, axes)?;
        let found: Vec<StageId> = instances
            .iter()
            .copied()
            .filter(|id| {
                let axes = &self.workflow.stages[id.index()].axes;
                wanted
                    .iter()
                    .all(|(at, value)| axes.get(*at).is_some_and(|axis| is_value(axis, value)))
            })
            .collect();
        if found.is_empty() {
            return Err(self.nothing(selector, instances, axes, &wanted));
        }
        Ok(found)
    }

    fn nothing(
        &self,
        selector: &str,
        instances: &[StageId],
        axes: &[Axis],
        wanted: &[(usize, &str)],
    ) -> Diagnostic {
        let problem = Diagnostic::error(
            "spec::no_instance",
            format!("`{selector}` selects no instance"),
        );
        for (at, value) in wanted {
            let mut known: Vec<&str> = Vec::new();
            for id in instances {
                let text = self.workflow.stages[id.index()].axes[*at].text.as_str();
                if !known.contains(&text) && known.len() < 200 {
                    known.push(text);
                }
            }
            if *value != "*" && !known.contains(value) {
                let help = suggest::help(value, known, "it has no values");
                return problem
                    .detail(format!(
                        "the axis `{}` has no value `{value}`",
                        axes[*at].name
                    ))
                    .help(help);
            }
        }
        problem
            .help("this combination of values was excluded; `pipeline status` lists what there is")
    }
}

fn wrong(message: String) -> Diagnostic {
    Diagnostic::error("spec::selector", message)
}

fn is_value(axis: &Axis, value: &str) -> bool {
    value == "*"
        || axis.text == value
        // Text that is shown in quotes may be given without, unless it looks quoted itself.
        || (!value.starts_with('"')
            && serde_json::from_str::<String>(&axis.text).is_ok_and(|text| text == value))
}

/// The axis each item is about, by name or position.
fn place<'i>(
    stage: &str,
    items: &'i [Item],
    axes: &[Axis],
) -> Result<Vec<(usize, &'i str)>, Diagnostic> {
    let names = || axes.iter().map(|axis| axis.name.as_str());
    items
        .iter()
        .enumerate()
        .map(|(position, item)| {
            let at = match &item.axis {
                None => Some(position).filter(|at| *at < axes.len()),
                Some(name) => names().position(|axis| axis == name),
            };
            match (at, &item.axis) {
                (Some(at), _) => Ok((at, item.value.as_str())),
                (None, Some(name)) => Err(Diagnostic::error(
                    "spec::unknown_axis",
                    format!("stage `{stage}` has no axis `{name}`"),
                )
                .help(suggest::help(
                    name,
                    names(),
                    "it has no axes; leave the brackets out",
                ))),
                (None, None) => Err(wrong(format!(
                    "`{stage}` has {} axes, fewer than the values given",
                    axes.len()
                ))
                .help(suggest::help(
                    "",
                    names(),
                    "it has no axes; leave the brackets out",
                ))),
            }
        })
        .collect()
}

/// Splits at commas outside of quotes, brackets and braces; `None` when these do not close.
fn items(text: &str) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let (mut begin, mut equals) = (0, None);
    let mut push = |end: usize, begin: usize, equals: Option<usize>| {
        let (axis, value) = match equals {
            Some(at) => (Some(text[begin..at].trim().to_owned()), &text[at + 1..end]),
            None => (None, &text[begin..end]),
        };
        items.push(Item {
            axis,
            value: value.trim().to_owned(),
        });
    };
    for (at, c) in text.char_indices() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => quoted = true,
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.checked_sub(1)?,
            '=' if depth == 0 && equals.is_none() => equals = Some(at),
            ',' if depth == 0 => {
                push(at, begin, equals);
                (begin, equals) = (at + 1, None);
            }
            _ => {}
        }
    }
    push(text.len(), begin, equals);
    (!quoted && depth == 0).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::testing::workflow;

    fn chosen(selectors: &[&str]) -> Result<Vec<String>, String> {
        let workflow = workflow(
            "stages:\n  data: {kind: tool, outputs: {a: a, b: b}}\n  tune: {kind: tool, matrix: {task: [ddi, bc5, 'a, b']}, replicate: {seed: [1, 2]}, needs: {d: data.a}, outputs: {o: o}}\n",
        );
        let selectors: Vec<String> = selectors.iter().map(|&s| s.to_owned()).collect();
        match select(&workflow, &selectors) {
            Ok(ids) => Ok(ids
                .into_iter()
                .map(|id| workflow.stages[id.index()].name.clone())
                .collect()),
            Err(problems) => Err(problems
                .iter()
                .map(|p| format!("{} / {}", p.message, p.help.as_deref().unwrap_or("NO HELP")))
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    #[test]
    fn selectors_name_stages_axes_and_positions() {
        assert_eq!(chosen(&[]).expect("all").len(), 7);
        assert_eq!(chosen(&["tune"]).expect("all").len(), 6);
        assert_eq!(chosen(&["tune[*]", "data"]).expect("all").len(), 7);
        assert_eq!(chosen(&["tune[task=ddi,seed=*]"]).expect("two").len(), 2);
        assert_eq!(chosen(&["tune[seed=2]"]).expect("three").len(), 3);
        assert_eq!(
            chosen(&["tune[ddi,1]"]).expect("one"),
            ["tune[task=ddi,seed=1]"]
        );
        assert_eq!(chosen(&["tune[*,1]"]).expect("three").len(), 3);
        assert_eq!(
            chosen(&["tune[task=\"a, b\",seed=1]"]).expect("one").len(),
            1
        );
        assert_eq!(
            chosen(&["tune[ddi,1]", "tune[ddi,1]", "tune[ddi]"])
                .expect("two")
                .len(),
            2
        );
    }

    #[test]
    fn wrong_selectors_are_explained() {
        for (selector, expected) in [
            ("tun", "unknown stage `tun` / did you mean `tune`?"),
            ("tune[ddi", "has no closing `]`"),
            ("tune[tsk=ddi]", "has no axis `tsk` / did you mean `task`?"),
            ("tune[dd,1]", "selects no instance / did you mean `ddi`?"),
            ("tune[ddi,1,2]", "has 2 axes, fewer than the values given"),
            ("tune[\"ddi]", "do not close"),
            ("data[x=1]", "leave the brackets out"),
        ] {
            let found = chosen(&[selector]).expect_err("a problem");
            assert!(found.contains(expected), "{expected} not in {found}");
            assert!(!found.contains("NO HELP"), "{found}");
        }
        let both = chosen(&["tun", "dat"]).expect_err("two problems");
        assert!(both.contains("tun") && both.contains("dat"));
    }

    #[test]
    fn names_of_earlier_runs_are_taken_apart_and_meant() {
        let name = "tune[task=\"a, b\",seed=1]";
        let axes = [
            ("task".to_owned(), "a, b".to_owned()),
            ("seed".to_owned(), "1".to_owned()),
        ];
        assert_eq!(axes_of_name(name), ("tune", axes.into()));
        assert_eq!(axes_of_name("data"), ("data", Vec::new()));
        for selector in [
            "tune",
            "tune[*]",
            "tune[seed=1]",
            "tune[\"a, b\"]",
            "tune[*,1]",
        ] {
            assert!(means_name(selector, name), "{selector}");
        }
        for selector in [
            "tun",
            "tune[seed=2]",
            "tune[a]",
            "tune[lr=1]",
            "tune[*,1,2]",
        ] {
            assert!(!means_name(selector, name), "{selector}");
        }
    }

    #[test]
    fn an_output_follows_the_brackets() {
        assert_eq!(split_output("a.b"), ("a", Some("b")));
        assert_eq!(split_output("a[x=0.1].b"), ("a[x=0.1]", Some("b")));
        assert_eq!(split_output("a[x=0.1]"), ("a[x=0.1]", None));
        let workflow = workflow("stages: {data: {kind: tool, outputs: {a: a, b: b}}}\n");
        let (stages, output) = select_output(&workflow, "data.b").expect("selects");
        assert_eq!((stages.len(), output.as_deref()), (1, Some("b")));
        assert!(select_output(&workflow, "data.metrics").is_ok());
        let problems = select_output(&workflow, "data.c").expect_err("a problem");
        assert!(problems[0].message.contains("has no output `c`"));
    }
}
