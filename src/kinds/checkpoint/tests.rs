//! The frozen weights of PyTorch as models, and everything that is wrong with others.

use std::path::{Path, PathBuf};

use flow::kind::StageInput;
use serde_json::Value;

use super::*;
use crate::kinds::texts::testing::{row, stage};
use engine::weights::{self, Tensor};

/// Weights as PyTorch wrote them: `tests/parity/checkpoints.py --freeze`.
fn golden(case: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("src/engine/tests/golden/checkpoints")
        .join(case)
        .join("released")
}

/// A stage whose ports are the files or folders at these paths.
struct Try {
    folder: tempfile::TempDir,
    context: StageContext,
}

impl Try {
    fn new(ports: &[(&str, &Path)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut context = stage(folder.path(), &[]);
        for (port, path) in ports {
            let input = StageInput {
                place: path.display().to_string(),
                items: Vec::new(),
                many: false,
            };
            context.inputs.insert((*port).to_owned(), input);
        }
        Self { folder, context }
    }

    fn run(&self) -> Result<StageReport, StageError> {
        let kind: Checkpoint = serde_json::from_value(json!({"name": "x"})).expect("it decodes");
        kind.run(&self.context)
    }

    fn refused(&self) -> String {
        let diagnostic = self.run().expect_err("refused").diagnostic;
        assert!(diagnostic.help.is_some(), "{}", diagnostic.message);
        format!("{}\n{}", diagnostic.message, diagnostic.details.join("\n"))
    }

    fn model(&self) -> (Value, Tensors) {
        let model = self.folder.path().join("model");
        let text = fs_err::read(model.join("config.json")).expect("written");
        let tensors = weights::read(&model.join("model.safetensors")).expect("written");
        (serde_json::from_slice(&text).expect("JSON"), tensors)
    }
}

/// A copy of the frozen weights whose parts may be changed.
fn copy(case: &str) -> (tempfile::TempDir, Tensors) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "vocab.txt"] {
        fs_err::copy(golden(case).join(name), folder.path().join(name)).expect("copied");
    }
    let tensors = read_any(&golden(case).join("pytorch_model.bin")).expect("read");
    weights::write(&folder.path().join("model.safetensors"), &tensors).expect("written");
    (folder, tensors)
}

fn set_config(folder: &Path, field: &str, value: Value) {
    let path = folder.join("config.json");
    let mut config: Value =
        serde_json::from_slice(&fs_err::read(&path).expect("there")).expect("JSON");
    config[field] = value;
    fs_err::write(path, config.to_string()).expect("written");
}

fn said(report: &StageReport) -> String {
    let lines = report.warnings.iter();
    lines
        .map(|w| format!("{}\n{}\n", w.message, w.details.join("\n")))
        .collect()
}

#[test]
fn a_folder_of_2020_becomes_one_of_today() {
    let folder = golden("discriminator");
    let tried = Try::new(&[("weights", &folder)]);
    let report = tried.run().expect("read");
    assert_eq!(said(&report), "");
    assert!(report.notes.is_empty());
    let (config, tensors) = tried.model();
    assert_eq!(config["architectures"][0], "ElectraForPreTraining");
    assert_eq!(config["hidden_size"], 16);
    let names: Vec<&String> = tensors.keys().collect();
    assert!(
        names
            .iter()
            .all(|name| !name.contains("gamma") && !name.contains("position_ids"))
    );
    assert!(tensors.contains_key("electra.embeddings.LayerNorm.weight"));
    assert!(tensors.contains_key("discriminator_predictions.dense_prediction.bias"));
    // gamma and beta of the embeddings and twice a layer.
    assert_eq!(row(&report, "renamed_tensors", None), 6.0);
    assert_eq!(row(&report, "tensors", None), tensors.len() as f64);
    // A stage that starts from it sees a whole model.
    model::read(&tried.folder.path().join("model")).expect("a model");
}

#[test]
fn files_that_came_singly_make_the_same_model_as_their_folder() {
    let folder = golden("tokens");
    let whole = Try::new(&[("weights", &folder)]);
    whole.run().expect("read");
    let parts = [
        folder.join("pytorch_model.bin"),
        folder.join("config.json"),
        folder.join("vocab.txt"),
    ];
    let [weights, config, vocabulary] = &parts;
    let singly = Try::new(&[
        ("weights", weights),
        ("config", config),
        ("vocabulary", vocabulary),
    ]);
    singly.run().expect("read");
    assert_eq!(whole.model(), singly.model());
    let (config, _) = whole.model();
    assert_eq!(config["id2label"]["2"], "O");
    assert_eq!(config["architectures"][0], "ElectraForTokenClassification");
}

#[test]
fn without_a_configuration_sizes_come_from_shapes() {
    let folder = golden("tokens");
    let (weights, vocabulary) = (folder.join("pytorch_model.bin"), folder.join("vocab.txt"));
    let tried = Try::new(&[("weights", &weights), ("vocabulary", &vocabulary)]);
    let report = tried.run().expect("read");
    assert!(said(&report).contains("1 attention heads are taken from the width of 16"));
    let (config, _) = tried.model();
    assert_eq!(config["intermediate_size"], 24);
    assert_eq!(config["id2label"]["1"], "LABEL_1");
    let none = Try::new(&[("weights", &weights)]);
    assert!(none.refused().contains("has no vocabulary"));
}

#[test]
fn what_is_missing_and_what_is_too_much_is_listed() {
    let (folder, mut tensors) = copy("tokens");
    let path = folder.path().join("model.safetensors");
    tensors.remove("classifier.bias");
    let one = Tensor {
        shape: vec![1],
        values: vec![0.0],
    };
    tensors.insert("pooler.dense.bias".to_owned(), one.clone());
    weights::write(&path, &tensors).expect("written");
    let tried = Try::new(&[("weights", folder.path())]);
    let report = tried.run().expect("read");
    let found = said(&report);
    assert!(
        found.contains("1 tensors of the head are not in the file"),
        "{found}"
    );
    assert!(
        found.contains("`classifier.bias`") && found.contains("`pooler.dense.bias`"),
        "{found}"
    );
    assert_eq!(report.notes["missing_tensors"], json!(["classifier.bias"]));
    assert_eq!(report.notes["unused_tensors"], json!(["pooler.dense.bias"]));
    assert!(!tried.model().1.contains_key("pooler.dense.bias"));
    tensors.remove("electra.encoder.layer.0.output.dense.bias");
    weights::write(&path, &tensors).expect("written");
    assert!(
        tried
            .refused()
            .contains("`electra.encoder.layer.0.output.dense.bias`")
    );
    let foreign: Tensors = [("bert.pooler.weight".to_owned(), one)].into();
    weights::write(&path, &foreign).expect("written");
    assert!(
        tried
            .refused()
            .contains("of the encoder are not in the file")
    );
}

#[test]
fn every_shape_that_does_not_fit_is_told_at_once() {
    let (folder, _) = copy("tokens");
    set_config(folder.path(), "intermediate_size", json!(32));
    let tried = Try::new(&[("weights", folder.path())]);
    let found = tried.refused();
    assert!(found.starts_with("3 tensors have other shapes"), "{found}");
    assert!(found.contains(
        "`electra.encoder.layer.0.output.dense.weight` is [16, 24], by the configuration [16, 32]"
    ));
}

#[test]
fn the_vocabulary_is_held_against_the_table() {
    let (folder, _) = copy("tokens");
    // A wrong field that the vocabulary and the table agree against is mended.
    set_config(folder.path(), "vocab_size", json!(30522));
    let tried = Try::new(&[("weights", folder.path())]);
    let report = tried.run().expect("read");
    assert!(said(&report).contains("states a `vocab_size` of 30522"));
    assert_eq!(tried.model().0["vocab_size"], 14);
    let path = folder.path().join("vocab.txt");
    let mut text = fs_err::read_to_string(&path).expect("there");
    text.push_str("more\n");
    fs_err::write(path, text).expect("written");
    assert!(
        tried
            .refused()
            .starts_with("the vocabulary has 15 entries, the table of tokens 14")
    );
}

#[test]
fn configurations_of_other_models_are_refused() {
    for (field, value) in [
        ("model_type", "bert"),
        ("hidden_act", "relu"),
        ("position_embedding_type", "relative_key"),
    ] {
        let (folder, _) = copy("tokens");
        set_config(folder.path(), field, json!(value));
        let found = Try::new(&[("weights", folder.path())]).refused();
        assert!(found.contains(&format!("`{field}: {value}`")), "{found}");
    }
    let (folder, _) = copy("tokens");
    set_config(folder.path(), "hidden_size", json!("wide"));
    assert!(
        Try::new(&[("weights", folder.path())])
            .refused()
            .contains("states no sizes")
    );
    set_config(folder.path(), "hidden_size", json!(16));
    set_config(folder.path(), "num_attention_heads", json!(5));
    assert!(
        Try::new(&[("weights", folder.path())])
            .refused()
            .contains("no multiple")
    );
}

#[test]
fn labels_that_do_not_fit_are_numbered() {
    let (folder, _) = copy("tokens");
    set_config(folder.path(), "id2label", json!({"0": "A", "1": "B"}));
    set_config(
        folder.path(),
        "architectures",
        json!(["ElectraForPreTraining"]),
    );
    let tried = Try::new(&[("weights", folder.path())]);
    let found = said(&tried.run().expect("read"));
    assert!(found.contains("names 2 labels, the head has 3"), "{found}");
    assert!(
        found.contains("states the class `ElectraForPreTraining`"),
        "{found}"
    );
    assert_eq!(tried.model().0["id2label"]["2"], "LABEL_2");
}

#[test]
fn a_file_that_would_run_code_says_what_it_asks_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("pytorch_model.bin");
    let mut attack = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    attack.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.");
    fs_err::write(&weights, attack).expect("written");
    let vocabulary = golden("tokens").join("vocab.txt");
    let tried = Try::new(&[("weights", &weights), ("vocabulary", &vocabulary)]);
    assert!(
        tried
            .refused()
            .contains("the file asks to run `posix.system`: refused")
    );
    fs_err::write(&weights, b"neither").expect("written");
    assert!(tried.refused().contains("is no safetensors file"));
    let empty = Try::new(&[("weights", folder.path())]);
    assert!(
        empty.refused().contains("is no safetensors file")
            || empty.refused().contains("vocabulary")
    );
}

#[test]
fn folders_without_weights_say_what_is_looked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let tried = Try::new(&[("weights", folder.path())]);
    assert!(
        tried
            .refused()
            .contains("neither `model.safetensors` nor `pytorch_model.bin`")
    );
    fs_err::write(folder.path().join("pytorch_model.bin.index.json"), "{}").expect("written");
    assert!(tried.refused().contains("split over several files"));
}

#[test]
fn how_text_is_spelt_is_what_the_files_say() {
    let (folder, _) = copy("tokens");
    let spelt = |option: Option<bool>| {
        let tried = Try::new(&[("weights", folder.path())]);
        let kind = Checkpoint {
            name: "x".to_owned(),
            lower_case: option,
        };
        kind.run(&tried.context).expect("read");
        let text =
            fs_err::read(tried.folder.path().join("model/tokenizer_config.json")).expect("written");
        let found: Value = serde_json::from_slice(&text).expect("JSON");
        (
            found["do_lower_case"].as_bool(),
            found["strip_accents"].as_bool(),
        )
    };
    assert_eq!(spelt(None), (Some(true), None));
    let tokenizer = json!({"do_lower_case": false, "strip_accents": true}).to_string();
    fs_err::write(folder.path().join("tokenizer_config.json"), tokenizer).expect("written");
    assert_eq!(spelt(None), (Some(false), Some(true)));
    assert_eq!(spelt(Some(true)), (Some(true), Some(true)));
}
