//! Many requests over each version of HTTP, in few processes: the program `curl`, told by a file what
//! to send.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::curl::parse;
use crate::directory::Directory;
use crate::http::Response;

/// How many processes send the requests of one version.
const PROCESSES: usize = 3;

/// A version of HTTP, and what it is spoken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 without TLS, begun as such.
    H2c,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS.
    H2,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 5] =
        [Protocol::Http10, Protocol::Http11, Protocol::H2c, Protocol::Https, Protocol::H2];

    /// Whether requests are streams of one connection.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::H2c | Protocol::H2)
    }

    fn is_secure(self) -> bool {
        matches!(self, Protocol::Https | Protocol::H2)
    }

    fn option(self) -> &'static str {
        match self {
            Protocol::Http10 => "http1.0",
            Protocol::Http11 | Protocol::Https => "http1.1",
            Protocol::H2c => "http2-prior-knowledge",
            Protocol::H2 => "http2",
        }
    }
}

/// A request that is sent several times.
#[derive(Clone, Debug, Default)]
pub struct Transfer<'a> {
    /// The method.
    pub method: &'a str,
    /// The request target.
    pub path: &'a str,
    /// Headers beside those that HTTP asks for.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, if there is one.
    pub body: Option<&'a [u8]>,
    /// Leaves out how long the body is.
    pub unannounced: bool,
    /// Bytes that are sent a second, at most.
    pub rate: Option<u32>,
}

/// Whether there is h2load, which sends many requests over few connections; says so where there is none.
pub fn has_h2load() -> bool {
    let is_there = Command::new("h2load").arg("--version").output().is_ok();
    if !is_there {
        crate::skipped("h2load is missing (Debian's nghttp2-client)");
    }
    is_there
}

/// Where the protocols are spoken.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Without TLS.
    pub plain: u16,
    /// With TLS.
    pub secure: u16,
}

/// Sends each of these `times` times, one after the other, and gives what came of each. A response of which not even a head has come has the status 0.
///
/// # Panics
/// When curl cannot be run.
#[track_caller]
pub fn transfer(
    protocol: Protocol,
    ports: Ports,
    transfers: &[Transfer<'_>],
    times: usize,
) -> Vec<Vec<Response>> {
    let share = transfers.len().div_ceil(PROCESSES).max(1);
    thread::scope(|scope| {
        let parts = transfers.chunks(share);
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(move || run(protocol, ports, part, times))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("curl runs")).collect()
    })
}

fn run(
    protocol: Protocol,
    ports: Ports,
    transfers: &[Transfer<'_>],
    times: usize,
) -> Vec<Vec<Response>> {
    let directory = Directory::new().expect("a directory");
    let folder = directory.path();
    let (scheme, port) = match protocol.is_secure() {
        true => ("https", ports.secure),
        false => ("http", ports.plain),
    };
    let mut config = String::new();
    for (number, transfer) in transfers.iter().enumerate() {
        config.push_str(if number == 0 { "" } else { "next\n" });
        let mut say = |line: String| writeln!(config, "{line}").expect("memory");
        say(format!("{}\ninsecure\npath-as-is\ngloboff\ninclude", protocol.option()));
        say("max-time = 60\nheader = \"User-Agent:\"\nheader = \"Accept:\"".to_owned());
        say(format!("resolve = \"*:{port}:127.0.0.1\""));
        // curl gives a number for each URL, in their order.
        say("write-out = \"%{exitcode}\\n\"".to_owned());
        let asks = |name: &str| transfer.headers.iter().any(|it| it.0.eq_ignore_ascii_case(name));
        match transfer.body {
            None if transfer.method == "HEAD" => say("head".to_owned()),
            None => say(format!("request = {}", transfer.method)),
            Some(body) => {
                let file = folder.join(format!("body{number}"));
                fs::write(&file, body).expect("the directory is ours");
                say(format!("request = {}", transfer.method));
                say(format!("data-binary = \"@{}\"", file.display()));
                say("header = \"Content-Type:\"".to_owned());
                if !asks("Expect") {
                    say("header = \"Expect:\"".to_owned());
                }
                if transfer.unannounced && protocol.is_http2() {
                    say("header = \"Content-Length:\"".to_owned());
                } else if transfer.unannounced && protocol != Protocol::Http10 {
                    say("header = \"Transfer-Encoding: chunked\"".to_owned());
                }
            }
        }
        if let Some(rate) = transfer.rate {
            say(format!("limit-rate = {rate}"));
        }
        for (name, value) in transfer.headers {
            say(format!("header = \"{name}: {value}\""));
        }
        for time in 0..times {
            // A second request on a connection without TLS fails in curl 7.88 (CURLE_HTTP2): each has a
            // connection of its own, as each is for another host.
            let host = match protocol {
                Protocol::H2c => format!("host{number}-{time}.localhost"),
                _ => "localhost".to_owned(),
            };
            say(format!("url = \"{scheme}://{host}:{port}{}\"", transfer.path));
            say(format!("output = \"{}\"", answer(folder, number, time)));
        }
    }
    let file = folder.join("config");
    fs::write(&file, config).expect("the directory is ours");
    let output = Command::new("curl").arg("--silent").arg("--config").arg(&file).output();
    let output = output.expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut codes = text.lines().map(|line| line == "0");
    let answers = (0..transfers.len()).map(|number| {
        let one = |time| {
            let bytes = fs::read(answer(folder, number, time)).unwrap_or_default();
            let whole = codes.next().expect("curl tells of each transfer");
            Response { complete: whole, ..parse(&bytes).unwrap_or_default() }
        };
        (0..times).map(one).collect()
    });
    answers.collect()
}

fn answer(folder: &Path, number: usize, time: usize) -> String {
    folder.join(format!("answer{number}-{time}")).display().to_string()
}
