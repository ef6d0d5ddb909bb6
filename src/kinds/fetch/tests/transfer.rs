//! Downloads that go well, break off, lie and lead astray.

use serde_json::json;

use super::server::{Server, hang, send, send_all};
use super::*;

/// 300 kB that differ everywhere, so that a wrong seam shows.
fn corpus() -> Vec<u8> {
    (0..60_000_u32)
        .flat_map(|i| format!("{i:04x}\n").into_bytes())
        .collect()
}

#[test]
fn a_file_is_downloaded_and_reported_for_the_lock() {
    let body = corpus();
    let sent = body.clone();
    let server = Server::start(move |_, stream| send_all(stream, &sent));
    let bench = Bench::new();
    let report = bench
        .run(json!({"url": server.url("/c.txt"), "licence": "CC BY", "redistribute": false}))
        .expect("done");
    assert_eq!(bench.text("data").as_bytes(), body);
    assert_eq!(names(&bench.folder()), ["data"]);
    let pin = report.pin.expect("unpinned files go to the lock");
    assert_eq!(
        pin.digest,
        format!("blake3:{}", blake3::hash(&body).to_hex())
    );
    assert_eq!(
        (pin.url, pin.bytes),
        (server.url("/c.txt"), body.len() as u64)
    );
    assert_eq!(
        serde_json::to_value(report.notes).expect("notes"),
        json!({"origin": server.url("/c.txt"), "licence": "CC BY", "redistribute": false})
    );
    assert_eq!(names(&bench.home.path().join("scratch")), [""; 0]);
    let progress = fs_err::read_to_string(bench.home.path().join("progress")).expect("progress");
    assert!(
        progress.contains(&format!("\"done\":{0},\"total\":{0}", body.len())),
        "{progress}"
    );
}

#[test]
fn a_broken_connection_goes_on_where_it_stopped() {
    let body = corpus();
    let sent = body.clone();
    let server = Server::start(move |asked, stream| {
        let start = asked.range_start().unwrap_or(0);
        let end = (start + 100_001).min(sent.len());
        let total = sent.len();
        let tag = ("ETag", "\"v1\"");
        if start == 0 {
            send(
                stream,
                "200 OK",
                &[tag, ("Content-Length", &total.to_string())],
                &sent[..end],
            );
        } else {
            assert_eq!(asked.header("if-range"), Some("\"v1\""));
            let range = format!("bytes {start}-{}/{total}", total - 1);
            let rest = (total - start).to_string();
            send(
                stream,
                "206 Partial Content",
                &[tag, ("Content-Range", &range), ("Content-Length", &rest)],
                &sent[start..end],
            );
        }
    });
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/c")})).expect("done");
    assert_eq!(bench.text("data").as_bytes(), body);
    let starts: Vec<_> = server
        .asked()
        .iter()
        .map(super::server::Asked::range_start)
        .collect();
    assert_eq!(starts, [None, Some(100_001), Some(200_002)]);
    let waits: Vec<u64> = bench.waits.borrow().iter().map(Duration::as_secs).collect();
    assert_eq!(waits, [1, 2]);
}

#[test]
fn a_stage_that_failed_resumes_in_the_next_try() {
    let body = corpus();
    let sent = body.clone();
    let server = Server::start(move |asked, stream| {
        let total = sent.len();
        match (asked.index, asked.range_start()) {
            (0, _) => send(
                stream,
                "200 OK",
                &[("Content-Length", &total.to_string())],
                &sent[..1000],
            ),
            (1..5, _) => send(
                stream,
                "503 Busy",
                &[("Retry-After", "7"), ("Content-Length", "0")],
                b"",
            ),
            (_, Some(start)) => {
                let range = format!("bytes {start}-{}/{total}", total - 1);
                send(
                    stream,
                    "206 Partial Content",
                    &[("Content-Range", &range)],
                    &sent[start..],
                );
            }
            _ => send_all(stream, b"the resumed request had no range"),
        }
    });
    let bench = Bench::new();
    let config = json!({"url": server.url("/c"), "sha256": sha256(&body)});
    let error = bench.fails(config.clone());
    assert!(error.may_pass);
    assert_eq!(
        error.diagnostic.message,
        format!("`{}` answers with status 503", server.url("/c"))
    );
    assert_eq!(error.diagnostic.details, ["gave up after 5 tries"]);
    let waits: Vec<u64> = bench.waits.borrow().iter().map(Duration::as_secs).collect();
    assert_eq!(waits, [1, 7, 7, 7]);
    let report = bench.run(config).expect("done");
    assert_eq!(bench.text("data").as_bytes(), body);
    assert_eq!(report.pin, None);
    assert_eq!(server.asked()[5].range_start(), Some(1000));
}

#[test]
fn a_server_without_ranges_starts_over() {
    let body = corpus();
    let sent = body.clone();
    let server = Server::start(move |asked, stream| {
        let upto = if asked.index == 0 { 5000 } else { sent.len() };
        send(
            stream,
            "200 OK",
            &[
                ("ETag", "\"a\""),
                ("Content-Length", &sent.len().to_string()),
            ],
            &sent[..upto],
        );
    });
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/c")})).expect("done");
    assert_eq!(bench.text("data").as_bytes(), body);
}

#[test]
fn a_part_of_another_version_is_not_continued() {
    let (old, new) = (corpus(), corpus().to_ascii_uppercase());
    let sent = new.clone();
    let server = Server::start(move |asked, stream| {
        let total = sent.len();
        match (asked.index, asked.range_start()) {
            (0, _) => send(
                stream,
                "200 OK",
                &[("ETag", "\"old\""), ("Content-Length", &total.to_string())],
                &old[..9000],
            ),
            // This server does not know `If-Range`.
            (_, Some(start)) => {
                let range = format!("bytes {start}-{}/{total}", total - 1);
                send(
                    stream,
                    "206 Partial Content",
                    &[("ETag", "\"new\""), ("Content-Range", &range)],
                    &sent[start..],
                );
            }
            _ => send_all(stream, &sent),
        }
    });
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/c")})).expect("done");
    assert_eq!(bench.text("data").as_bytes(), new);
}

#[test]
fn pieces_that_do_not_fit_are_fetched_again_in_one_go() {
    let body = corpus();
    let sent = body.clone();
    let server = Server::start(move |asked, stream| {
        let total = sent.len();
        match (asked.index, asked.range_start()) {
            (0, _) => send(
                stream,
                "200 OK",
                &[("Content-Length", &total.to_string())],
                &vec![b'x'; 9000],
            ),
            (1, Some(start)) => {
                let range = format!("bytes {start}-{}/{total}", total - 1);
                send(
                    stream,
                    "206 Partial Content",
                    &[("Content-Range", &range)],
                    &sent[start..],
                );
            }
            _ => send_all(stream, &sent),
        }
    });
    let bench = Bench::new();
    bench
        .run(json!({"url": server.url("/c"), "sha256": sha256(&body)}))
        .expect("done");
    assert_eq!(bench.text("data").as_bytes(), body);
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_range_behind_the_end_starts_over() {
    let body = corpus();
    let sent = body.clone();
    let server = Server::start(
        move |asked, stream| match (asked.index, asked.range_start()) {
            (0, _) => send(
                stream,
                "200 OK",
                &[("ETag", "\"a\""), ("Content-Length", "900000")],
                &sent,
            ),
            (_, Some(_)) => send(
                stream,
                "416 Range Not Satisfiable",
                &[("Content-Range", "bytes */7"), ("Content-Length", "0")],
                b"",
            ),
            _ => send_all(stream, &sent),
        },
    );
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/c")})).expect("done");
    assert_eq!(bench.text("data").as_bytes(), body);
}

#[test]
fn a_length_that_lies_is_noticed() {
    // Announced too long: the connection ends early, each time.
    let server = Server::start(|_, stream| {
        send(stream, "200 OK", &[("Content-Length", "50")], b"only this");
    });
    let error = Bench::new().fails(json!({"url": server.url("/long")}));
    assert!(error.may_pass);
    assert_eq!(
        error.diagnostic.message,
        format!("the download of `{}` broke off", server.url("/long"))
    );
    assert_eq!(error.diagnostic.details[0], "after 9 of 50 bytes");
    // Announced too short: HTTP ends the body there, so only a digest can tell.
    let server =
        Server::start(|_, stream| send(stream, "200 OK", &[("Content-Length", "4")], b"only this"));
    let error =
        Bench::new().fails(json!({"url": server.url("/short"), "sha256": sha256(b"only this")}));
    assert_eq!(error.diagnostic.code, "fetch::digest");
    assert!(!error.may_pass);
    assert_eq!(
        error.diagnostic.details[0],
        format!("expected sha256:{}", sha256(b"only this"))
    );
    assert_eq!(
        error.diagnostic.details[1],
        format!("found    sha256:{} (4 bytes)", sha256(b"only"))
    );
}

#[test]
fn chunked_bodies_are_read_and_broken_ones_noticed() {
    let server = Server::start(|asked, stream| {
        let whole = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
        let sent = if asked.index == 0 {
            &whole[..14]
        } else {
            &whole[..]
        };
        send(stream, "200 OK", &[("Transfer-Encoding", "chunked")], sent);
    });
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/c")})).expect("done");
    assert_eq!(bench.text("data"), "hello world");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_server_that_stays_silent_is_given_up() {
    let server = Server::start(|asked, stream| {
        if asked.index == 0 {
            hang(stream);
        } else {
            send_all(stream, b"late");
        }
    });
    let client = super::super::client::Client::new(ClientOptions {
        connect: Duration::from_secs(20),
        idle: Duration::from_millis(30),
        proxies: false,
    })
    .expect("a client");
    let url = url::Url::parse(&server.url("/slow")).expect("a URL");
    let Err(error) = client.get(&url, &[], None) else {
        panic!("the first request must time out");
    };
    assert!(error.may_pass);
    assert_eq!(
        error.diagnostic.message,
        format!("`{url}` does not answer in time")
    );
}

#[test]
fn redirects_are_followed_but_not_for_ever_and_not_anywhere() {
    let server = Server::start(|asked, stream| {
        let to = |stream: &mut _, place: &str| {
            send(
                stream,
                "302 Found",
                &[("Location", place), ("Content-Length", "0")],
                b"",
            );
        };
        match asked.path.as_str() {
            "/a" => to(stream, "/b?x=1"),
            "/b?x=1" => send_all(stream, b"found"),
            "/loop" => to(stream, "/loop"),
            "/file" => to(stream, "file:///etc/passwd"),
            _ => send(stream, "404 Not Found", &[("Content-Length", "0")], b""),
        }
    });
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/a")})).expect("done");
    assert_eq!(bench.text("data"), "found");

    let bench = Bench::new();
    let error = bench.fails(json!({"url": server.url("/loop")}));
    assert_eq!(error.diagnostic.code, "fetch::redirect");
    assert_eq!(
        error.diagnostic.message,
        format!(
            "`{}` leads through more than 10 redirects",
            server.url("/loop")
        )
    );
    let error = bench.fails(json!({"url": server.url("/file")}));
    assert_eq!(
        error.diagnostic.message,
        format!(
            "`{}` redirects to `file:///etc/passwd`, which is not on the web",
            server.url("/file")
        )
    );
    let error = bench.fails(json!({"url": server.url("/gone")}));
    assert!(!error.may_pass);
    assert_eq!(
        error.diagnostic.message,
        format!("`{}` answers with status 404", server.url("/gone"))
    );
    assert!(
        bench.waits.borrow().is_empty(),
        "none of these is worth a second try"
    );
}

#[test]
fn errors_that_may_pass_are_tried_again() {
    let server = Server::start(|asked, stream| match asked.index {
        0 => send(stream, "500 Oops", &[("Content-Length", "0")], b""),
        1 => drop(stream.shutdown(std::net::Shutdown::Both)),
        2 => send(
            stream,
            "429 Slow Down",
            &[("Retry-After", "3600"), ("Content-Length", "0")],
            b"",
        ),
        _ => send_all(stream, b"fine"),
    });
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/c")})).expect("done");
    assert_eq!(bench.text("data"), "fine");
    let waits: Vec<u64> = bench.waits.borrow().iter().map(Duration::as_secs).collect();
    assert_eq!(waits, [1, 2, 120]);
}

#[test]
fn a_host_that_is_gone_and_one_that_refuses() {
    // The port of a listener that was closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|at| at.local_addr())
        .expect("a port")
        .port();
    let error = Bench::new().fails(json!({"url": format!("http://u:secret@127.0.0.1:{port}/c")}));
    assert!(error.may_pass);
    assert_eq!(error.class, flow::diagnostic::Class::Environment);
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn too_much_is_refused_before_and_during_the_download() {
    let server = Server::start(|asked, stream| match asked.path.as_str() {
        "/said" => send_all(stream, &[b'x'; 2000]),
        _ => send(stream, "200 OK", &[], &[b'x'; 2000]),
    });
    for path in ["/said", "/unsaid"] {
        let bench = Bench::new();
        let error = bench.fails(json!({"url": server.url(path), "max_bytes": 1000}));
        assert_eq!(error.diagnostic.code, "fetch::size");
        assert!(error.diagnostic.help.expect("help").contains("max_bytes"));
    }
}

#[test]
fn passwords_are_sent_and_never_shown() {
    let server = Server::start(|asked, stream| {
        if asked.header("authorization") == Some("Basic bWU6cHc=") {
            send_all(stream, b"behind a password");
        } else {
            send(stream, "403 No", &[("Content-Length", "0")], b"");
        }
    });
    let bench = Bench::new();
    let url = server
        .url("/c?token=tok")
        .replace("http://", "http://me:pw@");
    let shown = server.url("/c?token=***").replace("http://", "http://***@");
    let report = bench.run(json!({"url": url})).expect("done");
    assert_eq!(bench.text("data"), "behind a password");
    let said = format!(
        "{report:?}{}",
        bench.bind(json!({"url": url})).manifest_config()
    );
    assert!(!said.contains("pw@") && !said.contains("=tok"), "{said}");
    assert_eq!(report.notes["origin"], json!(shown));
    let wrong = server.url("/c").replace("http://", "http://me:wrong@");
    let error = Bench::new().fails(json!({"url": wrong}));
    assert!(!format!("{error:?}").contains("wrong"));
    assert!(error.diagnostic.help.expect("help").contains("manual"));
}

#[test]
fn a_login_page_is_recognised() {
    let server = Server::start(|_, stream| send_all(stream, b"\n<!DOCTYPE html><title>Sign in"));
    let error = Bench::new().fails(json!({"url": server.url("/c.zip"), "sha256": "00".repeat(32)}));
    assert!(
        error.diagnostic.details[2].contains("web page"),
        "{error:?}"
    );
    let error = Bench::new().fails(json!({"url": server.url("/c.zip"), "unpack": "auto"}));
    assert!(
        error.diagnostic.details[0].contains("web page"),
        "{error:?}"
    );
}

#[test]
fn several_files_are_outputs_and_one_address_is_asked_once() {
    let server = Server::start(|asked, stream| {
        let text = format!("text of {}", asked.path);
        send_all(stream, text.as_bytes());
    });
    let bench = Bench::new();
    let config = json!({"files": {
        "train": server.url("/a"),
        "dev": {"url": server.url("/b"), "sha256": sha256(b"text of /b")},
        "again": server.url("/a"),
    }});
    let report = bench.run(config.clone()).expect("done");
    assert_eq!(names(&bench.folder()), ["again", "dev", "train"]);
    assert_eq!(
        (bench.text("train"), bench.text("dev"), bench.text("again")),
        (
            "text of /a".into(),
            "text of /b".into(),
            "text of /a".into()
        )
    );
    assert_eq!(server.asked().len(), 2);
    let digest = blake3::hash(b"text of /a").to_hex();
    assert_eq!(
        report.pin.expect("a pin").digest,
        format!("train=blake3:{digest} again=blake3:{digest}")
    );
    let outputs = bench.bind(config).ports().outputs;
    assert_eq!(
        outputs[0].0, "train",
        "the first of the text is the primary one"
    );
}

#[test]
fn a_failed_file_among_several_leaves_none_and_keeps_the_good_part() {
    let server = Server::start(|asked, stream| match (asked.path.as_str(), asked.index) {
        ("/a", _) => send_all(stream, b"aaaa"),
        (_, 0..3) => send(stream, "404 Not Found", &[("Content-Length", "0")], b""),
        _ => send_all(stream, b"bbbb"),
    });
    let bench = Bench::new();
    let config = json!({"folder": {"x/a.txt": {"url": server.url("/a"), "sha256": sha256(b"aaaa")}, "b.txt": server.url("/b")}});
    assert!(!bench.fails(config.clone()).may_pass);
    assert!(!bench.fails(config.clone()).may_pass);
    bench.run(config).expect("done");
    assert_eq!(
        names(&bench.folder()),
        ["data", "data/b.txt", "data/x", "data/x/a.txt"]
    );
    let of_a = server
        .asked()
        .iter()
        .filter(|asked| asked.path == "/a")
        .count();
    assert_eq!(
        of_a, 1,
        "a pinned file that was complete is not downloaded again"
    );
}

#[test]
fn tries_that_bring_something_are_not_counted() {
    let body: Vec<u8> = corpus().into_iter().cycle().take(9 << 20).collect();
    let sent = body.clone();
    let server = Server::start(move |asked, stream| {
        let start = asked.range_start().unwrap_or(0);
        let end = (start + (1 << 20) + 1).min(sent.len());
        let range = format!("bytes {start}-{}/{}", sent.len() - 1, sent.len());
        let length = (sent.len() - start).to_string();
        let headers = [
            ("ETag", "\"v\""),
            ("Content-Range", &*range),
            ("Content-Length", &*length),
        ];
        let status = if start == 0 {
            "200 OK"
        } else {
            "206 Partial Content"
        };
        send(stream, status, &headers, &sent[start..end]);
    });
    let bench = Bench::new();
    bench.run(json!({"url": server.url("/c")})).expect("done");
    assert_eq!(
        fs_err::read(bench.folder().join("data")).expect("there"),
        body
    );
    assert_eq!(server.asked().len(), 9);
    assert!(bench.waits.borrow().iter().all(|wait| wait.as_secs() == 1));
}
