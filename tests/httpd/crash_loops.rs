//! Applications that bring down their workers again and again: clients hear of it at once, the log
//! stays readable, others are served, and it ends by itself when the cause is gone.

use testkit::{Httpd, Running, until};

use crate::HELLO;

fn site(source: &str) -> Running {
    Httpd::new()
        .app("bad.wsgi", source)
        .app("good.wsgi", HELLO)
        .expect_log("worker ")
        .conf(
            "WSGIDaemonProcess bad user={user} group={group} processes=2 threads=2\n\
             WSGIDaemonProcess good user={user} group={group} threads=2\n\
             WSGIScriptAlias /bad {apps}/bad.wsgi process-group=bad application-group=%{GLOBAL}\n\
             WSGIScriptAlias /good {apps}/good.wsgi process-group=good application-group=%{GLOBAL}",
        )
        .start()
}

/// Asks until no worker is left, and checks what clients and operators see of that.
#[track_caller]
fn check(httpd: &Running) {
    httpd.get("/good").assert(200);
    let refused = until(|| Some(httpd.get("/bad")).filter(|response| response.status != 502));
    let refused = refused.expect("an end of the workers").assert(503);
    let seconds: u32 = refused.header("Retry-After").expect("a time").parse().expect("seconds");
    assert!((1..=30).contains(&seconds));
    // Whatever state the workers are in: nobody waits for one, and each gets one of two answers.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let status = httpd.get("/bad").status;
                    assert!(status == 502 || status == 503, "{status}");
                    httpd.get("/good").assert(200);
                }
            });
        }
    });
    let log = httpd.error_log();
    let deaths = log.lines().filter(|line| line.contains(": died after"));
    // The first few of the group, and what the lines about requests repeat.
    let of_group = deaths.filter(|line| !line.contains("[client ")).count();
    assert!((1..=4).contains(&of_group), "{log}");
    let started = log.matches("process group 'bad': started").count();
    assert!(started <= 12, "{started} starts:\n{log}");
}

#[test]
fn a_script_that_ends_its_process_at_import_recovers_when_it_is_repaired() {
    let httpd = site("import os\nos._exit(3)\n");
    check(&httpd);
    httpd.replace_app("bad.wsgi", HELLO);
    let served = until(|| (httpd.get("/bad").status == 200).then_some(()));
    assert!(served.is_some(), "{}", httpd.error_log());
}

#[test]
fn an_application_that_dies_at_each_request() {
    let source = "import os, signal, time\n\
                  def application(environ, start_response):\n    \
                      os.kill(os.getpid(), signal.SIGKILL)\n    \
                      time.sleep(60)\n";
    check(&site(source));
}
