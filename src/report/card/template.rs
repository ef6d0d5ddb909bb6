//! Markdown through a template of this program, every value escaped for the place where it stands. Knows no cards.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Value};
use serde::Serialize;

use crate::error::ReportError;
use crate::render::html::environment;
use crate::render::markdown::escape;

/// A page of Markdown through a template of this program: values are escaped where the template says how, by the filters
/// `words` (in running text and tables), `code` (between backticks) and `fenced` (as a block of its own).
pub(super) fn render<T: Serialize>(
    name: &str,
    text: &str,
    page: &T,
) -> Result<String, ReportError> {
    let failed = |source| ReportError::Template {
        name: name.to_owned(),
        source,
    };
    let mut environment = environment();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("words", |text: String| escape(&text));
    environment.add_filter("code", |text: String| code(&text));
    environment.add_filter("fenced", |text: String| fenced(&text));
    environment.add_template("page", text).map_err(failed)?;
    environment
        .get_template("page")
        .and_then(|template| template.render(Value::from(Serde(page))))
        .map_err(failed)
}

/// A text between backticks, as code in running text or in a table. A bar would end a table's cell even there.
fn code(text: &str) -> String {
    let safe = text.chars().map(|c| match c {
        '`' => '\'',
        '|' => '\u{2223}',
        c if c.is_whitespace() || c.is_control() => ' ',
        c => c,
    });
    format!("`{}`", safe.collect::<String>())
}

/// A text as a block of code, behind more backticks than it has in a row itself.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_inside_their_places() {
        assert_eq!(code("a`b|c\nd"), "`a'b\u{2223}c d`");
        assert_eq!(fenced("a\n```\nb\n"), "````text\na\n```\nb\n````");
        let page = render(
            "x",
            "{{ a|words }} {{ a|code }}",
            &serde_json::json!({ "a": "<b>|[x](y)" }),
        );
        let page = page.expect("renders");
        assert_eq!(page, "&lt;b&gt;\\|\\[x\\](y) `<b>\u{2223}[x](y)`");
    }
}
