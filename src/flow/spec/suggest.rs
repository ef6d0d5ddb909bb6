//! Did you mean: the known word nearest to an unknown one. Knows nothing of where the words come from.

/// The candidate a person most likely meant: edit distance of at most 2, or Jaro-Winkler above 0.8.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let length = word.chars().count();
    candidates
        .into_iter()
        .filter(|candidate| !candidate.is_empty() && *candidate != word)
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::osa_distance(&lower, &other);
            let similarity = strsim::jaro_winkler(&lower, &other);
            // Two edits turn any word of two letters into any other: the distance must leave something of the word.
            let near = distance <= 2 && distance < length.min(other.chars().count());
            (near || similarity > 0.8).then_some((candidate, distance, similarity))
        })
        .min_by(|a, b| a.1.cmp(&b.1).then(b.2.total_cmp(&a.2)))
        .map(|(candidate, ..)| candidate)
}

/// `did you mean …?`, or the words there are, or `otherwise` where there are none.
#[must_use]
pub fn help<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    otherwise: &str,
) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(found) => format!("did you mean `{found}`?"),
        None if candidates.is_empty() => otherwise.to_owned(),
        None => format!("there is {}", list(&candidates)),
    }
}

/// `` `a`, `b` and `c` ``; past twelve the rest is counted.
#[must_use]
pub fn list(words: &[&str]) -> String {
    const SHOWN: usize = 12;
    let quoted: Vec<String> = words.iter().take(SHOWN).map(|w| format!("`{w}`")).collect();
    if words.len() > SHOWN {
        return format!("{} and {} more", quoted.join(", "), words.len() - SHOWN);
    }
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["learning_rate", "epochs", "seed", "layer_decay"];
        assert_eq!(nearest("learning_rte", keys), Some("learning_rate"));
        assert_eq!(nearest("epoch", keys), Some("epochs"));
        assert_eq!(nearest("sede", keys), Some("seed"));
        assert_eq!(nearest("Epochs", keys), Some("epochs"));
        assert_eq!(nearest("banana", keys), None);
        assert_eq!(nearest("a", ["b", "c"]), None);
    }

    #[test]
    fn lists_what_there_is() {
        assert_eq!(
            help("x", ["alpha", "beta"], "none"),
            "there is `alpha` and `beta`"
        );
        assert_eq!(help("x", [], "add one"), "add one");
        let many: Vec<String> = (0..20).map(|i| format!("w{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(list(&many).ends_with("and 8 more"));
    }
}
