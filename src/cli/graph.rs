//! `pipeline graph`.

use flow::render::{GraphFormat as Format, render_graph};

use super::Done;
use super::args::{GraphArgs, GraphFormat};
use super::session::Session;
use crate::console::Console;

/// Draws the stages, a matrix as one node.
pub(super) fn graph(args: &GraphArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let format = match args.format {
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Svg => Format::Svg,
    };
    console.text(&render_graph(session.workflow(), format));
    Ok(0)
}
