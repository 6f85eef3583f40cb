//! The source package for pip: what it holds, and that it is built without a network.

use std::process::Command;

use testkit::{Container, environment};

/// What of ours is for development alone, and crates of other systems, which have no code here.
const NOT_THERE: &str = "cd /tmp && tar --extract --file /packages/mod_wsgi_rs-*.tar.gz && cd mod_wsgi_rs-* \
     && ! ls -d xtask fuzz tests docs crates/testkit crates/*/tests crates/*/examples 2>/dev/null \
     && test ! -s vendor/windows-sys-*/src/lib.rs";

/// Each crate says under which terms it may be used, and those that are compiled into programs with its
/// own words, if it has any.
const TERMS: &str = "cd /tmp/mod_wsgi_rs-* && grep --files-without-match '^license' vendor/*/Cargo.toml; \
     ls vendor/rustix-*/LICENSE* mod_wsgi_rs-*.dist-info/licenses/LICENSE \
     mod_wsgi_rs-*.dist-info/licenses/third-party/rustix-*/LICENSE* > /dev/null || echo no licence";

const APP: &str = "\
import sys


def application(environ, start_response):
    start_response('200 OK', [])
    return [sys.prefix.encode()]
";

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn the_source_package_is_built_and_serves_without_a_network() {
    let Some(image) = environment::sdist_image() else {
        testkit::skipped("no wheel was built: `cargo xtask test` and `cargo xtask test wheel` do");
        return;
    };
    let rust = Command::new("rustc").args(["--print", "sysroot"]).output().expect("there is Rust");
    let rust = String::from_utf8(rust.stdout).expect("a path");
    let rust = format!("--volume={}:/rust:ro", rust.trim());
    let container = Container::start_with(&image, &["--network=none", &rust]);
    let container = container.expect("the image can be run");
    container.sh(NOT_THERE);
    assert_eq!(container.sh(TERMS), "");
    container.sh("python3 -m venv /srv/venv");
    // It need not be fast.
    container.sh(
        "PATH=/rust/bin:$PATH CARGO_PROFILE_RELEASE_OPT_LEVEL=0 /srv/venv/bin/pip install --quiet \
         --no-index --find-links /packages --no-binary mod-wsgi-rs mod-wsgi-rs",
    );
    container.sh(&format!("cat > /srv/app.wsgi <<'END'\n{APP}END"));
    container.sh(
        "/srv/venv/bin/mod_wsgi-rs start-server /srv/app.wsgi --user www-data > /tmp/log 2>&1 &",
    );
    let ask = "/srv/venv/bin/python -c 'import urllib.request as u; \
               print(u.urlopen(\"http://localhost:8000/\").read().decode())'";
    assert_eq!(container.wait_for(ask).trim(), "/srv/venv", "{}", container.sh("cat /tmp/log"));
}
