//! What stands beside the application, or in front of its answers: files, filters, error pages,
//! logs.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use testkit::{Connection, Express, Response};

use super::{APPLICATION, check};

/// Answers in the way that the path names.
const ANSWERS: &str = r#"
import os, sys
import helper


def application(environ, start_response):
    path, status = environ["PATH_INFO"], "200 OK"
    if path == "/fails":
        raise KeyError("fails")
    if path == "/missing":
        status = "404 Not Found"
    if path == "/print":
        print("to stdout")
        print("to stderr", file=sys.stderr)
        print("to wsgi.errors", file=environ["wsgi.errors"])
    start_response(status, [("Content-Type", "text/plain")])
    names = ["PATH_INFO", "REDIRECT_STATUS", "REDIRECT_URL", "NAME"]
    seen = [environ.get(name, "") for name in names]
    return [" ".join([*seen, helper.WORD, ""]).encode() * (1000 if path == "/long" else 1)]
"#;

/// Sets [`ANSWERS`] up, with files beside it.
fn set_up(options: &[&str], files: &[(&str, &str)]) -> Express {
    let server = Express::setup(ANSWERS, options).expect("mod_wsgi-express sets up");
    server.write("helper.py", "WORD = 'one'\n");
    for (name, content) in files {
        server.write(name, content);
    }
    server.control("configtest");
    server
}

#[track_caller]
fn text(server: &Express, path: &str, status: u16) -> String {
    server.wait_for(path, &[], status).text()
}

#[test]
fn files_beside_the_application() {
    let options = [
        "--url-alias",
        "/one",
        "{dir}/files/one.txt",
        "--url-alias",
        "/files",
        "{dir}/files",
        "--url-alias",
        "/files/deep",
        "{dir}/deep",
        "--document-root={dir}/root",
        "--directory-index=index.html",
        "--rewrite-rules={dir}/rewrite.conf",
        "--include-file={dir}/more.conf",
    ];
    let files = [
        ("files/one.txt", "one"),
        ("deep/two.txt", "two"),
        ("root/index.html", "index"),
        ("rewrite.conf", "RewriteRule ^short/(.*)$ /long/$1 [PT]\n"),
        ("more.conf", "Header set X-Included yes\nSetEnv NAME included\n"),
    ];
    // The rules are read while the configuration is made.
    let server = set_up(&options, &files);
    server.start("start");
    for (path, status, expected) in [
        ("/one", 200, "one"),
        ("/files/one.txt", 200, "one"),
        ("/files/deep/two.txt", 200, "two"),
        ("/", 200, "index"),
        ("/a", 200, "/a   included one "),
        ("/short/a", 200, "/long/a 200 /short/a included one "),
    ] {
        assert_eq!(text(&server, path, status), expected, "{path}");
    }
    text(&server, "/files/none", 404);
    assert_eq!(server.wait_for("/a", &[], 200).header("X-Included"), Some("yes"));
}

#[test]
fn a_module_by_its_name() {
    let options = [
        "--application-type=module",
        "--entry-point=mine.site",
        "--callable-object=site",
        "--mount-point=/sub",
    ];
    let site = ANSWERS.replace("def application", "def site");
    let server = set_up(&options, &[("mine/site.py", &site)]);
    server.start("start");
    assert_eq!(text(&server, "/sub/a", 200), "/a    one ");
    assert_eq!(server.wait_for("/sub", &[], 301).header("Location"), Some(&*place(&server)));
    text(&server, "/a", 404);
}

/// Where the folder `sub` is, for a client that names no port. It has come by way of another one, such
/// as a container's: ours leads it there again.
fn place(server: &Express) -> String {
    match Express::is_ours() {
        true => "http://localhost/sub/".to_owned(),
        false => format!("http://localhost:{}/sub/", server.port()),
    }
}

const FOLDERS: [(&str, &str); 4] = [
    ("root/sub/index.html", "index"),
    ("root/list/one.txt", "one"),
    ("root/deep/two.txt", "two"),
    ("root/deep/.htaccess", "SetEnv NAME inside\nHeader set X-Inside yes\n"),
];

#[test]
fn files_alone() {
    let options = ["--application-type=static", "--document-root={dir}/root"];
    let server = set_up(&options, &FOLDERS);
    server.start("start");
    assert_eq!(text(&server, "/sub/", 200), "index");
    assert_eq!(text(&server, "/list/one.txt", 200), "one");
    assert_eq!(server.wait_for("/sub", &[], 301).header("Location"), Some(&*place(&server)));
    text(&server, "/list/", 404);
    text(&server, "/a", 404);
}

#[test]
fn folders_of_the_document_root() {
    let root = "--document-root={dir}/root";
    let server = set_up(&[root], &FOLDERS);
    server.start("start");
    for (path, expected) in [
        ("/sub/", "index"),
        ("/list/", "/list/    one "),
        ("/list/one.txt", "one"),
        ("/deep/a", "/deep/a    one "),
    ] {
        assert_eq!(text(&server, path, 200), expected);
    }
    drop(server);
    let options = [root, "--directory-index=index.html", "--allow-override=FileInfo"];
    let server = set_up(&options, &FOLDERS);
    server.start("start");
    assert_eq!(text(&server, "/sub/", 200), "index");
    text(&server, "/list/", 404);
    for (path, expected) in [("/deep/two.txt", "two"), ("/deep/a", "/deep/a   inside one ")] {
        let response = server.wait_for(path, &[], 200);
        assert_eq!((&*response.text(), response.header("X-Inside")), (expected, Some("yes")));
    }
    drop(server);
    let server = set_up(&[&options[..], &["--directory-listing"]].concat(), &FOLDERS);
    server.start("start");
    let listing = text(&server, "/list/", 200);
    assert!(listing.contains("one.txt"), "{listing}");
}

#[test]
fn programs_beside_the_application() {
    let program =
        "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho $SCRIPT_NAME $PATH_INFO\n";
    let options = ["--with-cgi", "--document-root={dir}/root"];
    let server = set_up(&options, &[("root/x.cgi", program)]);
    let path = server.dir().join("root/x.cgi");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("the file is ours");
    server.start("start");
    assert_eq!(text(&server, "/x.cgi/more", 200), "/x.cgi /more\n");
    assert_eq!(text(&server, "/a", 200), "/a    one ");
}

#[test]
fn bodies_that_are_too_long() {
    let server = set_up(&["--limit-request-body=1000"], &[]);
    server.start("start");
    text(&server, "/a", 200);
    for (length, status) in [(1000, 200), (1001, 413)] {
        let mut connection = Connection::open(server.port()).expect("httpd listens");
        let response = connection.request("POST", "/a", &[], &vec![b'x'; length]);
        response.expect("a response").assert(status);
    }
}

#[test]
fn an_access_log_in_ones_own_format() {
    let format = "--access-log-format=%m %U%q %>s %{NAME}e %f";
    let server = set_up(&["--access-log", format, "--setenv", "NAME", "value"], &[]);
    server.start("start");
    text(&server, "/a?b", 200);
    text(&server, "/fails", 500);
    let log = || fs::read_to_string(server.dir().join("server/access_log")).unwrap_or_default();
    let file = |name: &str| server.dir().join("server/htdocs").join(name).display().to_string();
    for line in [
        format!("GET /a?b 200 value {}\n", file("a")),
        format!("GET /fails 500 value {}\n", file("fails")),
    ] {
        let found = testkit::until(|| log().contains(&line).then_some(()));
        assert!(found.is_some(), "{line}: {}", log());
    }
}

#[test]
fn pages_of_ones_own_for_errors() {
    let documents = ["--error-document", "404", "/page", "--error-document", "500", "/page"];
    let server = set_up(&documents, &[]);
    server.start("start");
    assert_eq!(text(&server, "/missing", 404), "/missing    one ");
    assert_eq!(text(&server, "/fails", 200), "/page 500 /fails  one ");
    drop(server);
    let server = set_up(&[&documents[..], &["--error-override"]].concat(), &[]);
    server.start("start");
    assert_eq!(text(&server, "/missing", 200), "/page 404 /missing  one ");
    assert_eq!(text(&server, "/fails", 200), "/page 500 /fails  one ");
    assert_eq!(text(&server, "/a", 200), "/a    one ");
}

#[test]
fn filters_and_the_servers_status() {
    let server = set_up(&["--compress-responses", "--server-status"], &[]);
    server.start("start");
    let encoding = |response: Response| response.header("Content-Encoding").map(str::to_owned);
    let gzip = server.wait_for("/long", &[("Accept-Encoding", "gzip")], 200);
    assert!(gzip.body.len() < 1000, "{} bytes", gzip.body.len());
    assert_eq!(encoding(gzip).as_deref(), Some("gzip"));
    assert_eq!(encoding(server.wait_for("/long", &[], 200)), None);
    let status = text(&server, "/server-status?auto", 200);
    assert!(status.contains("Scoreboard: "), "{status}");
}

#[test]
fn logs_through_a_program() {
    let options = [
        "--rotate-logs",
        "--rotatelogs-executable={dir}/rotatelogs",
        "--startup-log",
        "--log-level=info",
    ];
    let server = Express::setup(ANSWERS, &options).expect("mod_wsgi-express sets up");
    server.write("helper.py", "WORD = 'one'\n");
    let log = server.dir().join("server/error_log");
    server.write("rotatelogs", &format!("#!/bin/sh\nexec cat >> {}\n", log.display()));
    let program = server.dir().join("rotatelogs");
    fs::set_permissions(program, Permissions::from_mode(0o755)).expect("the file is ours");
    server.control("configtest");
    server.start("start");
    text(&server, "/print", 200);
    text(&server, "/fails", 500);
    let all = ["to stdout", "to stderr", "to wsgi.errors", "KeyError: 'fails'"];
    let found = testkit::until(|| all.iter().all(|it| server.log().contains(it)).then_some(()));
    assert!(found.is_some(), "{}", server.log());
    let startup = fs::read_to_string(server.dir().join("server/startup_log"));
    assert!(startup.is_ok_and(|startup| startup.contains("Syntax OK")));
}

#[test]
fn a_changed_module_is_loaded_again() {
    let server = set_up(&["--reload-on-changes"], &[]);
    server.start("start");
    assert_eq!(text(&server, "/a", 200), "/a    one ");
    server.write("helper.py", "WORD = 'another'\n");
    let found = testkit::until(|| {
        // The tool compares a file with how it was at its first look, once a second: a change
        // from before that look counts as nothing, so the file is made newer until it is seen.
        let helper = File::options().append(true).open(server.dir().join("helper.py"));
        let newer = helper.and_then(|helper| helper.set_modified(SystemTime::now()));
        newer.expect("the file is ours");
        (text(&server, "/a", 200) == "/a    another ").then_some(())
    });
    assert!(found.is_some(), "{}", server.log());
}

#[test]
fn profiles_and_recordings_of_debug_mode() {
    let server = set_up(&["--enable-profiler", "--enable-recorder"], &[]);
    let folder = |name: &str| server.dir().join("server").join(name);
    for name in ["pstats", "archive"] {
        // The tool makes them for root alone.
        fs::set_permissions(folder(name), Permissions::from_mode(0o777)).expect("it is ours");
    }
    // It stays in the foreground.
    let mut httpd = Command::new(folder("apachectl"))
        .arg("start")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("apachectl can be run");
    assert_eq!(text(&server, "/a", 200), "/a    one ");
    server.stop().expect("it stops");
    httpd.wait().expect("it has not been waited for");
    assert!(holds(&folder("archive"), ".ocontent"), "{}", server.log());
    assert!(holds(&folder("pstats"), ".pstats"), "{}", server.log());
}

/// Whether one of the files in a folder has such a name.
fn holds(folder: &Path, end: &str) -> bool {
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().ends_with(end))
}

#[test]
fn a_digest_of_a_password_is_asked_for() {
    let options = ["--auth-user-script={dir}/app.wsgi", "--auth-type=Digest"];
    let server = Express::setup(APPLICATION, &options).expect("mod_wsgi-express sets up");
    server.start("start");
    let refused = server.wait_for("/a", &[], 401);
    let wanted = refused.header("WWW-Authenticate").unwrap_or_default();
    assert!(wanted.starts_with("Digest realm="), "{refused}");
}

#[test]
fn other_mpms() {
    for mpm in ["--server-mpm=worker", "--server-mpm=prefork"] {
        check(&[mpm, "--keep-alive-timeout=0"], "/a", &[], &["localhost:", ", /a, True, False"]);
    }
}
