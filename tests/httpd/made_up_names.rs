//! Application groups whose names clients can make up: they start no processes, and those that are in
//! use do not give way to them.

use testkit::{Httpd, Running, until};

use crate::{TELL, ask, told};

/// Names come from the URL or from the client's headers; all are of one script.
const SITES: [(&str, &str); 3] = [
    ("by URL", "WSGIScriptAliasMatch ^/([^/?]+) {apps}/app.wsgi"),
    ("by host", "WSGIApplicationGroup %{HOST}\nWSGIScriptAlias / {apps}/app.wsgi"),
    (
        "by variable",
        "SetEnvIf X-Tenant (.+) tenant=$1\nWSGIApplicationGroup %{ENV:tenant}\n\
         WSGIScriptAlias / {apps}/app.wsgi",
    ),
];

fn site(group: &str, mapping: &str) -> Running {
    let process_group = if group.is_empty() { "" } else { "WSGIProcessGroup app\n" };
    Httpd::new()
        .app("app.wsgi", TELL)
        .expect_log("gives way: 3 others of the same script")
        .conf(&format!("{group}\n{process_group}{mapping}"))
        .start()
}

/// What a client is told that makes up this name: process, and application group.
fn visit(httpd: &Running, name: &str) -> Vec<String> {
    let questions = ["os.getpid()", "environ['mod_wsgi.application_group']"];
    let path = ask(&questions).replacen('/', &format!("/{name}"), 1);
    let host = format!("{name}.example");
    told(httpd.request("GET", &path, &[("Host", &host), ("X-Tenant", name)], b""))
}

#[test]
fn names_that_are_tried_once_start_few_processes() {
    let group = "WSGIDaemonProcess app user={user} group={group} threads=2";
    for (how, mapping) in SITES {
        for group in ["", group] {
            let httpd = site(group, mapping);
            for number in 0..12 {
                let name = format!("name{number}");
                let told = visit(&httpd, &name);
                assert!(told[1].contains(&name), "{how}: {told:?}");
            }
            let workers = httpd.workers().len();
            assert!(workers <= 4, "{how}: {workers} workers");
        }
    }
}

#[test]
fn many_at_once_are_all_served_by_few_processes() {
    let httpd = site("", SITES[0].1);
    std::thread::scope(|scope| {
        for number in 0..10 {
            let httpd = &httpd;
            scope.spawn(move || visit(httpd, &format!("name{number}")));
        }
    });
    assert!(httpd.workers().len() <= 4);
}

#[test]
fn an_instance_that_is_in_use_stays() {
    let httpd = site("", SITES[0].1);
    let anna = visit(&httpd, "anna");
    // It is in use when requests have come for ten seconds, or so.
    let mut number = 0;
    let proven = until(|| {
        assert_eq!(visit(&httpd, "anna"), anna, "nobody else has come yet");
        number += 1;
        let age = told(
            httpd.get(
                &ask(&["__import__('time').time() - os.stat('/proc/self').st_ctime"])
                    .replacen('/', "/anna", 1),
            ),
        );
        (age[0].parse::<f64>().is_ok_and(|age| age > 12.0)).then_some(())
    });
    assert!(proven.is_some(), "after {number} requests");
    for number in 0..8 {
        visit(&httpd, &format!("name{number}"));
    }
    assert_eq!(visit(&httpd, "anna"), anna, "it has been pushed out");
}

#[test]
fn a_request_that_runs_is_not_pushed_out() {
    let httpd =
        site("WSGIDaemonProcess app user={user} group={group} graceful-timeout=0", SITES[0].1);
    let gate = httpd.dir().join("gate");
    let wait = format!(
        "[__import__('time').sleep(0.01) for _ in iter(lambda: os.path.exists({:?}), True)] and 'waited'",
        gate.display().to_string()
    );
    let path = ask(&["print('begun', flush=True)", &wait]).replacen('/', "/busy", 1);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| httpd.get(&path));
        httpd.wait_for_log(&["begun"]);
        for number in 0..8 {
            visit(&httpd, &format!("name{number}"));
        }
        std::fs::write(&gate, "").expect("the folder is ours");
        busy.join().expect("an answer").assert(200);
    });
}

#[test]
fn a_script_that_is_not_there_starts_nothing() {
    let httpd = Httpd::new()
        .app("app.wsgi", TELL)
        .expect_log("does not exist, or httpd's user cannot see it")
        .conf("WSGIScriptAliasMatch ^/([^/?]+) {apps}/$1.wsgi")
        .start();
    for number in 0..12 {
        httpd.get(&format!("/made-up-{number}")).assert(404);
    }
    assert_eq!(httpd.workers().len(), 0);
}
