//! YAML text to [`Node`]s. The only door to serde-saphyr; knows nothing of stages.
//!
//! It stands on the event parser that serde-saphyr re-exports rather than on its serde front, because that one
//! stops at the first duplicate key and has forgotten by then whether a scalar was quoted.
//!
//! Scalars follow the core schema of YAML 1.2 with four decisions where people are surprised:
//! `yes`, `no`, `on`, `off` stay strings; `1_000` and `08` stay strings (whoever wants a number is told how to write
//! it); NaN, infinities and `-0` are refused; whole numbers beyond 64 bits are refused. Quoting makes any of them text.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{self as granit, Event, Parser, ScalarStyle};

use super::node::{Entry, Node, Value};
use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};

/// The largest text that is read.
const MAX_TEXT_BYTES: usize = 64 << 20;
/// How deep lists and maps may nest, aliases followed.
pub(crate) const MAX_DEPTH: usize = 128;
/// How many values aliases may add whatever the size of the text; beyond that it grows with the text.
const MIN_ALIAS_NODES: usize = 100_000;

/// What came of a text: a tree wherever one could be made, and everything wrong with it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The tree; `None` when the text breaks off in a syntax error. Of duplicate keys the first is kept.
    pub node: Option<Node>,
    /// Every problem found; the text is only good when there is none.
    pub problems: Vec<Diagnostic>,
}

/// Reads one document. An empty text is [`Value::Null`].
#[must_use]
pub fn parse(text: &str, source: SourceId) -> Parsed {
    parse_from(text, 0, source)
}

/// Reads the document that starts `skip` bytes into the first line of `text`; places count from the start of `text`.
pub(crate) fn parse_from(text: &str, skip: usize, source: SourceId) -> Parsed {
    if text.len() > MAX_TEXT_BYTES {
        let place = Span {
            source,
            offset: 0,
            len: 0,
            line: 1,
            column: 1,
        };
        let problem = Diagnostic::error("spec::too_large", "the text is larger than 64 MiB")
            .at(place, "")
            .help("write repeated stages as a `matrix`");
        return Parsed {
            node: None,
            problems: vec![problem],
        };
    }
    let body = &text[skip..];
    let mut builder = Builder {
        text: body,
        source,
        skip_bytes: skip,
        skip_columns: text[..skip].chars().count(),
        stack: Vec::new(),
        anchors: BTreeMap::new(),
        alias_nodes: 0,
        alias_limit: MIN_ALIAS_NODES.max(body.len().saturating_mul(4)),
        root: None,
        problems: Vec::new(),
    };
    let complete = builder.read();
    let node = complete.then(|| {
        builder.root.take().unwrap_or_else(|| Node {
            value: Value::Null,
            span: builder.point_at_start(),
            defined: None,
        })
    });
    Parsed {
        node,
        problems: builder.problems,
    }
}

/// A value on its way to its parent.
struct Done {
    node: Node,
    /// The text of a scalar as written, and whether it was plain: what a key needs.
    key: Option<(String, bool)>,
    anchor: usize,
    depth: usize,
    size: usize,
}

enum Pending {
    /// A key waits for its value.
    Key { key: String, span: Span },
    /// `<<` waits for what it merges.
    Merge { span: Span },
    /// Something that cannot be a key; its value is dropped.
    Refused,
}

struct Frame {
    span: Span,
    anchor: usize,
    depth: usize,
    size: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        merged: Vec<Entry>,
        pending: Option<Pending>,
    },
}

struct Anchor {
    node: Node,
    depth: usize,
    size: usize,
}

struct Builder<'a> {
    text: &'a str,
    source: SourceId,
    skip_bytes: usize,
    skip_columns: usize,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Anchor>,
    alias_nodes: usize,
    alias_limit: usize,
    root: Option<Node>,
    problems: Vec<Diagnostic>,
}

impl Builder<'_> {
    /// Whether the whole text was read.
    fn read(&mut self) -> bool {
        let mut options = granit::Options::default();
        options.flow_nesting_limit = MAX_DEPTH;
        options.block_nesting_limit = MAX_DEPTH;
        let mut parser = Parser::new_from_str_with_options(self.text, options);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    self.refuse_syntax(&error);
                    return false;
                }
            };
            match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        let place = self.span(span);
                        self.problems.push(
                            Diagnostic::error("spec::yaml", "a second document begins here")
                                .at(place, "")
                                .help("a pipeline file holds one document; remove the `---`"),
                        );
                        return false;
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let span = self.span(span);
                    let value = self.scalar(&text, style, tag.as_deref(), span);
                    let key = Some((text.into_owned(), style == ScalarStyle::Plain));
                    self.deliver(Done {
                        node: Node {
                            value,
                            span,
                            defined: None,
                        },
                        key,
                        anchor,
                        depth: 1,
                        size: 1,
                    });
                }
                Event::SequenceStart(_, anchor, tag) => {
                    let span = self.span(span);
                    self.check_tag(tag.as_deref(), "seq", span);
                    self.open(span, anchor, Content::Sequence(Vec::new()));
                }
                Event::MappingStart(_, anchor, tag) => {
                    let span = self.span(span);
                    self.check_tag(tag.as_deref(), "map", span);
                    let content = Content::Map {
                        entries: Vec::new(),
                        merged: Vec::new(),
                        pending: None,
                    };
                    self.open(span, anchor, content);
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span),
                Event::Alias(anchor) => {
                    let span = self.span(span);
                    if !self.alias(anchor, span) {
                        return false;
                    }
                }
                _ => {}
            }
        }
        true
    }

    fn open(&mut self, span: Span, anchor: usize, content: Content) {
        self.stack.push(Frame {
            span,
            anchor,
            depth: 1,
            size: 1,
            content,
        });
    }

    fn close(&mut self, end: granit::Span) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        let value = match frame.content {
            // Most lists and maps are short: room for growth would take more than their values.
            Content::Sequence(mut items) => {
                items.shrink_to_fit();
                Value::Sequence(items)
            }
            Content::Map {
                entries, merged, ..
            } => {
                let mut entries = self.finish_map(entries, merged);
                entries.shrink_to_fit();
                Value::Map(entries)
            }
        };
        let mut span = frame.span;
        let begin = span.offset as usize - self.skip_bytes;
        if self.text[begin..].starts_with(['{', '[']) {
            let end = end.end.byte_offset().unwrap_or(begin);
            span.len = self.first_line(begin, end);
        } else if let Some(first) = first_child(&value) {
            span.len = first.len;
        }
        self.deliver(Done {
            node: Node {
                value,
                span,
                defined: None,
            },
            key: None,
            anchor: frame.anchor,
            depth: frame.depth,
            size: frame.size,
        });
    }

    /// Puts a finished value into what holds it.
    fn deliver(&mut self, done: Done) {
        if done.anchor > 0 {
            let anchor = Anchor {
                node: done.node.clone(),
                depth: done.depth,
                size: done.size,
            };
            self.anchors.insert(done.anchor, anchor);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(done.node);
            return;
        };
        frame.depth = frame.depth.max(done.depth + 1);
        frame.size += done.size;
        let (entries, merged, pending) = match &mut frame.content {
            Content::Sequence(items) => {
                items.push(done.node);
                return;
            }
            Content::Map {
                entries,
                merged,
                pending,
            } => (entries, merged, pending),
        };
        match pending.take() {
            None => {
                let span = done.node.span;
                *pending = Some(match (done.key, done.node.value) {
                    (Some((text, true)), _) if text == "<<" => Pending::Merge { span },
                    (Some((key, _)), _) | (None, Value::String(key)) => Pending::Key { key, span },
                    (None, _) => {
                        self.problems.push(
                            Diagnostic::error("spec::yaml", "a key is one word or text")
                                .at(span, "not a key")
                                .help("lists and maps cannot be keys; quote text that begins with `[`, `{`, `*` or `?`"),
                        );
                        Pending::Refused
                    }
                });
            }
            Some(Pending::Key { key, span }) => entries.push(Entry {
                key,
                key_span: span,
                value: done.node,
            }),
            Some(Pending::Merge { span }) => {
                if !merge(merged, &done.node, span) {
                    self.problems.push(
                        Diagnostic::error("spec::yaml", "`<<` merges a map or a list of maps")
                            .at(done.node.span, format!("this is {}", done.node.type_name()))
                            .help("write `<<: *name` where `&name` marks a map"),
                    );
                }
            }
            Some(Pending::Refused) => {}
        }
    }

    /// Refuses duplicate keys and adds merged entries that no own key overrides.
    fn finish_map(&mut self, mut entries: Vec<Entry>, merged: Vec<Entry>) -> Vec<Entry> {
        let mut first: BTreeMap<&str, Span> = BTreeMap::new();
        let mut drop = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(earlier) = first.get(entry.key.as_str()) {
                self.problems.push(
                    Diagnostic::error(
                        "spec::duplicate_key",
                        format!("the key `{}` stands twice in one map", entry.key),
                    )
                    .at(entry.key_span, "again here")
                    .at(*earlier, "first here")
                    .help("remove or rename one of the two"),
                );
                drop.push(index);
            } else {
                first.insert(&entry.key, entry.key_span);
            }
        }
        for index in drop.into_iter().rev() {
            entries.remove(index);
        }
        let own = entries.len();
        for entry in merged {
            if !entries[..own].iter().any(|e| e.key == entry.key) {
                entries.push(entry);
            }
        }
        entries
    }

    fn alias(&mut self, anchor: usize, span: Span) -> bool {
        let Some(target) = self.anchors.get(&anchor) else {
            self.problems.push(
                Diagnostic::error("spec::yaml", "an alias stands inside what it names")
                    .at(span, "")
                    .help("a value cannot contain itself"),
            );
            return false;
        };
        self.alias_nodes = self.alias_nodes.saturating_add(target.size);
        if self.alias_nodes > self.alias_limit || self.stack.len() + target.depth > MAX_DEPTH {
            self.problems.push(
                Diagnostic::error("spec::yaml", "the aliases of this text unfold too far")
                    .at(span, "the limit is reached here")
                    .help("use fewer nested aliases, or write repeated stages as a `matrix`"),
            );
            return false;
        }
        let mut node = target.node.clone();
        node.defined = Some(node.defined.unwrap_or(node.span));
        node.span = span;
        let (depth, size) = (target.depth, target.size);
        self.deliver(Done {
            node,
            key: None,
            anchor: 0,
            depth,
            size,
        });
        true
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&granit::Tag>,
        span: Span,
    ) -> Value {
        let string = || Value::String(text.to_owned());
        if let Some(tag) = tag {
            return match tag.core_suffix() {
                Some("str") => string(),
                Some("int" | "float" | "bool" | "null") => {
                    self.resolve(text, span).unwrap_or_else(string)
                }
                _ if tag.original() == "!" => string(),
                _ => {
                    self.refuse_tag(tag, span);
                    string()
                }
            };
        }
        if style != ScalarStyle::Plain {
            return string();
        }
        self.resolve(text, span).unwrap_or_else(string)
    }

    /// The meaning of a plain scalar; `None` for text.
    fn resolve(&mut self, text: &str, span: Span) -> Option<Value> {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
            "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
            "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
            _ => {}
        }
        let refused = match read_number(text) {
            Number::Text => return None,
            Number::Int(value) => return Some(Value::Int(value)),
            Number::Float(value) => return Some(Value::Float(value)),
            Number::Refused(why) => why,
        };
        self.problems.push(
            Diagnostic::error(
                "spec::number",
                format!("`{text}` is not accepted: {refused}"),
            )
            .at(span, "")
            .help(format!(
                "write a finite number, or quote it (`\"{text}\"`) where text is meant"
            )),
        );
        Some(Value::Null)
    }

    fn check_tag(&mut self, tag: Option<&granit::Tag>, own: &str, span: Span) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(own)
        {
            self.refuse_tag(tag, span);
        }
    }

    fn refuse_tag(&mut self, tag: &granit::Tag, span: Span) {
        self.problems.push(
            Diagnostic::error("spec::yaml", format!("unknown tag `{}`", tag.original()))
                .at(span, "")
                .help("remove the tag; types follow from the values"),
        );
    }

    fn refuse_syntax(&mut self, error: &granit::ScanError) {
        let marker = *error.marker();
        let mut span = self.span(granit::Span::empty(marker));
        let begin = span.offset as usize - self.skip_bytes;
        span.len = self.text[begin..]
            .chars()
            .next()
            .filter(|c| !c.is_control())
            .map_or(0, |c| u32::try_from(c.len_utf8()).expect("at most 4"));
        let info = error.info();
        let message = if info.is_empty() {
            "the text is not YAML".to_owned()
        } else {
            format!("the text is not YAML: {}", lower_fragment(&info))
        };
        let line = self.text[..begin].rfind('\n').map_or(0, |i| i + 1);
        let help = if self.text[line..].starts_with('\t')
            || self.text[begin..].starts_with('\t')
            || self.text[line..begin].contains('\t')
        {
            "indent with spaces; YAML does not allow tabs there"
        } else {
            "look at the indentation, and at quotes and brackets that are not closed, here and on the lines above"
        };
        self.problems.push(
            Diagnostic::error("spec::yaml", message)
                .at(span, "")
                .help(help),
        );
    }

    fn span(&self, span: granit::Span) -> Span {
        let start = span.start;
        let begin = start.byte_offset().unwrap_or(0).min(self.text.len());
        let end = span
            .end
            .byte_offset()
            .unwrap_or(begin)
            .clamp(begin, self.text.len());
        let columns = if start.line() <= 1 {
            self.skip_columns
        } else {
            0
        };
        Span {
            source: self.source,
            offset: narrow(begin + self.skip_bytes),
            len: self.first_line(begin, end),
            line: narrow(start.line().max(1)),
            column: narrow(start.col() + 1 + columns),
        }
    }

    /// The bytes from `begin` to `end` or to the end of the line, without trailing blanks.
    fn first_line(&self, begin: usize, end: usize) -> u32 {
        let covered = self.text.get(begin..end).unwrap_or("");
        let line = covered.split(['\n', '\r']).next().unwrap_or("");
        narrow(line.trim_end().len())
    }

    fn point_at_start(&self) -> Span {
        Span {
            source: self.source,
            offset: narrow(self.skip_bytes),
            len: 0,
            line: 1,
            column: narrow(self.skip_columns + 1),
        }
    }
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("texts are at most 64 MiB")
}

fn first_child(value: &Value) -> Option<Span> {
    match value {
        Value::Map(entries) => entries.first().map(|entry| entry.key_span),
        Value::Sequence(items) => items.first().map(|item| item.span),
        _ => None,
    }
}

/// Collects what `<<` brings; of several the earlier wins. False when it is no map.
fn merge(merged: &mut Vec<Entry>, node: &Node, site: Span) -> bool {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                if merged.iter().any(|earlier| earlier.key == entry.key) {
                    continue;
                }
                let mut entry = entry.clone();
                entry.value.defined = Some(entry.value.defined.unwrap_or(entry.value.span));
                entry.value.span = site;
                merged.push(entry);
            }
            true
        }
        Value::Sequence(items) => items
            .iter()
            .all(|item| matches!(item.value, Value::Map(_)) && merge(merged, item, site)),
        _ => false,
    }
}

fn lower_fragment(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

enum Number {
    Text,
    Int(i64),
    Float(f64),
    Refused(&'static str),
}

/// Reads a plain scalar as a number of the core schema.
fn read_number(text: &str) -> Number {
    const TOO_LARGE: Number = Number::Refused("it does not fit 64 bits");
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Number::Refused("infinity is no usable number");
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Number::Refused("NaN is no usable number");
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(rest) = text.strip_prefix(prefix) {
            if rest.is_empty() || !rest.chars().all(|c| c.is_digit(radix)) {
                return Number::Text;
            }
            return i64::from_str_radix(rest, radix).map_or(TOO_LARGE, Number::Int);
        }
    }
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    let leading_zero = whole > 1 && digits.starts_with('0');
    if whole == digits.len() && whole > 0 {
        if leading_zero {
            return Number::Text;
        }
        return match text.parse::<i64>() {
            Ok(0) if negative => Number::Refused("`-0` and `0` differ as numbers and look alike"),
            Ok(value) => Number::Int(value),
            Err(_) => TOO_LARGE,
        };
    }
    if leading_zero || !is_float(digits, whole) {
        return Number::Text;
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_infinite() => Number::Refused("it is too large for a number"),
        Ok(value) if value == 0.0 && negative => {
            Number::Refused("`-0` and `0` differ as numbers and look alike")
        }
        Ok(value) => Number::Float(value),
        Err(_) => Number::Text,
    }
}

/// `digits` (without a sign, `whole` leading digits) has the form `1.`, `.5`, `1.5e-3`, `1e4`.
fn is_float(digits: &str, whole: usize) -> bool {
    let rest = &digits[whole..];
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            (length, &rest[length..])
        }
        None => (0, rest),
    };
    if whole + fraction == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && exponent.bytes().all(|b| b.is_ascii_digit())
        }
    }
}

#[cfg(test)]
mod tests;
