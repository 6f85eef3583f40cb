//! The page at `wsgi-status`: whole without its script, and shown by a real browser, Debian's chromium.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use metrics::{Cause, Metrics, Sampler};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Connection, Httpd, Running, until};

const APPLICATION: &str = r#"
import ctypes


def application(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        ctypes.PyDLL(None).sleep(600)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"#;

fn httpd() -> Running {
    Httpd::new()
        .app("app.wsgi", APPLICATION)
        .expect_log("")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=2 shutdown-timeout=1 \
             graceful-timeout=1\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             <Location /status>\nSetHandler wsgi-status\n</Location>",
        )
        .start()
}

/// Sends a request and does not wait for its answer.
fn send(httpd: &Running, path: &str) -> Connection {
    let mut connection = httpd.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: crumb=1\r\n\r\n");
    connection.send(request.as_bytes()).expect("it is sent");
    connection
}

fn end(httpd: &Running) {
    for worker in httpd.workers() {
        let _ = kill(Pid::from_raw(worker.pid), Signal::SIGKILL);
    }
}

/// The memory that httpd and its supervisor count in, as `wsgictl` gets it.
fn memory(httpd: &Running) -> Metrics {
    let socket = until(|| {
        let folders = std::fs::read_dir(httpd.dir().join("run")).ok()?.flatten();
        let sockets = folders.map(|folder| folder.path().join("admin.sock"));
        sockets.filter_map(|socket| std::os::unix::net::UnixStream::connect(socket).ok()).next()
    });
    let socket = socket.expect("the supervisor listens");
    let question = wire::admin::ToAdmin::Metrics { version: wire::VERSION };
    channel::send_message(&socket, &question).expect("it is sent");
    let mut inbox = channel::Inbox::with_descriptors();
    let answer = inbox.wait::<wire::admin::FromAdmin>(&socket, testkit::PATIENCE);
    let answer = answer.expect("an answer");
    assert_eq!(answer, wire::admin::FromAdmin::Metrics);
    Metrics::adopt(inbox.take_descriptor().expect("a descriptor")).expect("the same build's")
}

/// Has so many groups be as if they had served for an hour.
fn fill(metrics: &Metrics, groups: u64) {
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("later").as_secs() / 20;
    let places: Vec<_> = (0..groups)
        .map(|number| {
            let name = format!("site-{number:04}");
            metrics.define(name.as_bytes(), b"www.example.com");
            let place = metrics.place(name.as_bytes(), Some(b"")).expect("room");
            let slot = metrics.slot(place);
            slot.workers_serving.store(2, std::sync::atomic::Ordering::Relaxed);
            slot.threads.store(10, std::sync::atomic::Ordering::Relaxed);
            place
        })
        .collect();
    let mut sampler = Sampler::default();
    for interval in now - 179..now {
        for (number, place) in places.iter().enumerate() {
            let (slot, number) = (metrics.slot(*place), number as u64);
            let wave = (interval as f64 / (9.0 + number as f64 % 7.0)).sin() + 1.2;
            let load = (wave * (5.0 + (number % 13) as f64)) as u64 / (1 + groups / 100);
            for request in 0..load {
                slot.count_request(if request % 29 == 28 { 500 } else { 200 });
                let time = (20.0 * wave) as u64 * (1 + request % 5 * number % 3);
                slot.application.observe(Duration::from_millis(time));
            }
            let memory = (60 << 20) + (((interval % 60) << 18) * (1 + number % 3));
            slot.resident.store(memory, std::sync::atomic::Ordering::Relaxed);
        }
        sampler.take_at(metrics, interval);
    }
    if let Some(place) = places.first() {
        metrics.note_loss(*place, Cause::Signal, Some(4711), "signal 11 (SIGSEGV), core dumped");
    }
}

#[test]
fn the_page_is_whole_without_its_script() {
    let httpd = httpd();
    httpd.get("/app").assert(200);
    let metrics = memory(&httpd);
    fill(&metrics, 1);
    let _held = send(&httpd, "/app/hold?token=secret");
    let look = || {
        let page = httpd.get("/status").assert(200);
        // A worker has it.
        Some(page).filter(|page| page.text().contains("<td>accepted</td>"))
    };
    let page = until(look).expect("the request is shown");
    let policy = page.header("Content-Security-Policy").expect("a policy").to_owned();
    for part in ["default-src 'none'", "style-src 'sha256-", "script-src 'sha256-"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let text = page.text();
    for part in [
        "<td>app</td>",
        "<td>site-0000</td>",
        "<h3>site-0000 ",
        "<td>accepted</td><td>app</td>",
        "<td>GET /app/hold</td>",
        "<td>4711</td><td><span class=\"loss\">signal</span></td><td>signal 11 (SIGSEGV)",
        "aria-label=\"Requests/s\"",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(!text.contains("style=") && !text.contains("src=") && !text.contains("secret"));
    let one = httpd.get("/status?group=site%2D0000").assert(200).text();
    assert!(one.contains("<td>site-0000</td>") && !one.contains("<td>app</td>"), "{one}");
    let none = httpd.get("/status?group=%3Cscript%3E").assert(200).text();
    assert!(none.contains("&lt;script&gt;") && !none.contains("<script>alert"), "{none}");
    end(&httpd);
}

/// A worker that dies is told of, with what it ran.
#[test]
fn a_lost_worker_is_on_the_page_with_its_cause_and_its_request() {
    let httpd = httpd();
    httpd.get("/app").assert(200);
    let worker = httpd.workers().first().expect("a worker").pid;
    let _held = send(&httpd, "/app/hold?token=secret");
    let shows = |part: &str| {
        let text = httpd.get("/status").assert(200).text();
        text.contains(part).then_some(text)
    };
    until(|| shows("<td>GET /app/hold</td>")).expect("it runs");
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it runs");
    let text = until(|| shows("signal 9 (SIGKILL)")).expect("it is told");
    let row = format!("<td>{worker}</td><td><span class=\"loss\">signal</span></td>");
    assert!(text.contains(&row) && !text.contains("token"), "{text}");
    end(&httpd);
}

/// Without it the tests are skipped by name.
fn chromium() -> Option<PathBuf> {
    let path = Path::new("/usr/bin/chromium");
    if !path.exists() {
        testkit::skipped("there is no chromium (Debian's package chromium)");
        return None;
    }
    Some(path.to_owned())
}

/// Has the browser show the page. Returns what it has made of it, and what it complains of.
fn browse(httpd: &Running, chromium: &Path, arguments: &[&str], place: &str) -> (String, String) {
    let mut browser = Command::new(chromium);
    let profile = httpd.dir().join("browser");
    browser.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-extensions",
        "--enable-logging=stderr",
        // Of the page's own clock.
        "--virtual-time-budget=8000",
    ]);
    browser.arg(format!("--user-data-dir={}", profile.display()));
    browser.args(arguments);
    browser.arg(format!("http://127.0.0.1:{}{place}", httpd.port()));
    let output = browser.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_browser_runs_the_script_and_refuses_nothing() {
    let Some(chromium) = chromium() else { return };
    let httpd = httpd();
    httpd.get("/app").assert(200);
    let (page, complaints) = browse(&httpd, &chromium, &["--dump-dom"], "/status");
    assert!(page.contains(">Live. </span><input type=\"search\""), "{page}\n{complaints}");
    for word in ["Refused", "Content Security Policy", "Uncaught"] {
        assert!(!complaints.contains(word), "{complaints}");
    }
}

/// Pictures for people to look at stay with `MOD_WSGI_RS_KEEP=1`.
#[test]
fn pictures_are_taken_in_light_and_dark() {
    let Some(chromium) = chromium() else { return };
    for groups in [1, 20, 1000] {
        let httpd = httpd();
        httpd.get("/app").assert(200);
        let metrics = memory(&httpd);
        fill(&metrics, groups);
        let _held = send(&httpd, "/app/hold");
        for (scheme, number) in [("dark", 0), ("light", 1)] {
            let picture = httpd.dir().join(format!("page-{groups}-{scheme}.png"));
            let arguments = [
                &format!("--screenshot={}", picture.display()),
                &format!("--blink-settings=preferredColorScheme={number}"),
                "--window-size=1400,1600",
            ];
            browse(&httpd, &chromium, &arguments, "/status");
            let size = std::fs::metadata(&picture).expect("a picture").len();
            assert!(size > 20_000, "{groups} {scheme}: {size} bytes");
        }
        end(&httpd);
    }
}

/// A thousand groups are told within what a page may weigh.
#[test]
fn a_thousand_groups_stay_usable() {
    let httpd = httpd();
    httpd.get("/app").assert(200);
    fill(&memory(&httpd), 1000);
    let page = httpd.get("/status").assert(200).text();
    assert_eq!(page.matches("<td>www.example.com</td>").count(), 1000);
    assert_eq!(page.matches("class=\"card\"").count(), 12);
    assert!(page.len() < 3 << 20, "{} bytes", page.len());
}
