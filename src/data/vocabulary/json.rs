//! `tokenizer.json`, in and out, as Hugging Face's programs read and write it. Knows no checks of a vocabulary.

use serde_json::{Map, Value, json};

use super::{SPECIALS, Vocabulary, place};
use crate::error::{DataError, Problem, excerpt};
use crate::wordpiece::{CONTINUATION, Settings};

/// What a `tokenizer.json` says about text, where it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// `normalizer.lowercase`.
    pub lower_case: Option<bool>,
    /// `normalizer.strip_accents`; `null` there means: as `lowercase`.
    pub strip_accents: Option<bool>,
    /// `model.max_input_chars_per_word`.
    pub max_word_chars: Option<usize>,
}

/// The entries by id, and what the file says about text.
pub(super) fn parse(text: &str, file: &str) -> Result<(Vec<String>, Stated), DataError> {
    let root: Value = serde_json::from_str(text).map_err(|error| {
        let line = error.line();
        Problem::new(
            format!("the JSON does not parse: {error}"),
            "give a `vocab.txt` or a whole `tokenizer.json`",
        )
        .at(place(file, line))
    })?;
    let fault = |message: String, help: &str| Problem::new(message, help).at(place(file, 0));
    let model = &root["model"];
    let kind = model["type"].as_str();
    // Files of old programs leave the type out.
    if kind.is_some_and(|kind| kind != "WordPiece") || !model["vocab"].is_object() {
        return Err(fault(
            match kind {
                Some(kind) => format!("the model is `{}`, not `WordPiece`", excerpt(kind)),
                None => "the JSON holds no `model.vocab`".to_owned(),
            },
            "give the `tokenizer.json` of a BERT or ELECTRA model, or its `vocab.txt`",
        ));
    }
    let expected = [
        ("continuing_subword_prefix", CONTINUATION),
        ("unk_token", SPECIALS[1]),
    ];
    for (key, wanted) in expected {
        if let Some(found) = model[key].as_str()
            && found != wanted
        {
            return Err(fault(
                format!("`model.{key}` is `{}`, not `{wanted}`", excerpt(found)),
                "only the spelling of BERT's vocabularies is known here",
            ));
        }
    }
    let mut by_id: Vec<(u64, String)> = Vec::new();
    let no_id = |entry: &str| {
        fault(
            format!(
                "the entry `{}` has no whole number as its id",
                excerpt(entry)
            ),
            "write the file again with the program that made it",
        )
    };
    for (entry, id) in model["vocab"].as_object().into_iter().flatten() {
        by_id.push((id.as_u64().ok_or_else(|| no_id(entry))?, entry.clone()));
    }
    for added in root["added_tokens"].as_array().into_iter().flatten() {
        let content = added["content"].as_str().unwrap_or_default();
        let id = added["id"].as_u64().ok_or_else(|| no_id(content))?;
        if model["vocab"].get(content).is_none() {
            by_id.push((id, content.to_owned()));
        }
    }
    by_id.sort();
    for (place, (id, entry)) in (0_u64..).zip(&by_id) {
        if *id != place {
            let message = match *id < place {
                true => format!("the id {id} of `{}` stands twice", excerpt(entry)),
                false => format!("no entry has the id {place}"),
            };
            return Err(fault(message, "ids must run from 0 without holes"));
        }
    }
    let normalizer = &root["normalizer"];
    let lower_case = normalizer["lowercase"].as_bool();
    let stated = Stated {
        lower_case,
        strip_accents: normalizer["strip_accents"].as_bool().or(lower_case),
        max_word_chars: (model["max_input_chars_per_word"].as_u64())
            .and_then(|chars| usize::try_from(chars).ok()),
    };
    Ok((by_id.into_iter().map(|(_, entry)| entry).collect(), stated))
}

impl Vocabulary {
    /// `tokenizer.json` that Hugging Face's `tokenizers` and `transformers` load: BERT's normaliser, pre-tokenizer and
    /// post-processor around this vocabulary.
    #[must_use]
    pub fn to_json(&self, settings: Settings) -> String {
        let ids: Map<String, Value> = (self.entries().zip(0_u32..))
            .map(|(entry, id)| (entry.to_owned(), id.into()))
            .collect();
        let specials = self.specials();
        let id = |name: &str| self.find_id(name).expect("checked when it was made");
        let mut added: Vec<Value> = SPECIALS
            .map(|name| {
                json!({
                    "id": id(name), "content": name, "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false, "special": true,
                })
            })
            .into();
        added.sort_by_key(|token| token["id"].as_u64());
        let root = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": true,
                "strip_accents": settings.strip_accents,
                "lowercase": settings.lower_case,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": {
                "type": "BertProcessing",
                "sep": ["[SEP]", specials.separator],
                "cls": ["[CLS]", specials.start],
            },
            "decoder": { "type": "WordPiece", "prefix": CONTINUATION, "cleanup": true },
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": CONTINUATION,
                "max_input_chars_per_word": settings.max_word_chars,
                "vocab": ids,
            },
        });
        let mut text = serde_json::to_string_pretty(&root).expect("plain values serialise");
        text.push('\n');
        text
    }
}
