//! A client for TLS and HTTP/2: the program `curl`.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use crate::http::Response;

/// Sends requests in one version of HTTP to a port on loopback, whose certificate it does not check.
#[derive(Clone, Copy, Debug)]
pub struct Curl {
    /// The option for that version, as `--http2`.
    pub version: &'static str,
    /// Where the server listens.
    pub port: u16,
}

impl Curl {
    /// Whether there is one that knows HTTP/2; says so where there is none.
    pub fn is_there() -> bool {
        let version = Command::new("curl").arg("--version").output();
        let knows = version.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains("HTTP2"));
        if !knows {
            crate::skipped("a curl with HTTP/2 is missing");
        }
        knows
    }

    /// Sends a request on a connection of its own. Of the headers, none is added but those that HTTP
    /// asks for.
    ///
    /// # Panics
    /// When curl cannot be run, or tells of no response.
    #[track_caller]
    pub fn request(
        self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let Curl { version, port } = self;
        let mut command = Command::new("curl");
        command
            .args([
                "--silent",
                "--insecure",
                "--max-time",
                "60",
                "--path-as-is",
                "--globoff",
                version,
            ])
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1"), "--dump-header", "-"])
            .args(["--header", "User-Agent:", "--header", "Accept:"]);
        match (method, body) {
            ("HEAD", _) => command.arg("--head").args(["--output", "/dev/null"]),
            (_, b"") => command.args(["--request", method]),
            (_, _) => command.args(["--request", method, "--data-binary", "@-"]).args([
                "--header",
                "Content-Type:",
                "--header",
                "Expect:",
            ]),
        };
        for (name, value) in headers {
            command.args(["--header", &format!("{name}: {value}")]);
        }
        let mut curl = command
            .arg(format!("https://localhost:{port}{path}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl runs");
        let mut stdin = curl.stdin.take().expect("it is a pipe");
        let output = thread::scope(|scope| {
            // A server may answer before it has read all of it.
            scope.spawn(move || stdin.write_all(body));
            curl.wait_with_output().expect("curl ends")
        });
        let mut response = parse(&output.stdout).expect("the head of a response");
        response.complete = output.status.success();
        response
    }
}

/// Reads heads up to a final one; the rest is the body.
pub(crate) fn parse(mut bytes: &[u8]) -> Option<Response> {
    let mut interim = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.splitn(3, ' ').skip(1);
        let status = words.next()?.parse().ok()?;
        if status < 200 {
            interim.push(status);
            continue;
        }
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        return Some(Response {
            status,
            reason: words.next().unwrap_or_default().trim().to_owned(),
            headers: lines.map(header).collect::<Option<_>>()?,
            body: bytes.to_owned(),
            complete: true,
            interim,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_what_follows() {
        let bytes = b"HTTP/2 103 \r\nlink: x\r\n\r\nHTTP/2 200 \r\na: b\r\nc:\r\n\r\nd\r\n\r\ne";
        let response = parse(bytes).unwrap();
        assert_eq!((response.status, response.interim.as_slice()), (200, &[103][..]));
        assert_eq!((response.header("A"), response.header("c")), (Some("b"), Some("")));
        assert_eq!(response.text(), "d\r\n\r\ne");
        assert!(parse(b"HTTP/2 103 \r\n\r\n").is_none());
        assert!(parse(b"").is_none());
    }
}
