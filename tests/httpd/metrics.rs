//! Metrics, health and status: told from memory, whatever becomes of workers and of httpd.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Response, Running, environment, until};

use crate::HELLO;

/// What the query string says: waits without letting go of Python's lock, exits, or fails.
const APPLICATION: &str = r#"
import ctypes, os


def application(environ, start_response):
    match environ["QUERY_STRING"]:
        case "hang":
            ctypes.PyDLL(None).sleep(600)
        case "exit":
            os._exit(3)
        case "fail":
            raise RuntimeError("asked for")
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"x" * 1000 + body]
"#;

/// The three handlers at places of their own.
const PLACES: &str = "<Location /metrics>\nSetHandler wsgi-metrics\n</Location>\n\
                      <Location /health>\nSetHandler wsgi-health\n</Location>\n\
                      <Location /status>\nSetHandler wsgi-status\n</Location>\n";

/// A group whose application is at `/app`, and the handlers.
fn httpd(options: &str) -> Httpd {
    Httpd::new().app("app.wsgi", APPLICATION).conf(&format!(
        "WSGIDaemonProcess app user={{user}} group={{group}} {options}\n\
         WSGIScriptAlias /app {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}\n\
         {PLACES}"
    ))
}

/// All samples by name and labels.
type Samples = BTreeMap<String, f64>;

fn read(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        (series.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

#[track_caller]
fn metrics(httpd: &Running) -> Samples {
    read(&httpd.get("/metrics").assert(200).text())
}

/// The sample of the group, with these labels beside.
fn of_app(samples: &Samples, name: &str, labels: &str) -> f64 {
    let group = r#"server="localhost",process_group="app",application_group="%{GLOBAL}""#;
    samples.get(&format!("{name}{{{group}{labels}}}")).copied().unwrap_or(f64::NAN)
}

/// Waits until this sample has this value.
#[track_caller]
fn wait_for(httpd: &Running, name: &str, labels: &str, wanted: f64) -> Samples {
    let look = || Some(metrics(httpd)).filter(|it| of_app(it, name, labels) >= wanted);
    until(look).unwrap_or_else(|| {
        let text = httpd.get("/metrics").text();
        panic!("{name}{labels} is not {wanted}:\n{text}")
    })
}

/// Waits until httpd says that it is ready.
#[track_caller]
fn ready(httpd: &Running) -> Response {
    until(|| Some(httpd.get("/health")).filter(|it| it.status == 200)).expect("it is ready")
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_bucket", "_count", "_sum"].iter().any(|suffix| name.ends_with(suffix))
}

/// What was counted is counted still.
#[track_caller]
fn nothing_fell(before: &Samples, after: &Samples) {
    for (series, value) in before.iter().filter(|(series, _)| is_counter(series)) {
        let now = after.get(series);
        assert!(now.is_some_and(|now| now >= value), "{series}: {value}, then {now:?}");
    }
}

fn wsgictl(httpd: &Running, words: &[&str]) -> String {
    let mut command = Command::new(environment::dist().join("wsgictl"));
    command.arg("--prefix").arg(httpd.dir().join("run/wsgi")).args(words);
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What httpd answers who wants OpenMetrics.
fn openmetrics(httpd: &Running) -> Response {
    let accept = [("Accept", "application/openmetrics-text; version=1.0.0")];
    httpd.request("GET", "/metrics", &accept, b"")
}

#[test]
fn no_counter_falls_whatever_is_replaced() {
    let httpd = httpd("threads=2").expect_log("worker ").expect_log("wsgi-supervisor").start();
    let ask = || httpd.get("/app").assert(200);
    for _ in 0..5 {
        ask();
    }
    httpd.request("POST", "/app", &[], &[b'y'; 5000]).assert(200);
    let first = wait_for(&httpd, "wsgi_requests_total", r#",class="2xx""#, 6.0);
    assert!(of_app(&first, "wsgi_response_body_bytes_total", "") >= 11_000.0);
    assert_eq!(of_app(&first, "wsgi_request_body_bytes_total", ""), 5000.0);
    for phase in ["request_queue", "request_application", "response_send"] {
        let count = of_app(&first, &format!("wsgi_{phase}_seconds_count"), "");
        assert_eq!(count, 6.0, "{phase}");
    }
    assert_eq!(of_app(&first, "wsgi_request_receive_seconds_count", ""), 1.0);

    let worker = httpd.workers().first().expect("a worker").pid;
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it runs");
    let killed = wait_for(&httpd, "wsgi_worker_restarts_total", r#",cause="signal""#, 1.0);
    nothing_fell(&first, &killed);
    ask();

    wsgictl(&httpd, &["reload", "app"]);
    let reloaded = wait_for(&httpd, "wsgi_worker_reloads_total", r#",result="replaced""#, 1.0);
    nothing_fell(&killed, &reloaded);
    assert_eq!(of_app(&reloaded, "wsgi_worker_restarts_total", r#",cause="reload""#), 1.0);

    httpd.graceful();
    ask();
    let graceful = wait_for(&httpd, "wsgi_requests_total", r#",class="2xx""#, 8.0);
    nothing_fell(&reloaded, &graceful);

    let supervisor = httpd.supervisor().expect("a supervisor").pid;
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("it runs");
    until(|| httpd.supervisor().filter(|it| it.pid != supervisor)).expect("another one");
    ask();
    let replaced = wait_for(&httpd, "wsgi_workers_serving", "", 1.0);
    nothing_fell(&graceful, &replaced);

    let command = read(&wsgictl(&httpd, &["metrics"]));
    nothing_fell(&replaced, &command);
    assert!(of_app(&command, "wsgi_workers_resident_bytes", "") > 1e6);
}

#[test]
fn a_worker_that_ends_by_itself_and_a_failing_application_are_told_apart() {
    let httpd = httpd("threads=2").expect_log("").start();
    httpd.get("/app?fail").assert(500);
    httpd.get("/app?exit").assert(502);
    wait_for(&httpd, "wsgi_requests_total", r#",class="5xx""#, 2.0);
    let samples = wait_for(&httpd, "wsgi_worker_restarts_total", r#",cause="exit""#, 1.0);
    assert_eq!(of_app(&samples, "wsgi_worker_restarts_total", r#",cause="signal""#), 0.0);
}

#[test]
fn an_application_that_holds_the_lock_is_seen_from_outside() {
    let httpd = httpd("threads=1 shutdown-timeout=1 graceful-timeout=1").expect_log("").start();
    httpd.get("/app").assert(200);
    let mut connections: Vec<_> = (0..3).map(|_| httpd.connect()).collect();
    for connection in &mut connections {
        let request = "GET /app?hang HTTP/1.1\r\nHost: localhost\r\n\r\n";
        connection.send(request.as_bytes()).expect("it is sent");
    }
    let samples = wait_for(&httpd, "wsgi_requests_in_flight", "", 3.0);
    assert_eq!(of_app(&samples, "wsgi_threads_busy", ""), 1.0);
    assert_eq!(of_app(&samples, "wsgi_threads_free", ""), 0.0);
    assert_eq!(of_app(&samples, "wsgi_requests_waiting", ""), 2.0);
    let command = read(&wsgictl(&httpd, &["metrics"]));
    assert_eq!(of_app(&command, "wsgi_requests_in_flight", ""), 3.0);
    assert!(httpd.get("/status").assert(200).text().contains("<td>app</td>"));
    for worker in httpd.workers() {
        let _ = kill(Pid::from_raw(worker.pid), Signal::SIGKILL);
    }
}

#[test]
fn requests_that_are_refused_say_why() {
    let httpd = httpd("threads=1 listen-backlog=0 queue-timeout=1").expect_log("").start();
    httpd.get("/app").assert(200);
    // One that comes before the thread is free again is refused itself.
    let mut connections = Vec::new();
    let refused = until(|| {
        let mut connection = httpd.connect();
        connection.send(b"GET /app?hang HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is sent");
        connections.push(connection);
        Some(httpd.get("/app").status).filter(|status| *status != 200)
    });
    assert!(matches!(refused, Some(503 | 504)), "{refused:?}");
    let samples = metrics(&httpd);
    let of = |reason| of_app(&samples, "wsgi_refused_requests_total", reason);
    assert!(of(r#",reason="full""#) + of(r#",reason="queue_timeout""#) >= 1.0, "{samples:?}");
    for worker in httpd.workers() {
        let _ = kill(Pid::from_raw(worker.pid), Signal::SIGKILL);
    }
}

/// Has Prometheus' own tool check what is told.
#[test]
fn both_formats_are_well_formed() {
    let httpd = httpd("threads=1").start();
    httpd.get("/app?secret=1").assert(200);
    wait_for(&httpd, "wsgi_requests_total", r#",class="2xx""#, 1.0);
    let text = httpd.get("/metrics").assert(200);
    assert_eq!(text.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    promtool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool, of Debian's package prometheus");
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(text.text().as_bytes()).expect("it reads");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && told.is_empty(), "{}", String::from_utf8_lossy(&told));

    let text = openmetrics(&httpd).assert(200);
    let content_type = text.header("Content-Type").expect("a type").to_owned();
    assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    let text = text.text();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    assert!(text.contains("# TYPE wsgi_requests counter\n"), "{text}");
    assert!(text.contains("# UNIT wsgi_request_queue_seconds seconds\n"), "{text}");
    assert!(!text.contains("secret") && !text.contains("pid"), "{text}");
}

#[test]
fn strangers_see_nothing_unless_the_configuration_says_so() {
    let open = "<Location /open>\nSetHandler wsgi-metrics\nWSGIStatusLocal Off\n</Location>\n\
                <Location /shut>\nSetHandler wsgi-metrics\nWSGIStatusLocal Off\n\
                Require all denied\n</Location>";
    let httpd = httpd("threads=1")
        .conf(open)
        .expect_log("answers only clients")
        .expect_log("client denied")
        .start();
    ready(&httpd);
    for place in ["/metrics", "/health", "/health/live", "/status"] {
        httpd.get(place).assert(200);
        for header in ["X-Forwarded-For", "Forwarded", "Via"] {
            httpd.request("GET", place, &[(header, "192.0.2.1")], b"").assert(403);
        }
        httpd.request("POST", place, &[], b"x").assert(405);
    }
    httpd.request("GET", "/open", &[("X-Forwarded-For", "192.0.2.1")], b"").assert(200);
    httpd.get("/shut").assert(403);
}

#[test]
fn an_inner_section_decides_who_sees_the_pages() {
    let nested = "WSGIStatusLocal Off\n<Location /health>\nWSGIStatusLocal On\n</Location>";
    let httpd = httpd("threads=1").conf(nested).expect_log("answers only clients").start();
    let forwarded = [("X-Forwarded-For", "192.0.2.1")];
    httpd.request("GET", "/metrics", &forwarded, b"").assert(200);
    httpd.request("GET", "/health", &forwarded, b"").assert(403);
}

#[test]
fn health_says_what_is_missing() {
    let httpd = Httpd::new()
        .app("good.wsgi", HELLO)
        .app("bad.wsgi", "import nothing_of_this_name\n")
        .expect_log("/nonexistent")
        .conf(&format!(
            "WSGIDaemonProcess good user={{user}} group={{group}} threads=1\n\
             WSGIScriptAlias /good {{apps}}/good.wsgi process-group=good \
             application-group=%{{GLOBAL}}\n# More.\n{PLACES}"
        ))
        .start();
    assert_eq!(ready(&httpd).text(), "ready\n");
    assert_eq!(httpd.get("/health/live").assert(200).text(), "alive\n");

    httpd.edit_conf(|line| match line {
        "# More." => format!(
            "WSGIDaemonProcess bad user={} threads=1 python-home=/nonexistent\n\
             WSGIImportScript {}/apps/bad.wsgi process-group=bad application-group=%{{GLOBAL}}",
            testkit::app_user().0,
            httpd.dir().display()
        ),
        line => line.to_owned(),
    });
    httpd.graceful();
    let missing = |response: &Response| {
        let text = response.text();
        text.contains("Process group 'bad'") && !text.contains("'good'")
    };
    until(|| Some(httpd.get("/health")).filter(missing)).expect("it tells").assert(503);
    httpd.get("/health/live").assert(200);
    httpd.get("/good").assert(200);
}

/// An application that could not be loaded in advance is missing until a request has loaded it.
#[test]
fn a_worker_without_its_code_is_not_ready() {
    let httpd = Httpd::new()
        .app("app.wsgi", "raise RuntimeError('not yet')\n")
        .expect_log("")
        .conf(&format!(
            "WSGIDaemonProcess app user={{user}} group={{group}} threads=1\n\
             WSGIScriptAlias /app {{apps}}/app.wsgi process-group=app application-group=%{{GLOBAL}}\n\
             {PLACES}"
        ))
        .start();
    httpd.get("/app").assert(500);
    assert!(httpd.get("/health").assert(503).text().contains("has loaded its scripts"));
    httpd.replace_app("app.wsgi", HELLO);
    httpd.get("/app").assert(200);
    ready(&httpd);
}

#[test]
fn mod_status_has_a_section_and_keys() {
    let status = "LoadModule status_module {modules}/mod_status.so\n\
                  <Location /server-status>\nSetHandler server-status\n</Location>";
    let httpd = httpd("threads=3").conf(status).start();
    httpd.get("/app").assert(200);
    wait_for(&httpd, "wsgi_requests_total", r#",class="2xx""#, 1.0);
    let page = httpd.get("/server-status").assert(200).text();
    assert!(page.contains("<h2>WSGI</h2>") && page.contains("<td>app</td>"), "{page}");
    let keys = httpd.get("/server-status?auto").assert(200).text();
    for line in ["WSGIRequests: 1\n", "WSGIThreads: 3\n", "WSGIWorkers: 1\n", "WSGIRestarts: 0\n"] {
        assert!(keys.contains(line), "{keys}");
    }
    assert!(!keys.contains('<'), "{keys}");
}

/// The alerts of `examples/monitoring` come when they should, and not when they should not; and all
/// metrics that the examples name exist.
#[test]
fn the_examples_fit_the_metrics() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = root.join("examples/monitoring");
    let promtool = |arguments: &[&str]| {
        let mut promtool = Command::new("promtool");
        let output = promtool.args(arguments).current_dir(&examples).output();
        let output = output.expect("promtool, of Debian's package prometheus");
        let told = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&told));
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);

    let httpd = httpd("threads=1").start();
    httpd.get("/app").assert(200);
    let samples = wait_for(&httpd, "wsgi_requests_total", r#",class="2xx""#, 1.0);
    let names: Vec<_> = samples.keys().filter_map(|series| series.split('{').next()).collect();
    // The queries of the dashboard are expressions, once its variables have values.
    let dashboard = std::fs::read_to_string(examples.join("grafana.json")).expect("it is there");
    let query = |line: &str| {
        let line = line.trim().strip_prefix("\"expr\": \"")?;
        let query = line.trim_end_matches(',').strip_suffix('"')?.replace("\\\"", "\"");
        Some(query.replace("$__rate_interval", "5m").replace("$server", ".*"))
    };
    let rules = dashboard.lines().filter_map(query).enumerate().map(|(number, query)| {
        format!("  - record: query:{number}\n    expr: >-\n      {query}\n")
    });
    let rules: String = rules.collect();
    assert!(rules.contains("query:9"), "{rules}");
    let file = httpd.dir().join("queries.yml");
    std::fs::write(&file, format!("groups:\n- name: queries\n  rules:\n{rules}")).expect("written");
    promtool(&["check", "rules", file.to_str().expect("text")]);
    for file in ["alerts.yml", "grafana.json"] {
        let text = std::fs::read_to_string(examples.join(file)).expect("it is there");
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let words = text.split(|c: char| !is_part(c));
        let named: Vec<_> = words.filter(|word| word.starts_with("wsgi_")).collect();
        assert!(!named.is_empty(), "{file} names no metric");
        for name in named {
            assert!(names.contains(&name), "{file}: there is no {name}");
        }
    }
}
