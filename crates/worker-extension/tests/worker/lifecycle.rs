//! Starting, ending, and what a worker does when it is told to end at a bad time.

use std::os::fd::AsRawFd;

use rustix::process::{Signal, kill_process};
use wire::control::{self, Settings};
use wire::exchange::{FromWorker, ToWorker};
use wire::limits::Cause;

use crate::harness::*;

const HELLO: &str = "def application(environ, start_response):\n    \
    start_response('200 OK', [])\n    return [b'hello']\n";

#[test]
fn the_process_is_set_up_as_the_supervisor_says() {
    let mut worker = Worker::spawn_in(Scratch::new(), &[("HOME", "/nowhere")]);
    let home = worker.scratch.path("home");
    let first = worker.scratch.path("first");
    let second = worker.scratch.path("second");
    for directory in [&home, &first, &second] {
        std::fs::create_dir(directory).unwrap();
    }
    worker.scratch.write("first/more.pth", &format!("{}\n", home.join("..").display()));
    let python = worker.configure(Settings {
        home: Some(home.clone()),
        python_path: vec![first.clone(), second.clone()],
        ..settings()
    });
    assert!(python.starts_with("3."), "{python}");
    worker.assign();
    let answer = worker.run(
        "import os, sys\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [repr((sys.path[:4], sys.argv, sys.stdin.read(), os.environ['HOME'],\n        \
                 open('/proc/self/cmdline').read().rstrip('\\0'))).encode()]\n",
    );
    let path = |path: &std::path::Path| format!("'{}'", path.display());
    let expected = format!(
        "([{}, {}, {}, {}], ['mod_wsgi'], '', '/nowhere', 'wsgi-worker')",
        path(&home),
        path(&first),
        path(&worker.scratch.path("")).replace("/'", "'"),
        path(&second)
    );
    assert_eq!(answer.ok(), expected);
}

#[test]
fn a_virtual_environment_is_recognised() {
    let scratch = Scratch::new();
    let home = scratch.path("venv");
    let made = std::process::Command::new(python())
        .args(["-m", "venv", "--without-pip", "--symlinks"])
        .arg(&home)
        .status()
        .unwrap();
    assert!(made.success());
    let mut worker = Worker::spawn_with(&home.join("bin/python"), scratch, &[]);
    worker.configure(settings());
    worker.assign();
    let answer = worker.run(
        "import sys\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             site = sys.prefix + '/lib/python%d.%d/site-packages' % sys.version_info[:2]\n    \
             assert site in sys.path, sys.path\n    \
             assert sys.base_prefix != sys.prefix\n    \
             return [sys.prefix.encode()]\n",
    );
    assert_eq!(answer.ok(), home.display().to_string());
}

#[test]
fn without_a_supervisor_the_worker_says_how_it_is_started() {
    let library = library();
    let argument = format!("abi3={}", library.as_raw_fd());
    let mut command = std::process::Command::new(python());
    let output = command.args(["-c", BOOTSTRAP, &argument]).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("workers are started by wsgi-supervisor"), "{text}");
}

#[test]
fn a_worker_ends_by_order_or_signal_wherever_it_is() {
    let stages: [fn(&mut Worker); 3] = [
        |_| {},
        |worker| drop(worker.configure(settings())),
        |worker| {
            worker.configure(settings());
            worker.assign();
        },
    ];
    for stage in stages {
        let endings: [fn(&mut Worker); 3] = [
            |worker| worker.order(&control::ToWorker::Drain { grace: 0 }),
            |worker| kill_process(worker.pid(), Signal::TERM).unwrap(),
            Worker::hang_up,
        ];
        for end in endings {
            let mut worker = Worker::spawn();
            stage(&mut worker);
            // Signals count from the moment that the worker takes its standard input over.
            worker.wait_until_it_listens();
            end(&mut worker);
            assert!(worker.wait().success());
            assert_eq!(worker.output(), "");
        }
    }
}

#[test]
fn draining_waits_for_running_requests_and_says_goodbye_to_idle_connections() {
    let mut worker = Worker::serving_with(Settings { threads: 1, ..settings() });
    let gate = worker.scratch.fifo("gate");
    let script = worker.scratch.write(
        "slow.wsgi",
        &format!(
            "def application(environ, start_response):\n    \
                 start_response('200 OK', [])\n    \
                 if environ['PATH_INFO'] == '/slow':\n        \
                     yield b'begun'\n        \
                     yield open({gate:?}, 'rb').read()\n    \
                 else:\n        yield b'quick'\n"
        ),
    );
    let mut idle = worker.connect();
    assert_eq!(idle.ask(&Ask::of(&script)).ok(), "quick");
    let mut running = worker.connect();
    let mut slow = Ask::of(&script);
    slow.request.environ.push((b"PATH_INFO", b"/slow"));
    running.send(&ToWorker::Request(slow.request.clone()));
    assert!(matches!(running.next(), FromWorker::Head { .. }));
    assert_eq!(running.next(), FromWorker::Data(b"begun"));
    // Has to wait in the queue. A refusal on the same connection before shows that it was read.
    let mut queued = worker.connect();
    let mut refusable = Ask::of(&script);
    refusable.request.may_refuse = true;
    queued.send(&ToWorker::Request(refusable.request.clone()));
    assert_eq!(queued.next(), FromWorker::Refused(wire::exchange::Refusal::Busy));
    queued.send(&ToWorker::Request(Ask::of(&script).request));

    worker.order(&control::ToWorker::Drain { grace: 0 });
    assert_eq!(idle.next(), FromWorker::Goodbye);
    assert!(idle.is_closed());
    std::fs::write(&gate, "finished").unwrap();
    assert_eq!(running.next(), FromWorker::Data(b"finished"));
    assert!(matches!(running.next(), FromWorker::Ran { .. }));
    assert_eq!(running.next(), FromWorker::End);
    assert_eq!(running.next(), FromWorker::Goodbye);
    assert!(running.is_closed());
    // Read before the order or not: it is answered or handed back, never lost.
    let answer = queued.answer(&Ask::of(&script));
    match answer.ending {
        Ending::End => assert_eq!(answer.text(), "quick"),
        other => assert_eq!(other, Ending::Goodbye),
    }
    assert_eq!(worker.report(), control::FromWorker::Drained);
    assert!(worker.wait().success());
}

#[test]
fn a_request_that_crosses_a_goodbye_finds_it_in_answer() {
    let mut worker = Worker::serving();
    let script = worker.scratch.write("hello.wsgi", HELLO);
    let mut client = worker.connect();
    client.ask(&Ask::of(&script)).ok();
    kill_process(worker.pid(), Signal::INT).unwrap();
    // Sent or not, the answer is the goodbye: the worker reads no more after it.
    let mut bytes = Vec::new();
    wire::encode(&ToWorker::Request(Ask::of(&script).request), &mut bytes);
    let sent = channel::send(&client.socket, &bytes);
    match client.answer(&Ask::of(&script)).ending {
        Ending::Goodbye => {}
        // The request came first.
        other => assert_eq!((other, sent.is_ok()), (Ending::End, true)),
    }
    let report = worker.report();
    let control::FromWorker::Retire { cause: Cause::ShutdownSignal, .. } = report else {
        panic!("{report:?}");
    };
    assert_eq!(worker.report(), control::FromWorker::Drained);
    assert!(worker.wait().success());
}

#[test]
fn that_a_worker_works_is_known_before_its_first_response_ends() {
    // Otherwise the next request could bring it down before.
    for _ in 0..10 {
        let worker = Worker::serving();
        assert!(!worker.has_report());
        worker.run(HELLO).ok();
        assert!(worker.has_report());
    }
}

#[test]
fn an_orphan_serves_until_nobody_is_connected() {
    let mut worker = Worker::serving();
    let script = worker.scratch.write("hello.wsgi", HELLO);
    let mut client = worker.connect();
    client.ask(&Ask::of(&script)).ok();
    worker.hang_up();
    for _ in 0..100 {
        assert_eq!(client.ask(&Ask::of(&script)).ok(), "hello");
    }
    drop(client);
    assert!(worker.wait().success());
    assert_eq!(worker.output(), "");
}

#[test]
fn python_ends_in_good_order() {
    let worker = Worker::serving();
    let answer = worker.run(
        "import atexit, sys, threading\n\
         atexit.register(print, 'exit handler')\n\
         release = threading.Event()\n\
         def work():\n    \
             threading.main_thread().join()\n    \
             print('thread')\n\
         threading.Thread(target=work, daemon=False).start()\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [repr(threading.current_thread() is threading.main_thread()).encode()]\n",
    );
    assert_eq!(answer.ok(), "False");
    assert_eq!(worker.drain(), "thread\nexit handler\n");
}

#[test]
fn processes_that_the_application_forks_leave_the_worker_alone() {
    let worker = Worker::serving();
    let script = worker.scratch.write(
        "fork.wsgi",
        "import multiprocessing, os, signal, subprocess, sys, time\n\
         context = multiprocessing.get_context('fork')\n\
         def work(queue):\n    \
             print('from the child')\n    \
             queue.put('worked')\n    \
             time.sleep(1000)\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             yield b'begun, '\n    \
             queue = context.SimpleQueue()\n    \
             child = context.Process(target=work, args=(queue,))\n    \
             child.start()\n    \
             yield queue.get().encode()\n    \
             child.terminate()\n    \
             child.join()\n    \
             yield b', ended by %d, ' % -child.exitcode\n    \
             if os.fork() == 0:\n        \
                 return\n    \
             os.wait()\n    \
             program = subprocess.Popen(['sleep', '1000'])\n    \
             program.terminate()\n    \
             yield b'and by %d' % -program.wait()\n",
    );
    let answer = worker.get(&script);
    assert_eq!(answer.ok(), "begun, worked, ended by 15, and by 15");
    assert!(answer.log.is_empty(), "{answer:?}");
    let output = worker.drain();
    let lines: Vec<_> = output.lines().collect();
    let came_back = "a process that the application forked came back from its request";
    assert_eq!(lines, ["from the child", came_back]);
}
