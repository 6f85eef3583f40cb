//! A real Prometheus, Debian's, that scrapes a server whatever happens to it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Httpd, Running, environment, until};

use crate::HELLO;

/// Each metric of these types only grows.
const GROWING: [&str; 4] = ["_total", "_count", "_bucket", "_sum"];

/// A running Prometheus, which ends with this.
struct Prometheus {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Prometheus {
    /// Scrapes the server's `/metrics` all the time.
    fn start(httpd: &Running) -> Self {
        let folder = httpd.dir().join("prometheus");
        fs::create_dir(&folder).expect("a folder");
        let configuration = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs:\n- job_name: httpd\n  static_configs:\n  \
             - targets: ['127.0.0.1:{}']\n",
            httpd.port()
        );
        fs::write(folder.join("prometheus.yml"), configuration).expect("it is written");
        let log = folder.join("log");
        let port = testkit::free_port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("Debian's package prometheus");
        Self { process, port, log }
    }

    /// The value of an expression that has one, if there is any.
    fn ask(&self, expression: &str) -> Option<f64> {
        let server = format!("http://127.0.0.1:{}", self.port);
        let output = Command::new("promtool")
            .args(["query", "instant", &server, expression])
            .output()
            .expect("promtool");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = text.lines().next()?.split_once("=> ")?;
        rest.split_once(' ')?.0.parse().ok()
    }

    /// Waits until it knows that this has this value at least.
    #[track_caller]
    fn wait_for(&self, expression: &str, value: f64) {
        let look = || self.ask(expression).filter(|found| *found >= value);
        assert!(
            until(look).is_some(),
            "{expression} is {:?}, not {value}; {}",
            self.ask(expression),
            fs::read_to_string(&self.log).unwrap_or_default()
        );
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn no_counter_falls_while_everything_is_replaced() {
    let httpd = Httpd::new()
        .app("app.wsgi", HELLO)
        .expect_log("")
        .conf(
            "WSGIDaemonProcess app user={user} group={group} threads=2\n\
             WSGIScriptAlias /app {apps}/app.wsgi process-group=app application-group=%{GLOBAL}\n\
             <Location /metrics>\nSetHandler wsgi-metrics\n</Location>",
        )
        .start();
    let prometheus = Prometheus::start(&httpd);
    let mut asked = 0.0;
    let mut ask = || {
        for _ in 0..3 {
            httpd.get("/app").assert(200);
            asked += 1.0;
        }
        // Before the next thing happens, and not only afterwards, it has been seen.
        prometheus.wait_for("sum(wsgi_requests_total)", asked);
    };
    ask();
    let restarts = |cause: &str| format!("sum(wsgi_worker_restarts_total{{cause=\"{cause}\"}})");
    let worker = httpd.workers().first().expect("a worker").pid;
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("it runs");
    prometheus.wait_for(&restarts("signal"), 1.0);
    ask();
    let mut wsgictl = Command::new(environment::dist().join("wsgictl"));
    wsgictl.arg("--prefix").arg(httpd.dir().join("run/wsgi")).arg("reload");
    assert!(wsgictl.status().expect("it starts").success());
    prometheus.wait_for(&restarts("reload"), 1.0);
    ask();
    for _ in 0..2 {
        httpd.graceful();
        ask();
    }
    let supervisor = httpd.supervisor().expect("a supervisor").pid;
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).expect("it runs");
    until(|| httpd.supervisor().filter(|it| it.pid != supervisor)).expect("another one");
    ask();

    let text = httpd.get("/metrics").assert(200).text();
    let names = text.lines().filter(|line| !line.starts_with('#'));
    let names = names.filter_map(|line| line.split('{').next());
    let mut names: Vec<_> =
        names.filter(|name| GROWING.iter().any(|suffix| name.ends_with(suffix))).collect();
    names.dedup();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let resets = prometheus.ask(&format!("sum(resets({name}[1h]))"));
        assert_eq!(resets, Some(0.0), "{name} fell");
    }
    // One series of each group, whatever has been replaced.
    let series = "count(wsgi_requests_total{class=\"2xx\",application_group!=\"\"})";
    assert_eq!(prometheus.ask(series), Some(1.0));
}
