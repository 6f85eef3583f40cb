//! Where applications and clients see something else than with mod_wsgi 6, and why.
//!
//! Each row is a request to one application, with what both answer; the tests check ours, and on
//! an original (`MOD_WSGI_UNDER_TEST=theirs`) its own. `docs/differences.md` is made of the rows.

use std::fmt::Write;
use std::path::Path;

use testkit::{Response, UnderTest};

use crate::serving;

/// A difference in behaviour.
struct Difference {
    /// What it is about, as a case of the application.
    case: &'static str,
    about: &'static str,
    /// What is looked at in the response.
    look: fn(&Response) -> String,
    ours: &'static str,
    theirs: &'static str,
    why: &'static str,
}

const APPLICATION: &str = r#"
import gc

THRESHOLD = gc.get_threshold()[0]
PLAIN = ("Content-Type", "text/plain")


def application(environ, start_response):
    case = environ["PATH_INFO"][1:]
    status, headers, body = "200 OK", [PLAIN], [b"body"]
    if case == "duplicates":
        headers += [("X-A", "1"), ("X-A", "2")]
    elif case == "status":
        headers.append(("Status", "418 Tea"))
    elif case == "reset":
        status = "205 Reset Content"
    elif case == "error":
        status = "200 Error"
    elif case == "type":
        headers = [("Content-Type", "Text/Plain; Charset=X")]
    elif case == "hints":
        body = [str("wsgi.early_hints" in environ).encode()]
    elif case == "disconnected":
        body = [str("mod_wsgi.client_disconnected" in environ).encode()]
    elif case == "processes":
        import apache
        body = [str(apache.maximum_processes).encode()]
    elif case == "collector":
        body = [str(THRESHOLD > gc.get_threshold()[0]).encode()]
    elif case == "again":
        start_response("404 Not Found", headers)
    elif case == "readinto":
        body = [str(hasattr(environ["wsgi.input"], "readinto")).encode()]
    elif case == "location":
        headers.append(("Location", "/elsewhere"))
    elif case == "elsewhere":
        body = [b"elsewhere"]
    elif case == "range":
        body = environ["wsgi.file_wrapper"](open(__file__, "rb"))
    elif case == "upgrade":
        headers.append(("Upgrade", "x"))
    elif case == "coding":
        headers.append(("Transfer-Encoding", "chunked"))
    elif case == "short":
        headers.append(("Content-Length", "5"))
    elif case == "breaks":
        body = broken()
    start_response(status, headers)
    return body


def broken():
    yield b"x" * 200_000
    raise KeyError("too late")
"#;

fn status(response: &Response) -> String {
    response.status.to_string()
}

fn body(response: &Response) -> String {
    response.text()
}

fn length(response: &Response) -> String {
    response.header("Content-Length").unwrap_or("none").to_owned()
}

fn content_type(response: &Response) -> String {
    response.header("Content-Type").unwrap_or_default().to_owned()
}

fn values(response: &Response) -> String {
    let values = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("X-A"));
    values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" and ")
}

fn upgrade(response: &Response) -> String {
    response.header("Upgrade").unwrap_or("none").to_owned()
}

fn whole(response: &Response) -> String {
    (if response.complete { "a complete response" } else { "an incomplete response" }).to_owned()
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        case: "one-block",
        about: "Content-Length of a list of one block",
        look: length,
        ours: "4",
        theirs: "none",
        why: "PEP 3333, \"Handling the Content-Length Header\", lets a server know it",
    },
    Difference {
        case: "duplicates",
        about: "a header that is given twice",
        look: values,
        ours: "1 and 2",
        theirs: "1, 2",
        why: "headers are passed on as they are",
    },
    Difference {
        case: "status",
        about: "status where a header is named `Status`",
        look: status,
        ours: "200",
        theirs: "418",
        why: "the status is the first argument of start_response()",
    },
    Difference {
        case: "reset",
        about: "the body of `205 Reset Content`",
        look: body,
        ours: "",
        theirs: "body",
        why: "it has none (RFC 9110, section 15.3.6)",
    },
    Difference {
        case: "error",
        about: "the status line `200 Error`",
        look: status,
        ours: "200",
        theirs: "500",
        why: "it is a status line like others",
    },
    Difference {
        case: "location",
        about: "what `200 OK` with `Location: /elsewhere` brings",
        look: body,
        ours: "body",
        theirs: "elsewhere",
        why: "a Location is a header like others, unless `WSGILocationRedirect On`",
    },
    Difference {
        case: "upgrade",
        about: "a hop-by-hop header of the application, as `Upgrade`",
        look: upgrade,
        ours: "none",
        theirs: "x",
        why: "the connection is httpd's (PEP 3333, \"Other HTTP Features\")",
    },
    Difference {
        case: "coding",
        about: "`Transfer-Encoding: chunked` of an application that does not frame its body so",
        look: whole,
        ours: "a complete response",
        theirs: "an incomplete response",
        why: "httpd frames responses, and knows how (PEP 3333, \"Other HTTP Features\")",
    },
    Difference {
        case: "short",
        about: "status of a list that is shorter than its Content-Length",
        look: status,
        ours: "500",
        theirs: "200",
        why: "what is missing is an error; what follows would be taken for the rest",
    },
    Difference {
        case: "range",
        about: "status of a file by `wsgi.file_wrapper`, asked for by GET with `Range`",
        look: status,
        ours: "206",
        theirs: "200",
        why: "httpd sends such files as its own; other responses are whole, unless they say `Accept-Ranges: bytes`",
    },
    Difference {
        case: "type",
        about: "capitals in a Content-Type",
        look: content_type,
        ours: "Text/Plain; Charset=X",
        theirs: "text/plain; Charset=X",
        why: "headers are passed on as they are",
    },
    Difference {
        case: "breaks",
        about: "an exception after the beginning of a response",
        look: whole,
        ours: "an incomplete response",
        theirs: "a complete response",
        why: "nobody may take half a page for a whole one, least of all a cache",
    },
    Difference {
        case: "hints",
        about: "whether there is `wsgi.early_hints`",
        look: body,
        ours: "True",
        theirs: "False",
        why: "103 Early Hints; over HTTP/2 with httpd's `H2EarlyHints On`",
    },
    Difference {
        case: "disconnected",
        about: "whether there is `mod_wsgi.client_disconnected`",
        look: body,
        ours: "True",
        theirs: "False",
        why: "applications can stop when nobody waits for them",
    },
    Difference {
        case: "again",
        about: "status where `start_response` is called again, without `exc_info`, before anything is sent",
        look: status,
        ours: "500",
        theirs: "200",
        why: "PEP 3333, \"The start_response() Callable\", has it a fatal error",
    },
    Difference {
        case: "processes",
        about: "`apache.maximum_processes` where `MaxRequestWorkers` is 64 and `ThreadsPerChild` 16",
        look: body,
        ours: "4",
        theirs: "1",
        why: "the most children that there may be; there, except with prefork, how many there have been so far",
    },
    Difference {
        case: "collector",
        about: "whether a script sees a higher `gc.get_threshold()` while it is loaded than later",
        look: body,
        ours: "True",
        theirs: "False",
        why: "what it imports stays, and is not searched for garbage; a script that sets its own threshold keeps that",
    },
    Difference {
        case: "readinto",
        about: "whether `wsgi.input` has `readinto()`",
        look: body,
        ours: "True",
        theirs: "False",
        why: "PEP 3333 does not ask for it, and code for files uses it",
    },
];

#[test]
fn each_is_as_the_table_says() {
    let httpd = serving(APPLICATION).expect_log("[wsgi:").start();
    for difference in DIFFERENCES {
        let path = format!("/{}", difference.case);
        let headers = &[("Range", "bytes=0-3")];
        let (method, headers) =
            if difference.case == "range" { ("GET", &headers[..]) } else { ("POST", &[][..]) };
        let response = httpd.request(method, &path, headers, b"");
        let expected = match UnderTest::chosen() {
            UnderTest::Ours => difference.ours,
            // Debian's is older than the one of the table.
            UnderTest::Debian => continue,
            UnderTest::Theirs => difference.theirs,
        };
        assert_eq!((difference.look)(&response), expected, "{}: {response}", difference.about);
    }
}

/// Set to have the page written anew instead of compared.
const UPDATE: &str = "UPDATE_DIFFERENCES";

#[test]
fn the_page_is_that_of_the_table() {
    let mut page = String::from(
        "# Differences that applications and clients see\n\n\
         <!-- Made from the table in tests/httpd/differences.rs; `UPDATE_DIFFERENCES=1 cargo xtask \
         test differences` makes it anew. -->\n\n\
         What differs from mod_wsgi 6 on purpose, beside what `compatibility.md` says of directives. \
         Both columns are what a test sees.\n\n\
         | what | here | mod_wsgi 6 | why |\n|---|---|---|---|\n",
    );
    for Difference { about, ours, theirs, why, .. } in DIFFERENCES {
        writeln!(page, "| {about} | {ours} | {theirs} | {why} |").expect("text takes all");
    }
    page += "\nNot in the table, as no single request shows it: chunked request bodies are taken \
             unless `WSGIChunkedRequest Off`; `100 Continue` is sent only once the application \
             reads; an application may answer while it still reads; a final status of 1xx is an error; stdout is \
             logged as `notice`, stderr and `wsgi.errors` as `error`; long lines are split, not cut off; a \
             traceback is logged with every Python; httpd's `Server` header names one component, \
             `mod_wsgi_rs/VERSION`, and no `Python/VERSION` beside it, as httpd holds no Python and \
             its groups may have several; the worker that loads a touched script, or that of a graceful \
             restart, does so while the old one still serves, so that what exists once (a port, a lock) is \
             still taken, unless the group has `reload=stop-first`; of the application groups that run the \
             same script, and have not been used for ten seconds, three have processes at a time, and \
             others wait for their place; workers of the default group beyond the first are started \
             when requests wait.\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/differences.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/differences.md is not that of the table: set {UPDATE}=1");
}
