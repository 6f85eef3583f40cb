//! A request is called the same everywhere: in the environ, in every log, on error pages.

use testkit::{Httpd, Running};

use crate::{TELL, ask, told};

const ID: &str = "environ['mod_wsgi.request_id']";

/// A name that proxies give.
const GIVEN: &str = "7d1c9a0e-5b0f-4a44-9d3e-0c1e3a7b5f10";

/// Both of httpd's logs tell the id.
const FORMATS: &str = "LogFormat \"%U %L\" ids\nCustomLog logs/ids.log ids\n\
    ErrorLogFormat \"[%-m:%l] [id %L] %M\"";

fn site(application: &str) -> Httpd {
    // In a format of ours no line looks as a harmless one does.
    Httpd::new().app("app.wsgi", application).conf(FORMATS).expect_log("[id ").conf(
        "WSGIDaemonProcess app user={user} group={group} threads=5\n\
         WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
    )
}

/// What the application tells of a request with this header, at a place.
#[track_caller]
fn named(httpd: &Running, place: &str, header: Option<(&str, &str)>, question: &str) -> String {
    let target = ask(&[question]).replacen('/', place, 1);
    let headers: Vec<_> = header.into_iter().collect();
    told(httpd.request("GET", &target, &headers, b"")).join("|")
}

#[test]
fn the_environ_and_all_logs_say_the_same() {
    let unique = "LoadModule unique_id_module {modules}/mod_unique_id.so";
    for module in ["", unique] {
        let httpd = site(TELL).conf(module).conf("WSGITrustedProxies 127.0.0.1").start();
        // `print` returns None.
        let question = format!("print('seen') or {ID}");
        for header in [None, Some(("X-Request-ID", GIVEN))] {
            let id = named(&httpd, "/app", header, &question);
            assert_eq!(id == GIVEN, header.is_some(), "{id}");
            httpd.wait_for_log(&[&format!("[wsgi:notice] [id {id}] seen")]);
            httpd.wait_for_log_in("ids.log", &[&format!("/app {id}")]);
            if header.is_none() && !module.is_empty() {
                let question = format!("{ID} == environ['UNIQUE_ID']");
                assert_eq!(named(&httpd, "/app", None, &question), "True");
            }
        }
        // Two requests have two names.
        assert_ne!(named(&httpd, "/app", None, ID), named(&httpd, "/app", None, ID));
    }
}

#[test]
fn a_name_is_believed_of_trusted_proxies_alone_and_has_to_be_harmless() {
    let httpd = site(TELL)
        .conf("WSGITrustedProxies 10.0.0.0/8")
        .conf("<Location /app/near>\nWSGITrustedProxies 127.0.0.0/8\n</Location>")
        .start();
    let named = |place, name| named(&httpd, place, Some(("X-Request-ID", name)), ID);
    assert_eq!(named("/app/near", GIVEN), GIVEN);
    httpd.wait_for_log_in("ids.log", &[&format!("/app/near {GIVEN}")]);
    assert_ne!(named("/app", GIVEN), GIVEN);
    let long = "x".repeat(129);
    for name in ["a b", "a\"b", "<b>", "a\\b", "a\tb", "caf\u{e9}", &long] {
        assert_ne!(named("/app/near", name), name);
    }
    assert_eq!(named("/app/near", &long[..128]), long[..128]);
    // The header itself is the application's to see, as ever.
    let seen = named_header(&httpd);
    assert_eq!(seen, GIVEN);
}

#[track_caller]
fn named_header(httpd: &Running) -> String {
    named(httpd, "/app", Some(("X-Request-ID", GIVEN)), "environ['HTTP_X_REQUEST_ID']")
}

#[test]
fn what_a_request_becomes_has_its_name() {
    let application = r#"
def application(environ, start_response):
    id = environ["mod_wsgi.request_id"]
    if environ["PATH_INFO"] == "/last":
        start_response("200 OK", [])
        return [id.encode()]
    print("first", id)
    start_response("200 OK", [("Location", "/app/last")])
    return []
"#;
    let httpd = site(application).conf("WSGILocationRedirect On").start();
    let id = httpd.get("/app/first").assert(200).text();
    httpd.wait_for_log(&[&format!("[id {id}] first {id}")]);
}

/// Dies, waits, or tells its id.
const FAILING: &str = r#"
import os, time


def application(environ, start_response):
    if environ["PATH_INFO"] == "/die":
        os._exit(3)
    while environ["PATH_INFO"] == "/wait":
        time.sleep(0.01)
    start_response("503 Application", [])
    return [b"the application's own page"]
"#;

/// A site of which nothing is well.
fn failing() -> Httpd {
    site(FAILING)
        .app("broken.wsgi", FAILING)
        .conf(
            "WSGIDaemonProcess slow user={user} group={group} threads=1 socket-timeout=1 \
             shutdown-timeout=1\n\
             WSGIDaemonProcess broken user={user} group={group} python-home={apps}\n\
             WSGIScriptAlias /slow {apps}/app.wsgi process-group=slow application-group=%{GLOBAL}\n\
             WSGIScriptAlias /broken {apps}/broken.wsgi process-group=broken \
             application-group=%{GLOBAL}",
        )
        // What the supervisor says.
        .expect_log("[wsgi:")
}

#[test]
fn error_pages_of_ours_and_the_lines_about_them_have_it() {
    let httpd = failing().start();
    assert_eq!(httpd.get("/app/").assert(503).text(), "the application's own page");
    for (path, status, title, log) in [
        ("/app/die", 502, "Bad Gateway", "while it ran"),
        ("/broken/", 503, "Service Unavailable", "cannot start"),
        ("/slow/wait", 504, "Gateway Timeout", "said nothing for 1 s"),
    ] {
        let response = httpd.get(path).assert(status);
        assert!(response.header("Content-Type").unwrap_or_default().starts_with("text/html"));
        let page = response.text();
        assert!(page.contains(&format!("<h1>{title}</h1>")), "{page}");
        let (_, id) = page.split_once("<p>Request id: ").expect("the page names the request");
        let id = id.split('<').next().unwrap_or_default();
        assert!(id.len() > 10, "{page}");
        httpd.wait_for_log(&[log, &format!("[request {id}]")]);
        httpd.wait_for_log_in("ids.log", &[&format!(" {id}")]);
    }
}

#[test]
fn the_administrators_error_pages_stay() {
    let httpd = failing()
        .conf("ErrorDocument 502 \"Ours: %{REQUEST_LOG_ID}\"")
        .conf("ErrorDocument 503 /page.txt")
        .file("htdocs/page.txt", "a page")
        .start();
    let page = httpd.get("/app/die").assert(502).text();
    let id = page.strip_prefix("Ours: ").unwrap_or_default();
    assert!(id.len() > 10, "{page}");
    httpd.wait_for_log(&[&format!("[request {id}]")]);
    assert_eq!(httpd.get("/broken/").assert(503).text(), "a page");
}

#[test]
fn when_a_request_began() {
    let httpd = site(TELL)
        .conf(
            "<Location /app/on>\nWSGIRequestStart On\n</Location>\n\
             <Location /app/on/off>\nWSGIRequestStart Off\n</Location>\n\
             <Location /app/proxied>\nWSGIRequestStart On\nWSGITrustedProxies 127.0.0.1\n</Location>",
        )
        .start();
    let ask = |place, header, question: &str| named(&httpd, place, header, question);
    let start = "environ.get('HTTP_X_REQUEST_START')";
    assert_eq!(ask("/app", None, start), "None");
    assert_eq!(ask("/app/on/off", None, start), "None");
    // It is httpd's own time, which `mod_wsgi.request_start` is, too.
    let told = ask("/app/on", None, "environ['HTTP_X_REQUEST_START']");
    assert!(told.starts_with("t=1") && told.len() == "t=".len() + 16, "{told}");
    let same = "environ['HTTP_X_REQUEST_START'] == \
                't=%d' % round(float(environ['mod_wsgi.request_start']) * 1e6)";
    assert_eq!(ask("/app/on", None, same), "True");

    for name in ["X-Request-Start", "X-Queue-Start"] {
        let question =
            format!("environ.get('HTTP_{}')", name.to_ascii_uppercase().replace('-', "_"));
        let said = |place, value| ask(place, Some((name, value)), &question);
        assert_eq!(said("/app", "t=1"), "t=1", "without the directive it is a header like others");
        assert_ne!(said("/app/on", "t=1"), "t=1", "a client cannot make itself wait");
        assert_eq!(said("/app/proxied", "t=1700000000.123"), "t=1700000000.123");
        assert_ne!(said("/app/proxied", "t=now"), "t=now");
    }
}
