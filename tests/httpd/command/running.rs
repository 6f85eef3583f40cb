//! `start-server`: what is said and logged, signals, kinds of applications, and where options come
//! from.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{Connection, Process, Workplace, environment, until};

use super::{WHERE, text};

#[test]
fn a_server_says_what_it_is_and_logs_to_the_terminal() {
    let loud = WHERE.replace("    start_response(", "    print('said')\n    start_response(");
    let workplace = Workplace::new(&[("app.wsgi", &loud)]);
    let mut server = workplace.start(&["app.wsgi"]);
    let text = server.wait_for("/a", 200).text();
    assert!(text.starts_with(", /a, localhost:"), "{text}");
    let url = format!("http://localhost:{}/", server.workplace().port());
    for said in [&*url, "/app.wsgi at / with the default Python, /", "/server/apachectl", "said"] {
        server.wait_for_error(said);
    }
    let logged = until(|| server.output().contains("\"GET /a HTTP/1.1\" 200").then_some(()));
    assert!(logged.is_some(), "{}", server.output());
    assert!(!server.errors().contains('\x1b'), "{}", server.errors());
    // As from a terminal whose window gets another size.
    server.signal(Signal::SIGWINCH);
    server.wait_for("/b", 200);
    // httpd's own orders reach it. It overlooks one that comes before it is ready.
    let ready = || server.errors().matches("resuming normal operations").count();
    for signal in [Signal::SIGUSR1, Signal::SIGHUP] {
        let before = ready();
        server.signal(signal);
        assert!(until(|| (ready() > before).then_some(())).is_some(), "{}", server.errors());
        server.wait_for_error(&format!("{signal} received"));
        server.wait_for("/c", 200);
    }
    server.signal(Signal::SIGINT);
    assert!(server.end().expect("all of it ends").success());
}

#[test]
fn logs_go_to_a_folder_where_one_is_named() {
    let workplace = Workplace::new(&[(
        "app.wsgi",
        &WHERE.replace("    start_", "    print('said')\n    start_"),
    )]);
    let server = workplace.start(&["app.wsgi", "--log-directory=logs", "--access-log"]);
    server.wait_for("/a", 200);
    server.wait_for_error("/logs/error_log");
    for (name, line) in [("error_log", "said"), ("access_log", "\"GET /a HTTP/1.1\" 200")] {
        let path = server.workplace().dir().join("logs").join(name);
        let log = || fs::read_to_string(&path).unwrap_or_default();
        assert!(until(|| log().contains(line).then_some(())).is_some(), "{name}: {}", log());
    }
    assert_eq!(server.output(), "");
}

#[test]
fn many_clients_may_wait_where_nothing_is_said_about_that() {
    let slow = "import time\n\n\ndef application(environ, start_response):\n    time.sleep(0.05)\n    \
                start_response('200 OK', [])\n    return [b'']\n";
    let server = Workplace::new(&[("app.wsgi", slow)]).start(&["app.wsgi"]);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || server.get("/").map_or(0, |response| response.status);
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap_or_default()).collect()
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}\n{}", server.errors());
}

#[test]
fn one_server_at_a_time_has_its_files_and_what_an_earlier_one_has_left_is_no_other() {
    let workplace = Workplace::new(&[("app.wsgi", WHERE)]);
    // As in a container that is started anew, where this process is another one.
    workplace.write("server/httpd.pid", &format!("{}\n", std::process::id()));
    let server = workplace.start(&["app.wsgi"]);
    server.wait_for("/a", 200);
    let usual = server.workplace().usual();
    let words = ["start-server", "app.wsgi"].into_iter().chain(usual.iter().map(String::as_str));
    let second = server.workplace().run(&words.collect::<Vec<_>>());
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("there is a server at") && said.contains("--server-root"), "{said}");
    server.wait_for("/a", 200);
}

#[test]
fn a_stop_lets_requests_end() {
    let slow = r#"
import os


def application(environ, start_response):
    open(os.path.join(os.path.dirname(os.path.abspath("app.wsgi")), "open", "begun"), "w").close()
    while not os.path.exists("goon"):
        pass
    start_response("200 OK", [])
    return [b"to its end"]
"#;
    let workplace = Workplace::new(&[("app.wsgi", slow), ("open/x", "")]);
    let folder = workplace.dir().to_owned();
    fs::set_permissions(folder.join("open"), Permissions::from_mode(0o777)).expect("it is ours");
    let mut server = workplace.start(&["app.wsgi", "--shutdown-timeout=30"]);
    let answer = std::thread::scope(|scope| {
        let request = scope.spawn(|| server.get("/"));
        assert!(until(|| folder.join("open/begun").exists().then_some(())).is_some());
        server.signal(Signal::SIGTERM);
        server.wait_for_error("shutting down gracefully");
        server.workplace().write("goon", "");
        request.join().expect("it returns")
    });
    assert_eq!(answer.expect("an answer").text(), "to its end");
    assert!(server.end().expect("all of it ends").success());
}

#[test]
fn a_stop_loses_none_of_many_clients_that_wait() {
    let slow = "import time\n\n\ndef application(environ, start_response):\n    time.sleep(0.05)\n    \
                start_response('200 OK', [])\n    return [b'']\n";
    let workplace = Workplace::new(&[("app.wsgi", slow)]);
    let mut server =
        workplace.start(&["app.wsgi", "--daemon-backlog=250", "--shutdown-timeout=60"]);
    server.wait_for("/", 200);
    let port = server.workplace().port();
    let connect = |_| Connection::open(port).expect("there is room in the queue");
    let clients: Vec<_> = (0..200).map(connect).collect();
    let begun = AtomicUsize::new(0);
    let ask = |mut client: Connection| {
        begun.fetch_add(1, Ordering::Relaxed);
        client.request("GET", "/", &[], b"").map_or(0, |response| response.status)
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || ask(client))).collect();
        assert!(until(|| (begun.load(Ordering::Relaxed) == 200).then_some(())).is_some());
        server.signal(Signal::SIGTERM);
        asked.into_iter().map(|client| client.join().unwrap_or_default()).collect()
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}\n{}", server.errors());
    assert!(server.end().expect("all of it ends").success());
}

#[test]
fn a_burst_waits_where_there_are_few_threads() {
    let slow = "import time\n\n\ndef application(environ, start_response):\n    time.sleep(0.02)\n    \
                start_response('200 OK', [])\n    return [b'']\n";
    let workplace = Workplace::new(&[("app.wsgi", slow)]);
    let server = workplace.start(&["app.wsgi", "--max-clients=20"]);
    server.wait_for("/", 200);
    let port = server.workplace().port();
    let ask = || {
        let mut client = Connection::open(port).expect("there is room in the queue");
        client.request("GET", "/", &[], b"").map_or(0, |response| response.status)
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|client| client.join().unwrap_or_default()).collect()
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}\n{}", server.errors());
}

#[test]
fn orphans_are_reaped_by_process_1() {
    let orphaning = r#"
import os


def application(environ, start_response):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
    start_response("200 OK", [])
    return [b""]
"#;
    let may = Command::new("unshare").args(["--pid", "--fork", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        testkit::skipped("only root can make a process 1, and in a container not even root");
        return;
    }
    let workplace = Workplace::new(&[("app.wsgi", orphaning)]);
    let program = environment::dist().join("mod_wsgi-rs");
    let program = program.display().to_string();
    let usual = workplace.usual();
    let words = ["--pid", "--fork", "--kill-child", &program, "start-server", "app.wsgi"];
    let words: Vec<&str> = words.into_iter().chain(usual.iter().map(String::as_str)).collect();
    let mut command = Command::new("unshare");
    workplace.prepare(&mut command, &words);
    let server = workplace.spawn(command);
    server.wait_for("/", 200);
    let all = || Process::all().into_iter().filter(|process| process.program == "mod_wsgi-rs");
    let first =
        all().find(|process| process.command().contains(&server.workplace().port().to_string()));
    let first = first.expect("process 1 of its namespace");
    let zombies =
        || Process::descendants(first.pid).into_iter().filter(|process| process.zombie).count();
    assert!(
        until(|| (zombies() == 0).then_some(())).is_some(),
        "{:?}",
        Process::descendants(first.pid)
    );
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.pid), Signal::SIGTERM)
        .expect("it runs");
    let mut server = server;
    server.end().expect("all of it ends");
}

#[test]
fn several_applications_have_a_python_each() {
    let venv = environment::venv();
    let other = format!("--app=/other=app.wsgi,python={}", venv.display());
    let by_interpreter =
        format!("--app=/deep/in=mine.site:make_app(\"made\"),python={}/bin/python", venv.display());
    let factory = "def make_app(word):\n    def site(environ, start_response):\n        \
                   start_response('200 OK', [])\n        \
                   return [f\"{word} {environ['SCRIPT_NAME']}\".encode()]\n    return site\n";
    let workplace = Workplace::new(&[("app.wsgi", WHERE), ("mine/site.py", factory)]);
    let server = workplace.start(&["app.wsgi", &other, &by_interpreter]);
    let first = server.wait_for("/a", 200).text();
    let second = server.wait_for("/other/a", 200).text();
    assert!(!first.contains(&venv.display().to_string()), "{first}");
    assert!(second.starts_with("/other, /a, localhost:"), "{second}");
    assert!(second.contains(&venv.display().to_string()), "{second}");
    assert_eq!(server.wait_for("/deep/in/a", 200).text(), "made /deep/in");
}

#[test]
fn applications_are_found_as_flask_finds_them() {
    let named = |name: &str| {
        format!("def {name}:\n    return lambda e, s: (s('200 OK', []), [b'{name}'])[1]\n")
    };
    for (source, words, expected) in [
        (WHERE.replace("application", "app"), &["app.wsgi"][..], ", /, localhost:"),
        (named("create_app()"), &["app.wsgi"], "create_app()"),
        (named("make_app(a, b=None)"), &["app.wsgi:make_app(1, b=2)"], "make_app(a, b=None)"),
        (named("other()"), &["app.wsgi", "--callable-object=other()"], "other()"),
    ] {
        let server = Workplace::new(&[("app.wsgi", &source)]).start(words);
        let text = server.wait_for("/", 200).text();
        assert!(text.starts_with(expected), "{words:?}: {text}");
    }
    let server = Workplace::new(&[("app.wsgi", "x = 1\n")]).start(&["app.wsgi"]);
    server.wait_for("/", 500);
    server.wait_for_error("has neither application nor app");
}

#[test]
fn files_and_programs_need_no_python() {
    let program =
        "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho $SCRIPT_NAME $PATH_INFO\n";
    let files = [("files/x.txt", "x"), ("files/run.cgi", program)];
    let start = |words: &[&str]| {
        let workplace = Workplace::new(&files);
        let path = workplace.dir().join("files/run.cgi");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("it is ours");
        workplace.start(words)
    };
    let server = start(&["--application-type=static", "files"]);
    assert_eq!(server.wait_for("/x.txt", 200).text(), "x");
    server.wait_for("/none", 404);
    let server = start(&["--application-type=cgi", "files"]);
    assert_eq!(server.wait_for("/run.cgi/a", 200).text(), "/run.cgi /a\n");
    let server = start(&["--application-type=cgi", "files/run.cgi", "--mount-point=/sub"]);
    assert_eq!(server.wait_for("/sub/a", 200).text(), "/sub /a\n");
}

#[test]
fn options_come_from_variables_and_files() {
    let project = "[tool.mod_wsgi_rs]\nscript = \"none.wsgi\"\nmount-point = \"/project\"\n\
                   env-file = [\"variables\"]\n";
    let workplace = Workplace::new(&[
        ("app.wsgi", WHERE),
        ("pyproject.toml", project),
        ("variables", "SECRET='from a file'\n"),
    ]);
    let usual = workplace.usual();
    let words: Vec<&str> =
        ["start-server"].into_iter().chain(usual.iter().map(String::as_str)).collect();
    let mut command = workplace.command(&words);
    command.env("MOD_WSGI_RS_SCRIPT", "app.wsgi").env("MOD_WSGI_RS_PROCESS_GROUP", "mine");
    let server = workplace.spawn(command);
    let text = server.wait_for("/project/a", 200).text();
    assert!(text.starts_with("/project, /a, mine, "), "{text}");
    assert!(text.ends_with(", from a file"), "{text}");
}

#[test]
fn djangos_command_takes_what_the_settings_say() {
    let settings = r#"
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["mod_wsgi_rs.django"]
ROOT_URLCONF = "site_.urls"
WSGI_APPLICATION = "site_.wsgi.application"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "files"
"#;
    let urls = "import sys\nfrom django.http import HttpResponse\nfrom django.urls import path\n\
                urlpatterns = [path('', lambda request: HttpResponse(sys.prefix))]\n";
    let wsgi = "import os\nfrom django.core.wsgi import get_wsgi_application\n\
                os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_.settings')\n\
                application = get_wsgi_application()\n";
    let manage = "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site_.settings'\n\
                  from django.core.management import execute_from_command_line\n\
                  execute_from_command_line(sys.argv)\n";
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/python");
    let workplace = Workplace::new(&[
        ("site_/settings.py", settings),
        ("site_/urls.py", urls),
        ("site_/wsgi.py", wsgi),
        ("manage.py", manage),
        ("files/a.css", "style"),
    ]);
    // The site runs as another user, to which a checkout may be closed.
    copy_package(package.as_ref(), &workplace, "mod_wsgi_rs");
    let usual = workplace.usual();
    let words = ["manage.py", "runmodwsgi", "--threads=2"];
    let words: Vec<&str> = words.into_iter().chain(usual.iter().map(String::as_str)).collect();
    let venv = environment::venv();
    let mut command = Command::new(venv.join("bin/python"));
    workplace.prepare(&mut command, &words);
    let path = format!("{}:/usr/sbin:/usr/bin:/bin", environment::dist().display());
    let server = workplace.spawn({
        command.env("PATH", path);
        command
    });
    assert_eq!(server.wait_for("/", 200).text(), venv.display().to_string());
    assert_eq!(server.wait_for("/static/a.css", 200).text(), "style");
    server.wait_for_error("site_.wsgi:application at /");
}

/// Copies the Python package into the folder.
fn copy_package(from: &std::path::Path, workplace: &Workplace, name: &str) {
    for entry in fs::read_dir(from.join(name)).expect("the package is there").flatten() {
        let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            copy_package(from, workplace, &inner);
        } else if let Ok(source) = fs::read_to_string(entry.path()) {
            workplace.write(&inner, &source);
        }
    }
}

#[test]
fn all_that_is_logged_becomes_json() {
    let source = r#"
import os, sys


def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise KeyError("of the application")
    print('quotes " \\ and \x1b controls \x00 and é€', file=environ["wsgi.errors"])
    os.write(2, b"to the descriptor: \xff\xfe \"\\\n")
    print("long " + "x\"" * 20_000 + " end", file=sys.stderr)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["mod_wsgi.request_id"].encode()]
"#;
    let workplace = Workplace::new(&[("app.wsgi", source)]);
    let mut server = workplace.start(&["app.wsgi", "--log-json", "--log-level=info"]);
    let id = server.wait_for("/said", 200).text();
    server.wait_for("/raise?\"", 500);
    server.wait_for_error("of the application");
    let logged = until(|| server.output().contains("GET /raise?").then_some(()));
    assert!(logged.is_some(), "{}", server.output());
    server.signal(Signal::SIGTERM);
    assert!(server.end().expect("all of it ends").success());

    let objects = |text: String| -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        text.lines().map(parse).collect()
    };
    let (errors, requests) = (objects(server.errors()), objects(server.output()));
    for object in errors.iter().chain(&requests) {
        for name in ["time", "level", "message"] {
            assert!(object[name].is_string(), "{name}: {object}");
        }
        assert!(object["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{object}");
    }
    let find = |objects: &[Value], text: &str| -> Value {
        let has =
            |object: &&Value| object["message"].as_str().is_some_and(|said| said.contains(text));
        objects.iter().find(has).unwrap_or_else(|| panic!("{text:?}: {objects:#?}")).clone()
    };
    let said = find(&errors, "quotes \" \\ and \u{1b} controls");
    assert!(said["message"].as_str().is_some_and(|text| text.contains("é€")), "{said}");
    assert_eq!(
        (&said["level"], &said["request_id"]),
        (&"error".into(), &id.as_str().into()),
        "{said}"
    );
    assert!(said["pid"].is_u64() && said["process_group"].is_string(), "{said}");
    find(&errors, "to the descriptor: \\xff\\xfe \"\\");
    let long = errors.iter().filter_map(|object| object["message"].as_str());
    assert!(long.map(|text| text.matches("x\"").count()).sum::<usize>() > 19_000);
    find(&errors, "KeyError: 'of the application'");
    assert_eq!(find(&errors, "resuming normal operations")["logger"], "mpm_event");
    assert_eq!(find(&errors, "http://localhost:")["logger"], "mod_wsgi-rs");
    let request = find(&requests, "GET /said HTTP/1.1");
    assert_eq!(
        (&request["status"], &request["request_id"]),
        (&200.into(), &id.into()),
        "{request}"
    );
    assert!(request["seconds"].is_f64() && request["bytes"].is_u64(), "{request}");
    assert_eq!(find(&requests, "GET /raise?\" HTTP/1.1")["status"], 500);
}

#[test]
fn json_is_for_logs_that_the_command_passes_on() {
    let workplace = Workplace::new(&[("app.wsgi", WHERE)]);
    for (words, expected) in [
        (&["setup-server", "app.wsgi", "--log-json"][..], "--log-json is for start-server"),
        (
            &["start-server", "app.wsgi", "--log-json", "--log-directory=logs"],
            "cannot be used with",
        ),
        (
            &["start-server", "app.wsgi", "--log-json", "--access-log-format=%h"],
            "cannot be used with",
        ),
    ] {
        let output = workplace.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output).contains(expected), "{words:?}: {}", text(&output));
    }
    // What is wrong before httpd has its logs is JSON, too.
    let output =
        workplace.run(&["start-server", "app.wsgi", "--log-json", "--include-file=/none/\"such"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("/none/"), "{said}");
    for line in said.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}
