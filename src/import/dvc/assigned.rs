//! Where a command has set a variable itself, as far as that is certain. Knows no stages.

use std::ops::Range;

/// Commands that take assignments as arguments.
const TAKE_ASSIGNMENTS: [&str; 5] = ["export", "readonly", "local", "declare", "typeset"];

/// Names that the command sets, each with the bytes of the command for which it then holds.
pub(super) fn assigned(command: &str) -> Vec<(String, Range<usize>)> {
    let mut reader = Reader {
        command,
        scopes: vec![Scope::default()],
        found: Vec::new(),
        simple: Simple::default(),
        condition: None,
        loop_name: LoopName::No,
    };
    let end = reader.read();
    // What is open within something that never ended is uncertain, what was set before it is not.
    while reader.scopes.len() > 1 {
        reader.leave(end);
    }
    reader.close_chain(command.len());
    let scope = reader.scopes.pop().unwrap_or_default();
    let sure = scope.sure.into_iter();
    reader
        .found
        .extend(sure.map(|(name, from)| (name, from..command.len())));
    reader.found
}

/// What may set variables for what follows in it, and not beyond.
#[derive(Default)]
struct Scope {
    sure: Vec<(String, usize)>,
    /// Set only if what precedes in a chain of `&&` worked.
    chain: Vec<(String, usize)>,
    depends: bool,
    is_piped: bool,
}

/// The simple command being read.
#[derive(Default)]
struct Simple {
    sets: Vec<String>,
    is_begun: bool,
    has_program: bool,
    takes_assignments: bool,
    takes_names: bool,
}

enum LoopName {
    No,
    Next,
    Is(String),
}

struct Reader<'c> {
    command: &'c str,
    scopes: Vec<Scope>,
    found: Vec<(String, Range<usize>)>,
    simple: Simple,
    /// What a condition sets, for the body.
    condition: Option<Vec<String>>,
    loop_name: LoopName,
}

impl Reader<'_> {
    /// Reads to the end, or to what it does not understand.
    fn read(&mut self) -> usize {
        let bytes = self.command.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let next = bytes.get(at + 1);
            match byte {
                b' ' | b'\t' | b'\r' => at += 1,
                b'#' => {
                    let line = &bytes[at..];
                    at += line.iter().position(|b| *b == b'\n').unwrap_or(line.len());
                }
                b'<' if next == Some(&b'<') => return at,
                b'<' | b'>' => {
                    self.simple.is_begun = true;
                    self.simple.has_program = true;
                    at += if matches!(next, Some(b'&' | b'>' | b'|')) {
                        2
                    } else {
                        1
                    };
                }
                b'\n' if !self.simple.is_begun => at += 1,
                b';' | b'\n' => {
                    self.end(at, true);
                    self.close_chain(at);
                    self.follow(false, false);
                    at += 1;
                }
                b'&' | b'|' if next == Some(byte) => {
                    self.end(at, true);
                    if *byte == b'|' {
                        self.close_chain(at);
                    }
                    self.follow(true, false);
                    at += 2;
                }
                b'&' | b'|' => {
                    self.end(at, false);
                    self.close_chain(at);
                    self.follow(false, *byte == b'|');
                    at += 1;
                }
                b'(' => {
                    self.enter(at);
                    at += 1;
                }
                b')' => {
                    self.end(at, true);
                    self.leave(at);
                    at += 1;
                }
                _ => {
                    let Some(end) = word_end(bytes, at) else {
                        return at;
                    };
                    if !self.word(at, end) {
                        return at;
                    }
                    at = end;
                }
            }
        }
        self.end(at, true);
        at
    }

    /// `false` where what follows is not understood.
    fn word(&mut self, at: usize, end: usize) -> bool {
        let Some(word) = self.command.get(at..end) else {
            return false;
        };
        self.simple.is_begun = true;
        if matches!(self.loop_name, LoopName::Next) {
            self.loop_name = LoopName::Is(word.to_owned());
            return true;
        }
        if self.simple.has_program {
            match assignment(word) {
                Some(name) if self.simple.takes_assignments => {
                    self.simple.sets.push(name.to_owned());
                }
                None if self.simple.takes_names && is_name(word) => {
                    self.simple.sets.push(word.to_owned());
                }
                _ => {}
            }
            return true;
        }
        match word {
            "case" | "elif" | "function" | "[[" => return false,
            "!" | "time" => {}
            "if" | "while" | "until" => self.condition = Some(Vec::new()),
            "for" | "select" => {
                self.loop_name = LoopName::Next;
                self.simple.has_program = true;
            }
            "then" | "do" | "{" => {
                let mut sets = self.condition.take().unwrap_or_default();
                if let LoopName::Is(name) = std::mem::replace(&mut self.loop_name, LoopName::No) {
                    sets.push(name);
                }
                self.enter(end);
                if let Some(scope) = self.scopes.last_mut() {
                    scope.sure.extend(sets.into_iter().map(|name| (name, end)));
                }
            }
            "else" => {
                self.leave(at);
                self.enter(end);
            }
            "fi" | "done" | "}" => self.leave(at),
            _ => match assignment(word) {
                Some(name) => self.simple.sets.push(name.to_owned()),
                None => {
                    // Assignments before a program are for it alone.
                    self.simple.sets.clear();
                    self.simple.has_program = true;
                    self.simple.takes_assignments = TAKE_ASSIGNMENTS.contains(&word);
                    self.simple.takes_names = word == "read";
                }
            },
        }
        true
    }

    /// Ends a simple command, which ran in this shell or in one of its own.
    fn end(&mut self, at: usize, in_this_shell: bool) {
        let simple = std::mem::take(&mut self.simple);
        let Some(scope) = self.scopes.last_mut() else {
            return;
        };
        if !in_this_shell || (scope.is_piped && self.condition.is_none()) {
            return;
        }
        let sets = simple.sets.into_iter();
        match &mut self.condition {
            Some(condition) => condition.extend(sets),
            None if scope.depends => scope.chain.extend(sets.map(|name| (name, at))),
            None => scope.sure.extend(sets.map(|name| (name, at))),
        }
    }

    fn follow(&mut self, depends: bool, is_piped: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.depends = depends;
            scope.is_piped = is_piped;
        }
    }

    fn close_chain(&mut self, at: usize) {
        if let Some(scope) = self.scopes.last_mut() {
            let chain = scope.chain.drain(..);
            self.found
                .extend(chain.map(|(name, from)| (name, from..at)));
        }
    }

    fn enter(&mut self, at: usize) {
        self.end(at, false);
        self.scopes.push(Scope::default());
    }

    fn leave(&mut self, at: usize) {
        if self.scopes.len() > 1 {
            self.close_chain(at);
            let scope = self.scopes.pop().unwrap_or_default();
            let sure = scope.sure.into_iter();
            self.found.extend(sure.map(|(name, from)| (name, from..at)));
        }
        self.simple.is_begun = true;
        self.simple.has_program = true;
    }
}

/// Where a word ends; `None` where a quote or bracket stays open.
fn word_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    // What closes what is open.
    let mut open: Vec<u8> = Vec::new();
    while let Some(byte) = bytes.get(at) {
        match (open.last(), byte) {
            (Some(b'\''), b'\'') => {
                open.pop();
            }
            (Some(b'\''), _) => {}
            (_, b'\\') => at += 1,
            (Some(close), byte) if close == byte => {
                open.pop();
            }
            (_, b'$') if bytes.get(at + 1) == Some(&b'(') => {
                open.push(b')');
                at += 1;
            }
            (_, b'$') if bytes.get(at + 1) == Some(&b'{') => {
                open.push(b'}');
                at += 1;
            }
            (_, b'"' | b'`') => open.push(*byte),
            (Some(b'"'), _) => {}
            (_, b'\'') => open.push(*byte),
            (Some(_), b'(') => open.push(b')'),
            (None, b'(') if at > start && bytes[at - 1] == b'=' => open.push(b')'),
            (
                None,
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>',
            ) => {
                return Some(at);
            }
            _ => {}
        }
        at += 1;
    }
    open.is_empty().then_some(at.min(bytes.len()))
}

fn assignment(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    is_name(name).then_some(name)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
