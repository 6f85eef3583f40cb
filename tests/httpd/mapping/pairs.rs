//! Many aliases with many URLs: what they are mapped to is what an original says.
//!
//! `pairs.txt` holds the answers. It is written by a run on the original with `UPDATE_PAIRS` set:
//! `UPDATE_PAIRS=1 MOD_WSGI_UNDER_TEST=theirs cargo xtask test mapping::pairs`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use testkit::{Connection, Httpd, Running};

const UPDATE: &str = "UPDATE_PAIRS";

/// Says what it was called as.
const APPLICATION: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ("SCRIPT_NAME", "PATH_INFO", "SCRIPT_FILENAME")
    return [" ".join(repr(environ[name]) for name in names).encode()]
"#;

/// Mount points of `WSGIScriptAlias`.
const MOUNTS: [&str; 9] =
    ["/", "//", "/app", "/app/", "//app", "/a/b", "/a//b/", "/app.wsgi", "/app/x"];

/// What they lead to.
const TARGETS: [&str; 4] = ["{apps}/app.wsgi", "{apps}/app.wsgi/", "{apps}", "{apps}/"];

/// Expressions of `WSGIScriptAliasMatch`, and what each leads to.
const EXPRESSIONS: [(&str, &str); 33] = [
    ("^/", "{apps}/app.wsgi"),
    ("^/", "{apps}/app.wsgi/"),
    ("^/", "{apps}/"),
    ("^/$", "{apps}/app.wsgi"),
    ("^/+", "{apps}/app.wsgi"),
    ("^/*", "{apps}/app.wsgi"),
    ("^/(?!static|.*\\.(css|js|txt)$)", "{apps}/app.wsgi"),
    ("^/(?!app)", "{apps}/app.wsgi"),
    ("^(/)", "{apps}/app.wsgi$1"),
    ("^/app", "{apps}/app.wsgi"),
    ("^/app/", "{apps}/app.wsgi"),
    ("^/app/?", "{apps}/app.wsgi"),
    ("^/app(/|$)", "{apps}/app.wsgi"),
    ("^/app(/|$)", "{apps}/app.wsgi$1"),
    ("^/app(/.*)?$", "{apps}/app.wsgi$1"),
    ("^/app$", "{apps}/app.wsgi"),
    ("^/a/(.*)$", "{apps}/app.wsgi/$1"),
    ("^/a/", "{apps}/app.wsgi/"),
    ("^/([^/]+)", "{apps}/$1.wsgi"),
    ("^/([^/]+)/?", "{apps}/$1.wsgi"),
    ("^/([^/.]+)(\\.wsgi)?", "{apps}/$1.wsgi"),
    ("^/([^/]+)/([^/]+)", "{apps}/app.wsgi/$2/$1"),
    ("^", "{apps}/app.wsgi"),
    ("x*", "{apps}/app.wsgi"),
    ("/", "{apps}/app.wsgi"),
    ("/$", "{apps}/app.wsgi"),
    ("app", "{apps}/app.wsgi"),
    ("/app", "{apps}/app.wsgi"),
    ("b", "{apps}/app.wsgi"),
    ("\\.css$", "{apps}/app.wsgi"),
    ("^/.", "{apps}/app.wsgi"),
    (".+", "{apps}/app.wsgi"),
    (".", "{apps}/app.wsgi"),
];

const URLS: [&str; 38] = [
    "/",
    "//",
    "///",
    "/?q=/",
    "/app",
    "/app/",
    "/app//",
    "/app///x//",
    "/app/x",
    "/app/x/",
    "/app/x/y",
    "//app",
    "//app//x",
    "/application",
    "/app.wsgi",
    "/app.wsgi/",
    "/app.wsgi/x",
    "/app;p=1/x",
    "/app/x;p",
    "/App",
    "/%61pp/x",
    "/app%20x",
    "/app/%3Fq",
    "/app/%C3%A4",
    "/./app",
    "/app/../app/x",
    "/app/.",
    "/x/..",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/",
    "/a//b//c",
    "/a/b/c",
    "/ab",
    "/style.css",
    "/a/style.css",
    "/x/app/y",
];

/// All aliases, as they are written.
fn aliases() -> Vec<String> {
    let prefixes = MOUNTS.iter().flat_map(|mount| {
        TARGETS.iter().map(move |target| format!("WSGIScriptAlias {mount} {target}"))
    });
    let expressions = EXPRESSIONS
        .iter()
        .map(|(expression, target)| format!("WSGIScriptAliasMatch \"{expression}\" {target}"));
    prefixes.chain(expressions).collect()
}

/// A host for each alias.
fn site(aliases: &[String]) -> Running {
    let mut conf = String::from("WSGIApplicationGroup %{GLOBAL}\n");
    for (number, alias) in aliases.iter().enumerate() {
        writeln!(
            conf,
            "<VirtualHost *:{{port}}>\nServerName host{number}\n{alias}\n</VirtualHost>"
        )
        .expect("text takes all");
    }
    Httpd::new().app("app.wsgi", APPLICATION).expect_log("").conf(&conf).start()
}

fn answer(connection: &mut Connection, host: usize, url: &str, folder: &str) -> String {
    let request = format!("GET {url} HTTP/1.1\r\nHost: host{host}\r\n\r\n");
    connection.send(request.as_bytes()).expect("httpd reads");
    let response = connection.read_response("GET").expect("a response");
    match response.status {
        200 => response.text().replace(folder, "{apps}"),
        status => status.to_string(),
    }
}

#[test]
fn each_alias_with_each_url() {
    let aliases = aliases();
    let httpd = site(&aliases);
    let apps = httpd.dir().join("apps");
    let folder = apps.to_str().expect("a name in ASCII");
    let mut found = String::new();
    for (number, alias) in aliases.iter().enumerate() {
        writeln!(found, "{alias}").expect("text takes all");
        for url in URLS {
            // httpd closes a connection now and then.
            let answer = answer(&mut httpd.connect(), number, url, folder);
            writeln!(found, "\t{url}\t{answer}").expect("text takes all");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/httpd/mapping/pairs.txt");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &found).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).expect("the answers");
    let mut alias = "";
    let mut differences = Vec::new();
    for (expected, found) in expected.lines().zip(found.lines()) {
        if !found.starts_with('\t') {
            alias = found;
        }
        if expected != found {
            differences.push(format!("{alias}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(differences.is_empty(), "{}:\n{}", differences.len(), differences.join("\n"));
    assert_eq!(expected.lines().count(), found.lines().count());
}
