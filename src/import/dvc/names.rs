//! Names that a pipeline file takes, made of names and paths of a `dvc.yaml`. Knows nothing of what they name.

/// Lower-case letters, digits, `_` and `-`, beginning with a letter; `otherwise` where nothing of it is left.
pub(super) fn name(from: &str, otherwise: &str) -> String {
    let mut name: String = from
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || c == '_' => c,
            _ => '-',
        })
        .take(80)
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = name.trim_matches(['-', '_']);
    match name.chars().next() {
        None => otherwise.to_owned(),
        Some(c) if c.is_ascii_lowercase() => name.to_owned(),
        Some(_) => format!("{otherwise}-{name}"),
    }
}

/// The name itself, or with a number behind it that makes it new.
pub(super) fn unique(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    (2..)
        .map(|number| format!("{name}-{number}"))
        .find(|name| !is_taken(name))
        .expect("numbers do not end")
}

/// A name for a path: its last step without the ending, or with it, or with the folder, whatever is first new.
pub(super) fn of_path(path: &str, otherwise: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut steps = path.trim_end_matches('/').rsplit('/');
    let file = steps.next().unwrap_or_default();
    let stem = match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    };
    let folder = steps.next().unwrap_or_default();
    // Of `models/${key}.json` only the folder says what it is.
    let stem = match stem.contains(|c: char| c.is_ascii_alphanumeric()) {
        true => stem,
        false => folder,
    };
    let candidates = [
        name(stem, otherwise),
        name(file, otherwise),
        name(&format!("{folder}-{file}"), otherwise),
    ];
    match candidates.iter().find(|name| !is_taken(name)) {
        Some(free) => free.clone(),
        None => unique(&candidates[2], is_taken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_anything() {
        assert_eq!(name("Train_Model.v2", "x"), "train_model-v2");
        assert_eq!(name("2nd", "stage"), "stage-2nd");
        assert_eq!(name("ÄÖ", "stage"), "stage");
        assert_eq!(unique("a", |name| name == "a" || name == "a-2"), "a-3");
        let taken = |taken: &'static [&'static str]| move |name: &str| taken.contains(&name);
        assert_eq!(of_path("data/data.xml", "input", taken(&[])), "data");
        assert_eq!(of_path("src/data.py", "input", taken(&["data"])), "data-py");
        assert_eq!(
            of_path("b/data.py", "input", taken(&["data", "data-py"])),
            "b-data-py"
        );
        assert_eq!(of_path("models/-.json", "input", taken(&[])), "models");
        assert_eq!(of_path(".env", "input", taken(&[])), "env");
    }
}
