//! `exec` and `supervise`: this program as a stage, and as the keeper of stages. Spoken to over files and pipes.

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use flow::exec::job::{ExecOrder, ExecResult, ExecWork};
use flow::kind::{StageContext, StageError, Together};

use crate::console::bug::EXIT_CODE;
use crate::kinds::KINDS;

/// Serves a run as a supervisor.
pub(super) fn supervise() -> u8 {
    match flow::exec::supervisor::serve() {
        Ok(()) => 0,
        Err(_) => EXIT_CODE,
    }
}

/// Carries out one stage in its folder; with a rank above 0 as one of those that the first process of the stage started.
pub(super) fn exec(file: &Path, rank: u32, own_device: Option<&str>) -> u8 {
    // The first decides when to stop: whoever asks asks it as well.
    if rank > 0 && flow::signals::asked_to_stop().is_err() {
        return 3;
    }
    let Ok(path) = std::path::absolute(file) else {
        return 3;
    };
    let order = fs_err::read(file)
        .map_err(|error| error.to_string())
        .and_then(|text| {
            serde_json::from_slice::<ExecOrder>(&text).map_err(|error| error.to_string())
        });
    let order = match order {
        Ok(order) => order,
        Err(error) => return say(&format!("`{}` is not an order: {error}", file.display()), 2),
    };
    if let Err(error) = std::env::set_current_dir(&order.folder) {
        return say(
            &format!("cannot enter `{}`: {error}", order.folder.display()),
            3,
        );
    }
    match order.work {
        ExecWork::Sandboxed {
            argv,
            readable,
            writable,
        } => {
            if let Err(error) = flow::exec::sandbox::restrict(&order.folder, &readable, &writable) {
                return say(
                    &format!(
                        "{error}\n{}",
                        error.diagnostic.help.clone().unwrap_or_default()
                    ),
                    3,
                );
            }
            let Some((program, arguments)) = argv.split_first() else {
                return say("the command line is empty", 2);
            };
            let error = std::process::Command::new(program).args(arguments).exec();
            say(&format!("cannot start `{program}`: {error}"), 127)
        }
        ExecWork::Watched { argv, seen } => {
            let child = seen.with_extension("child.json");
            let order = ExecOrder {
                folder: order.folder,
                work: ExecWork::BecomeWatched { argv },
            };
            let text = serde_json::to_vec(&order).expect("orders serialise");
            let done =
                fs_err::write(&child, text).and_then(|()| flow::exec::trace::follow(&child, &seen));
            done.unwrap_or_else(|error| say(&format!("{error}"), 3))
        }
        ExecWork::BecomeWatched { argv } => {
            let error = flow::exec::trace::begin(&argv);
            say(&format!("cannot start: {error}"), 127)
        }
        ExecWork::Kind {
            kind,
            config,
            inputs,
            scratch,
            progress,
            result,
            offline,
            root,
            cores,
            device,
            micro_batch,
            processes,
            live,
        } => {
            let together = (processes > 1).then(|| Together {
                rank,
                size: processes,
                order: path,
                result: result.clone(),
            });
            let is_first = rank == 0;
            let context = StageContext {
                folder: order.folder,
                inputs,
                scratch,
                offline,
                root,
                cores,
                device: own_device.map(str::to_owned).or(device),
                micro_batch,
                together,
                progress_file: is_first.then_some(progress),
                live: is_first.then_some(live),
                say: match is_first {
                    true => |line| {
                        say(line, 0);
                    },
                    false => |_| {},
                },
            };
            let ended: ExecResult = match KINDS.iter().find(|entry| entry.name == kind) {
                Some(entry) => (entry.run)(&config, &context),
                None => Err(
                    StageError::new("kind::unknown", format!("there is no kind `{kind}`")).bug(),
                ),
            };
            let code = u8::from(ended.is_err());
            let text = serde_json::to_vec(&ended).expect("results serialise");
            if !is_first {
                return hand_over(&text, code);
            }
            match fs_err::write(&result, text) {
                Ok(()) => code,
                Err(error) => say(&format!("the result cannot be written: {error}"), 3),
            }
        }
    }
}

/// What the first process of a stage is told by another.
fn hand_over(text: &[u8], code: u8) -> u8 {
    if let Ok(mut console) = crate::console::Console::new(crate::console::Options::default()) {
        console.printed(text);
    }
    code
}

/// A line for the stage's log.
fn say(line: &str, code: u8) -> u8 {
    if let Ok(mut console) = crate::console::Console::new(crate::console::Options::default()) {
        console.note(line);
    }
    code
}
