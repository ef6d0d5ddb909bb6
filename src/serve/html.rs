//! HTML out of pieces: words of ours as they are, everything else escaped, told apart by their types. Knows no page.

/// HTML being written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Html(String);

impl Html {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Markup of ours: it stands in the program's text.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anybody's text, between tags or in the quotes of an attribute.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                c if c.is_control() => {}
                c => self.0.push(c),
            }
        }
        self
    }

    /// The name of a stage, which may be broken between its axes.
    pub fn name(&mut self, name: &str) -> &mut Self {
        for piece in name.split_inclusive(['[', ',']) {
            self.text(piece).raw("<wbr>");
        }
        self
    }

    /// A number.
    pub fn number(&mut self, number: impl Into<f64>) -> &mut Self {
        let number: f64 = number.into();
        let text = format!("{number:.2}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        self.0.push_str(if number.is_finite() { text } else { "0" });
        self
    }

    /// HTML that was made so.
    pub fn html(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_from_text() {
        let mut html = Html::new();
        html.raw("<b title=\"")
            .text("\"><script>'&\u{1b}[0m\u{0}")
            .raw("\">");
        assert_eq!(
            html.as_str(),
            "<b title=\"&quot;&gt;&lt;script&gt;&#39;&amp;[0m\">"
        );
        let mut html = Html::new();
        html.number(1.0)
            .raw(" ")
            .number(0.126)
            .raw(" ")
            .number(100)
            .raw(" ")
            .number(f64::NAN);
        assert_eq!(html.as_str(), "1 0.13 100 0");
    }
}
