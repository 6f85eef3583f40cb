//! Every option at once: what is generated is what httpd accepts.

use std::process::Command;

use testkit::{Certificate, Workplace, app_user};

use super::{WHERE, text};

/// With a value each that differs from the default, but for those that are refused, and `--user`.
const ALL: &str = r#"
--application-group=a\ group --process-group=my\ group --mount-point=/x/y --python-path=. --python-path=/usr
--python-eggs={dir}/eggs --python-warnings=ignore --setenv A b\ c --passenv HOME --locale=C.UTF-8
--orphan-interpreter --free-threading --switch-interval=0.01 --app=/other=app.wsgi
--host=127.0.0.1 --https-port=8171 --ssl-certificate-file=cert.pem --ssl-certificate-key-file=key.pem
--ssl-ca-certificate-file=cert.pem --ssl-verify-client=/p --ssl-certificate-chain-file=cert.pem
--ssl-environment --https-only --hsts-policy=max-age=3;\ preload --server-name=www.x.example
--server-alias=*.x.example --allow-localhost --trust-proxy-header=X-Forwarded-For
--trust-proxy=10.0.0.0/8 --keep-alive-timeout=5 --limit-request-body=0 --chunked-request
--map-head-to-get=off --compress-responses --enable-sendfile
--processes=3 --threads=2 --max-clients=40 --initial-workers=1 --minimum-spare-workers=0
--maximum-spare-workers=0.1 --server-backlog=10 --daemon-backlog=10
--request-timeout=0 --interrupt-timeout=5 --startup-timeout=0 --shutdown-timeout=0
--graceful-timeout=0 --eviction-timeout=3 --deadlock-timeout=0 --queue-timeout=0 --connect-timeout=0
--socket-timeout=30 --response-socket-timeout=3 --response-flush-delay=0 --maximum-requests=5
--restart-interval=5 --cpu-time-limit=5 --inactivity-timeout=5 --ignore-activity=/a --proxy-timeout=3
--header-timeout=0 --header-max-timeout=0 --header-min-rate=0 --body-timeout=0 --body-max-timeout=5
--body-min-rate=0 --send-buffer-size=1000 --receive-buffer-size=1000 --header-buffer-size=10000
--response-buffer-size=70000 --reload-on-changes --reload-path=more.conf
--document-root={dir}/my\ files --directory-index=index.html --directory-listing
--allow-override=FileInfo --allow-override=AuthConfig --url-alias /s {dir} --url-alias /f app.wsgi
--error-document 404 /x --error-document 500 sorry\ "you" --error-override
--proxy-mount-point /pp http://127.0.0.1:1/ --proxy-virtual-host y.example http://127.0.0.1:1/
--add-handler .w app.wsgi --with-cgi --rewrite-rules=rules.conf --include-file=more.conf
--host-access-script=app.wsgi --auth-user-script=app.wsgi --auth-type=digest
--auth-group-script=app.wsgi --auth-group=g
--log-directory={dir}/my\ logs --log-level=info\ ssl:warn --error-log-name=e --access-log-name=a
--startup-log-name=s --access-log --startup-log --access-log-format=%h\ "%r"\ \\ --rotate-logs
--error-log-format=[%t]\ [%l]\ %M --max-log-size=1 --server-status --server-metrics
--telemetry-service=unix:/none --telemetry-interval=2 --telemetry-options=All --slow-requests=1
--telemetry-ui-port=1 --service-script s app.wsgi --service-log-file s s.log
--pid-file=other.pid --socket-prefix=/tmp --envvars-script=variables.sh --process-name=x
--shell-executable=/bin/bash --verbose-debugging
"#;

#[test]
fn httpd_accepts_what_all_options_together_generate() {
    let Some(own) = Certificate::of("localhost") else {
        testkit::skipped("there is no openssl");
        return;
    };
    let (user, group) = app_user();
    let owners = [("--service-user", user), ("--service-group", group)];
    for mpm in ["event", "worker", "prefork"] {
        let workplace = Workplace::new(&[
            ("app.wsgi", WHERE),
            ("cert.pem", &own.certificate),
            ("key.pem", &own.key),
            ("more.conf", "Header set X-More yes\n"),
            ("rules.conf", "RewriteRule ^a$ b\n"),
            ("variables.sh", "export HOME=/\n"),
            ("my files/x", ""),
        ]);
        // A backslash keeps a blank, or itself.
        let escaped = ALL.replace("\\\\", "\u{1}").replace("\\ ", "\u{2}");
        let words = escaped.split_whitespace();
        let words: Vec<String> =
            words.map(|word| word.replace('\u{2}', " ").replace('\u{1}', "\\")).collect();
        let mpm = format!("--server-mpm={mpm}");
        let usual = workplace.usual();
        let owners = owners.iter().flat_map(|(option, name)| [*option, "s", name.as_str()]);
        let words: Vec<&str> = ["setup-server", "app.wsgi", &mpm]
            .into_iter()
            .chain(usual.iter().map(String::as_str))
            .chain(words.iter().map(String::as_str))
            .chain(owners)
            .chain((mpm != "--server-mpm=prefork").then_some("--http2"))
            .collect();
        let output = workplace.run(&words);
        assert!(output.status.success(), "{}", text(&output));
        let mut apachectl = Command::new(workplace.dir().join("server/apachectl"));
        workplace.prepare(&mut apachectl, &["configtest"]);
        let tested = apachectl.output().expect("it can be run");
        let log = std::fs::read_to_string(workplace.dir().join("my logs/s")).unwrap_or_default();
        assert!(tested.status.success(), "{mpm}: {}{log}", text(&tested));
        assert!(log.contains("Syntax OK"), "{log}");
    }
}
