//! Many requests at the same time.

use wire::control::Settings;

use crate::harness::*;

#[test]
fn as_many_requests_run_at_once_as_there_are_threads() {
    let worker = Worker::serving_with(Settings { threads: 12, ..settings() });
    let script = worker.scratch.write(
        "barrier.wsgi",
        "import threading\n\
         barrier = threading.Barrier(12)\n\
         local = threading.local()\n\
         def application(environ, start_response):\n    \
             local.count = getattr(local, 'count', 0) + 1\n    \
             barrier.wait(60)\n    \
             start_response('200 OK', [])\n    \
             return [b'%d %d' % (environ['mod_wsgi.thread_id'], local.count)]\n",
    );
    let mut clients: Vec<_> = (0..12).map(|_| worker.connect()).collect();
    for round in 1..=20 {
        let request = wire::exchange::ToWorker::Request(Ask::of(&script).request);
        clients.iter().for_each(|client| client.send(&request));
        let answers = clients.iter_mut().map(|client| client.answer(&Ask::of(&script)));
        let mut threads: Vec<u32> = answers
            .map(|answer| {
                let (thread, count) = answer.ok().split_once(' ').unwrap();
                assert_eq!(count, round.to_string(), "thread-local data lives on");
                thread.parse().unwrap()
            })
            .collect();
        threads.sort_unstable();
        assert_eq!(threads, (1..=12).collect::<Vec<_>>());
    }
}

#[test]
fn computing_and_blocking_requests_do_not_keep_each_other_from_ending() {
    let worker = Worker::serving_with(Settings { threads: 4, ..settings() });
    let script = worker.scratch.write(
        "mixed.wsgi",
        "import time\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             if environ['PATH_INFO'] == '/compute':\n        \
                 return [b'%d' % sum(number * number for number in range(20000))]\n    \
             if environ['PATH_INFO'] == '/block':\n        \
                 time.sleep(0.002)\n    \
             return [environ['PATH_INFO'].encode()]\n",
    );
    let expected = |path: &str| match path {
        "/compute" => (0..20000_u64).map(|number| number * number).sum::<u64>().to_string(),
        path => path.to_owned(),
    };
    let ask = |client: &mut Client, path: &str| {
        let mut ask = Ask::of(&script);
        ask.request.environ.push((b"PATH_INFO", path.as_bytes()));
        assert_eq!(client.ask(&ask).ok(), expected(path));
    };
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (ask, worker) = (&ask, &worker);
            scope.spawn(move || {
                let mut client = worker.connect();
                for round in 0..50 {
                    ask(&mut client, ["/compute", "/block", "/hello"][(number + round) % 3]);
                }
            });
        }
    });
    assert_eq!(worker.drain(), "");
}

#[test]
fn many_requests_leave_no_descriptors_behind() {
    let worker = Worker::serving();
    let script = worker.scratch.write(
        "count.wsgi",
        "import os\n\
         def application(environ, start_response):\n    \
             start_response('200 OK', [])\n    \
             return [b'%d' % len(os.listdir('/proc/self/fd'))]\n",
    );
    let count = |answer: Answer| answer.ok().parse::<usize>().unwrap();
    let mut client = worker.connect();
    let before = count(client.ask(&Ask::of(&script)));
    for _ in 0..500 {
        // Closed connections are noticed soon, not at once.
        assert!(count(worker.get(&script)) < before + 50);
    }
    drop(worker.connect());
    while count(client.ask(&Ask::of(&script))) > before {}
}
