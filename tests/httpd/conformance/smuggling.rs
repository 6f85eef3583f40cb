//! The requests of `hostile_clients`: a table, and what comes of combining its columns.

/// A request with whatever follows its head. `CASE` is for its name, and behind it comes what must
/// not be taken for a request of its own, unless the framing says clearly that it is one.
#[derive(Debug)]
pub struct Case {
    pub text: String,
    /// Whether no server may make anything of it: an error, and nothing for the application.
    pub refused: bool,
}

/// All of them; `length` is that of what follows.
pub fn cases(length: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let refused = |text| Case { text, refused: true };
    let open = |text| Case { text, refused: false };
    cases.extend(wrong_lengths().map(refused));
    cases.extend(several_lengths(length).map(refused));
    cases.extend(codings(length).map(open));
    cases.extend(several_codings(length).map(open));
    cases.extend(blanks(length).map(open));
    cases.extend(odd_lines(length).map(open));
    cases.extend(wrong_chunks().map(open));
    cases.extend(trailers().map(open));
    cases.extend(request_lines(length).map(open));
    cases.extend(line_ends(length).map(open));
    cases.extend(hosts(length).map(open));
    cases.extend(too_much().map(refused));
    cases
}

fn post(headers: &str) -> String {
    format!("POST /CASE HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
}

/// Lengths that are none, of requests that would have a body or not.
fn wrong_lengths() -> impl Iterator<Item = String> {
    const VALUES: [&str; 21] = [
        "x",
        "-1",
        "-0",
        "+5",
        "0x10",
        "1e1",
        "5,6",
        "5 5",
        "99999999999999999999",
        "9223372036854775808",
        "\u{0}",
        "5\u{0}",
        "5\u{b}",
        "5;",
        "５",
        "1_0",
        "--5",
        "5.0",
        "'5'",
        "\"5\"",
        "5\t5",
    ];
    VALUES.into_iter().flat_map(|value| {
        [("POST", "1.1"), ("GET", "1.1"), ("POST", "1.0")].map(|(method, version)| {
            format!("{method} /CASE HTTP/{version}\r\nHost: h\r\nContent-Length: {value}\r\n\r\n")
        })
    })
}

/// Lengths that contradict each other, in one line or two.
fn several_lengths(length: usize) -> impl Iterator<Item = String> {
    let length = length.to_string();
    let pairs = [("5", "6"), ("0", &length), (&length, "0"), ("5", "x"), ("x", "5")];
    let pairs = pairs.map(|(one, other)| (one.to_owned(), other.to_owned()));
    pairs.into_iter().flat_map(|(one, other)| {
        [
            post(&format!("Content-Length: {one}\r\nContent-Length: {other}\r\n")),
            post(&format!("Content-Length: {one}\r\nX: y\r\ncontent-length: {other}\r\n")),
            post(&format!("Content-Length: {one}, {other}\r\n")),
        ]
    })
}

/// Transfer codings, alone and beside a length, in versions that have them or not.
fn codings(length: usize) -> impl Iterator<Item = String> {
    const CODINGS: [&str; 22] = [
        "chunked",
        "Chunked",
        " chunked ",
        "chunked\t",
        "chunked, chunked",
        "identity",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "xchunked",
        "chunkedx",
        "\"chunked\"",
        "chunked;q=1",
        "\u{b}chunked",
        "chunked\u{0}",
        "",
        ",",
        ",chunked",
        "chunked,",
        "c hunked",
        "chun\u{212a}ed",
        "chunked\u{a0}",
    ];
    CODINGS.into_iter().flat_map(move |coding| {
        let length = format!("Content-Length: {length}\r\n");
        [("1.1", ""), ("1.1", &length), ("1.0", ""), ("1.0", &length)].map(|(version, rest)| {
            format!(
                "POST /CASE HTTP/{version}\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n{rest}\r\n\
                 0\r\n\r\n"
            )
        })
    })
}

/// Two lines of transfer codings, with a length between them.
fn several_codings(length: usize) -> impl Iterator<Item = String> {
    const CODINGS: [&str; 5] = ["chunked", "identity", "gzip", "", "x"];
    CODINGS.into_iter().flat_map(move |one| {
        CODINGS.map(|other| {
            let between =
                if one == other { format!("Content-Length: {length}\r\n") } else { String::new() };
            post(&format!("Transfer-Encoding: {one}\r\n{between}Transfer-Encoding: {other}\r\n"))
                + "0\r\n\r\n"
        })
    })
}

/// Names of headers about the framing with something in front of them or behind.
fn blanks(length: usize) -> impl Iterator<Item = String> {
    const BLANKS: [&str; 8] = [" ", "\t", "\u{b}", "\u{c}", "\u{0}", "\u{a0}", "\r", "\u{7f}"];
    let header = [("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
    header.into_iter().flat_map(move |(name, value)| {
        BLANKS.into_iter().flat_map(move |blank| {
            [format!("{name}{blank}: {value}"), format!("{blank}{name}: {value}")]
                .map(|line| post(&format!("X: y\r\n{line}\r\nContent-Length: {length}\r\n")))
        })
    })
}

/// Lines that are no headers, or that hide one; with a body of each kind.
fn odd_lines(length: usize) -> impl Iterator<Item = String> {
    const LINES: [&str; 20] = [
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n\tz",
        "X: y\r\n Content-Length: 5",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nContent-Length: 5",
        ": x",
        "no colon",
        "X\u{0}: y",
        "X: \u{0}",
        "\u{e4}: x",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
        "X(: y",
        "Host: other",
        "Expect: nonsense",
        "Connection: Content-Length",
        "Connection: Transfer-Encoding",
        "X-HTTP-Method-Override: GET",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings",
    ];
    LINES.into_iter().flat_map(move |line| {
        [
            post(&format!("{line}\r\nContent-Length: {length}\r\n")),
            post(&format!("{line}\r\nTransfer-Encoding: chunked\r\n")) + "0\r\n\r\n",
        ]
    })
}

/// Chunks that are none.
fn wrong_chunks() -> impl Iterator<Item = String> {
    const CHUNKS: [&str; 27] = [
        "x\r\n",
        "-1\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "5\r\nab",
        "5\r\nabcdef\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "10000000000000005\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "0X5\r\nabcde\r\n0\r\n\r\n",
        "5 \r\nabcde\r\n0\r\n\r\n",
        " 5\r\nabcde\r\n0\r\n\r\n",
        "5 5\r\nabcde\r\n0\r\n\r\n",
        "\r\n",
        "\n",
        "5;\u{0}\r\nabcde\r\n0\r\n\r\n",
        "5;x=\"\r\n\"\r\nabcde\r\n0\r\n\r\n",
        "5;x\ny\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\n0\n\n",
        "5\r\nabcde0\r\n\r\n",
        "5\r\nabcde\r0\r\n\r\n",
        "5\r\nabcde\n0\r\n\r\n",
        "5\rabcde\r\n0\r\n\r\n",
        "ffffffff\r\nabc",
        "7fffffffffffffff\r\nabc",
        "00000000000000000000005\r\nabcde\r\n0\r\n\r\n",
        "0\r\n",
        "000\r\n\r\n",
    ];
    CHUNKS.into_iter().map(|chunk| post("Transfer-Encoding: chunked\r\n") + chunk)
}

/// What may or may not stand behind the last chunk.
fn trailers() -> impl Iterator<Item = String> {
    const TRAILERS: [&str; 12] = [
        "X: y",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: other",
        "no colon",
        " folded",
        "X\u{0}: y",
        "X: \u{0}",
        ": x",
        "X : y",
        "X: y\rZ: z",
        "GET /smuggled-by-trailer HTTP/1.1",
    ];
    TRAILERS.into_iter().map(|trailer| {
        post("Transfer-Encoding: chunked\r\nTrailer: X\r\n") + &format!("0\r\n{trailer}\r\n\r\n")
    })
}

fn request_lines(length: usize) -> impl Iterator<Item = String> {
    const LINES: [&str; 33] = [
        "GET",
        "GET /CASE",
        "GET /CASE HTTP/9.9",
        "GET /CASE HTTP/1.1 x",
        "GET  /CASE HTTP/1.1",
        "GET /CASE  HTTP/1.1",
        " GET /CASE HTTP/1.1",
        "GET\t/CASE HTTP/1.1",
        "GET /CASE\u{b}HTTP/1.1",
        "GET /CASE http/1.1",
        "GET /CASE HTTP/1",
        "GET /CASE HTTP/1.10",
        "GET /CASE HTTP/01.1",
        "GET /CASE HTTP/1.1\u{0}",
        "GET /CASE\u{0} HTTP/1.1",
        "GET /CASE\r HTTP/1.1",
        "GET /CASE%00 HTTP/1.1",
        "GET /%2e%2e/%2e%2e/CASE HTTP/1.1",
        "GET /../../CASE HTTP/1.1",
        "GET //CASE HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /CASE%zz HTTP/1.1",
        "GET /CASE#part HTTP/1.1",
        "G@T /CASE HTTP/1.1",
        "G\u{0}T /CASE HTTP/1.1",
        "GET http:///CASE HTTP/1.1",
        "GET http://other/CASE HTTP/1.1",
        "GET CASE HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET /CASE\u{e4} HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
        "TRACE /CASE HTTP/1.1",
        "\r\n\r\nGET /CASE HTTP/1.1",
    ];
    LINES
        .into_iter()
        .map(move |line| format!("{line}\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"))
}

/// Ends of lines that are not those of HTTP.
fn line_ends(length: usize) -> impl Iterator<Item = String> {
    ["\n", "\r", "\r\r\n", "\n\r", "\u{b}", "\u{2028}"].into_iter().flat_map(move |end| {
        let lines = ["POST /CASE HTTP/1.1", "Host: h", &format!("Content-Length: {length}")];
        [lines.join(end) + end + end, lines.join("\r\n") + end + end]
    })
}

fn hosts(length: usize) -> impl Iterator<Item = String> {
    let lines = [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a b\r\n",
        "Host: \u{0}\r\n",
        "Host: [::1\r\n",
        "Host: a/b\r\n",
        "Host: a:b\r\n",
        "Host: a@b\r\n",
        "Host: ../a\r\n",
    ];
    lines
        .into_iter()
        .map(move |line| format!("POST /CASE HTTP/1.1\r\n{line}Content-Length: {length}\r\n\r\n"))
}

/// More than httpd takes of a line, or lines.
fn too_much() -> impl Iterator<Item = String> {
    let long = "a".repeat(9000);
    [
        format!("GET /CASE{long} HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET /CASE?{long} HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("{long} /CASE HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("GET /CASE HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"),
        format!("GET /CASE HTTP/1.1\r\nHost: h\r\n{long}: x\r\n\r\n"),
        format!("GET /CASE HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(200)),
    ]
    .into_iter()
}
