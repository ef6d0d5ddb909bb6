//! Commands of a stage as one program with its arguments, or as a text for `sh`. Knows nothing of stages.
//!
//! DVC gives each command to a shell of its own and stops at the first that fails. A command that a shell would not
//! touch becomes `argv` word by word; anything else a text for `sh -c` in which each command does what it did there.

use super::assigned::assigned;
use super::text::{Piece, Text};

/// Words with which a command changes the shell it runs in.
const CHANGE_THE_SHELL: [&str; 16] = [
    "cd", "export", "set", "unset", "source", ".", "exit", "exec", "eval", "alias", "umask",
    "ulimit", "trap", "shift", "return", "readonly",
];
/// Words that a shell knows itself, and perhaps otherwise than the program of that name.
const BUILT_IN: [&str; 12] = [
    "echo", "printf", "test", "[", "true", "false", "read", "wait", "time", "command", "type", ":",
];
/// Words that begin or end what is more than one command.
const KEYWORDS: [&str; 13] = [
    "if", "then", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "{", "!",
];

/// What must be there before the first command.
pub(super) struct Before {
    /// Folders, relative to the stage's, that the commands write into and nothing else makes.
    pub(super) folders: Vec<String>,
    /// The folder they run in, if it is not the stage's.
    pub(super) folder: Option<Text>,
}

/// The program and its arguments.
pub(super) fn argv(commands: &[Text], before: &Before) -> Vec<Text> {
    if let ([command], [], None) = (commands, before.folders.as_slice(), &before.folder)
        && let Some(words) = words(command)
    {
        return words;
    }
    let mut steps: Vec<Text> = Vec::new();
    if !before.folders.is_empty() {
        let folders: Vec<_> = before
            .folders
            .iter()
            .map(|folder| super::text::quoted(folder))
            .collect();
        steps.push(Text::literal(format!("mkdir -p {}", folders.join(" "))));
    }
    if let Some(folder) = &before.folder {
        let is_plain = super::text::quoted(&folder.plain()) == folder.plain().as_str();
        let folder = if is_plain {
            folder.clone()
        } else {
            Text::literal(super::text::quoted(&folder.plain()).into_owned())
        };
        steps.push(Text::literal("cd ").then(&folder));
    }
    let is_alone = commands.len() == 1 && steps.is_empty();
    for command in commands {
        steps.push(if is_alone || can_be_joined(&command.plain()) {
            command.clone()
        } else {
            // Its own line for the bracket: the command may end in a comment.
            Text::literal("(\n")
                .then(command)
                .then(&Text::literal("\n)"))
        });
    }
    let mut script = Text::default();
    let count = steps.len();
    for (index, step) in steps.into_iter().enumerate() {
        script = script.then(&step);
        if index + 1 < count {
            script.push(" &&\n");
        }
    }
    if count > 1 {
        script.push("\n");
    }
    let shell = if commands.iter().any(|command| is_bash(&command.plain())) {
        "bash"
    } else {
        "sh"
    };
    vec![Text::literal(shell), Text::literal("-c"), script]
}

/// Whether a command is written for bash, which DVC takes when it is the user's shell.
fn is_bash(command: &str) -> bool {
    ["[[", "<(", "<<<", "pipefail", "&>", "source ", "=("]
        .iter()
        .any(|sign| command.contains(sign))
}

/// Whether `command && …` means what it means alone.
fn can_be_joined(command: &str) -> bool {
    let command = command.trim();
    let no_operators = unquoted(command)
        .replace("&&", "")
        .replace("2>&1", "")
        .replace("||", ";");
    !no_operators.contains([';', '&', '(', ')', '\n', '#', '\\'])
        && balanced(command)
        && !command
            .split_whitespace()
            .any(|word| CHANGE_THE_SHELL.contains(&word) || KEYWORDS.contains(&word))
        && !first_is_assignment(command)
}

/// What stands outside quotes.
fn unquoted(command: &str) -> String {
    let mut open = None;
    let mut rest = String::new();
    for c in command.chars() {
        match (open, c) {
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if quote == c => open = None,
            (None, c) => rest.push(c),
            _ => {}
        }
    }
    rest
}

/// Whether every quote is closed.
fn balanced(command: &str) -> bool {
    let mut open = None;
    for c in command.chars() {
        match (open, c) {
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if quote == c => open = None,
            _ => {}
        }
    }
    open.is_none()
}

fn first_is_assignment(command: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or_default();
    first.contains('=')
}

/// The words of a command in which a shell would find nothing to do but part them.
fn words(command: &Text) -> Option<Vec<Text>> {
    let mut words: Vec<Text> = Vec::new();
    let mut word: Option<Text> = None;
    let mut quote = None;
    for piece in &command.0 {
        match piece {
            Piece::Literal(text) => {
                for c in text.chars() {
                    match (quote, c) {
                        (None, ' ' | '\t') => words.extend(word.take()),
                        (None, '\'' | '"') => {
                            quote = Some(c);
                            word.get_or_insert_default();
                        }
                        (Some(open), c) if open == c => quote = None,
                        (Some('"'), '$' | '`' | '\\' | '!') => return None,
                        (Some(_), c) if !c.is_control() => {
                            word.get_or_insert_default()
                                .push(c.encode_utf8(&mut [0; 4]));
                        }
                        (None, c) if is_plain(c) => {
                            word.get_or_insert_default()
                                .push(c.encode_utf8(&mut [0; 4]));
                        }
                        _ => return None,
                    }
                }
            }
            Piece::Param { text, .. } | Piece::Written { text, .. } | Piece::Axis { text, .. } => {
                let is_one_word = match quote {
                    None => !text.is_empty() && text.chars().all(is_plain),
                    Some(_) => text.chars().all(|c| is_plain(c) || c == ' '),
                };
                if !is_one_word {
                    return None;
                }
                word.get_or_insert_default().0.push(piece.clone());
            }
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    let first = words.first()?.plain();
    let is_program = !first.is_empty()
        && !first.contains('=')
        && ![&CHANGE_THE_SHELL[..], &BUILT_IN, &KEYWORDS]
            .iter()
            .any(|known| known.contains(&first.as_str()));
    // `argv` takes a lone word with a blank for a whole line.
    let is_clear = words.len() > 1 || !first.contains(' ');
    (is_program && is_clear).then_some(words)
}

/// Whether a shell takes a character outside quotes as it is, wherever it stands.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "_-./=:,+@%".contains(c)
}

/// Variables that a command reads and does not set: those the user's surroundings must give.
pub(super) fn variables(command: &str) -> Vec<String> {
    let bytes = command.as_bytes();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let set = assigned(command);
    let mut found: Vec<String> = Vec::new();
    let mut is_quoted = false;
    let mut in_double = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' if !is_quoted => in_double = !in_double,
            b'\'' if !in_double => is_quoted = !is_quoted,
            b'$' if !is_quoted && (at == 0 || bytes[at - 1] != b'\\') => {
                let rest = command[at + 1..]
                    .strip_prefix('{')
                    .unwrap_or(&command[at + 1..]);
                let length = rest.bytes().take_while(|b| is_name(*b)).count();
                let name = &rest[..length];
                let is_set = set
                    .iter()
                    .any(|(other, holds)| other == name && holds.contains(&at));
                if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && !is_set
                    && !found.iter().any(|other| other == name)
                {
                    found.push(name.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(commands: &[&str], before: &Before) -> Vec<String> {
        let commands: Vec<Text> = commands.iter().map(|c| Text::literal(*c)).collect();
        argv(&commands, before).iter().map(Text::plain).collect()
    }

    const NOTHING: Before = Before {
        folders: Vec::new(),
        folder: None,
    };

    #[test]
    fn plain_commands_become_words() {
        assert_eq!(
            plain(&["python src/a.py  --x=1 'two words' \"\""], &NOTHING),
            ["python", "src/a.py", "--x=1", "two words", ""]
        );
        for command in [
            "a > b", "a | b", "echo x", "a $X", "a *.txt", "X=1 a", "cd a", "a; b", "a ~/x", "! a",
            "a \"$X\"", "a 'open",
        ] {
            assert_eq!(plain(&[command], &NOTHING), ["sh", "-c", command]);
        }
        assert_eq!(plain(&["[[ a ]]"], &NOTHING)[0], "bash");
    }

    #[test]
    fn several_commands_stop_at_the_first_that_fails() {
        let script = |commands: &[&str]| plain(commands, &NOTHING)[2].clone();
        assert_eq!(script(&["a > x", "b | c"]), "a > x &&\nb | c\n");
        assert_eq!(
            script(&["a; b", "cd x", "c"]),
            "(\na; b\n) &&\n(\ncd x\n) &&\nc\n"
        );
        assert_eq!(script(&["a '; & #'", "c"]), "a '; & #' &&\nc\n");
        assert_eq!(script(&["a || b", "c"]), "(\na || b\n) &&\nc\n");
        let before = Before {
            folders: vec!["out dir".to_owned()],
            folder: Some(Text::literal("sub")),
        };
        assert_eq!(
            plain(&["a x"], &before)[2],
            "mkdir -p 'out dir' &&\ncd sub &&\na x\n"
        );
    }

    #[test]
    fn variables_of_the_surroundings_are_found() {
        assert_eq!(
            variables("a $X ${Y_1} '$Z' \"$W\" \\$V $1 $? && I=2 && b $I"),
            ["X", "Y_1", "W"]
        );
    }

    #[test]
    fn only_a_real_assignment_before_the_use_sets_a_variable() {
        for command in [
            "python3 src/t.py --X=$X",
            "a X=$X",
            "for X in $X; do echo x; done",
            "a $X; X=1",
            "a XX=1 && b $X",
            "a 'X=1' && b $X",
            "X=1 a $X",
            "X=$X",
            "(X=1); a $X",
            "X=1 | a $X",
            "test x && X=1; a $X",
            "a 'read X' && b $X",
            "# X=1\na $X",
        ] {
            assert_eq!(variables(command), ["X"], "{command}");
        }
        for command in [
            "X=1 && a $X",
            "X=1; a ${X}",
            "X=1\na \"$X\"",
            "export X=1; a $X",
            "X='1 2' Y=$(b); a $X",
            "for X in 1 2; do a $X; done",
            "a | while read X; do b $X; done",
        ] {
            assert_eq!(variables(command), [""; 0], "{command}");
        }
    }
}
