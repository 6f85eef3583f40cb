//! `mod_wsgi-rs start-server` as the first process of a container.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use testkit::{Container, environment};

/// An application that takes its time, and tells who it runs as.
const SLOW: &str = "\
import os, time


def application(environ, start_response):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
    time.sleep(0.05)
    print('asked')
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [f'{os.getuid()} {os.getgid()}'.encode()]
";

/// The command with the application, as a user without a name or a right, where only /tmp can be written to.
fn server(words: &str) -> Container {
    let script = format!(
        "cat > /tmp/app.wsgi <<'END'\n{SLOW}END\n\
         exec /usr/lib/mod_wsgi_rs/mod_wsgi-rs start-server /tmp/app.wsgi --port 8080 {words}"
    );
    let options = [
        "--user=12345:54321",
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--log-driver=json-file",
        "--stop-timeout=90",
    ];
    let container =
        Container::start_first(&environment::docker_image(), &options, &["sh", "-c", &script]);
    let container = container.expect("the image can be run");
    container
        .wait_for("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8080))'");
    container
}

fn send(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("there is room in the queue");
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is there");
    client
}

fn answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    answer
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn serves_without_rights_and_reaps_and_is_stopped_without_a_loss() {
    let container = server("--log-json --daemon-backlog=250 --shutdown-timeout=60");
    let address = SocketAddr::new(container.address().expect("it has a network"), 8080);
    let first = answer(send(address));
    assert!(first.starts_with("HTTP/1.1 200 ") && first.ends_with("\r\n12345 54321"), "{first}");
    assert_eq!(container.sh("cat /proc/1/comm").trim(), "mod_wsgi-rs");
    container.wait_for("! ps -eo stat= | grep --quiet ^Z");
    // A terminal that has another size.
    container.sh("kill -WINCH 1");
    assert!(answer(send(address)).starts_with("HTTP/1.1 200 "));

    let clients: Vec<_> = (0..200).map(|_| send(address)).collect();
    assert_eq!(container.stop().expect("it ends"), 0, "{}", container.logs());
    let lost = clients.into_iter().map(answer).filter(|text| !text.starts_with("HTTP/1.1 200 "));
    assert_eq!(lost.count(), 0, "{}", container.logs());
    let logs = container.logs();
    assert!(
        logs.lines().filter(|line| line.contains("\"message\":\"asked\"")).count() > 200,
        "{logs}"
    );
    for line in logs.lines() {
        assert!(line.starts_with("{\"time\":\"") && line.ends_with('}'), "{line}");
    }
}
