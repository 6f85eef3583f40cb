//! The modules `mod_wsgi` and `apache`, and the events.

use wire::control::{FromWorker, Settings};
use wire::exchange::Level;

use crate::harness::*;

#[test]
fn what_the_modules_hold() {
    let worker = Worker::serving();
    let answer = worker.run(
        "import mod_wsgi, apache\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             assert mod_wsgi.version == environ['mod_wsgi.version'] == (6, 1, 1)\n    \
             assert len(mod_wsgi.mod_wsgi_rs_version) == 3\n    \
             assert mod_wsgi.process_group == 'processes'\n    \
             assert mod_wsgi.application_group == 'group'\n    \
             assert (mod_wsgi.maximum_processes, mod_wsgi.threads_per_process) == (1, 3)\n    \
             assert issubclass(mod_wsgi.RequestTimeout, BaseException)\n    \
             assert not issubclass(mod_wsgi.RequestTimeout, Exception)\n    \
             assert mod_wsgi.request_metrics() is mod_wsgi.process_metrics() is None\n    \
             assert mod_wsgi.server_metrics() is None\n    \
             assert mod_wsgi.subscribe_shutdown(print) is print\n    \
             assert mod_wsgi.shutdown_callbacks.pop() is print\n    \
             assert apache.version == (2, 4, 99)\n    \
             assert apache.description == 'Apache/2.4.99 (Test)'\n    \
             assert (apache.mpm_name, apache.build_date) == ('mpm', 'a day')\n    \
             assert (apache.maximum_processes, apache.threads_per_process) == (4, 25)\n    \
             try: mod_wsgi.nonsense\n    \
             except AttributeError as error: return [str(error).encode()]\n",
    );
    assert_eq!(answer.ok(), "module 'mod_wsgi' has no attribute 'nonsense'");
}

#[test]
fn data_of_a_request_lives_as_long_as_it() {
    let worker = Worker::serving();
    let source = "import mod_wsgi, threading\n\
        def application(environ, start_response):\n    \
            data = mod_wsgi.request_data()\n    \
            assert data == {} and data is mod_wsgi.request_data()\n    \
            data['me'] = data\n    \
            assert dict(mod_wsgi.active_requests) == {'id1': data}, mod_wsgi.active_requests\n    \
            errors = []\n    \
            def elsewhere():\n        \
                try: mod_wsgi.request_data()\n        \
                except RuntimeError as error: errors.append(str(error))\n    \
            thread = threading.Thread(target=elsewhere)\n    \
            thread.start(), thread.join()\n    \
            start_response('200 OK', [])\n    \
            return [errors[0].encode()]\n";
    let script = worker.scratch.write("data.wsgi", source);
    for _ in 0..2 {
        let mut ask = Ask::of(&script);
        ask.request.environ.push((b"mod_wsgi.request_id", b"id1"));
        assert_eq!(worker.connect().ask(&ask).ok(), "no active request for thread");
    }
}

#[test]
fn log_handler() {
    let worker = Worker::serving();
    let source = "import logging, mod_wsgi\n\
        logger = logging.getLogger('x')\n\
        logger.addHandler(mod_wsgi.LogHandler())\n\
        logger.setLevel(5)\n\
        logger.propagate = False\n\
        def application(environ, start_response):\n    \
            for level in (5, 10, 20, 30, 40, 50): logger.log(level, 'at %d', level)\n    \
            logger.warning('one\\ntwo\\n')\n    \
            start_response('200 OK', [])\n    \
            return []\n";
    let script = worker.scratch.script(source);
    let answer = worker.get(&script);
    answer.ok();
    let path = script.display();
    let expected: Vec<_> = [
        (Level::Debug, 7, "at 5"),
        (Level::Debug, 7, "at 10"),
        (Level::Info, 7, "at 20"),
        (Level::Warning, 7, "at 30"),
        (Level::Error, 7, "at 40"),
        (Level::Critical, 7, "at 50"),
        (Level::Warning, 8, "one"),
        (Level::Warning, 8, "two"),
    ]
    .map(|(level, line, text)| (level, format!("{path}({line}): {text}")))
    .into();
    assert_eq!(answer.log, expected);
}

/// Collects events, and answers with them.
const EVENTS: &str = "import mod_wsgi, os\n\
    events = []\n\
    @mod_wsgi.subscribe_events\n\
    def collect(name, **event):\n    \
        events.append((name, event))\n    \
        if name == 'request_started':\n        \
            event['request_data']['x'] = 1\n        \
            if event['request_environ']['PATH_INFO'] == '/replaced':\n            \
                return {'application_object': replacement}\n    \
        if name == 'process_stopping': os.write(1, event['shutdown_reason'].encode())\n\
    @mod_wsgi.subscribe_events\n\
    def fails(name, **event): raise SystemExit('no matter')\n\
    def replacement(environ, start_response):\n    \
        start_response('200 OK', [])\n    \
        return [b'replaced']\n\
    def application(environ, start_response):\n    \
        if environ['PATH_INFO'] == '/fails': raise KeyError('x')\n    \
        if environ['PATH_INFO'] == '/tell':\n        \
            start_response('200 OK', [])\n        \
            names = [name for name, event in events]\n        \
            assert all(event['request_data'] == {'x': 1} for name, event in events)\n        \
            return [repr((names, sorted(events[-3][1]), events[2][1]['status'],\n            \
                [events[2][1][key] for key in ('input_reads', 'input_length', 'output_writes',\n            \
                    'output_length')])).encode()]\n    \
        environ['wsgi.input'].read(3)\n    \
        start_response('201 OK', [('X', 'y')])\n    \
        return [b'abc', b'de']\n";

#[test]
fn events() {
    let worker = Worker::serving_with(Settings { threads: 1, ..settings() });
    let script = worker.scratch.write("events.wsgi", EVENTS);
    let ask = |path: &'static [u8]| {
        let mut ask = Ask::of(&script).body(&[b"body"]);
        ask.request.environ.push((b"PATH_INFO", path));
        worker.connect().ask(&ask)
    };
    let first = ask(b"/");
    assert_eq!(first.ok(), "abcde");
    assert!(first.log_text().contains("SystemExit: no matter"), "{}", first.log_text());
    assert_eq!(ask(b"/fails").ending, Ending::Failed(500));
    assert_eq!(ask(b"/replaced").ok(), "replaced");
    let told = ask(b"/tell").ok().to_owned();
    let expected = "(['request_started', 'response_started', 'request_finished', \
        'request_started', 'request_exception', 'request_finished', \
        'request_started', 'response_started', 'request_finished', \
        'request_started', 'response_started'], \
        ['application_finish', 'application_time', 'cpu_system_time', 'cpu_time', \
        'cpu_user_time', 'daemon_start', 'gil_wait_count', 'gil_wait_time', 'input_length', \
        'input_reads', 'input_time', 'output_length', 'output_time', 'output_writes', \
        'queue_start', 'request_data', 'request_start', 'server_pid', 'status', 'thread_id'], \
        201, [1, 3, 2, 5])";
    assert_eq!(told, expected);
    let output = worker.drain();
    assert!(output.contains("shutdown_signal"), "{output}");
}

/// Answers with what one event had, when that request is over.
const KEYS: &str = "import mod_wsgi\n\
    events, order = {}, []\n\
    @mod_wsgi.subscribe_events\n\
    def first(name, **event):\n    \
        order.append('first')\n    \
        return {'more': name}\n\
    @mod_wsgi.subscribe_events\n\
    def second(name, **event):\n    \
        order.append('second')\n    \
        events.setdefault(name, event)\n\
    def application(environ, start_response):\n    \
        if environ['PATH_INFO'] == '/fails': raise KeyError('x')\n    \
        start_response('200 OK', [('A', 'b')])\n    \
        if environ['PATH_INFO'] == '/': return [b'']\n    \
        def look(name, event): return TELL\n    \
        name = environ['PATH_INFO'][1:]\n    \
        return [repr(look(name, events[name])).encode()]\n";

#[test]
fn what_events_carry() {
    for (name, tell, expected) in [
        (
            "request_started",
            "sorted(event)",
            "['application_object', 'application_start', 'callable_object', 'daemon_connects', \
             'daemon_restarts', 'daemon_start', 'more', 'queue_start', 'request_data', \
             'request_environ', 'request_id', 'request_start', 'server_pid', 'thread_id']",
        ),
        (
            "request_started",
            "(event['application_object'] is application, event['callable_object'], \
             event['request_id'], type(event['request_environ']), event['thread_id'], \
             type(event['application_start']), event['request_environ']['PATH_INFO'])",
            "(True, 'application', 'id', <class 'dict'>, 1, <class 'float'>, '/')",
        ),
        (
            "response_started",
            "sorted(event), event['response_status'], event['response_headers'], \
             event['exception_info']",
            "(['exception_info', 'more', 'request_data', 'request_id', 'response_headers', \
             'response_status'], '200 OK', [('A', 'b')], None)",
        ),
        (
            "request_exception",
            "(sorted(event), [type(x).__name__ for x in event['exception_info']])",
            "(['exception_info', 'more', 'request_data', 'request_id'], \
             ['type', 'KeyError', 'traceback'])",
        ),
        (
            "request_finished",
            "(event['status'], event['application_finish'] > 0, event['output_length'])",
            "(200, True, 0)",
        ),
        (
            "request_finished",
            "event['more'], order[:2]",
            "('request_finished', ['first', 'second'])",
        ),
        // It is one dictionary from the first event to the last, and another for each request.
        (
            "request_finished",
            "[other['request_data'] is event['request_data'] for other in events.values()]",
            "[True, True, True, False]",
        ),
    ] {
        let worker = Worker::serving_with(Settings { threads: 1, ..settings() });
        let script = worker.scratch.script(&KEYS.replace("TELL", tell));
        let ask = |path: &str| {
            let path = path.as_bytes();
            let mut ask = Ask::of(&script);
            ask.request
                .environ
                .extend([(&b"PATH_INFO"[..], path), (b"mod_wsgi.request_id", b"id")]);
            worker.connect().ask(&ask)
        };
        assert_eq!(ask("/").ok(), "");
        assert_eq!(ask("/fails").ending, Ending::Failed(500));
        assert_eq!(ask(&format!("/{name}")).ok(), expected, "{name}: {tell}");
    }
}

#[test]
fn the_end_is_told_to_those_who_subscribed_to_events_and_then_to_the_others() {
    let worker = Worker::serving();
    let answer = worker.run(
        "import mod_wsgi, os\n\
         def tell(kind):\n    \
             return lambda name, **event: os.write(1, f'{kind} {name} {event}\\n'.encode())\n\
         mod_wsgi.subscribe_shutdown(tell('shutdown'))\n\
         mod_wsgi.subscribe_events(tell('event'))\n\
         mod_wsgi.subscribe_signals(tell('signal'))\n\
         def application(environ, start_response):\n    \
             mod_wsgi.event_callbacks.append(mod_wsgi.event_callbacks.pop())\n    \
             start_response('200 OK', [])\n    \
             return []\n",
    );
    answer.ok();
    let output = worker.drain();
    let ends: Vec<_> = output.lines().filter(|line| line.contains("process_stopping")).collect();
    let told =
        |kind: &str| format!("{kind} process_stopping {{'shutdown_reason': 'shutdown_signal'}}");
    assert_eq!(ends, [told("event"), told("shutdown")]);
}

#[test]
fn signals_are_not_for_applications() {
    let mut worker = Worker::serving();
    let answer = worker.run(
        "import os, signal\n\
         before = signal.getsignal(signal.SIGTERM)\n\
         assert signal.signal(signal.SIGTERM, print) is print\n\
         assert signal.getsignal(signal.SIGTERM) is before\n\
         def application(environ, start_response):\n    \
             assert signal.signal(signal.SIGHUP, print) is print\n    \
             start_response('200 OK', [])\n    \
             child = os.fork()\n    \
             if child == 0:\n        \
                 try: signal.signal(signal.SIGHUP, signal.SIG_IGN)\n        \
                 except ValueError: os._exit(3)\n        \
                 os._exit(0)\n    \
             return [b'%d' % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]\n",
    );
    // In a child it is as ever: this thread is its main thread now.
    assert_eq!(answer.ok(), "0");
    assert!(answer.log.iter().all(|(level, _)| *level == Level::Info), "{:?}", answer.log);
    let log = answer.log_text();
    assert!(
        log.contains("registration for signal 15 in WSGI process; mod_wsgi manages signals"),
        "{log}"
    );
    assert!(log.contains(".wsgi\", line 3") && log.contains("in application"), "{log}");
    worker.order(&wire::control::ToWorker::Drain { grace: 0 });
    assert_eq!(worker.report(), FromWorker::Drained);
}

#[test]
fn an_installed_package_of_the_same_name_is_grafted_on() {
    let mut worker = Worker::spawn();
    let home = worker.scratch.path("home");
    std::fs::create_dir_all(home.join("mod_wsgi/server")).unwrap();
    std::fs::write(home.join("mod_wsgi/__init__.py"), "raise ImportError('not ours')\n").unwrap();
    std::fs::write(home.join("mod_wsgi/server/__init__.py"), "NAME = 'grafted'\n").unwrap();
    worker.configure(Settings { home: Some(home), ..settings() });
    worker.assign();
    let answer = worker.run(
        "import mod_wsgi.server\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [mod_wsgi.server.NAME.encode(), mod_wsgi.process_group.encode()]\n",
    );
    assert_eq!(answer.ok(), "graftedprocesses");
}

/// Uses the metrics, and tells about them.
const METRICS: &str = "import mod_wsgi, time\n\
    assert mod_wsgi.request_metrics() is mod_wsgi.process_metrics() is None\n\
    mod_wsgi.start_recording_metrics()\n\
    mod_wsgi.start_recording_metrics()\n\
    assert mod_wsgi.event_callbacks == []\n\
    def application(environ, start_response):\n    \
        if environ['PATH_INFO'] == '/fails': raise KeyError('x')\n    \
        environ['wsgi.input'].read()\n    \
        start_response('404 Not here', [])\n    \
        if environ['PATH_INFO'] == '/tell':\n        \
            return [repr(TELL).encode()]\n    \
        time.thread_time() \n    \
        return [b'abc', b'de']\n";

#[test]
fn metrics() {
    for (tell, expected) in [
        (
            "[v[k] for v in [mod_wsgi.request_metrics()] for k in ('request_count', 'status_4xx', 'status_5xx')]",
            "[3, 2, 1]",
        ),
        (
            "[v[k] for v in [mod_wsgi.request_metrics()] for k in ('input_bytes', 'output_bytes', 'output_writes')]",
            "[8, 10, 4]",
        ),
        (
            "[sum(v[k + '_time_buckets']) for v in [mod_wsgi.request_metrics()] for k in ('server', 'queue', \
            'daemon', 'application', 'request', 'input_read', 'output_write', 'gil_wait')]",
            "[3, 3, 3, 3, 3, 3, 3, 3]",
        ),
        ("{len(mod_wsgi.request_metrics()['server_time_buckets'])}", "{65}"),
        (
            "[v['request_count'] + mod_wsgi.request_metrics()['request_count'] \
            for v in [mod_wsgi.request_metrics()]]",
            "[3]",
        ),
        ("[v['start_time'] < v['stop_time'] for v in [mod_wsgi.request_metrics()]]", "[True]"),
        (
            "[[v['request_threads_maximum'], sum(v['request_threads_completed']), \
            sum(1 for t in v['request_threads_current_elapsed'] if t > 0)] \
            for v in [mod_wsgi.request_metrics()]]",
            "[[1, 3, 1]]",
        ),
        (
            "[0 < v['capacity_utilization'] <= 1 and v['request_throughput'] > 0 \
            for v in [mod_wsgi.request_metrics()]]",
            "[True]",
        ),
        (
            "[v['application_time_min_us'] <= v['application_time_max_us'] \
            for v in [mod_wsgi.request_metrics()]]",
            "[True]",
        ),
        (
            "[v[k] for v in [mod_wsgi.process_metrics()] for k in ('request_count', 'active_requests', \
            'request_threads', 'threads')]",
            "[3, 1, 1, [{'thread_id': 1, 'request_count': 3}]]",
        ),
        (
            "[v['pid'] == __import__('os').getpid() and 0 < v['memory_rss'] <= v['memory_max_rss'] \
            and v['restart_time'] <= v['current_time'] and v['cpu_time'] > 0 \
            for v in [mod_wsgi.process_metrics()]]",
            "[True]",
        ),
        // Named as in mod_wsgi's documentation.
        (
            "[[k for k in 'pid start_time stop_time sample_period request_count \
             request_throughput capacity_utilization request_threads_maximum \
             request_threads_started request_threads_active cpu_utilization \
             cpu_user_utilization cpu_system_utilization cpu_time cpu_user_time \
             cpu_system_time memory_rss memory_max_rss status_1xx status_5xx input_bytes \
             input_reads output_bytes output_writes gil_wait_count queue_time \
             daemon_time_buckets application_time_min_us request_time_max_us input_read_time \
             output_write_time gil_wait_time request_threads_completed \
             request_threads_buckets request_threads_busy_time request_threads_cpu_time \
             request_threads_current_elapsed request_threads_max_duration'.split() \
             if k not in v] for v in [mod_wsgi.request_metrics()]]",
            "[[]]",
        ),
        (
            "[[k for k in 'pid restart_time current_time running_time request_count \
             request_busy_time active_requests request_threads threads memory_max_rss \
             memory_rss cpu_user_time cpu_system_time cpu_time'.split() \
             if k not in v] for v in [mod_wsgi.process_metrics()]]",
            "[[]]",
        ),
    ] {
        let worker = Worker::serving_with(Settings { threads: 1, ..settings() });
        // A statement of one line, whatever it looks like here.
        let tell = tell.split_whitespace().collect::<Vec<_>>().join(" ");
        let script = worker.scratch.script(&METRICS.replace("TELL", &tell));
        let ask = |path: &'static [u8]| {
            let mut ask = Ask::of(&script).body(&[b"body"]);
            ask.request.environ.push((b"PATH_INFO", path));
            worker.connect().ask(&ask)
        };
        for _ in 0..2 {
            assert_eq!(ask(b"/").ok(), "abcde");
        }
        assert_eq!(ask(b"/fails").ending, Ending::Failed(500));
        assert_eq!(ask(b"/tell").ok(), expected, "{tell}");
    }
}

#[test]
fn signals_are_told_to_subscribers_and_end_nobody() {
    use rustix::process::{Signal, kill_process};
    let worker = Worker::serving();
    let answer = worker.run(
        "import mod_wsgi, os\n\
         @mod_wsgi.subscribe_signals\n\
         def tell(name, **event): os.write(1, repr((name, event)).encode() + b'\\n')\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [repr(mod_wsgi.signal_callbacks == [tell]).encode()]\n",
    );
    assert_eq!(answer.ok(), "True");
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR2, "SIGUSR2")] {
        kill_process(worker.pid(), signal).unwrap();
        let event =
            format!("('process_signal', {{'signame': '{name}', 'signum': {}}})\n", signal.as_raw());
        while !worker.output().contains(&event) {
            std::thread::yield_now();
        }
    }
    assert!(
        worker
            .get(
                &worker
                    .scratch
                    .script("def application(e, s):\n    s('200 OK', [])\n    return []\n")
            )
            .ending
            == Ending::End
    );
    worker.drain();
}

#[test]
fn events_tell_how_a_request_came_here() {
    let worker = Worker::serving();
    let source = "import mod_wsgi\n\
        told = {}\n\
        mod_wsgi.subscribe_events(lambda name, **event: told.update({name: event}))\n\
        def application(environ, start_response):\n    \
            start_response('200 OK', [])\n    \
            wait = told.get('request_finished', {})\n    \
            started = told.get('request_started', {})\n    \
            return [repr((started.get('daemon_connects'), started.get('daemon_restarts'),\n        \
                wait.get('gil_wait_count', 0) > 0, wait.get('gil_wait_time', 0) > 0)).encode()]\n";
    let script = worker.scratch.write("how.wsgi", source);
    let mut ask = Ask::of(&script);
    (ask.request.connects, ask.request.restarts) = (4, 2);
    // Nobody had subscribed yet when this one woke a thread.
    assert_eq!(worker.connect().ask(&ask).ok(), "(4, 2, False, False)");
    // A thread that was woken has waited for the lock; one that goes on with the next request not.
    let waited = |_| worker.connect().ask(&ask).ok() == "(4, 2, True, True)";
    assert!((0..1000).any(waited));
}
