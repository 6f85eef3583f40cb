//! The examples, with the frameworks that people use, under every MPM and every Python.

use std::path::Path;

use testkit::{Httpd, Mpm, environment};

const FLASK: &str = include_str!("../../examples/flask/app.py");
const GUIDES_WRAPPER: &str = include_str!("../../examples/flask/my-application.wsgi");
const DJANGO: &str = include_str!("../../examples/django/django.wsgi");
const DJANGO_SETTINGS: &str = include_str!("../../examples/django/mysite/settings.py");
const DJANGO_URLS: &str = include_str!("../../examples/django/mysite/urls.py");
const HELLO: &str = include_str!("../../examples/hello/hello.wsgi");

/// The wrapper as one writes it today.
const WRAPPER: &str = "\
import os, sys
sys.path.insert(0, os.path.dirname(__file__))

from app import app as application
";

/// Flask at `/flask`, Django at `/django`, each in a group with this environment.
fn both(venv: &Path) -> Httpd {
    let group = |name: &str| {
        format!(
            "WSGIDaemonProcess {name} user={{user}} group={{group}} threads=4 python-home={venv}\n\
             WSGIScriptAlias /{name} {{apps}}/{name}.wsgi process-group={name} \
             application-group=%{{GLOBAL}}",
            venv = venv.display(),
        )
    };
    Httpd::new()
        .app("flask.wsgi", WRAPPER)
        .app("app.py", FLASK)
        .app("django.wsgi", DJANGO)
        .app("mysite/__init__.py", "")
        .app("mysite/settings.py", DJANGO_SETTINGS)
        .app("mysite/urls.py", DJANGO_URLS)
        .conf(&group("flask"))
        .conf(&group("django"))
        .expect_log("[wsgi:error]")
}

#[track_caller]
fn check(httpd: Httpd) {
    let httpd = httpd.start();
    let (user, _) = testkit::app_user();
    for (name, framework) in [("flask", "Flask"), ("django", "Django")] {
        let page = httpd.get(&format!("/{name}/")).assert(200).text();
        assert!(page.contains(&format!("Hello from {framework}")), "{page}");
        assert!(page.contains(&format!("as {user}")), "{page}");
        httpd.get(&format!("/{name}/error")).assert(500);
        httpd.get(&format!("/{name}/nothing-here")).assert(404);
    }
    let response = httpd.request("POST", "/django/length", &[], &[b'x'; 100_000]).assert(200);
    assert_eq!(response.text(), "{\"length\": 100000}");
    httpd.wait_for_log(&["RuntimeError: raised by the application"]);
}

#[test]
fn flask_and_django_under_every_mpm() {
    for mpm in Mpm::ALL {
        check(both(&environment::venv()).mpm(mpm));
    }
}

#[test]
fn every_other_python() {
    if testkit::ours_only("mod_wsgi has one version of Python per httpd") {
        return;
    }
    for venv in environment::other_venvs() {
        check(both(&venv));
    }
}

#[test]
fn the_guides_wrapper() {
    if testkit::ours_only("mod_wsgi offers scripts no execfile() with Python 3") {
        return;
    }
    let venv = environment::venv();
    // The paths are all that its reader fills in.
    let wrapper =
        GUIDES_WRAPPER.replace("/path/to/my-application/venv", &venv.display().to_string());
    assert!(wrapper.contains("execfile(activate_this"), "{wrapper}");
    let tell = "\nfrom flask import __file__ as flask_file\nimport sys\n\
                first = sys.path[0]\n\
                @application.get('/where')\n\
                def where():\n    return f'{first} {flask_file}'\n";
    let httpd = Httpd::new()
        .app("app.py", FLASK)
        .app("site.wsgi", &(wrapper + tell))
        .conf(
            "WSGIDaemonProcess my-application user={user} group={group} threads=12 home={apps}\n\
             WSGIScriptAlias / {apps}/site.wsgi\n\
             <Directory {apps}>\nWSGIProcessGroup my-application\n\
             WSGIApplicationGroup %{GLOBAL}\n</Directory>",
        )
        .start();
    assert!(httpd.get("/").assert(200).text().contains("Hello from Flask"));
    let page = httpd.get("/where").assert(200).text();
    let expected = format!("/path/to/my-application {}/", venv.display());
    assert!(page.starts_with(&expected), "{page} is not {expected}…");
}

#[test]
fn the_smallest_example() {
    let httpd =
        Httpd::new().app("hello.wsgi", HELLO).conf("WSGIScriptAlias / {apps}/hello.wsgi").start();
    assert_eq!(httpd.get("/").assert(200).text(), "Hello, world!\n");
}
