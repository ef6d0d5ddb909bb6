//! A local page that shows a run while it goes on, from the run's files. Writes no file; knows no command line.
//!
//! Nothing happens between requests: who asks makes [`state::Live`] look at what the files gained. The page (`page.html`)
//! is written whole by the server and can be read without its script, which asks for the parts that changed.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

pub mod board;
pub mod curves;
mod detail;
mod draw;
pub mod html;
pub mod http;
mod page;
pub mod state;

use http::Gate;
use state::Live;

/// Answers until the process ends.
pub fn serve(listener: &TcpListener, gate: &Gate, live: Live) {
    let live = Arc::new(Mutex::new(live));
    http::listen(listener, gate, move |request| {
        // A request that panicked left a state that is whole enough to be shown.
        let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
        page::answer(&mut live, request)
    });
}
