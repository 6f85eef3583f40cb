//! Directives about requests: what becomes of headers, bodies and errors, and who may go where.

use testkit::{Httpd, Response, Running, UnderTest};

use super::telling;
use crate::{HELLO, TELL, ask, told};

/// Sends a request with one more header.
fn with_header(httpd: &Running, method: &str, path: &str, header: &str, body: &str) -> Response {
    let (name, value) = header.split_once(": ").unwrap_or((header, ""));
    httpd.request(method, path, &[(name, value)], body.as_bytes())
}

/// `wsgi.url_scheme` and other variables, when the client sends this header.
#[track_caller]
fn sees(conf: &str, header: &str, variable: &str, expected: &str) {
    let httpd = telling(conf).start();
    let question = format!("environ.get('{variable}')");
    let answer = told(with_header(&httpd, "GET", &ask(&[&question]), header, ""));
    assert_eq!(answer, [expected], "{conf} with {header}");
}

#[test]
fn authorization() {
    let header = "Authorization: Basic eDp5";
    let see = |conf: &str, expected| sees(conf, header, "HTTP_AUTHORIZATION", expected);
    // Where httpd checks no password, ours takes an unset directive for an order to pass it.
    see("", if UnderTest::chosen().is_original() { "None" } else { "Basic eDp5" });
    see("WSGIPassAuthorization Off", "None");
    see(
        "WSGIPassAuthorization Off\n<Location />\nWSGIPassAuthorization On\n</Location>",
        "Basic eDp5",
    );
    let authenticated = "<Location />\nAuthType Basic\nAuthName x\n</Location>";
    see(authenticated, "None");
    see(&format!("{authenticated}\nWSGIPassAuthorization On"), "Basic eDp5");
    see("WSGIPassAuthorization Off\n<Location />\nCGIPassAuth On\n</Location>", "Basic eDp5");
}

#[test]
fn trusted_proxies() {
    let headers = "WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host";
    let trusted = format!("{headers}\nWSGITrustedProxies 127.0.0.0/8");
    let stranger = format!("{headers}\nWSGITrustedProxies 10.0.0.0/8");
    sees(&trusted, "X-Forwarded-For: 1.2.3.4", "REMOTE_ADDR", "1.2.3.4");
    sees(&trusted, "X-Forwarded-Proto: https", "wsgi.url_scheme", "https");
    sees(&trusted, "X-Forwarded-Host: a.example", "HTTP_HOST", "a.example");
    sees(&stranger, "X-Forwarded-For: 1.2.3.4", "REMOTE_ADDR", "127.0.0.1");
    sees(&stranger, "X-Forwarded-For: 1.2.3.4", "HTTP_X_FORWARDED_FOR", "None");
    sees("", "X-Forwarded-Proto: https", "wsgi.url_scheme", "http");
    // An inner section has a list of its own; lines of one section add up.
    let inner = format!("{trusted}\n<Location />\nWSGITrustedProxyHeaders X-Real-IP\n</Location>");
    sees(&inner, "X-Forwarded-For: 1.2.3.4", "REMOTE_ADDR", "127.0.0.1");
    sees(&inner, "X-Real-IP: 1.2.3.4", "REMOTE_ADDR", "1.2.3.4");
    let added = format!("{trusted}\nWSGITrustedProxyHeaders X-Real-IP");
    sees(&added, "X-Real-IP: 1.2.3.4", "REMOTE_ADDR", "1.2.3.4");
}

#[test]
fn chunked_bodies() {
    let send = |conf: &str| {
        let httpd = telling(conf).start();
        let head =
            "POST /?environ['wsgi.input'].read() HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        let rest = "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        String::from_utf8_lossy(&httpd.raw(format!("{head}{rest}").as_bytes())).into_owned()
    };
    let original = UnderTest::chosen().is_original();
    for conf in ["", "WSGIChunkedRequest On"].into_iter().skip(usize::from(original)) {
        let answer = send(conf);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("b'ab'"), "{answer}");
    }
    assert!(send("WSGIChunkedRequest Off").starts_with("HTTP/1.1 411"));
}

const METHOD: &str = r#"
def application(environ, start_response):
    start_response("200 OK", [("X-Method", environ["REQUEST_METHOD"]), ("Content-Length", "1")])
    return [b"x"]
"#;

#[test]
fn head_may_become_get() {
    for (conf, expected) in [
        ("", "HEAD"),
        ("WSGIMapHEADToGET Off", "HEAD"),
        ("SetOutputFilter DEFLATE", "GET"),
        ("SetOutputFilter DEFLATE\nWSGIMapHEADToGET Off", "HEAD"),
        ("WSGIMapHEADToGET On", "GET"),
        ("WSGIMapHEADToGET On\n<Location />\nWSGIMapHEADToGET Off\n</Location>", "HEAD"),
    ] {
        let httpd = telling(conf).app("app.wsgi", METHOD).start();
        let response = httpd.request("HEAD", "/", &[], b"").assert(200);
        assert_eq!(response.header("x-method"), Some(expected), "{conf}");
    }
}

const FAILS: &str = r#"
def application(environ, start_response):
    start_response(environ["QUERY_STRING"].replace("_", " "), [
        ("Content-Type", "text/plain"), ("WWW-Authenticate", "Basic realm=x"),
    ])
    if environ["PATH_INFO"] == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    return [b"mine"]
"#;

#[test]
fn error_override() {
    let page = "ErrorDocument 404 \"yours\"\nErrorDocument 401 \"yours\"";
    let httpd = |conf: &str| telling(&format!("{page}\n{conf}")).app("app.wsgi", FAILS).start();
    let plain = httpd("");
    assert_eq!(plain.get("/?404_Not_Found").assert(404).text(), "mine");
    let overridden = httpd("WSGIErrorOverride On");
    for _ in 0..3 {
        assert_eq!(overridden.get("/?404_Not_Found").assert(404).text(), "yours");
        assert_eq!(overridden.get("/?399_Fine").assert(399).text(), "mine");
    }
    assert_eq!(overridden.get("/file?404_Not_Found").assert(404).text(), "yours");
    let response = overridden.get("/?401_Who").assert(401);
    assert_eq!(response.header("www-authenticate"), Some("Basic realm=x"));
    let inner = "WSGIErrorOverride On\n<Location />\nWSGIErrorOverride Off\n</Location>";
    assert_eq!(httpd(inner).get("/?404_Not_Found").assert(404).text(), "mine");
}

#[test]
fn aliases_by_expression() {
    let conf = "WSGIScriptAliasMatch ^/site/([a-z]+) {apps}/$1.wsgi\n\
                WSGIScriptAliasMatch \\.py$ {apps}/hello.wsgi";
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .app("hello.wsgi", HELLO)
        .conf(conf)
        .expect_log("does not exist")
        .start();
    let path = ask(&["environ['SCRIPT_NAME']", "environ['PATH_INFO']"]);
    let answer = told(httpd.get(&path.replacen('/', "/site/app/x", 1)));
    assert_eq!(answer, ["/site/app", "/x"]);
    assert_eq!(httpd.get("/site/hello").assert(200).text(), "hello");
    assert_eq!(httpd.get("/any/where.py").assert(200).text(), "hello");
    httpd.get("/site/none").assert(404);
    httpd.get("/other").assert(404);
}

const HANDLER: &str = r#"
def handle_request(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ["mod_wsgi.handler_script", "SCRIPT_FILENAME", "mod_wsgi.process_group"]
    return ["\n".join(environ[name] for name in names).encode()]
"#;

#[test]
fn handler_scripts() {
    let httpd = telling(
        "WSGIHandlerScript mine {apps}/handler.py process-group=app\n\
         Alias /files {dir}/htdocs\n<Location /files>\nSetHandler mine\n</Location>",
    )
    .app("handler.py", HANDLER)
    .file("htdocs/a.txt", "a")
    .start();
    let dir = httpd.dir().display().to_string();
    for name in ["a.txt", "none.txt"] {
        let answer = told(httpd.get(&format!("/files/{name}")));
        let file = format!("{dir}/htdocs/{name}");
        assert_eq!(answer, [&format!("{dir}/apps/handler.py"), &file, "app"]);
    }
}

/// Counts how often it is loaded, which it asks for by what the URL leads to.
const AGAIN: &str = r#"
import os, sys

sys.loads = getattr(sys, "loads", 0) + 1
asked = []


def reload_required(resource):
    asked.append(os.path.basename(resource))
    return resource.endswith("again.txt")


def handle_request(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{sys.loads} {asked}".encode()]
"#;

#[test]
fn handler_scripts_say_when_they_are_loaded_again() {
    let httpd = telling(
        "WSGIHandlerScript mine {apps}/handler.py process-group=app\n\
         Alias /files {dir}/htdocs\n<Location /files>\nSetHandler mine\n</Location>",
    )
    .app("handler.py", AGAIN)
    .start();
    for (name, expected) in [
        ("a.txt", "1 []"),
        ("b.txt", "1 ['b.txt']"),
        ("again.txt", "2 []"),
        ("a.txt", "2 ['a.txt']"),
    ] {
        let loads = httpd.get(&format!("/files/{name}")).assert(200).text();
        // mod_wsgi loads it in a new process.
        let expected = match UnderTest::chosen() {
            UnderTest::Ours => expected.to_owned(),
            _ => expected.replace("2 ", "1 "),
        };
        assert_eq!(loads, expected, "{name}");
    }
}

#[test]
fn restricted_groups() {
    let status = |conf: &str, status| {
        telling(conf).expect_log("does not allow").start().get("/?1").assert(status);
    };
    status("WSGIRestrictProcess other APP", 200);
    status("WSGIRestrictProcess other", 500);
    status("WSGIRestrictProcess", 500);
    status("WSGIRestrictProcess other\n<Location />\nWSGIRestrictProcess app\n</Location>", 200);
    status("<Location />\nWSGIProcessGroup %{GLOBAL}\n</Location>\nWSGIRestrictProcess app", 500);
    status("WSGIRestrictEmbedded On", 200);
    status("<Location />\nWSGIProcessGroup %{GLOBAL}\n</Location>\nWSGIRestrictEmbedded On", 500);
    status("<Location />\nWSGIProcessGroup %{GLOBAL}\n</Location>\nWSGIRestrictEmbedded Off", 200);
}

#[test]
fn groups_without_requests() {
    if testkit::ours_only("mod_wsgi starts services, and lets requests for them wait") {
        return;
    }
    let httpd = Httpd::new()
        .app("app.wsgi", HELLO)
        .conf("WSGIDaemonProcess g threads=0")
        .conf("WSGIScriptAlias /g {apps}/app.wsgi process-group=g")
        .conf("WSGIScriptAlias / {apps}/app.wsgi")
        .expect_log("takes no requests")
        .start();
    httpd.get("/g").assert(500);
    httpd.get("/").assert(200);
}

#[test]
fn scripts_of_others_are_not_run() {
    let (user, _) = testkit::app_user();
    let owned_by = |name: &str| {
        Httpd::new()
            .app("app.wsgi", HELLO)
            .conf(&format!("WSGIDaemonProcess g script-user={name}"))
            .conf("WSGIScriptAlias / {apps}/app.wsgi process-group=g")
            .expect_log("is not run")
            .start()
    };
    if testkit::running_as_root() {
        // The files of tests belong to who runs them.
        owned_by("root").get("/").assert(200);
        let httpd = owned_by(&user);
        httpd.get("/").assert(403);
        if !UnderTest::chosen().is_original() {
            httpd.wait_for_log(&["app.wsgi", "script-user="]);
        }
    }
}

#[test]
fn scripts_that_are_not_reloaded() {
    for (conf, expected) in [
        ("", "new"),
        ("WSGIScriptReloading Off", "old"),
        ("WSGIScriptReloading Off\n<Location />\nWSGIScriptReloading On\n</Location>", "new"),
    ] {
        let source = |text: &str| HELLO.replace("hello", text);
        let httpd = telling(conf).app("app.wsgi", &source("old")).start();
        assert_eq!(httpd.get("/").assert(200).text(), "old");
        httpd.replace_app("app.wsgi", &source("new"));
        assert_eq!(httpd.get("/").assert(200).text(), expected, "{conf}");
    }
}
