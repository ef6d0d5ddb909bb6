//! Tags a token (B-Disease, I-Disease, O) and the spans they mean. Knows nothing of files.
//!
//! There is one way to read tags, the rules of `conlleval` that seqeval's default mode follows: a chunk starts on
//! B or S, on I or E after O or after E or S, and where the type changes; it ends before B, S and O, after E and S,
//! and where the type changes. On well-formed IOB1, IOB2 and IOBES text these rules give exactly the spans of that
//! encoding, so an [`Encoding`] decides only which tags are allowed and which are counted as irregular.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a file marks chunks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// BIO, also called IOB2: each chunk starts with B.
    #[default]
    #[serde(rename = "bio", alias = "iob2")]
    Iob2,
    /// I everywhere; B only where a chunk directly follows another of its type.
    Iob1,
    /// B, I, E for first, inner and last tokens, S for single ones.
    #[serde(alias = "bioes")]
    Iobes,
    /// Any mixture, read as `conlleval` and seqeval do; nothing counts as irregular.
    Lenient,
}

/// The role of a token in its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// First token.
    Begin,
    /// Inside.
    Inside,
    /// Last token.
    End,
    /// The only token.
    Single,
}

/// A tag taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag<'a> {
    /// `O`.
    Outside,
    /// `B-Disease` and the like; the type is empty for a bare `B`.
    In(Role, &'a str),
}

impl<'a> Tag<'a> {
    /// Takes a tag apart; `None` when it is neither `O` nor B, I, E or S with a type behind `-` or alone.
    #[must_use]
    pub fn parse(tag: &'a str) -> Option<Self> {
        if tag == "O" {
            return Some(Self::Outside);
        }
        let mut characters = tag.chars();
        let role = match characters.next()? {
            'B' => Role::Begin,
            'I' => Role::Inside,
            'E' => Role::End,
            'S' => Role::Single,
            _ => return None,
        };
        match characters.as_str() {
            "" => Some(Self::In(role, "")),
            rest => match rest.strip_prefix('-') {
                Some("") | None => None,
                Some(label) => Some(Self::In(role, label)),
            },
        }
    }

    fn label(self) -> Option<&'a str> {
        match self {
            Self::Outside => None,
            Self::In(_, label) => Some(label),
        }
    }
}

impl Encoding {
    /// Whether the encoding knows this role.
    #[must_use]
    pub fn allows(self, tag: Tag<'_>) -> bool {
        match (self, tag) {
            (Self::Iob1 | Self::Iob2, Tag::In(role, _)) => {
                matches!(role, Role::Begin | Role::Inside)
            }
            _ => true,
        }
    }

    /// Whether `tag` may follow `previous` in a well-formed sentence; [`Tag::Outside`] stands before the first and after the last token.
    #[must_use]
    pub fn may_follow(self, previous: Tag<'_>, tag: Tag<'_>) -> bool {
        let same = previous.label().is_some() && previous.label() == tag.label();
        match self {
            Self::Lenient => true,
            Self::Iob2 => !matches!(tag, Tag::In(Role::Inside, _)) || same,
            Self::Iob1 => !matches!(tag, Tag::In(Role::Begin, _)) || same,
            Self::Iobes => {
                let open = matches!(previous, Tag::In(Role::Begin | Role::Inside, _));
                match tag {
                    Tag::In(Role::Inside | Role::End, _) => open && same,
                    _ => !open,
                }
            }
        }
    }
}

/// The patterns of seqeval's schemes, for [`decode_strict`].
impl Encoding {
    fn starts(self, previous: Tag<'_>, tag: Tag<'_>) -> bool {
        use Role::{Begin, Inside, Single};
        let same = tag.label() == previous.label();
        match (self, previous, tag) {
            (Self::Iob1, Tag::Outside | Tag::In(Begin, _), Tag::In(Inside, _)) => true,
            (Self::Iob1, Tag::In(Inside, _), Tag::In(Inside, _)) => !same,
            (Self::Iob1, Tag::In(Inside | Begin, _), Tag::In(Begin, _)) => same,
            (Self::Iob2, _, Tag::In(Begin, _)) => true,
            (Self::Iobes, _, Tag::In(Begin | Single, _)) => true,
            _ => false,
        }
    }

    fn goes_on(self, previous: Tag<'_>, tag: Tag<'_>) -> bool {
        use Role::{Begin, End, Inside};
        let inside = match tag {
            Tag::In(Inside, _) => true,
            Tag::In(End, _) => self == Self::Iobes,
            _ => false,
        };
        inside && matches!(previous, Tag::In(Begin | Inside, _)) && tag.label() == previous.label()
    }

    fn ends(self, previous: Tag<'_>, tag: Tag<'_>) -> bool {
        use Role::{Begin, End, Inside, Single};
        let same = tag.label() == previous.label();
        match (self, previous, tag) {
            (Self::Iobes, Tag::In(End | Single, _), _) => true,
            (Self::Iobes, ..) => false,
            // Seqeval's IOB1 has no end between two B of different types.
            (Self::Iob1, Tag::In(Begin, _), Tag::In(Begin, _)) => same,
            (_, Tag::In(Inside | Begin, _), Tag::In(Inside, _)) => !same,
            (_, Tag::In(Inside | Begin, _), Tag::Outside | Tag::In(Begin, _)) => true,
            _ => false,
        }
    }
}

/// A chunk of tokens: `start..end` of one type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenSpan {
    /// First token.
    pub start: usize,
    /// One past the last token.
    pub end: usize,
    /// The type, such as `Disease`.
    pub label: String,
}

/// The spans that tags mean, in order, by the rules in this file's head. Texts that are no tags count as `O`.
#[must_use]
pub fn decode<S: AsRef<str>>(tags: &[S]) -> Vec<TokenSpan> {
    let mut spans: Vec<TokenSpan> = Vec::new();
    let mut previous = Tag::Outside;
    for (i, tag) in tags.iter().enumerate() {
        let tag = Tag::parse(tag.as_ref()).unwrap_or(Tag::Outside);
        if let Tag::In(role, label) = tag {
            let continues = matches!(role, Role::Inside | Role::End)
                && matches!(previous, Tag::In(Role::Begin | Role::Inside, before) if before == label);
            match spans.last_mut() {
                Some(span) if continues => span.end = i + 1,
                _ => spans.push(TokenSpan {
                    start: i,
                    end: i + 1,
                    label: label.to_owned(),
                }),
            }
        }
        previous = tag;
    }
    spans
}

/// The spans that tags mean where only what obeys the encoding is one, as seqeval 1.2.2 with `mode="strict"`:
/// a chunk has a start, goes on while each token may be inside, and counts only where it may end there.
/// [`Encoding::Lenient`] has no rules to obey and is [`decode`]. Texts that are no tags count as `O`.
#[must_use]
pub fn decode_strict<S: AsRef<str>>(encoding: Encoding, tags: &[S]) -> Vec<TokenSpan> {
    if encoding == Encoding::Lenient {
        return decode(tags);
    }
    let at = |i: usize| {
        tags.get(i)
            .and_then(|tag| Tag::parse(tag.as_ref()))
            .filter(|tag| encoding.allows(*tag))
            .unwrap_or(Tag::Outside)
    };
    let mut spans = Vec::new();
    let (mut i, mut previous) = (0, Tag::Outside);
    while i < tags.len() {
        let tag = at(i);
        let begins = match tag {
            Tag::In(_, label) if encoding.starts(previous, tag) => Some(label),
            _ => None,
        };
        let Some(label) = begins else {
            previous = tag;
            i += 1;
            continue;
        };
        let start = i;
        previous = tag;
        i += 1;
        while i < tags.len() && encoding.goes_on(previous, at(i)) {
            previous = at(i);
            i += 1;
        }
        if encoding.ends(previous, at(i)) {
            spans.push(TokenSpan {
                start,
                end: i,
                label: label.to_owned(),
            });
        }
    }
    spans
}

/// The tags of `n_tokens` tokens with these spans; [`Encoding::Lenient`] writes as [`Encoding::Iob2`].
///
/// # Panics
/// When spans overlap, are not in order, or reach beyond the tokens: they come from [`decode`].
#[must_use]
pub fn encode(encoding: Encoding, spans: &[TokenSpan], n_tokens: usize) -> Vec<String> {
    let mut tags = vec!["O".to_owned(); n_tokens];
    let mut before: Option<&TokenSpan> = None;
    for span in spans {
        assert!(
            before.is_none_or(|before| before.end <= span.start)
                && span.start < span.end
                && span.end <= n_tokens,
            "spans are in order, apart and within the sentence"
        );
        let touches =
            before.is_some_and(|before| before.end == span.start && before.label == span.label);
        for (i, tag) in tags[span.start..span.end].iter_mut().enumerate() {
            let (first, last) = (i == 0, i + 1 == span.end - span.start);
            let role = match encoding {
                Encoding::Iob1 if !touches => 'I',
                Encoding::Iobes if first && last => 'S',
                Encoding::Iobes if last => 'E',
                _ if first => 'B',
                _ => 'I',
            };
            *tag = join(role, &span.label);
        }
        before = Some(span);
    }
    tags
}

/// The same tags with each type renamed.
pub(crate) fn rename(tags: &mut [String], mut name: impl FnMut(&str) -> Option<String>) {
    for tag in tags {
        if let Some(Tag::In(_, label)) = Tag::parse(tag)
            && let Some(new) = name(label)
        {
            let role = tag.chars().next().expect("a tag in a chunk has a role");
            *tag = join(role, &new);
        }
    }
}

fn join(role: char, label: &str) -> String {
    let mut tag = String::with_capacity(label.len() + 2);
    tag.push(role);
    if !label.is_empty() {
        tag.push('-');
        tag.push_str(label);
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(tags: &str) -> Vec<(usize, usize, String)> {
        let tags: Vec<&str> = tags.split(' ').collect();
        decode(&tags)
            .into_iter()
            .map(|span| (span.start, span.end, span.label))
            .collect()
    }

    #[test]
    fn reads_mixed_tags_as_conlleval_does() {
        let entity = |start, end| (start, end, "X".to_owned());
        assert_eq!(spans("O I-X O I-X I-X"), [entity(1, 2), entity(3, 5)]);
        assert_eq!(spans("B-X B-X I-X"), [entity(0, 1), entity(1, 3)]);
        assert_eq!(spans("I-X B-X"), [entity(0, 1), entity(1, 2)]);
        assert_eq!(spans("B-X E-X I-X"), [entity(0, 2), entity(2, 3)]);
        assert_eq!(
            spans("S-X I-X E-X E-X"),
            [entity(0, 1), entity(1, 3), entity(3, 4)]
        );
        assert_eq!(spans("B-X I-Y I-Y"), [entity(0, 1), (1, 3, "Y".to_owned())]);
        assert_eq!(spans("B I O"), [(0, 2, String::new())]);
    }

    #[test]
    fn knows_what_is_irregular() {
        let tag = |text| Tag::parse(text).expect("a tag");
        assert!(!Encoding::Iob2.may_follow(tag("O"), tag("I-X")));
        assert!(!Encoding::Iob2.may_follow(tag("B-Y"), tag("I-X")));
        assert!(Encoding::Iob1.may_follow(tag("O"), tag("I-X")));
        assert!(!Encoding::Iob1.may_follow(tag("O"), tag("B-X")));
        assert!(!Encoding::Iobes.may_follow(tag("B-X"), tag("O")));
        assert!(Encoding::Iobes.may_follow(tag("E-X"), tag("S-X")));
        assert!(!Encoding::Iob2.allows(tag("S-X")));
        assert_eq!(Tag::parse("B-"), None);
        assert_eq!(Tag::parse("Disease"), None);
        assert_eq!(Tag::parse("BX"), None);
        assert_eq!(Tag::parse("o"), None);
    }
}
