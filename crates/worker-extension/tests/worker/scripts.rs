//! WSGI script files: loading, failing to load, and loading again.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wire::control;
use wire::exchange::{Refusal, ToWorker};
use wire::limits::Cause;

use crate::harness::*;

const HELLO: &str = "def application(environ, start_response):\n    \
    start_response('200 OK', [])\n    return [b'hello']\n";

#[test]
fn a_script_is_a_module_of_its_own() {
    let worker = Worker::serving();
    let script = worker.scratch.write(
        "mine.wsgi",
        "import sys, hashlib\n\
         digest = hashlib.md5(__file__.encode()).hexdigest()\n\
         assert __name__ == '_mod_wsgi_' + digest, __name__\n\
         assert sys.modules[__name__].__dict__ is globals()\n\
         import builtins\n\
         assert not hasattr(builtins, 'execfile')\n\
         def other(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [environ['mod_wsgi.callable_object'].encode()]\n",
    );
    let mut ask = Ask::of(&script);
    ask.request.callable = b"other";
    assert_eq!(worker.connect().ask(&ask).ok(), "other");
}

#[test]
fn wrappers_written_for_python_2_activate_their_environment() {
    let worker = Worker::serving();
    let activate = worker.scratch.write(
        "activate_this.py",
        "import os, sys\n\
         sys.activated = os.path.dirname(os.path.abspath(__file__))\n",
    );
    let helper = worker.scratch.write("helper.py", "inherited = known + 1\n");
    let answer = worker.run(&format!(
        "activate_this = {activate:?}\n\
         execfile(activate_this, dict(__file__=activate_this))\n\
         import sys\n\
         known = 41\n\
         execfile({helper:?})\n\
         def inside():\n    \
             space = {{'known': 1}}\n    \
             execfile({helper:?}, space, space)\n    \
             return space['inherited']\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [repr((sys.activated, inherited, inside())).encode()]\n"
    ));
    let directory = worker.scratch.path("").display().to_string();
    assert_eq!(answer.ok(), format!("('{}', 42, 2)", directory.trim_end_matches('/')));
}

#[test]
fn what_is_wrong_with_a_script_is_said() {
    let worker = Worker::serving();
    let check = |source: &str, expected: &[&str]| {
        let script = worker.scratch.script(source);
        let log = worker.get(&script).failure();
        let mut lines = log.lines();
        for text in expected {
            let text = text.replace("PATH", &script.display().to_string());
            assert!(lines.any(|line| line == text), "no {text:?} (in this order) in\n{log}");
        }
        assert!(!log.contains("<mod_wsgi>"), "{log}");
    };
    check("x = 1\nif x\n    pass\n", &["  File \"PATH\", line 2", "    if x"]);
    check("\0", &[]);
    check(
        "def fail():\n    raise KeyError('why')\nfail()\n",
        &[
            "cannot load WSGI script 'PATH': KeyError raised in line 3",
            "Traceback (most recent call last):",
            "  File \"PATH\", line 3, in <module>",
            "  File \"PATH\", line 2, in fail",
            "KeyError: 'why'",
        ],
    );
    check(
        "\nimport no_such_module\n",
        &[
            "cannot load WSGI script 'PATH': ModuleNotFoundError raised in line 2",
            "ModuleNotFoundError: No module named 'no_such_module'",
        ],
    );
    check(
        "raise SystemExit(1)\n",
        &["cannot load WSGI script 'PATH': SystemExit raised in line 1", "SystemExit: 1"],
    );
    check(
        "app = None\n",
        &[
            "WSGI script 'PATH' has no 'application': define or import that name in it, or name its \
           callable with WSGICallableObject",
        ],
    );
    check(
        "application = None\n",
        &[
            "Exception occurred processing WSGI script 'PATH' (application group 'group'): \
             TypeError",
            "TypeError: 'NoneType' object is not callable",
        ],
    );
    let path = worker.scratch.script("x = 1\nif x\n    pass\n");
    let syntax = worker.get(&path);
    let start = format!("syntax error in WSGI script '{}', line 2: ", path.display());
    assert!(syntax.failure().starts_with(&start), "{syntax:?}");

    let missing = worker.get(&worker.scratch.path("missing.wsgi")).failure();
    let path = worker.scratch.path("missing.wsgi");
    let expected =
        format!("cannot read WSGI script '{}': No such file or directory\n", path.display());
    assert_eq!(missing, expected);
    assert_eq!(worker.drain(), "");
}

#[test]
fn a_script_that_failed_is_tried_again() {
    let worker = Worker::serving();
    let flag = worker.scratch.path("flag");
    let script = worker.scratch.write(
        "retry.wsgi",
        &format!(
            "import os, sys\n\
             sys.attempts = getattr(sys, 'attempts', 0) + 1\n\
             assert os.path.exists({flag:?})\n\
             def application(environ, start_response):\n    \
                 start_response('200 OK', [])\n    \
                 return [b'%d' % sys.attempts]\n"
        ),
    );
    assert!(worker.get(&script).failure().contains("AssertionError"));
    assert!(worker.get(&script).failure().contains("AssertionError"));
    std::fs::write(&flag, "").unwrap();
    assert_eq!(worker.get(&script).ok(), "3");
    assert_eq!(worker.get(&script).ok(), "3", "loaded once");
}

/// A script that answers with a word.
fn answering(word: &str) -> String {
    HELLO.replace("hello", word)
}

#[test]
fn the_request_that_finds_a_change_waits_for_somebody_else() {
    let mut worker = Worker::serving();
    let script = worker.scratch.write("change.wsgi", &answering("one"));
    assert_eq!(worker.get(&script).ok(), "one");
    worker.scratch.write("change.wsgi", &answering("two"));
    let ask = Ask::of(&script);
    let mut held = worker.connect();
    held.send(&ToWorker::Request(ask.request.clone()));
    let changed = control::FromWorker::Retire {
        cause: Cause::ScriptReload,
        reason: format!("'{}' has changed", script.display()),
        scripts: vec![script.as_os_str().as_bytes().to_vec()],
    };
    assert_eq!(worker.report(), changed);
    assert_eq!(worker.get(&script).ok(), "one", "others are served meanwhile");
    worker.order(&control::ToWorker::Drain { grace: 0 });
    assert_eq!(held.answer(&ask).ending, Ending::Goodbye);
}

#[test]
fn an_older_script_is_a_changed_one_too() {
    let mut worker = Worker::serving();
    let old = worker.scratch.write("older.wsgi", &answering("old"));
    let new = worker.scratch.write("newer.wsgi", &answering("new"));
    assert_eq!(worker.get(&new).ok(), "new");
    std::fs::rename(old, &new).unwrap();
    let held = worker.connect();
    held.send(&ToWorker::Request(Ask::of(&new).request));
    assert!(matches!(worker.report(), control::FromWorker::Retire { .. }));
}

#[test]
fn a_thread_keeps_what_is_its_own_from_one_request_to_the_next() {
    let worker = Worker::serving_with(wire::control::Settings { threads: 1, ..settings() });
    let script = worker.scratch.script(
        "import threading\n\
         local = threading.local()\n\
         def application(environ, start_response):\n    \
             local.count = getattr(local, 'count', 0) + 1\n    \
             start_response('200 OK', [])\n    \
             kind = type(threading.current_thread()).__name__\n    \
             return [f'{kind} {local.count}'.encode()]\n",
    );
    for count in 1..=3 {
        assert_eq!(worker.get(&script).ok(), format!("_DummyThread {count}"));
    }
}

#[test]
fn without_a_successor_the_old_code_serves_until_the_next_change() {
    let mut worker = Worker::serving();
    let script = worker.scratch.write("change.wsgi", &answering("one"));
    worker.get(&script);
    for _ in 0..2 {
        worker.scratch.write("change.wsgi", &answering("broken"));
        let ask = Ask::of(&script);
        let mut held = worker.connect();
        held.send(&ToWorker::Request(ask.request.clone()));
        assert!(matches!(worker.report(), control::FromWorker::Retire { .. }));
        worker.order(&control::ToWorker::Keep);
        assert_eq!(held.answer(&ask).ok(), "one");
        assert_eq!(worker.get(&script).ok(), "one");
    }
}

#[test]
fn without_a_supervisor_changed_code_is_loaded_in_place() {
    let mut worker = Worker::serving();
    let script = worker.scratch.write("change.wsgi", &answering("one"));
    worker.get(&script);
    let mut client = worker.connect();
    // Held back until the worker finds that there is nobody to tell.
    worker.scratch.write("change.wsgi", &answering("two"));
    worker.hang_up();
    assert_eq!(client.ask(&Ask::of(&script)).ok(), "two");
    worker.scratch.write("change.wsgi", "1 / 0\n");
    assert!(client.ask(&Ask::of(&script)).failure().contains("ZeroDivisionError"));
    worker.scratch.write("change.wsgi", &answering("three"));
    assert_eq!(client.ask(&Ask::of(&script)).ok(), "three");
}

#[test]
fn what_takes_a_place_is_loaded_first() {
    let mut worker = Worker::spawn();
    worker.configure(settings());
    let script = worker.scratch.script(
        "import sys, threading\n\
         where = threading.current_thread().name\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [where.encode()]\n",
    );
    worker.assign_with(vec![script.as_os_str().as_bytes().to_vec()]);
    assert_eq!(worker.get(&script).ok(), "MainThread");
}

fn keeping() -> control::Settings {
    control::Settings { reload: control::Reload::Keep, ..settings() }
}

fn path_of(script: &Path) -> Vec<u8> {
    script.as_os_str().as_bytes().to_vec()
}

#[test]
fn where_code_is_kept_others_hear_what_has_been_loaded() {
    let mut worker = Worker::serving_with(keeping());
    let script = worker.scratch.script(&answering("one"));
    assert_eq!(worker.get(&script).ok(), "one");
    assert_eq!(worker.report(), control::FromWorker::Loaded { script: path_of(&script) });
    let other = worker.scratch.script(
        "import threading\n\
         where = threading.current_thread().name\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [where.encode()]\n",
    );
    let gone = worker.scratch.path("gone.wsgi");
    let scripts = vec![path_of(&script), path_of(&gone), path_of(&other)];
    worker.order(&control::ToWorker::Load { scripts });
    assert_eq!(worker.report(), control::FromWorker::Loaded { script: path_of(&gone) });
    assert_eq!(worker.report(), control::FromWorker::Loaded { script: path_of(&other) });
    assert!(worker.get(&other).ok().starts_with("Dummy-"), "no thread of Python's own");
}

#[test]
fn who_cannot_load_a_script_asks_and_gives_way_before_the_request_is_begun() {
    let mut worker = Worker::serving_with(keeping());
    let script = worker.scratch.script("print('half')\n1 / 0\n");
    let ask = Ask::of(&script);
    let mut client = worker.connect();
    client.send(&ToWorker::Request(ask.request.clone()));
    let unfit = worker.report();
    let control::FromWorker::Unfit { script: path, reason } = &unfit else { panic!("{unfit:?}") };
    assert_eq!(*path, path_of(&script));
    assert!(reason.contains("cannot load WSGI script"), "{reason}");
    assert!(reason.ends_with("ZeroDivisionError: division by zero"), "{reason}");
    worker.order(&control::ToWorker::Alone);
    assert!(client.answer(&ask).failure().contains("ZeroDivisionError"));

    client.send(&ToWorker::Request(ask.request.clone()));
    assert_eq!(worker.report(), unfit, "it may have changed who has it");
    worker.order(&control::ToWorker::Drain { grace: 10 });
    assert_eq!(client.answer(&ask).ending, Ending::Refused(Refusal::Draining));
}

#[test]
fn who_cannot_ask_anybody_answers_as_it_can() {
    let mut worker = Worker::serving_with(keeping());
    let script = worker.scratch.script("1 / 0\n");
    let ask = Ask::of(&script);
    let mut client = worker.connect();
    client.send(&ToWorker::Request(ask.request.clone()));
    assert!(matches!(worker.report(), control::FromWorker::Unfit { .. }));
    worker.hang_up();
    assert!(client.answer(&ask).failure().contains("ZeroDivisionError"));
    assert!(client.ask(&ask).failure().contains("ZeroDivisionError"));
}

#[test]
fn requests_that_come_while_a_script_is_loaded_wait_for_it() {
    let worker = Worker::serving();
    let script = worker.scratch.write(
        "slow.wsgi",
        "import sys, time\n\
         sys.loads = getattr(sys, 'loads', 0) + 1\n\
         time.sleep(0.2)\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [b'%d' % sys.loads]\n",
    );
    std::thread::scope(|scope| {
        let threads = [0; 3].map(|_| scope.spawn(|| worker.get(&script)));
        for thread in threads {
            assert_eq!(thread.join().unwrap().ok(), "1");
        }
    });
}

#[test]
fn a_script_may_ask_to_be_loaded_again() {
    let worker = Worker::serving();
    let source = "import sys\n\
        sys.loads = getattr(sys, 'loads', 0) + 1\n\
        assert isinstance(__mtime__, int)\n\
        def reload_required(resource):\n    \
            assert resource == '/the/resource'\n    \
            if sys.loads == 3: raise KeyError('no matter')\n    \
            return sys.loads < 3\n\
        def application(environ, start_response):\n    \
            start_response('200 OK', [])\n    \
            return [str(sys.loads).encode()]\n";
    let script = worker.scratch.write("again.wsgi", source);
    let get = |script| {
        let mut ask = Ask::of(script);
        ask.request.environ.push((b"SCRIPT_FILENAME", b"/the/resource"));
        worker.connect().ask(&ask)
    };
    let answers = [(); 4].map(|()| get(&script));
    assert_eq!(
        [0, 1, 2, 3].map(|number: usize| answers[number].ok().to_owned()),
        ["1", "2", "3", "3"]
    );
    assert!(answers[3].log_text().contains("KeyError: 'no matter'"), "{:?}", answers[3].log);

    let source = "import sys\n\
        sys.lost = getattr(sys, 'lost', 0) + 1\n\
        def application(environ, start_response):\n    \
            globals().pop('__mtime__', None)\n    \
            start_response('200 OK', [])\n    \
            return [str(sys.lost).encode()]\n";
    let script = worker.scratch.write("lost.wsgi", source);
    assert_eq!([(); 3].map(|()| get(&script).ok().to_owned()), ["1", "2", "3"]);
}
