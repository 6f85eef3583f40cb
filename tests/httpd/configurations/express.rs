//! What `setup-server` of PyPI's `mod_wsgi-express`, or of our `mod_wsgi-rs`, generates, with one line
//! changed: the module's.

mod content;
mod hosts;

use testkit::{Express, Process};

const APPLICATION: &str = r#"
import os, pwd


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ["mod_wsgi.process_group", "mod_wsgi.application_group", "SCRIPT_NAME", "PATH_INFO"]
    seen = [environ[name] for name in names]
    seen += [str(environ["wsgi.multithread"]), str(environ["wsgi.multiprocess"])]
    seen += [os.getcwd(), pwd.getpwuid(os.geteuid()).pw_name, environ.get("REMOTE_USER", "")]
    seen += [environ[name] for name in ["REMOTE_ADDR", "HTTP_HOST", "wsgi.url_scheme"]]
    seen += [environ.get("SSL_PROTOCOL", ""), environ["SERVER_PROTOCOL"]]
    return [", ".join(seen).encode()]


def check_password(environ, user, password):
    return (user == password) if user != "nobody" else None


def groups_for_user(environ, user):
    return ["staff"] if user == "x" else []


def allow_access(environ, host):
    return "HTTP_X_UNWANTED" not in environ
"#;

const BASIC: (&str, &str) = ("Authorization", "Basic eDp4");

/// Sets up, starts, asks, restarts both ways, asks again, and stops.
#[track_caller]
fn check(options: &[&str], path: &str, headers: &[(&str, &str)], expected: &[&str]) {
    let server = Express::setup(APPLICATION, options).expect("mod_wsgi-express sets up");
    server.control("configtest");
    server.start("start");
    for command in ["graceful", "restart", ""] {
        let text = server.wait_for(path, headers, 200).text();
        for part in expected {
            let part = part.replace("{dir}", &server.dir().display().to_string());
            assert!(text.contains(&part), "{options:?} {command}: {part} is not in {text}");
        }
        if !command.is_empty() {
            server.start(command);
        }
    }
    server.stop().expect("it stops");
}

#[test]
fn as_it_is() {
    let user = testkit::app_user().0;
    check(&[], "/a", &[], &["localhost:", ", , , /a, True, False, {dir}, ", &user]);
}

#[test]
fn processes_and_threads() {
    let options = ["--processes", "2", "--threads", "1", "--maximum-requests", "1000"];
    check(&options, "/a", &[], &["False, True"]);
}

#[test]
fn reload_on_changes() {
    check(&["--reload-on-changes"], "/a", &[], &["localhost:"]);
}

#[test]
fn an_alias_for_files() {
    check(&["--url-alias", "/files", "{dir}"], "/files/app.wsgi", &[], &["def application"]);
}

#[test]
fn a_mount_point() {
    check(&["--mount-point", "/sub"], "/sub/a", &[], &["/sub, /a"]);
}

#[test]
fn passwords_of_a_script() {
    let options = ["--auth-user-script", "{dir}/app.wsgi"];
    check(&options, "/a", &[BASIC], &[", x"]);
    let server = Express::setup(APPLICATION, &options).expect("mod_wsgi-express sets up");
    server.start("start");
    server.wait_for("/a", &[], 401);
    server.wait_for("/a", &[("Authorization", "Basic eDp5")], 401);
}

#[test]
fn hosts_and_groups_of_a_script() {
    let options = [
        "--host-access-script={dir}/app.wsgi",
        "--auth-user-script={dir}/app.wsgi",
        "--auth-group-script={dir}/app.wsgi",
        "--auth-group=staff",
    ];
    check(&options, "/a", &[BASIC], &[", x"]);
    let server = Express::setup(APPLICATION, &options).expect("mod_wsgi-express sets up");
    server.start("start");
    server.wait_for("/a", &[("Authorization", "Basic eTp5")], 401);
    server.wait_for("/a", &[BASIC, ("X-Unwanted", "1")], 403);
}

/// Says where it is loaded.
const LOUD: &str = r#"
import mod_wsgi, os, pwd

print("loaded by", pwd.getpwuid(os.geteuid()).pw_name, "in", mod_wsgi.process_group)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("MARK", "").encode()]
"#;

#[test]
fn services() {
    let user = testkit::app_user().0;
    let options = [
        "--service-script=one",
        "{dir}/app.wsgi",
        "--service-script=two",
        "{dir}/app.wsgi",
        "--service-user=one",
        &user,
        "--service-log-file=two",
        "two.log",
    ];
    let server = Express::setup(LOUD, &options).expect("mod_wsgi-express sets up");
    server.control("configtest");
    server.start("start");
    server.wait_for("/", &[], 200);
    let log = |name: &str| {
        let path = server.dir().join("server").join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let one = format!("loaded by {user} in service:one");
    let two = format!("loaded by {user} in service:two");
    let found = testkit::until(|| {
        (log("error_log").contains(&one) && log("two.log").contains(&two)).then_some(())
    });
    assert!(found.is_some(), "{}{}", log("error_log"), log("two.log"));
    server.stop().expect("it stops");
}

#[test]
fn handlers_for_files() {
    let options = ["--add-handler=.wsgi", "{dir}/app.wsgi", "--document-root={dir}"];
    check(&options, "/app.wsgi", &[], &["/app.wsgi, , True"]);
}

#[test]
fn changing_over_while_httpd_runs() {
    if testkit::ours_only("there is nothing to change over to") || Express::is_ours() {
        return;
    }
    let server = Express::setup_original(APPLICATION, &[]).expect("mod_wsgi-express sets up");
    server.start("start");
    let before = server.wait_for("/a", &[], 200).text();
    server.change_over().expect("there is a line for the module");
    server.control("configtest");
    server.start("restart");
    assert_eq!(server.wait_for("/a", &[], 200).text(), before);
    let below = Process::descendants(server.pid().expect("httpd runs"));
    assert!(below.iter().any(|process| process.program == "wsgi-supervisor"), "{below:?}");
}

#[test]
fn set_up_again_by_ours_while_httpd_runs() {
    if testkit::ours_only("our own tool") || Express::is_ours() {
        return;
    }
    let options = ["--processes=2"];
    let server = Express::setup_original(APPLICATION, &options).expect("mod_wsgi-express sets up");
    server.write("server/envvars", "export HOME=/kept\n");
    server.start("start");
    let before = server.wait_for("/a", &[], 200).text();
    server.set_up_again(&options).expect("mod_wsgi-rs sets up");
    let kept = std::fs::read_to_string(server.dir().join("server/envvars"));
    assert_eq!(kept.expect("it is there"), "export HOME=/kept\n");
    server.control("configtest");
    // The script is the new one, and httpd that of the old one.
    server.start("restart");
    assert_eq!(server.wait_for("/a", &[], 200).text(), before);
    let below = Process::descendants(server.pid().expect("httpd runs"));
    assert!(below.iter().any(|process| process.program == "wsgi-supervisor"), "{below:?}");
    server.stop().expect("it stops");
}

#[test]
fn embedded_mode() {
    check(&["--embedded-mode"], "/a", &[], &[", , , /a"]);
}

#[test]
fn metrics() {
    let application = r#"
import mod_wsgi


def application(environ, start_response):
    mod_wsgi.start_recording_metrics()
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = [sorted(mod_wsgi.server_metrics())[:2], mod_wsgi.process_metrics()]
    return [str(seen).encode()]
"#;
    let options = [
        "--server-metrics",
        "--telemetry-service=unix:{dir}/telemetry.sock",
        "--telemetry-interval=0.5",
        "--telemetry-options=CaptureUserAgent",
        "--slow-requests=1",
    ];
    let server = Express::setup(application, &options).expect("mod_wsgi-express sets up");
    server.control("configtest");
    server.start("start");
    let text = server.wait_for("/", &[], 200).text();
    assert_eq!(text, "[['current_time', 'processes'], None]");
    server.stop().expect("it stops");
}

#[test]
fn many_options_together() {
    let options = [
        "--python-path=/usr/share",
        "--compress-responses",
        "--limit-request-body=1000",
        "--request-timeout=30",
        "--queue-timeout=20",
        "--shutdown-timeout=3",
        "--graceful-timeout=5",
        "--inactivity-timeout=600",
        "--deadlock-timeout=60",
        "--chunked-request",
        "--enable-sendfile",
        "--trust-proxy-header=X-Forwarded-For",
        "--trust-proxy=127.0.0.1",
        "--log-level=info",
        "--access-log",
        "--server-name=site.example",
        "--allow-localhost",
        "--map-head-to-get=On",
        "--error-override",
        "--ignore-activity=/status",
        "--disable-reloading",
        "--orphan-interpreter",
        "--python-warnings=ignore",
        "--switch-interval=0.01",
        "--interrupt-timeout=5",
        "--response-flush-delay=0",
        "--maximum-requests=1000",
        "--restart-interval=600",
        "--cpu-time-limit=600",
        "--server-status",
        "--setenv",
        "NAME",
        "value",
    ];
    check(&options, "/a", &[("X-Forwarded-For", "1.2.3.4")], &["/a"]);
}
