//! `environ`: what httpd's other modules put into it, and what becomes of unusual URLs.

use testkit::{Httpd, Running};

use crate::{TELL, ask, serving, told};

/// Asks [`TELL`] at this path, with these headers.
#[track_caller]
fn answer(httpd: &Running, path: &str, headers: &[(&str, &str)], question: &str) -> String {
    let target = ask(&[question]).replacen('/', path, 1);
    told(httpd.request("GET", &target, headers, b"")).join("|")
}

/// Who may come, with the password x.
const USERS: &str = "who:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=\n";
const WHO: &str = "Basic d2hvOng=";

const VARIABLES: &str = "
SetEnv SET yes
SetEnv SERVER_NAME forged
SetEnv PATH /forged
PassEnv PASSED
SetEnvIf X-Marked (.+) MARKED=$1
ServerAdmin who@example.org
LoadModule authn_file_module {modules}/mod_authn_file.so
RewriteEngine On
RewriteRule ^ - [E=REWRITTEN:yes]
RewriteRule ^/rewritten/(.*)$ /to/$1 [PT]
SetEnvIf Request_URI ^/secure/(.+) HTTPS=$1
LoadModule remoteip_module {modules}/mod_remoteip.so
RemoteIPHeader X-Client
<Location /private>
AuthType Basic
AuthName x
AuthUserFile {dir}/users
Require valid-user
</Location>
";

#[test]
fn variables_of_other_modules() {
    let httpd = serving(TELL).file("users", USERS).env("PASSED", "on").conf(VARIABLES).start();
    let marked = [("X-Marked", "so")];
    let who = [("Authorization", WHO)];
    for (path, headers, question, expected) in [
        ("/", &[][..], "environ['SET']", "yes"),
        ("/", &[], "environ['SERVER_NAME']", "localhost"),
        ("/", &[], "'PATH' in environ", "False"),
        ("/", &[], "environ['PASSED']", "on"),
        ("/", &marked, "environ['MARKED']", "so"),
        ("/", &[], "'MARKED' in environ", "False"),
        ("/", &[], "environ['SERVER_ADMIN']", "who@example.org"),
        ("/", &[], "environ['REWRITTEN']", "yes"),
        ("/rewritten/x", &[], "environ['PATH_INFO']", "/to/x"),
        ("/rewritten/x", &[], "environ['REQUEST_URI'].split('?')[0]", "/rewritten/x"),
        ("/", &[], "environ['wsgi.url_scheme']", "http"),
        ("/secure/1", &[], "environ['wsgi.url_scheme']", "https"),
        ("/secure/oN", &[], "environ['wsgi.url_scheme']", "https"),
        ("/secure/yes", &[], "environ['wsgi.url_scheme']", "http"),
        ("/secure/off", &[], "environ['wsgi.url_scheme']", "http"),
        ("/secure/1", &[], "'HTTPS' in environ", "False"),
        ("/secure/1", &[], "environ['REQUEST_SCHEME']", "http"),
        ("/", &[("X-Client", "1.2.3.4")], "environ['REMOTE_ADDR']", "1.2.3.4"),
        ("/", &[], "'REMOTE_USER' in environ or 'AUTH_TYPE' in environ", "False"),
        ("/private", &who, "environ['REMOTE_USER']", "who"),
        ("/private", &who, "environ['AUTH_TYPE']", "Basic"),
        ("/", &[("X_Under", "x"), ("X.Dot", "x")], "[k for k in environ if '_X' in k]", "[]"),
    ] {
        assert_eq!(answer(&httpd, path, headers, question), expected, "{path} {question}");
    }
}

/// What each entry is, for a POST to `/app//x;y` with the headers below: `SERVER` and `PORT` are
/// the test's own.
const ENTRIES: &[(&str, &str)] = &[
    ("REQUEST_METHOD", "POST"),
    ("REQUEST_URI", "/app//x;y"),
    ("REQUEST_SCHEME", "http"),
    ("SCRIPT_NAME", "/app"),
    ("PATH_INFO", "/x;y"),
    ("CONTENT_TYPE", "a/b"),
    ("CONTENT_LENGTH", "2"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("SERVER_NAME", "h"),
    ("SERVER_PORT", "80"),
    ("SERVER_ADDR", "127.0.0.1"),
    ("SERVER_ADMIN", "[no address given]"),
    ("REMOTE_ADDR", "127.0.0.1"),
    ("DOCUMENT_ROOT", "DIR/htdocs"),
    ("CONTEXT_PREFIX", ""),
    ("CONTEXT_DOCUMENT_ROOT", "DIR/htdocs"),
    ("SCRIPT_FILENAME", "DIR/apps/app.wsgi"),
    ("HTTP_HOST", "h"),
    ("HTTP_CONNECTION", "keep-alive"),
    ("HTTP_TE", "trailers"),
    ("HTTP_COOKIE", "a=1, b=2"),
    ("HTTP_SET_BY_CONF", "kept"),
    ("mod_wsgi.process_group", "app"),
    ("mod_wsgi.application_group", ""),
    ("mod_wsgi.callable_object", "application"),
    ("mod_wsgi.request_handler", "wsgi-script"),
    ("mod_wsgi.handler_script", ""),
    ("mod_wsgi.script_name", "/app"),
    ("mod_wsgi.path_info", "/x;y"),
    ("mod_wsgi.listener_host", "127.0.0.1"),
    ("mod_wsgi.listener_port", "PORT"),
];

/// Entries that there must not be: what older versions had, what the process has, how the module
/// and its workers speak, and what only comes with a redirect or a user.
const ABSENT: &str = "[k for k in environ if k.startswith('mod_wsgi.x-') or k in \
    ('REMOTE_HOST', 'REMOTE_IDENT', 'PATH', 'LD_LIBRARY_PATH', 'HTTPS', 'HTTP_CONTENT_TYPE', 'HTTP_CONTENT_LENGTH', \
    'HTTP_PROXY', 'HTTP_PROXY_AUTHORIZATION', 'HTTP_TRANSFER_ENCODING', 'REMOTE_USER', \
    'AUTH_TYPE', 'REDIRECT_URL', 'REDIRECT_QUERY_STRING', 'mod_wsgi.mount_point', \
    'mod_wsgi.connection_id')]";

/// What mod_wsgi had up to 5.x, and applications written for it may ask for without a default.
const THOSE_OF_4: [(&str, &str); 11] = [
    ("environ['GATEWAY_INTERFACE']", "CGI/1.1"),
    ("environ['PATH_TRANSLATED']", "DIR/htdocs/x"),
    ("environ['SERVER_SIGNATURE']", ""),
    ("environ['mod_wsgi.enable_sendfile']", "0"),
    ("environ['mod_wsgi.ignore_activity']", "0"),
    ("environ['mod_wsgi.script_reloading']", "1"),
    ("environ['mod_wsgi.daemon_restarts']", "0"),
    ("environ['mod_wsgi.daemon_connects'].isdigit()", "True"),
    ("len(environ['mod_wsgi.script_start'])", "16"),
    ("type(environ['mod_wsgi.total_requests'])", "<class 'int'>"),
    ("type(environ['mod_wsgi.thread_requests'])", "<class 'int'>"),
];

#[test]
fn entries_of_version_4() {
    if testkit::dropped_by_pypis("6.x has removed them") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess app user={user} group={group}\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let dir = httpd.dir().display().to_string();
    for (question, expected) in THOSE_OF_4 {
        let target = ask(&[question]).replacen('/', "/app/x", 1);
        assert_eq!(told(httpd.get(&target)), [expected.replace("DIR", &dir)], "{question}");
    }
}

#[test]
fn every_entry() {
    if testkit::later_than_debians("entries have been added and removed") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=5\nSetEnv PATH /forged\n\
             SetEnv HTTP_SET_BY_CONF kept\nSetEnv REQUEST_METHOD FORGED\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        )
        .start();
    let see = |questions: &[&str]| {
        let headers = [
            ("Host", "h"),
            ("Content-Type", "a/b"),
            ("Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Cookie", "a=1"),
            ("Cookie", "b=2"),
            ("Proxy", "x"),
            ("Proxy-Authorization", "x"),
        ];
        let target = ask(questions).replacen('/', "/app//x;y", 1);
        told(httpd.request("POST", &target, &headers, b"ab"))
    };
    let dir = httpd.dir().display().to_string();
    let port = httpd.port().to_string();
    for (name, expected) in ENTRIES {
        let expected = expected.replace("DIR", &dir).replace("PORT", &port);
        let question = format!("environ['{name}'].partition('?')[0]");
        assert_eq!(see(&[&question]), [expected], "{name}");
    }
    for (question, expected) in [
        ("environ['QUERY_STRING'] in environ['REQUEST_URI']", "True"),
        ("environ['REMOTE_PORT'].isdigit()", "True"),
        ("environ['SERVER_SOFTWARE'].startswith('Apache')", "True"),
        ("environ['wsgi.version']", "(1, 0)"),
        (
            "[environ['wsgi.' + n] for n in ('multithread', 'multiprocess', 'run_once')]",
            "[True, False, False]",
        ),
        ("environ['wsgi.file_wrapper'] is __import__('mod_wsgi').FileWrapper", "True"),
        (
            "environ['apache.version'][:2], type(environ['apache.version'])",
            "((2, 4), <class 'tuple'>)",
        ),
        ("type(environ['mod_wsgi.version'])", "<class 'tuple'>"),
        ("1 <= environ['mod_wsgi.thread_id'] <= 5", "True"),
        ("len(environ['mod_wsgi.request_id']) > 10", "True"),
        ("type(environ['mod_wsgi.server_pid'])", "<class 'str'>"),
        ("{type(v) for k, v in environ.items() if k[0].isupper()}", "{<class 'str'>}"),
        (ABSENT, "[]"),
    ] {
        assert_eq!(see(&[question]), [expected], "{question}");
    }
    let server = see(&["environ['mod_wsgi.server_pid']"]).concat();
    assert!(httpd.children().iter().any(|child| child.pid.to_string() == server), "{server}");
}

#[test]
fn what_is_there_only_at_times() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .conf(
            "ErrorLogFormat \"[%{u}t] [%-m:%l] [id %{c}L] %M\"\n\
             WSGIDaemonProcess once threads=1 processes=1 maximum-requests=1\n\
             WSGIDaemonProcess one threads=1 maximum-requests=2\n\
             WSGIScriptAlias /once {apps}/app.wsgi process-group=once\n\
             WSGIScriptAlias / {apps}/app.wsgi process-group=one",
        )
        .start();
    let flags = "[environ['wsgi.' + n] for n in ('multithread', 'multiprocess', 'run_once')]";
    assert_eq!(answer(&httpd, "/once", &[], flags), "[False, True, True]");
    assert_eq!(answer(&httpd, "/", &[], flags), "[False, False, False]");
    // httpd has an id of a connection once something has been logged with it.
    let mut connection = httpd.connect();
    let id = "environ.get('mod_wsgi.connection_id', '')";
    let mut see = |question: &str| told(connection.get(&ask(&[question])).expect("a response"));
    assert_eq!(see(&format!("{id} == '' and print('logged')")), ["None"]);
    let log = httpd.wait_for_log(&["logged"]);
    // Daemons of an original log for themselves.
    let original = testkit::UnderTest::chosen().is_original();
    assert!(original || log.contains(&format!("[id {}]", see(id).concat())), "{log}");
    let chunked = ask(&["[environ.get(n) for n in ('CONTENT_LENGTH', 'HTTP_TRANSFER_ENCODING')]"]);
    if !original {
        let headers = [("Transfer-Encoding", "chunked")];
        let response = httpd.request("POST", &chunked, &headers, b"0\r\n\r\n");
        assert_eq!(told(response), ["[None, 'chunked']"]);
    }
    for question in ["environ['HTTP_EXPECT']", "environ['HTTP_UPGRADE']"] {
        let headers = [("Expect", "100-continue"), ("Upgrade", "x")];
        assert!(!answer(&httpd, "/", &headers, question).is_empty(), "{question}");
    }
}

#[test]
fn the_uri_is_as_sent_or_as_it_is_now() {
    let httpd = serving(TELL)
        .conf(
            "RewriteEngine On\nRewriteRule ^/rewritten/(.*)$ /to/$1 [PT]\n\
             <Location /to/now>\nCGIVar REQUEST_URI current-uri\n</Location>\n\
             <Location /to/sent>\nCGIVar REQUEST_URI original-uri\n</Location>",
        )
        .start();
    for (path, expected) in [
        ("/rewritten/now", "/to/now"),
        ("/rewritten/sent", "/rewritten/sent?"),
        ("/rewritten/else", "/rewritten/else?"),
        ("http://localhost/abs%6Flute", "http://localhost/abs%6Flute?"),
    ] {
        let question = "environ['REQUEST_URI'].partition('?')";
        let found = answer(&httpd, path, &[], &format!("''.join({question}[:2])"));
        assert_eq!(found, expected, "{path}");
    }
}

/// Where files are, of which some are missing.
const FILES: &str = "
LoadModule authn_file_module {modules}/mod_authn_file.so
WSGIScriptAlias /app {apps}/app.wsgi
Alias /files {dir}/files
SetEnv KEPT yes
<Directory {dir}/files>
Require all granted
";

/// With a directive for the files, and other configuration.
fn files(directive: &str, conf: &str) -> Running {
    let conf = format!("{FILES}{directive}\n</Directory>\n{conf}");
    Httpd::new()
        .app("app.wsgi", TELL)
        .file("files/there", "")
        .file("users", USERS)
        .conf(&conf)
        .start()
}

#[test]
fn after_an_internal_redirect() {
    let questions = ask(&[
        "environ['REDIRECT_URL']",
        "environ['REDIRECT_QUERY_STRING']",
        "environ['REDIRECT_STATUS']",
        "environ['REDIRECT_KEPT']",
        "environ['SCRIPT_NAME'] + '|' + environ['PATH_INFO']",
        "environ['REQUEST_URI']",
        "[environ.get(name) for name in ('REMOTE_USER', 'REDIRECT_REMOTE_USER')]",
    ]);
    let private = "<Location /files/a>\nAuthType Basic\nAuthName x\n\
                   AuthUserFile {dir}/users\nRequire valid-user\n</Location>";
    let httpd = files(&format!("ErrorDocument 404 \"/app{questions}\""), private);
    let who = [("Authorization", WHO)];
    let response = httpd.request("GET", "/files/a?x", &who, b"");
    assert_eq!(
        response.text().lines().collect::<Vec<_>>(),
        ["/files/a", "x", "404", "yes", "/app|/", "/files/a?x", "[None, 'who']"]
    );
}

#[test]
fn in_place_of_files() {
    for (directive, path) in
        [("FallbackResource /app/fallback", "/files/a"), ("DirectoryIndex /app/index", "/files/")]
    {
        let httpd = files(directive, "");
        let question = "environ['SCRIPT_NAME'] + '|' + environ['PATH_INFO']";
        let name = directive.rsplit('/').next().unwrap_or_default();
        assert_eq!(answer(&httpd, path, &[], question), format!("/app|/{name}"), "{directive}");
    }
}

#[test]
fn unusual_urls() {
    let httpd = serving(TELL).conf("AllowEncodedSlashes On").start();
    for (path, expected) in [
        ("/a;x=1/b;y", "/a;x=1/b;y"),
        ("/a%2Fb", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/%E2%82%AC", "\u{e2}\u{82}\u{ac}"),
        ("/a%20+b", "/a +b"),
    ] {
        let expected = expected.trim_start_matches('/');
        let found = answer(&httpd, path, &[], "environ['PATH_INFO'][1:]");
        assert_eq!(found, expected, "{path}");
    }
    let host = |host: &str| {
        let question = "environ['SERVER_NAME'] + ' ' + environ['SERVER_PORT']";
        answer(&httpd, "/", &[("Host", host)], question)
    };
    assert_eq!(host("example.org"), "example.org 80");
    assert_eq!(host("example.org:81"), "example.org 81");
}

#[test]
fn times_follow_each_other() {
    if testkit::later_than_debians("times are numbers") {
        return;
    }
    let httpd = serving(TELL).start();
    let question = "[type(environ['mod_wsgi.%s_start' % n]).__name__ for n in \
                    ('request', 'queue', 'daemon', 'application')]";
    let floats = "['float', 'float', 'float', 'float']";
    assert_eq!(answer(&httpd, "/", &[], question), floats);
    let question = "(lambda t: t == sorted(t))([environ['mod_wsgi.%s_start' % n] for n in \
                    ('request', 'queue', 'daemon', 'application')])";
    assert_eq!(answer(&httpd, "/", &[], question), "True");
}
