//! A small HTTP/1.1 client that hides nothing: interim responses, framing, broken-off bodies.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, Result, bail, ensure};

use crate::wait::PATIENCE;

/// A response as it came over the wire.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The words after the status code.
    pub reason: String,
    /// Names and values as sent, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing announced. False: it broke off.
    pub complete: bool,
    /// The interim responses before it, such as 100.
    pub interim: Vec<u16>,
}

impl Response {
    /// The value of the first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut matching = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        matching.next().map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Demands this status and an orderly end, and shows the response when it is otherwise.
    #[track_caller]
    pub fn assert(self, status: u16) -> Response {
        assert!(self.status == status && self.complete, "expected {status}, got: {self}");
        self
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.status, self.reason)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        let end = if self.complete { "" } else { "\n(broken off)" };
        write!(f, "\n{}{end}", self.text())
    }
}

/// A connection that is kept open between requests.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects to a port on loopback.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(port: u16) -> Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .with_context(|| format!("cannot connect to port {port}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// A second handle on the connection, to send with one and receive with the other.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn try_clone(&self) -> Result<Connection> {
        Ok(Connection(BufReader::new(self.0.get_ref().try_clone()?)))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.get_mut().write_all(bytes)?)
    }

    /// Says that nothing more will be sent. What comes can still be read.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub fn finish(&mut self) -> Result<()> {
        Ok(self.0.get_ref().shutdown(Shutdown::Write)?)
    }

    /// Sends a GET request and reads the response.
    ///
    /// # Errors
    /// When the connection ends before a whole response head.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.request("GET", path, &[], b"")
    }

    /// Sends a request and reads the response. `Host` and, for a body, `Content-Length` are added
    /// unless the headers hold them.
    ///
    /// # Errors
    /// When the connection ends before a whole response head.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        self.send(&[request_head(method, path, headers, body.len()).as_bytes(), body].concat())?;
        self.read_response(method)
    }

    /// Reads one response head, an interim one included, without its body.
    ///
    /// # Errors
    /// When the connection ends first, or what comes is not HTTP.
    pub fn read_head(&mut self) -> Result<Response> {
        let line = self.read_line()?;
        ensure!(!line.is_empty(), "the connection ended where a response should begin");
        let mut parts = line.splitn(3, ' ');
        let version = parts.next().unwrap_or_default();
        ensure!(version.starts_with("HTTP/1."), "not a status line: {line:?}");
        let status = parts.next().and_then(|code| code.parse().ok()).context("no status code")?;
        let reason = parts.next().unwrap_or_default().to_owned();
        let mut response = Response { status, reason, complete: true, ..Response::default() };
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(response);
            }
            let (name, value) = line.split_once(':').context("a header without a colon")?;
            response.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads the response to a request of this method, past interim ones.
    ///
    /// # Errors
    /// When the connection ends before a whole head. A body that breaks off is no error here: see
    /// [`Response::complete`].
    pub fn read_response(&mut self, method: &str) -> Result<Response> {
        let mut interim = Vec::new();
        let mut response = loop {
            let head = self.read_head()?;
            if head.status >= 200 || head.status == 101 {
                break head;
            }
            interim.push(head.status);
        };
        response.interim = interim;
        let has_no_body = method == "HEAD" || matches!(response.status, 101 | 204 | 304);
        if !has_no_body {
            self.read_body(&mut response)?;
        }
        Ok(response)
    }

    /// Whether the server has closed the connection; waits for it to do so.
    ///
    /// # Errors
    /// When it neither closes nor sends.
    pub fn is_closed(&mut self) -> Result<bool> {
        match self.0.fill_buf() {
            Ok(rest) => Ok(rest.is_empty()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the body as the head announces it.
    fn read_body(&mut self, response: &mut Response) -> Result<()> {
        let chunked = response
            .header("Transfer-Encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if chunked {
            response.complete = self.read_chunks(&mut response.body);
        } else if let Some(length) = response.header("Content-Length") {
            let length = length.parse().context("Content-Length is not a number")?;
            response.complete = self.read_exactly(length, &mut response.body)?;
        } else {
            response.complete = read_to_end(&mut self.0, &mut response.body)?;
        }
        Ok(())
    }

    /// Reads the next chunk of a chunked body, as soon as the server has sent it; `None` after the
    /// last one.
    ///
    /// # Errors
    /// When the connection ends before the chunk does.
    pub fn read_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.read_line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16)
            .with_context(|| format!("not a chunk length: {line:?}"))?;
        if length == 0 {
            while !self.read_line()?.is_empty() {}
            return Ok(None);
        }
        let mut chunk = Vec::new();
        let whole = self.read_exactly(length, &mut chunk)? && self.read_line()?.is_empty();
        ensure!(whole, "a chunk broke off");
        Ok(Some(chunk))
    }

    /// Reads chunks up to the last; false when the connection ends before it.
    fn read_chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            match self.read_chunk() {
                Ok(Some(chunk)) => body.extend(chunk),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Reads this many bytes; false when the connection ends before.
    fn read_exactly(&mut self, length: u64, body: &mut Vec<u8>) -> Result<bool> {
        let before = body.len() as u64;
        let ended_well = read_to_end(&mut (&mut self.0).take(length), body)?;
        Ok(ended_well && body.len() as u64 - before == length)
    }

    /// Reads a line without its end; empty at the end of the connection.
    fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line);
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Sends raw bytes on a connection of their own and gives all that comes back until it closes.
///
/// # Errors
/// When nobody listens, or the server does not close.
pub(crate) fn raw(port: u16, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut connection = Connection::open(port)?;
    connection.send(bytes)?;
    let mut answer = Vec::new();
    read_to_end(&mut connection.0, &mut answer)?;
    Ok(answer)
}

/// The head of a request.
fn request_head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let given = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !given("Host") {
        head.push_str("Host: localhost\r\n");
    }
    if length > 0 && !given("Content-Length") && !given("Transfer-Encoding") {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// Reads to the end; false when the connection was reset, which is how a server tells that a
/// response without a length is not whole.
fn read_to_end(reader: &mut impl Read, body: &mut Vec<u8>) -> Result<bool> {
    match reader.read_to_end(body) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
        Err(error) => bail!("reading a response: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What the client makes of a server that sends these bytes and closes.
    fn response(method: &'static str, bytes: &'static str) -> Result<Response> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(bytes.as_bytes()).unwrap();
        });
        let response = Connection::open(port)?.request(method, "/", &[], b"");
        server.join().unwrap();
        response
    }

    #[track_caller]
    fn check(bytes: &'static str, status: u16, body: &str, complete: bool) {
        let response = response("GET", bytes).unwrap();
        assert_eq!((response.status, response.text().as_str()), (status, body));
        assert_eq!(response.complete, complete);
    }

    #[test]
    fn framing() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, "ab", true);
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", 200, "ab", false);
        check("HTTP/1.1 404 Not\r\n\r\nab", 404, "ab", true);
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true);
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\n\r\n",
            200,
            "ab",
            true,
        );
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 200, "a", false);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na", 200, "", false);
    }

    #[test]
    fn interim_responses() {
        let bytes = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(response("GET", bytes).unwrap().interim, [100]);
    }

    #[test]
    fn head_has_no_body() {
        let bytes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\n";
        let response = response("HEAD", bytes).unwrap();
        assert_eq!((response.header("x-a"), response.complete), (Some("b"), true));
    }

    #[test]
    fn no_response() {
        assert!(response("GET", "").is_err());
        assert!(response("GET", "SSH-2.0\r\n\r\n").is_err());
    }

    #[test]
    fn heads() {
        assert_eq!(request_head("GET", "/", &[], 0), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(
            request_head("PUT", "/x", &[("host", "h")], 3),
            "PUT /x HTTP/1.1\r\nContent-Length: 3\r\nhost: h\r\n\r\n"
        );
    }
}
