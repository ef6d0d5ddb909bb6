//! The kind `command`: a program or script of the user's. Knows nothing of how it is started, watched or recorded.
//!
//! A script is written into the stage's folder as [`SCRIPT_FILE`], parameters as [`PARAMS_FILE`] and in files of the
//! user's naming; all are in the key through the configuration. Outputs, environment and metric files are stage keys, not part of `with:`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::spec::{Launch, Program};
use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::params_file::Format;

/// Where a script lies while it runs, inside the stage's folder.
pub const SCRIPT_FILE: &str = ".pipeline-script";
/// Where parameters lie, inside the stage's folder: JSON, keys sorted.
pub const PARAMS_FILE: &str = "params.json";

/// `with:` of a command: `argv`, or `script`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments, each its own item; no shell looks at them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    argv: Vec<String>,
    /// The text of a script. Nothing is substituted inside it; it reads `params.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    /// What runs the script, which is its last argument; `[sh, -eu]`.
    #[serde(
        default = "default_interpreter",
        skip_serializing_if = "is_default_interpreter"
    )]
    interpreter: Vec<String>,
    /// Values of any shape for the program, written to `params.json`; each is a line of the key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "finite_values"
    )]
    params: BTreeMap<String, Value>,
    /// Files with values for a program that reads its own: path in the stage's folder and what stands in it, written
    /// as JSON, YAML or TOML by the ending; each value is a line of the key.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "finite_values"
    )]
    params_files: BTreeMap<String, Value>,
}

fn default_interpreter() -> Vec<String> {
    ["sh", "-eu"].map(str::to_owned).into()
}

fn is_default_interpreter(interpreter: &Vec<String>) -> bool {
    *interpreter == default_interpreter()
}

impl Command {
    fn params_text(&self) -> String {
        let mut params: Value = self
            .params
            .clone()
            .into_iter()
            .collect::<Map<_, _>>()
            .into();
        params.sort_all_objects();
        let mut text = serde_json::to_string_pretty(&params).expect("parameters serialise");
        text.push('\n');
        text
    }
}

impl StageKind for Command {
    const NAME: &'static str = "command";
    /// 1: first.
    const VERSION: u32 = 1;
    const DOC: &'static str = "Runs a program or a script in a folder of its own.";

    fn ports(&self) -> Ports {
        Ports {
            any_input: true,
            declares_outputs: true,
            ..Ports::default()
        }
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &[&str], message: String, help: String| {
            problems.push(ConfigProblem {
                path: path.iter().map(|key| (*key).to_owned()).collect(),
                message,
                help: Some(help),
            });
        };
        match (&self.script, self.argv.as_slice()) {
            (None, []) => problem(
                &[],
                "nothing says what to run".to_owned(),
                "set `argv: [program, argument]`, or `script: |` with the text of a script"
                    .to_owned(),
            ),
            (Some(_), [_, ..]) => problem(
                &["script"],
                "`argv` and `script` exclude each other".to_owned(),
                "drop one of them; a script is started by `interpreter`".to_owned(),
            ),
            (Some(script), []) if script.trim().is_empty() => problem(
                &["script"],
                "the script is empty".to_owned(),
                "write its lines below `script: |`, indented".to_owned(),
            ),
            (None, [program, ..]) if program.is_empty() => problem(
                &["argv", "0"],
                "the program has no name".to_owned(),
                "the first item of `argv` is the program, the others are its arguments".to_owned(),
            ),
            (None, [line]) if looks_like_a_line(line) => problem(
                &["argv", "0"],
                format!("`{line}` is a whole command line, not a program"),
                format!(
                    "did you mean `script: \"{}\"`? In `argv` each argument is an item of its own",
                    line.escape_default()
                ),
            ),
            _ => {}
        }
        if self.script.is_none() && !is_default_interpreter(&self.interpreter) {
            problem(
                &["interpreter"],
                "`interpreter` without `script`".to_owned(),
                "put the program into `argv`, or its text into `script`".to_owned(),
            );
        }
        if self.interpreter.first().is_none_or(String::is_empty) {
            problem(
                &["interpreter"],
                "the interpreter has no name".to_owned(),
                "leave it out for `[sh, -eu]`, or write for example `[bash, -euo, pipefail]`"
                    .to_owned(),
            );
        }
        for (path, value) in &self.params_files {
            let place = &["params_files", path.as_str()];
            let is_inside = Path::new(path)
                .components()
                .all(|step| matches!(step, Component::Normal(_)));
            match Format::of(path) {
                _ if !is_inside || path.is_empty() || path.ends_with('/') => problem(
                    place,
                    format!("`{path}` is no place in the stage's folder"),
                    "write a relative path without `.` and `..`".to_owned(),
                ),
                None => problem(
                    place,
                    format!("`{path}` has no ending that says how it is written"),
                    "end it with `.yaml`, `.json` or `.toml`".to_owned(),
                ),
                Some(format) => {
                    if let Err(why) = format.write(value) {
                        problem(
                            place,
                            format!("`{path}` cannot be written: {why}"),
                            "leave the value out, or end the name with `.yaml`".to_owned(),
                        );
                    }
                }
            }
        }
        let words = [("argv", &self.argv), ("interpreter", &self.interpreter)];
        for (key, words) in words {
            if let Some(index) = words.iter().position(|word| word.contains('\0')) {
                problem(
                    &[key, &index.to_string()],
                    "an argument holds a NUL character".to_owned(),
                    "no program can be given one; write it to a file".to_owned(),
                );
            }
        }
        problems
    }

    fn launch(&self) -> Launch {
        let mut files = Vec::new();
        let argv = match &self.script {
            None => self.argv.clone(),
            Some(script) => {
                files.push((SCRIPT_FILE.to_owned(), script.clone()));
                let mut argv = self.interpreter.clone();
                argv.push(SCRIPT_FILE.to_owned());
                argv
            }
        };
        if !self.params.is_empty() {
            files.push((PARAMS_FILE.to_owned(), self.params_text()));
        }
        for (path, value) in &self.params_files {
            // What cannot be written is refused by `check`.
            let text = Format::of(path).and_then(|format| format.write(value).ok());
            files.extend(text.map(|text| (path.clone(), text)));
        }
        Launch::Program(Program {
            argv,
            files,
            numbers: Vec::new(),
        })
    }

    fn run(&self, _stage: &StageContext) -> Result<StageReport, StageError> {
        Err(StageError::new(
            "kind::command",
            "a command is started as a program, not as a kind",
        )
        .bug())
    }
}

/// Whether one item of `argv` looks like a line for a shell: blanks, and no path that might really hold them.
fn looks_like_a_line(text: &str) -> bool {
    text.trim().contains(char::is_whitespace) && !Path::new(text).is_absolute()
        || text.contains(['\n', '|', ';', '>', '<', '&'])
}

/// Any value without NaN and infinity, which JSON would turn into null without a word.
struct Finite(Value);

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FiniteVisitor).map(Self)
    }
}

struct FiniteVisitor;

impl<'de> Visitor<'de> for FiniteVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("`{value}` is not a number a parameter can have")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Finite::deserialize(deserializer).map(|value| value.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Finite(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((key, Finite(value))) = map.next_entry::<String, Finite>()? {
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

fn finite_values<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Value>, D::Error> {
    let values = BTreeMap::<String, Finite>::deserialize(deserializer)?;
    Ok(values
        .into_iter()
        .map(|(key, value)| (key, value.0))
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(config: Value) -> Command {
        let command: Command = serde_json::from_value(config).expect("it decodes");
        let text = serde_json::to_string(&command).expect("it serialises");
        assert_eq!(
            serde_json::from_str::<Command>(&text).expect("it comes back"),
            command
        );
        command
    }

    fn program(config: Value) -> Program {
        let command = command(config);
        assert!(command.check().is_empty(), "{:?}", command.check());
        match command.launch() {
            Launch::Program(program) => program,
            Launch::Builtin => panic!("commands are programs"),
        }
    }

    #[test]
    fn arguments_go_as_they_are() {
        let config = json!({"argv": ["sh", "-c", "wc -l < text > lines.txt"]});
        let started = program(config.clone());
        assert_eq!(started.argv, ["sh", "-c", "wc -l < text > lines.txt"]);
        assert!(started.files.is_empty() && started.numbers.is_empty());
        assert_eq!(
            command(config.clone()).manifest_config(),
            config,
            "defaults stay out of the key"
        );
        assert_eq!(
            program(json!({"argv": ["/opt/my tools/run"]})).argv,
            ["/opt/my tools/run"]
        );
    }

    #[test]
    fn a_script_is_a_file_for_its_interpreter() {
        let started = program(json!({"script": "echo ${params.x}\n"}));
        assert_eq!(started.argv, ["sh", "-eu", SCRIPT_FILE]);
        assert_eq!(
            started.files,
            [(SCRIPT_FILE.to_owned(), "echo ${params.x}\n".to_owned())]
        );
        let config = json!({"script": "true", "interpreter": ["bash", "-euo", "pipefail"]});
        assert_eq!(
            program(config.clone()).argv,
            ["bash", "-euo", "pipefail", SCRIPT_FILE]
        );
        assert_eq!(command(config.clone()).manifest_config(), config);
        assert_eq!(
            command(json!({"script": "true", "interpreter": ["sh", "-eu"]})).manifest_config(),
            json!({"script": "true"})
        );
    }

    #[test]
    fn parameters_are_written_sorted() {
        let started = program(
            json!({"argv": ["train"], "params": {"z": 1, "a": {"y": [1.5, null], "b": "text"}}}),
        );
        let (name, text) = &started.files[0];
        assert_eq!(name, PARAMS_FILE);
        assert_eq!(
            text,
            "{\n  \"a\": {\n    \"b\": \"text\",\n    \"y\": [\n      1.5,\n      null\n    ]\n  },\n  \"z\": 1\n}\n"
        );
    }

    #[test]
    fn files_of_parameters_are_written_by_their_ending() {
        let config = json!({"argv": ["a"], "params_files": {"conf/p.yaml": {"a": {"b": 1e-5}}, "q.json": [1]}});
        assert_eq!(command(config.clone()).manifest_config(), config);
        let files = [
            ("conf/p.yaml", "a:\n  b: 1.0e-05\n"),
            ("q.json", "[\n  1\n]\n"),
        ];
        assert_eq!(
            program(config).files,
            files.map(|(path, text)| (path.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        use serde::de::IntoDeserializer as _;
        use serde::de::value::{Error, F64Deserializer};
        for value in [f64::NAN, f64::INFINITY] {
            let deserializer: F64Deserializer<Error> = value.into_deserializer();
            assert!(Finite::deserialize(deserializer).is_err());
        }
    }

    #[test]
    fn misuses_are_named_with_their_place() {
        let cases = [
            (json!({}), ": nothing says what to run"),
            (
                json!({"argv": ["a"], "script": "b"}),
                "script: `argv` and `script` exclude each other",
            ),
            (json!({"script": " \n"}), "script: the script is empty"),
            (json!({"argv": [""]}), "argv.0: the program has no name"),
            (
                json!({"argv": ["python train.py --epochs 3"]}),
                "argv.0: `python train.py --epochs 3` is a whole command line, not a program",
            ),
            (
                json!({"argv": ["a"], "interpreter": ["bash"]}),
                "interpreter: `interpreter` without `script`",
            ),
            (
                json!({"script": "a", "interpreter": []}),
                "interpreter: the interpreter has no name",
            ),
            (
                json!({"argv": ["a"], "params_files": {"../p.yaml": {}}}),
                "params_files.../p.yaml: `../p.yaml` is no place in the stage's folder",
            ),
            (
                json!({"argv": ["a"], "params_files": {"p.py": {}}}),
                "params_files.p.py: `p.py` has no ending that says how it is written",
            ),
            (
                json!({"argv": ["a"], "params_files": {"p.toml": {"a": null}}}),
                "params_files.p.toml: `p.toml` cannot be written: TOML has no `null`",
            ),
            (
                json!({"argv": ["a", "b\u{0}"]}),
                "argv.1: an argument holds a NUL character",
            ),
        ];
        for (config, expected) in cases {
            let problems = command(config.clone()).check();
            let texts: Vec<String> = problems
                .iter()
                .map(|p| format!("{}: {}", p.path.join("."), p.message))
                .collect();
            assert_eq!(texts, [expected], "{config}");
        }
        let help = command(json!({"argv": ["a b"]})).check()[0]
            .help
            .clone()
            .expect("help");
        assert!(
            help.starts_with("did you mean `script: \"a b\"`?"),
            "{help}"
        );
    }

    #[test]
    fn a_shell_string_for_argv_is_a_type_error() {
        let error =
            serde_json::from_value::<Command>(json!({"argv": "a b"})).expect_err("a string");
        assert!(error.to_string().contains("expected a sequence"), "{error}");
    }
}
