//! As much of HTTP as a read-only page needs: GET and HEAD, one answer a connection, everything bounded. Knows no page.
//!
//! A page on this machine can be reached by every program on it and, through a browser, by every page a person opens. So:
//! paths begin with a secret that the printed address holds; `Host` must name this machine, or a name of somebody else's
//! could be made to point here (DNS rebinding); answers allow no script but ours, no framing, no reading by other pages.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections answered at once; further ones are told to come back.
const MOST_CONNECTIONS: usize = 16;
/// Bytes of a request, its line and headers.
const MOST_REQUEST_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// How long a request may take to arrive, and an answer to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers begin with these; nothing is kept by browsers.
const HEADERS: &str = "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\nContent-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n";

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The path below the secret, without a leading slash.
    pub path: String,
    /// Names and values after the question mark, decoded.
    pub query: Vec<(String, String)>,
}

impl Request {
    /// The first value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.query.iter();
        values.find_map(|(other, value)| (other == name).then_some(value.as_str()))
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    status: u16,
    /// The media type.
    kind: &'static str,
    body: Vec<u8>,
}

impl Answer {
    /// 200.
    #[must_use]
    pub fn of(kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            kind,
            body: body.into(),
        }
    }

    /// A refusal in words.
    #[must_use]
    pub fn refusal(status: u16, words: &str) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: format!("{words}\n").into_bytes(),
        }
    }
}

/// Who may ask, and under which beginning of paths.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The first part of every path.
    pub secret: String,
    /// The address that is listened on.
    pub address: IpAddr,
    /// Names of this machine that `Host` may give besides `localhost`.
    pub names: Vec<String>,
}

impl Gate {
    /// Whether `Host` names this machine. Ports may differ: tunnels change them.
    fn admits(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        // An address cannot be made to point elsewhere, a name can.
        if let Ok(address) = name.parse::<IpAddr>() {
            return address.is_loopback() || !self.address.is_loopback();
        }
        !self.address.is_loopback()
            && self
                .names
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The path below the secret.
    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let path = path.strip_prefix('/')?;
        let (first, rest) = path.split_once('/')?;
        let differ = (first.bytes().zip(self.secret.bytes())).fold(0, |sum, (a, b)| sum | (a ^ b));
        (first.len() == self.secret.len() && differ == 0).then_some(rest)
    }
}

/// Answers until the process ends.
pub fn listen(
    listener: &TcpListener,
    gate: &Gate,
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) {
    let (gate, answer) = (Arc::new(gate.clone()), Arc::new(answer));
    let busy = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // A connection that broke while it waited is nobody's loss.
        let Ok(stream) = stream else { continue };
        let _ = stream.set_write_timeout(Some(PATIENCE));
        if busy.fetch_add(1, Ordering::AcqRel) >= MOST_CONNECTIONS {
            busy.fetch_sub(1, Ordering::AcqRel);
            let full = Answer::refusal(503, "too many connections, try again");
            let _ = write(&stream, &full, true);
            // Nobody is let in meanwhile.
            linger(&stream, Duration::from_millis(10));
            continue;
        }
        let (gate, answer, leaves) = (
            Arc::clone(&gate),
            Arc::clone(&answer),
            Leaves(Arc::clone(&busy)),
        );
        let spawned = std::thread::Builder::new()
            .name("connection".into())
            .spawn(move || {
                let _leaves = leaves;
                let _ = converse(&stream, &gate, &*answer);
            });
        drop(spawned);
    }
}

/// Counts a connection out, however it ends.
struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn converse(
    stream: &TcpStream,
    gate: &Gate,
    answer: &(impl Fn(&Request) -> Answer + ?Sized),
) -> io::Result<()> {
    let (said, with_body) = match read(stream, gate)? {
        Heard::Request { request, with_body } => (answer(&request), with_body),
        Heard::Refused(refusal) => (refusal, true),
        Heard::Nothing => return Ok(()),
    };
    write(stream, &said, with_body)?;
    linger(stream, Duration::from_millis(200));
    Ok(())
}

enum Heard {
    Request { request: Request, with_body: bool },
    Refused(Answer),
    Nothing,
}

fn read(mut stream: &TcpStream, gate: &Gate) -> io::Result<Heard> {
    let began = Instant::now();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let Some(left) = PATIENCE
            .checked_sub(began.elapsed())
            .filter(|left| !left.is_zero())
        else {
            return Ok(Heard::Refused(Answer::refusal(
                408,
                "the request took too long",
            )));
        };
        stream.set_read_timeout(Some(left))?;
        let got = stream.read(&mut piece)?;
        if got == 0 {
            return Ok(Heard::Nothing);
        }
        bytes.extend_from_slice(&piece[..got]);
        if let Some(heard) = parse(&bytes, gate) {
            return Ok(heard);
        }
        if bytes.len() > MOST_REQUEST_BYTES {
            return Ok(Heard::Refused(Answer::refusal(
                431,
                "the request is too large",
            )));
        }
    }
}

/// What the bytes ask for; `None` while more are to come.
fn parse(bytes: &[u8], gate: &Gate) -> Option<Heard> {
    let refused = |status, words| Some(Heard::Refused(Answer::refusal(status, words)));
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => return refused(431, "too many headers"),
        Err(_) => return refused(400, "this is not HTTP"),
    }
    let hosts: Vec<&[u8]> = (request.headers.iter())
        .filter(|header| header.name.eq_ignore_ascii_case("host"))
        .map(|header| header.value)
        .collect();
    let is_ours = match hosts.as_slice() {
        [host] => std::str::from_utf8(host).is_ok_and(|host| gate.admits(host.trim())),
        _ => false,
    };
    if !is_ours {
        return refused(
            403,
            "this host is not served; use the address that `pipeline serve` printed",
        );
    }
    let with_body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return refused(405, "only GET and HEAD"),
    };
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(path) = gate.below(path) else {
        return refused(
            404,
            "there is nothing here; use the whole address that `pipeline serve` printed",
        );
    };
    let request = Request {
        path: path.to_owned(),
        query: decode_query(query),
    };
    Some(Heard::Request { request, with_body })
}

fn decode_query(query: &str) -> Vec<(String, String)> {
    (query.split('&').filter(|pair| !pair.is_empty()))
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// `%20` and `+` as browsers write them in queries; what is not text becomes replacement characters.
fn decode(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        let (byte, taken) = match (byte, pair) {
            (b'%', (Some(high), Some(low))) => (u8::try_from(high * 16 + low).unwrap_or(b'?'), 3),
            (b'+', _) => (b' ', 1),
            (byte, _) => (*byte, 1),
        };
        decoded.push(byte);
        at += taken;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A text as it may stand in a query.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn write(mut stream: &TcpStream, answer: &Answer, with_body: bool) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Bad Request",
    };
    let allow = if answer.status == 405 {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\n{HEADERS}{allow}Content-Type: {}\r\nContent-Length: {}\r\n\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    )
    .into_bytes();
    if with_body {
        text.extend_from_slice(&answer.body);
    }
    stream.write_all(&text)?;
    stream.shutdown(Shutdown::Write)
}

/// Takes in what a client still sends: a connection that is closed over it may lose the answer on its way. Not for long.
fn linger(mut stream: &TcpStream, patience: Duration) {
    let began = Instant::now();
    let mut rest = [0; 4096];
    while let Some(left) = patience
        .checked_sub(began.elapsed())
        .filter(|left| !left.is_zero())
    {
        if stream.set_read_timeout(Some(left)).is_err() || stream.read(&mut rest).unwrap_or(0) == 0
        {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(address: &str) -> Gate {
        Gate {
            secret: "0123abcd".into(),
            address: address.parse().expect("an address"),
            names: vec!["node3".into()],
        }
    }

    fn heard(text: &str) -> Result<Request, u16> {
        match parse(text.as_bytes(), &gate("127.0.0.1")) {
            Some(Heard::Request { request, .. }) => Ok(request),
            Some(Heard::Refused(answer)) => Err(answer.status),
            Some(Heard::Nothing) | None => Err(0),
        }
    }

    #[test]
    fn only_names_that_cannot_point_elsewhere_are_admitted() {
        let loopback = gate("127.0.0.1");
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "[::1]:80",
            "127.9.9.9",
        ] {
            assert!(loopback.admits(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:80",
            "node3",
            "10.0.0.1",
            "localhost.evil.example",
            "[",
            "127.0.0.1.nip.io",
        ] {
            assert!(!loopback.admits(host), "{host}");
        }
        let open = gate("0.0.0.0");
        assert!(open.admits("10.0.0.1:80") && open.admits("Node3:80"));
        assert!(!open.admits("evil.example"));
    }

    #[test]
    fn requests_are_taken_apart_and_refused() {
        let host = "Host: localhost\r\n\r\n";
        let request = heard(&format!(
            "GET /0123abcd/changes?stage=a%5Bb%3D1%5D&x=1+2&stage=z HTTP/1.1\r\n{host}"
        ));
        let request = request.expect("a request");
        assert_eq!(request.path, "changes");
        assert_eq!(request.value("stage"), Some("a[b=1]"));
        assert_eq!(request.value("x"), Some("1 2"));
        for (line, status) in [
            ("POST /0123abcd/ HTTP/1.1", 405),
            ("DELETE /0123abcd/ HTTP/1.1", 405),
            ("GET / HTTP/1.1", 404),
            ("GET /0123abcd HTTP/1.1", 404),
            ("GET /0123abce/ HTTP/1.1", 404),
            ("GET /0123abcd0/ HTTP/1.1", 404),
            ("GET http://localhost/0123abcd/ HTTP/1.1", 404),
            ("GET  HTTP/1.1", 400),
            ("\u{1}", 400),
        ] {
            assert_eq!(heard(&format!("{line}\r\n{host}")), Err(status), "{line}");
        }
        assert_eq!(heard("GET /0123abcd/ HTTP/1.1\r\n\r\n"), Err(403));
        let two = "GET /0123abcd/ HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
        assert_eq!(heard(two), Err(403));
        assert_eq!(
            heard("GET /0123abcd/ HTTP/1.1\r\nHost: local"),
            Err(0),
            "more is to come"
        );
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["a[b=1,c=ü]", "100%", "%zz %4", "a+b & c", "", "\u{0}"] {
            assert_eq!(decode(&encode(text)), text);
        }
        assert_eq!(decode("%zz%4%"), "%zz%4%");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}
