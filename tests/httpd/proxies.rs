//! What proxies say of their clients: believed if the header is listed and the peer is trusted, and
//! kept from the application otherwise.

use testkit::{Curl, Running};

use crate::{TELL, ask, serving, told};

/// Each header that there is, a value, and the variable that it changes, and to what.
const HEADERS: [(&str, &str, &str, &str); 24] = [
    ("X-Forwarded-For", "1.1.1.1", "environ['REMOTE_ADDR']", "1.1.1.1"),
    ("X-Client-IP", "1.1.1.1", "environ['REMOTE_ADDR']", "1.1.1.1"),
    ("X-Real-IP", "1.1.1.1", "environ['REMOTE_ADDR']", "1.1.1.1"),
    ("X-Forwarded-Host", "a.example:81", "environ['HTTP_HOST']", "a.example:81"),
    ("X-Host", "a.example", "environ['HTTP_HOST']", "a.example"),
    ("X-Forwarded-Server", "a.example", "environ['SERVER_NAME']", "a.example"),
    ("X-Forwarded-Port", "81", "environ['SERVER_PORT']", "81"),
    ("X-Script-Name", "/a", "environ['SCRIPT_NAME']", "/a"),
    ("X-Script-Name", "/a", "environ.get('mod_wsgi.mount_point', 'none')", "/a"),
    ("X-Forwarded-Script-Name", "/a", "environ['SCRIPT_NAME']", "/a"),
    ("X-Forwarded-Script-Name", "/a", "environ.get('mod_wsgi.mount_point', 'none')", "/a"),
    ("X-Forwarded-Proto", "https", "environ['wsgi.url_scheme']", "https"),
    ("X-Forwarded-Scheme", "HTTPS", "environ['wsgi.url_scheme']", "https"),
    ("X-Scheme", "https", "environ['wsgi.url_scheme']", "https"),
    ("X-Forwarded-Proto", "wss", "environ['wsgi.url_scheme']", "http"),
    ("X-Forwarded-HTTPS", "On", "environ['wsgi.url_scheme']", "https"),
    ("X-Forwarded-HTTPS", "true", "environ['wsgi.url_scheme']", "https"),
    ("X-Forwarded-SSL", "1", "environ['wsgi.url_scheme']", "https"),
    ("X-HTTPS", "on", "environ['wsgi.url_scheme']", "https"),
    ("X-HTTPS", "yes", "environ['wsgi.url_scheme']", "http"),
    // What httpd says of the connection stays.
    ("X-Forwarded-Proto", "https", "environ['REQUEST_SCHEME']", "http"),
    ("X-Script-Name", "/a", "environ['mod_wsgi.script_name'] == ''", "True"),
    ("X-Forwarded-For", "1.1.1.1", "environ['REMOTE_PORT'].isdigit()", "True"),
    ("X-Forwarded-Port", "81", "environ['mod_wsgi.listener_port'] == '81'", "False"),
];

/// Asks at this path, with these headers.
#[track_caller]
fn answer(httpd: &Running, path: &str, headers: &[(&str, &str)], question: &str) -> String {
    let target = ask(&[question]).replacen('/', path, 1);
    told(httpd.request("GET", &target, headers, b"")).join("|")
}

/// The application at places that list all headers, or one.
fn places() -> Running {
    let mut conf = String::new();
    let all: Vec<_> = HEADERS.iter().map(|(header, ..)| *header).collect();
    let all = all.join(" ");
    let mut place = |name: &str, headers: &str, proxies: &str| {
        conf += &format!("<Location /t{name}>\n");
        for (directive, value) in
            [("WSGITrustedProxyHeaders", headers), ("WSGITrustedProxies", proxies)]
        {
            if !value.is_empty() {
                conf += &format!("{directive} {value}\n");
            }
        }
        conf += "</Location>\n";
    };
    place("-trusted", &all, "127.0.0.0/8 10.0.0.0/8");
    place("-anybody", &all, "");
    place("-stranger", &all, "10.0.0.0/8");
    place("-unlisted", "", "127.0.0.1");
    place("-real", "X-Client-IP X-Real-IP", "127.0.0.1");
    place("-scheme", "X-Forwarded-Proto X-HTTPS", "127.0.0.1");
    serving(TELL).conf(&conf).start()
}

#[test]
fn every_header_of_trusted_and_untrusted_peers() {
    if testkit::later_than_debians("all headers are kept from strangers") {
        return;
    }
    let httpd = places();
    for (header, value, question, expected) in HEADERS {
        let sent = [(header, value)];
        let own = answer(&httpd, "/t-unlisted", &[], question);
        let own = own.replace("/t-unlisted", "PLACE");
        let variable = format!("HTTP_{}", header.to_ascii_uppercase().replace('-', "_"));
        let passed = format!("environ.get('{variable}', 'none')");
        for (place, believed, left) in [
            ("/t-trusted", true, value),
            ("/t-anybody", true, value),
            ("/t-stranger", false, "none"),
            ("/t-unlisted", false, value),
        ] {
            let found = answer(&httpd, place, &sent, question).replace(place, "PLACE");
            let expected = if believed { expected } else { &own };
            assert_eq!(found, expected, "{place} {header}: {value}, {question}");
            assert_eq!(answer(&httpd, place, &sent, &passed), left, "{place} {header}: {value}");
        }
    }
}

#[test]
fn what_trusted_proxies_say_of_the_scheme_stands_above_the_connection() {
    let conf = "SSLOptions +StdEnvVars\n\
        <Location /t-trusted>\nWSGITrustedProxyHeaders X-Forwarded-Proto\n</Location>\n\
        <Location /t-stranger>\nWSGITrustedProxyHeaders X-Forwarded-Proto\n\
        WSGITrustedProxies 10.0.0.0/8\n</Location>";
    let Some((httpd, port)) = serving(TELL).secure(conf).filter(|_| Curl::is_there()) else {
        return;
    };
    let _httpd = httpd.start();
    let tell = "environ['wsgi.url_scheme'] + ' ' + environ['REQUEST_SCHEME'] + ' ' + \
                environ['SSL_PROTOCOL'][:3] + ' ' + str('HTTPS' in environ)";
    for version in ["--http1.1", "--http2"] {
        let curl = Curl { version, port };
        for (place, said, scheme) in [
            ("/t-unlisted", "", "https"),
            ("/t-unlisted", "http", "https"),
            ("/t-trusted", "", "https"),
            ("/t-trusted", "http", "http"),
            ("/t-trusted", "https", "https"),
            ("/t-stranger", "http", "https"),
        ] {
            let target = ask(&[tell]).replacen('/', place, 1);
            let headers = [("X-Forwarded-Proto", said)];
            let headers = if said.is_empty() { &[][..] } else { &headers };
            let found = told(curl.request("GET", &target, headers, b"")).join("|");
            assert_eq!(found, format!("{scheme} https TLS False"), "{version} {place} {said}");
        }
    }
}

#[test]
fn several_headers_of_one_kind() {
    let httpd = places();
    let all = "[environ.get(n) for n in ('REMOTE_ADDR', 'HTTP_X_CLIENT_IP', 'HTTP_X_REAL_IP', \
               'HTTP_X_FORWARDED_FOR')]";
    let [client, real, far] =
        [("X-Client-IP", "1.1.1.1"), ("X-Real-IP", "2.2.2.2"), ("X-Forwarded-For", "3.3.3.3")];
    for (sent, expected) in [
        // The one listed last counts, and of its kind only it is left.
        (&[client, real, far][..], "['2.2.2.2', None, '2.2.2.2', None]"),
        (&[client, far], "['1.1.1.1', '1.1.1.1', None, None]"),
        (&[far], "['127.0.0.1', None, None, None]"),
    ] {
        assert_eq!(answer(&httpd, "/t-real", sent, all), expected, "{sent:?}");
    }
    let scheme = "environ['wsgi.url_scheme']";
    for (word, flag, expected) in
        [("https", "off", "http"), ("http", "1", "https"), ("http", "nonsense", "http")]
    {
        let sent = [("X-Forwarded-Proto", word), ("X-HTTPS", flag)];
        assert_eq!(answer(&httpd, "/t-scheme", &sent, scheme), expected, "{sent:?}");
    }
}

#[test]
fn forwarded_for_is_read_from_its_end() {
    if testkit::later_than_debians("elements may be empty") {
        return;
    }
    let httpd = places();
    let both = "environ['REMOTE_ADDR'] + '|' + environ['HTTP_X_FORWARDED_FOR']";
    for (place, sent, expected) in [
        ("/t-anybody", "1.1.1.1, 2.2.2.2", "1.1.1.1|1.1.1.1, 2.2.2.2"),
        ("/t-anybody", ", ,1.1.1.1", "1.1.1.1|, ,1.1.1.1"),
        ("/t-trusted", "9.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1|1.1.1.1, 10.0.0.2"),
        ("/t-trusted", "9.9.9.9, 1.1.1.1,,10.0.0.2", "1.1.1.1|1.1.1.1, 10.0.0.2"),
        ("/t-trusted", "10.0.0.2, 10.0.0.3", "10.0.0.2|10.0.0.2, 10.0.0.3"),
        ("/t-trusted", "1.1.1.1, 2.2.2.2", "2.2.2.2|2.2.2.2"),
    ] {
        let headers = [("X-Forwarded-For", sent)];
        assert_eq!(answer(&httpd, place, &headers, both), expected, "{place} {sent}");
    }
}
