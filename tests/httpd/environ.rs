//! `environ`: what httpd's other modules put into it, and what becomes of unusual URLs.

use testkit::{Httpd, Running};

use crate::{TELL, ask, serving, told};

/// Asks [`TELL`] at this path, with these headers.
#[track_caller]
fn answer(httpd: &Running, path: &str, headers: &[(&str, &str)], question: &str) -> String {
    let target = ask(&[question]).replacen('/', path, 1);
    told(httpd.request("GET", &target, headers, b"")).join("|")
}

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
<Location /secure>
SetEnv HTTPS 1
</Location>
<Location /private>
AuthType Basic
AuthName x
AuthUserFile {dir}/users
Require valid-user
</Location>
";

#[test]
fn variables_of_other_modules() {
    let httpd = serving(TELL)
        // The password is x.
        .file("users", "who:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=\n")
        .env("PASSED", "on")
        .conf(VARIABLES)
        .start();
    let marked = [("X-Marked", "so")];
    let who = [("Authorization", "Basic d2hvOng=")];
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
        ("/secure", &[], "environ['wsgi.url_scheme']", "https"),
        ("/secure", &[], "'HTTPS' in environ", "False"),
        ("/secure", &[], "environ['REQUEST_SCHEME']", "http"),
        ("/", &[], "'REMOTE_USER' in environ or 'AUTH_TYPE' in environ", "False"),
        ("/private", &who, "environ['REMOTE_USER']", "who"),
        ("/private", &who, "environ['AUTH_TYPE']", "Basic"),
        ("/", &[("X_Under", "x"), ("X.Dot", "x")], "[k for k in environ if '_X' in k]", "[]"),
    ] {
        assert_eq!(answer(&httpd, path, headers, question), expected, "{path} {question}");
    }
}

/// Where files are, of which some are missing.
const FILES: &str = "
WSGIScriptAlias /app {apps}/app.wsgi
Alias /files {dir}/files
SetEnv KEPT yes
<Directory {dir}/files>
Require all granted
";

fn files(directive: &str) -> Running {
    let conf = format!("{FILES}{directive}\n</Directory>");
    Httpd::new().app("app.wsgi", TELL).file("files/there", "").conf(&conf).start()
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
    ]);
    let httpd = files(&format!("ErrorDocument 404 \"/app{questions}\""));
    assert_eq!(
        httpd.get("/files/a?x").text().lines().collect::<Vec<_>>(),
        ["/files/a", "x", "404", "yes", "/app|/", "/files/a?x"]
    );
}

#[test]
fn in_place_of_files() {
    for (directive, path) in
        [("FallbackResource /app/fallback", "/files/a"), ("DirectoryIndex /app/index", "/files/")]
    {
        let httpd = files(directive);
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
    let httpd = serving(TELL).start();
    let question = "[type(environ['mod_wsgi.%s_start' % n]).__name__ for n in \
                    ('request', 'queue', 'daemon', 'application')]";
    let floats = "['float', 'float', 'float', 'float']";
    assert_eq!(answer(&httpd, "/", &[], question), floats);
    let question = "(lambda t: t == sorted(t))([environ['mod_wsgi.%s_start' % n] for n in \
                    ('request', 'queue', 'daemon', 'application')])";
    assert_eq!(answer(&httpd, "/", &[], question), "True");
}
