//! What is printed when the program itself is wrong. Knows nothing of why.

use std::backtrace::Backtrace;
use std::io::Write as _;
use std::panic::PanicHookInfo;

use flow::diagnostic::{Class, Diagnostic};
use flow::source::Sources;

use super::diagnostic::render;
use super::terminal::Look;

/// The exit code after a bug.
pub const EXIT_CODE: u8 = 70;

/// From now on a panic prints a message that asks for a report, with where it happened and a backtrace.
pub fn report_panics() {
    debug_assert_eq!(Class::Bug.exit_code(), EXIT_CODE);
    std::panic::set_hook(Box::new(|info| {
        let backtrace = Backtrace::force_capture().to_string();
        let diagnostic = diagnostic(&payload(info), info.location(), &backtrace);
        let text = render(&diagnostic, &Sources::default(), Look::of_stderr());
        // There may be live lines under way; what matters is that the message begins on a line of its own.
        let _ = std::io::stderr().write_all(format!("\n{text}").as_bytes());
    }));
}

fn payload(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

fn diagnostic(
    message: &str,
    location: Option<&std::panic::Location<'_>>,
    backtrace: &str,
) -> Diagnostic {
    let mut diagnostic = Diagnostic::error("pipeline::bug", format!("a bug of ours: {message}"));
    if let Some(location) = location {
        let place = format!("at {}:{}", location.file(), location.line());
        diagnostic = diagnostic.detail(place);
    }
    diagnostic
        .detail(format!("version {}", env!("CARGO_PKG_VERSION")))
        .detail(backtrace.trim_end())
        .help("please report this text; what was done so far is cached, the same command goes on from there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_asks_for_a_report() {
        let diagnostic = diagnostic("index out of bounds", None, "0: main\n1: start\n");
        insta::assert_snapshot!(render(&diagnostic, &Sources::default(), Look::PLAIN), @"
        pipeline::bug
          x a bug of ours: index out of bounds
            version 0.1.0
            0: main
            1: start
          help: please report this text; what was done so far is cached, the same command goes on from
                there
        ");
    }
}
