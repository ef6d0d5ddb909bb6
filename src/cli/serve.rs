//! `pipeline serve`: which pipeline the page shows, and where it is to be found.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::plan::Decision;
use flow::run::watch;
use flow::spec::StageId;
use flow::store::Store;

use super::Done;
use super::args::{PipelineArgs, ServeArgs};
use super::session::{self, Session};
use crate::console::Console;
use crate::serve::board::Stand;
use crate::serve::http::Gate;
use crate::serve::state::{Live, Loaded};

/// Prints the address and answers until the process is interrupted.
pub(super) fn serve(args: &ServeArgs, console: &mut Console) -> Done {
    if !args.address.is_loopback() && !args.public {
        let message = format!("`{}` can be reached from other machines", args.address);
        let diagnostic = Diagnostic::error("serve::public", message).help(
            "leave `--address` out and use a tunnel (`ssh -L`), or add `--public` to let others see names, logs and numbers",
        );
        return Err(Failure::one(Class::Input, diagnostic));
    }
    let pipeline = PipelineArgs {
        file: match &args.file {
            Some(file) => file.clone(),
            None => file_of_last_run(args)?,
        },
        profiles: args.profiles.clone(),
        settings: args.settings.clone(),
        mirrors: Vec::new(),
        mirrors_file: None,
        device: None,
        cache: args.cache.clone(),
    };
    let first = load(&pipeline, Some(console))?;
    let (_, cache) = session::places(&pipeline);
    let place = SocketAddr::new(args.address, args.port);
    let (listener, place) = TcpListener::bind(place)
        .and_then(|listener| listener.local_addr().map(|place| (listener, place)))
        .map_err(|error| {
            let diagnostic =
                Diagnostic::error("serve::address", format!("cannot listen on `{place}`"))
                    .detail(error.to_string())
                    .help("choose another `--port`; 0 takes a free one");
            Failure::one(Class::Environment, diagnostic)
        })?;
    let secret = secret()?;
    let machine = flow::store::record::this_machine().host;
    let shown = if args.address.is_unspecified() {
        format!("{machine}:{}", place.port())
    } else {
        place.to_string()
    };
    if args.public {
        console.report(&[Diagnostic::warning(
            "serve::public",
            "whoever has the address and reaches this machine sees the page; it is not encrypted",
        )]);
    }
    console.text(&format!("http://{shown}/{secret}/"));
    console.note("open this address in a browser; interrupt to stop");
    let gate = Gate {
        secret,
        address: args.address,
        names: vec![machine],
    };
    let live = Live::new(
        Store::to_read(&cache),
        &first,
        Box::new(move || load(&pipeline, None)),
    );
    crate::serve::serve(&listener, &gate, live);
    Ok(0)
}

/// The pipeline of the run that goes on, else of the one that began last.
fn file_of_last_run(args: &ServeArgs) -> Result<PathBuf, Failure> {
    let cache = args.cache.clone().unwrap_or_else(|| PathBuf::from("cache"));
    let store = Store::to_read(&cache);
    let going = watch::going(&store, None).unwrap_or_default();
    let last = || Some(watch::last(&store, None).ok()??.pipeline);
    let found = going
        .last()
        .map(|pulse| pulse.pipeline.clone())
        .or_else(last);
    // What a log says is a name below this folder, as runs write it.
    let file = found.map(PathBuf::from).filter(|file| {
        let is_below =
            (file.components()).all(|part| matches!(part, std::path::Component::Normal(_)));
        is_below && file.is_file()
    });
    file.ok_or_else(|| {
        let message = format!(
            "no run in `{}` tells which pipeline to show",
            cache.display()
        );
        let diagnostic = Diagnostic::error("serve::no_run", message)
            .help("name the pipeline file: `pipeline serve FILE`");
        Failure::one(Class::Input, diagnostic)
    })
}

/// The pipeline as it is planned now. Nothing is written, nothing of the user's is started.
fn load(args: &PipelineArgs, console: Option<&mut Console>) -> Result<Loaded, Failure> {
    let session = Session::look(args, console)?;
    let count = session.workflow().stages.len();
    let mut stands = vec![Stand::default(); count];
    // Without a plan the page shows what runs say.
    if let Ok(mut planner) = session.planner() {
        let ids: Vec<StageId> = (0..count)
            .filter_map(|index| u32::try_from(index).ok().map(StageId))
            .collect();
        planner.prefetch(&ids);
        for (id, stand) in ids.into_iter().zip(&mut stands) {
            let stage = planner.stage(id);
            stand.past_seconds = planner.past_seconds(stage);
            // To know its key, commands of the user's would have to be started.
            if stage.policy.record_strict {
                continue;
            }
            if let Ok(Decision::Hit(known)) = planner.decide(id) {
                stand.key = Some(known.key);
                stand.past_seconds = Some(known.entry.seconds);
            }
        }
    }
    Ok(Loaded {
        workflow: session.ready.workflow,
        stands,
    })
}

/// 128 bits that nobody guesses, as hex digits.
fn secret() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    fs_err::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| {
            let diagnostic =
                Diagnostic::error("serve::random", "this system gives no random bytes")
                    .detail(error.to_string())
                    .help("`pipeline status FILE --follow` shows the run on the terminal");
            Failure::one(Class::Environment, diagnostic)
        })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
