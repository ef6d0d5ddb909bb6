//! A loopback HTTP server whose files a test changes while it runs. Knows nothing of pipelines.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How a path is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, from where a range request wants them.
    Whole(Vec<u8>),
    /// So many of the bytes, then the connection closes.
    BreaksOff(Vec<u8>, usize),
    /// So many of the bytes, then nothing until the client goes away.
    Stalls(Vec<u8>, usize),
    /// All the bytes under a `Content-Length` that is not theirs.
    Lies(Vec<u8>, usize),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// N of `Range: bytes=N-`.
    pub(crate) from: Option<usize>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    asked: Mutex<Vec<Asked>>,
    stopping: AtomicBool,
}

pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Origin {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if state.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Sets what a path holds from now on.
    pub(crate) fn put(&self, path: &str, answer: Answer) {
        lock(&self.shared.answers).insert(path.to_owned(), answer);
    }

    pub(crate) fn holds(&self, path: &str, text: &str) {
        self.put(path, Answer::Whole(text.as_bytes().to_vec()));
    }

    pub(crate) fn remove(&self, path: &str) {
        lock(&self.shared.answers).remove(path);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests since the last call.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *lock(&self.shared.asked))
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let Some((asked, if_range)) = read_request(&stream) else {
        return;
    };
    let answer = lock(&shared.answers).get(&asked.path).cloned();
    let from = asked.from;
    lock(&shared.asked).push(asked);
    let Some(answer) = answer else {
        send(&mut stream, "404 Not Found", 0, "", b"");
        return;
    };
    let (Answer::Whole(body)
    | Answer::BreaksOff(body, _)
    | Answer::Stalls(body, _)
    | Answer::Lies(body, _)) = &answer;
    let tag = format!("\"{}\"", blake3::hash(body).to_hex());
    let start = from
        .filter(|start| *start < body.len() && if_range.is_none_or(|known| known == tag))
        .unwrap_or(0);
    let (status, range) = if start > 0 {
        let last = body.len() - 1;
        let range = format!("Content-Range: bytes {start}-{last}/{}\r\n", body.len());
        ("206 Partial Content", range)
    } else {
        ("200 OK", String::new())
    };
    let head = format!("ETag: {tag}\r\n{range}");
    let rest = &body[start..];
    match &answer {
        Answer::Whole(_) => send(&mut stream, status, rest.len(), &head, rest),
        Answer::Lies(_, length) => send(&mut stream, status, *length, &head, rest),
        Answer::BreaksOff(_, sent) => {
            send(
                &mut stream,
                status,
                rest.len(),
                &head,
                &rest[..*sent.min(&rest.len())],
            );
        }
        Answer::Stalls(_, sent) => {
            send(
                &mut stream,
                status,
                rest.len(),
                &head,
                &rest[..*sent.min(&rest.len())],
            );
            // The client's end of the connection closes when it is killed.
            let _ = stream.read(&mut [0_u8; 16]);
        }
    }
}

fn send(stream: &mut TcpStream, status: &str, length: usize, head: &str, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    let _ = stream.flush();
}

fn read_request(stream: &TcpStream) -> Option<(Asked, Option<String>)> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut from, mut if_range) = (None, None);
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("range", value) => {
                let start = value.strip_prefix("bytes=")?.strip_suffix('-')?;
                from = Some(start.parse().ok()?);
            }
            ("if-range", value) => if_range = Some(value.to_owned()),
            _ => {}
        }
    }
    Some((Asked { path, from }, if_range))
}
