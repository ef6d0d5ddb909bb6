//! `pipeline dev generate`: files of the repository that are made from the program itself. Knows nothing of pipelines.

use std::path::Path;

use flow::diagnostic::{Class, Diagnostic, Failure};

use super::Done;
use crate::console::Console;

mod commands;
mod kinds;

/// What stands around a generated part of a page.
const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// Writes the generated files into the repository at `root`; with `check` only names those that would change.
pub(super) fn generate(root: &Path, check: bool, console: &mut Console) -> Done {
    let mut stale = Vec::new();
    for (name, text) in generated(root)? {
        let path = root.join(name);
        if fs_err::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        if check {
            stale.push(format!("`{name}`"));
            continue;
        }
        path.parent()
            .map_or(Ok(()), fs_err::create_dir_all)
            .and_then(|()| fs_err::write(&path, text))
            .map_err(|error| failure("dev::write", "a generated file cannot be written", &error))?;
        console.note(&format!("wrote {name}"));
    }
    if stale.is_empty() {
        return Ok(0);
    }
    let message = format!("{} would change", stale.join(", "));
    let diagnostic = Diagnostic::error("dev::stale", message)
        .help("run `pipeline dev generate` and look at the difference");
    Err(Failure::one(Class::Stage, diagnostic))
}

/// The files with their texts.
fn generated(root: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    let schema = flow::spec::schema::schema(crate::kinds::KINDS);
    let page = "docs/kinds.md";
    let text = fs_err::read_to_string(root.join(page)).map_err(|error| {
        failure(
            "dev::read",
            "a page with generated parts is missing",
            &error,
        )
    })?;
    Ok(vec![
        (
            "stages/schema/pipeline.schema.json",
            format!("{schema:#}\n"),
        ),
        ("docs/cli.md", commands::reference()),
        (page, with_parts(&text, &kinds::tables)),
    ])
}

/// The page with the text between `<!-- generated: NAME -->` and `<!-- end -->` replaced by what `part` says for NAME.
fn with_parts(page: &str, part: &dyn Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (Some((name, _)), Some((_, after_end))) =
            (after.split_once(" -->"), after.split_once(END))
        else {
            break;
        };
        let made = part(name).unwrap_or_else(|| format!("There is no kind `{name}`.\n"));
        text.push_str(&format!("{before}{BEGIN}{name} -->\n\n{made}\n{END}"));
        rest = after_end;
    }
    text + rest
}

fn failure(code: &str, message: &str, error: &std::io::Error) -> Failure {
    let diagnostic = Diagnostic::error(code, message)
        .detail(error.to_string())
        .help("run it in the root of the repository");
    Failure::one(Class::Environment, diagnostic)
}

#[cfg(test)]
mod tests {
    use super::with_parts;

    #[test]
    fn parts_are_replaced_and_the_rest_is_kept() {
        let page = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n";
        let made = with_parts(page, &|name| Some(format!("new {name}\n")));
        assert_eq!(
            made,
            "a\n<!-- generated: x -->\n\nnew x\n\n<!-- end -->\nb\n"
        );
        assert_eq!(
            with_parts(&made, &|name| Some(format!("new {name}\n"))),
            made
        );
    }
}
