//! Names, proxies and TLS: which of the generated hosts answers, and what the application is told.

use testkit::{Certificate, Curl, Express};

use super::{APPLICATION, check};

#[test]
fn names() {
    let options = ["--server-name=www.site.example", "--server-alias=other.example"];
    check(&options, "/a", &[("Host", "other.example")], &["localhost:", ", other.example"]);
    let server = Express::setup(APPLICATION, &options).expect("mod_wsgi-express sets up");
    server.start("start");
    server.wait_for("/a", &[("Host", "www.site.example")], 200);
    server.wait_for("/a", &[("Host", "unknown.example")], 403);
    let moved = server.wait_for("/a?b", &[("Host", "site.example")], 301);
    let place = format!("http://www.site.example:{}/a?b", server.port());
    assert_eq!(moved.header("Location"), Some(&*place));
}

#[test]
fn tls_alone() {
    let Some(own) = Certificate::of("localhost").filter(|_| Curl::is_there()) else {
        return;
    };
    let options = [
        "--server-name=localhost",
        "--https-port={tls_port}",
        "--https-only",
        "--hsts-policy=max-age=100",
        "--ssl-certificate-file={dir}/cert.pem",
        "--ssl-certificate-key-file={dir}/key.pem",
        "--ssl-environment",
        "--http2",
    ];
    let server = Express::setup(APPLICATION, &options).expect("mod_wsgi-express sets up");
    server.write("cert.pem", &own.certificate);
    server.write("key.pem", &own.key);
    server.control("configtest");
    server.start("start");
    for command in ["graceful", "restart", ""] {
        let moved = server.wait_for("/a", &[], 302);
        let place = format!("https://localhost:{}/a", server.tls_port());
        assert_eq!(moved.header("Location"), Some(&*place), "{command}");
        for (version, protocol) in [("--http1.1", ", HTTP/1.1"), ("--http2", ", HTTP/2.0")] {
            let curl = Curl { version, port: server.tls_port() };
            let answer = curl.request("GET", "/a", &[], b"").assert(200);
            let what = format!("{command} {version}: {answer}");
            let text = answer.text();
            assert!(text.contains(", https, TLSv1") && text.ends_with(protocol), "{what}");
            assert_eq!(answer.header("Strict-Transport-Security"), Some("max-age=100"), "{what}");
        }
        if !command.is_empty() {
            server.start(command);
        }
    }
}

#[test]
fn in_front_of_others() {
    let options = [
        "--proxy-mount-point",
        "/behind",
        "http://127.0.0.1:{port}/inside",
        "--proxy-virtual-host",
        "other.example",
        "http://127.0.0.1:{port}/",
        "--proxy-timeout=30",
    ];
    check(&options, "/behind/a", &[], &[", , /inside/a, ", ", 127.0.0.1:"]);
    check(&options, "/a", &[("Host", "other.example")], &[", , /a, ", ", 127.0.0.1:"]);
    let server = Express::setup(APPLICATION, &options).expect("mod_wsgi-express sets up");
    server.start("start");
    let moved = server.wait_for("/behind", &[], 302);
    assert!(moved.header("Location").is_some_and(|place| place.ends_with("/behind/")), "{moved}");
}

#[test]
fn behind_others() {
    let headers = [
        "--trust-proxy-header=X-Forwarded-For",
        "--trust-proxy-header=X-Forwarded-Host",
        "--trust-proxy-header=X-Forwarded-Scheme",
        "--trust-proxy-header=X-Forwarded-Script-Name",
        "--mount-point=/sub",
    ];
    let said = [
        ("X-Forwarded-For", "1.2.3.4, 5.6.7.8"),
        ("X-Forwarded-Host", "front.example"),
        ("X-Forwarded-Scheme", "https"),
        ("X-Forwarded-Script-Name", "/front"),
    ];
    let trusted = [&headers[..], &["--trust-proxy=127.0.0.1"]].concat();
    let seen = [", /front, /a, ", ", 5.6.7.8, front.example, https"];
    check(&trusted, "/sub/a", &said, &seen);
    let strangers = [&headers[..], &["--trust-proxy=10.0.0.0/8"]].concat();
    check(&strangers, "/sub/a", &said, &[", /sub, /a, ", ", 127.0.0.1, localhost, http"]);
}
