//! Users who may have no more processes and threads (`RLIMIT_NPROC`).

use testkit::{Httpd, until};

use crate::HELLO;

/// What all processes and threads of a user may be, on the whole machine.
const MOST: &str = "--nproc=60:60";

/// Users whom no other test has: httpd's own here, and that of the groups.
const USERS: [&str; 2] = ["news", "uucp"];

#[test]
fn a_group_that_asks_for_too_many_threads_leaves_some_to_others() {
    if testkit::ours_only("mod_wsgi says nothing of it") {
        return;
    }
    if !testkit::running_as_root() {
        return testkit::skipped("only root has processes of several users");
    }
    let [own, groups] = USERS;
    let httpd = Httpd::new()
        .under(&["/usr/bin/prlimit", MOST])
        .app("app.wsgi", HELLO)
        .conf(&format!(
            "User {own}\nGroup {own}\n\
             WSGIDaemonProcess large user={groups} group={groups} threads=80\n\
             WSGIDaemonProcess small user={groups} group={groups} threads=2\n\
             WSGIScriptAlias /small {{apps}}/app.wsgi process-group=small application-group=%{{GLOBAL}}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=large application-group=%{{GLOBAL}}"
        ))
        .expect_log("is more than its user may have")
        .start();
    // Both start at the same time, more than once, as it is a matter of who comes first.
    for _ in 0..5 {
        for path in ["/", "/small"] {
            assert_eq!(httpd.get(path).assert(200).text(), "hello", "{path}");
        }
        let supervisor = httpd.supervisor().expect("there is one");
        httpd.graceful();
        // While the last generation has its threads, there is no room for the next one.
        let gone = until(|| (!supervisor.runs()).then_some(()));
        assert!(gone.is_some(), "the supervisor of the last generation has ended");
    }
}
