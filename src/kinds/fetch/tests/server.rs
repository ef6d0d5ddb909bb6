//! A loopback HTTP server that plays a script: each test says, connection by connection, what is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub path: String,
    headers: Vec<(String, String)>,
    /// How many requests came before.
    pub index: usize,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The first byte of `Range: bytes=N-`.
    pub(super) fn range_start(&self) -> Option<usize> {
        let text = self.header("range")?.strip_prefix("bytes=")?;
        text.strip_suffix('-')?.parse().ok()
    }
}

pub(super) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server whose every connection is one request, answered by `script`.
    pub(super) fn start(mut script: impl FnMut(&Asked, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (log, stop) = (Arc::clone(&asked), Arc::clone(&stopping));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(mut stream) = stream else { continue };
                let Some(mut request) = read_request(&stream) else {
                    continue;
                };
                {
                    let mut log = log.lock().expect("no panic while logging");
                    request.index = log.len();
                    log.push(request.clone());
                }
                script(&request, &mut stream);
            }
        });
        Self {
            address,
            asked,
            stopping,
            thread: Some(thread),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic while logging").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Asked {
        path,
        headers,
        index: 0,
    })
}

/// Sends a head and a body as they are; the client may have gone.
pub(super) fn send(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    let _ = stream.flush();
}

/// Sends a whole file with its length.
pub(super) fn send_all(stream: &mut TcpStream, body: &[u8]) {
    send(
        stream,
        "200 OK",
        &[("Content-Length", &body.len().to_string())],
        body,
    );
}

/// Waits until the client goes away.
pub(super) fn hang(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0_u8; 16]);
}
