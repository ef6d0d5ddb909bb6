//! Pages through templates: every value is escaped, Markdown keeps no raw HTML and no outside images. Knows no numbers.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};
use serde::Serialize;

use crate::error::ReportError;

const INDEX: &str = include_str!("../templates/index.html");
const RUN: &str = include_str!("../templates/run.html");
/// The style of pages: colours, type, tables, light and dark.
pub const STYLE: &str = include_str!("../templates/style.css");

/// `index.html` of a report: the built-in template, or `template` in its place.
///
/// A template sees the fields of [`crate::page::Page`], the filters `markdown` and `inline_markdown`, and may `{% include "style.css" %}`.
///
/// # Errors
/// When the template does not parse or does not render, with its line.
pub fn report<T: Serialize>(page: &T, template: Option<&str>) -> Result<String, ReportError> {
    match template {
        Some(text) => render("the report's template (template.html)", text, page),
        None => render("index.html", INDEX, page),
    }
}

/// `run.html` of a run.
///
/// # Errors
/// Never for the built-in template.
pub(crate) fn run<T: Serialize>(page: &T) -> Result<String, ReportError> {
    render("run.html", RUN, page)
}

fn render<T: Serialize>(name: &str, text: &str, page: &T) -> Result<String, ReportError> {
    let failed = |source| ReportError::Template {
        name: name.to_owned(),
        source,
    };
    let mut environment = environment();
    environment.set_auto_escape_callback(|name| match name {
        "style.css" => AutoEscape::None,
        _ => AutoEscape::Html,
    });
    environment.add_filter("markdown", |text: String| {
        Value::from_safe_string(markdown(&text))
    });
    environment.add_filter("inline_markdown", |text: String| {
        Value::from_safe_string(inline_markdown(&text))
    });
    environment.add_filter("is_link", |text: String| is_web_address(&text));
    environment
        .add_template("style.css", STYLE)
        .map_err(failed)?;
    environment.add_template("page", text).map_err(failed)?;
    environment
        .get_template("page")
        .and_then(|template| template.render(Value::from(Serde(page))))
        .map_err(failed)
}

/// Templates as this program writes them.
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .expect("the usual delimiters are valid");
    environment.set_syntax(syntax);
    environment
}

/// Markdown as HTML: raw HTML becomes text, images become their description, links lead to the web or within the page.
#[must_use]
pub fn markdown(text: &str) -> String {
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, safe_events(text));
    html
}

/// As [`markdown`], without the paragraph around it: for remarks of a line.
#[must_use]
pub fn inline_markdown(text: &str) -> String {
    let events = safe_events(text).filter(|event| {
        !matches!(
            event,
            Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph)
        )
    });
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events);
    html
}

fn safe_events(text: &str) -> impl Iterator<Item = Event<'_>> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    // Whether each open link is kept; links nest nowhere else than in images.
    let mut kept: Vec<bool> = Vec::new();
    Parser::new_ext(text, options).filter_map(move |event| match event {
        Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => {
            let keep = is_safe_target(link_type, &dest_url);
            kept.push(keep);
            keep.then_some(Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            }))
        }
        Event::End(TagEnd::Link) => kept
            .pop()
            .unwrap_or(false)
            .then_some(Event::End(TagEnd::Link)),
        // The page has one heading of the first level, and it is not in anybody's text.
        Event::Start(Tag::Heading {
            level,
            id,
            classes,
            attrs,
        }) => Some(Event::Start(Tag::Heading {
            level: below(level),
            id,
            classes,
            attrs,
        })),
        Event::End(TagEnd::Heading(level)) => Some(Event::End(TagEnd::Heading(below(level)))),
        other => Some(other),
    })
}

/// The next lower level of a heading.
fn below(level: HeadingLevel) -> HeadingLevel {
    HeadingLevel::try_from(level as usize + 1).unwrap_or(HeadingLevel::H6)
}

fn is_safe_target(link_type: LinkType, target: &CowStr<'_>) -> bool {
    link_type == LinkType::Email || target.starts_with('#') || is_web_address(target)
}

fn is_web_address(target: &str) -> bool {
    target.starts_with("https://") || target.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::markdown;

    #[test]
    fn markdown_keeps_no_script_and_no_outside_content() {
        let html = markdown(
            "# A heading\n\nA *word*, <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n![a picture](https://example.org/x.png) [bad](javascript:alert(1)) [good](https://example.org)",
        );
        assert!(html.contains("<h2>A heading</h2>"), "{html}");
        assert!(html.contains("<em>word</em>"), "{html}");
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("<img"), "{html}");
        assert!(!html.contains("javascript:"), "{html}");
        assert!(html.contains("a picture"), "{html}");
        assert!(
            html.contains(r#"<a href="https://example.org">good</a>"#),
            "{html}"
        );
    }
}
