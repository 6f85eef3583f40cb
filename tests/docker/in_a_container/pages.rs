//! What the pages for users say is done as it stands, page by page, each in a container of its own.
//!
//! * A command has to succeed. Those that start a server have to serve. `cargo` is on no server: its commands
//!   are looked up in the help of `cargo xtask`, and what they make is there.
//! * A configuration has to pass `configtest`, and what it names has to answer.
//! * What is in a `pyproject.toml` or is a container's `CMD` has to serve.
//! * What a program prints is only shown.

use testkit::{Container, environment};

use super::{assert_holds, get, site_of, wait_for_log};
use crate::pages::{Block, Language, assert_known_to_xtask, blocks, pages, root};

/// Where a reader of the pages gives commands: there are applications, and what a checkout has.
const WORKPLACE: &str = "/srv/work";

/// An application that says where it runs, in a script or a module.
const APPLICATION: &str = r#"
import sys


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"served by {sys.prefix} in {environ['mod_wsgi.process_group']}".encode()]


def create_app():
    return application


app = application
"#;

/// What a page takes for granted, and what its reader has in the end.
struct Story {
    page: &'static str,
    /// Shell commands before what the page says, and after it.
    before: &'static str,
    after: &'static str,
    /// What the site answers then, as an expression of grep; nothing where each step has been asked already.
    answer: Option<&'static str>,
}

/// Pages without one take nothing for granted.
const STORIES: [Story; 6] = [
    Story {
        page: "README.md",
        // The image has followed the page. What it has not: an environment that is made as usual.
        before: "a2dissite 050-my-application && a2dismod mod_wsgi_rs && apachectl graceful && \
                 rm -r /usr/lib/mod_wsgi_rs /path/to/my-application/venv && \
                 virtualenv /path/to/my-application/venv && cp app.wsgi /path/to/my-application",
        after: "true",
        answer: Some("^200 served by /path/to/my-application/venv in my-application$"),
    },
    Story {
        page: "docs/installing.md",
        before: "a2dismod wsgi && rm /etc/apache2/mods-available/wsgi.*",
        after: "true",
        answer: Some("^200 .*my-application"),
    },
    Story {
        page: "docs/migrating.md",
        // Debian's module keeps the files that were there.
        before: "echo 'APT::Get::Assume-Yes \"true\";' > /etc/apt/apt.conf.d/yes && \
                 echo 'Dpkg::Options { \"--force-confold\"; }' > /etc/apt/apt.conf.d/old && \
                 apt-get update && apt-get install --no-install-recommends libapache2-mod-wsgi-py3",
        after: "apt-get purge libapache2-mod-wsgi-py3 && apachectl configtest && apachectl restart",
        answer: Some("^200 .*my-application"),
    },
    Story {
        page: "docs/express.md",
        before: "for name in shop wiki; do \
                 mkdir /srv/$name && python3 -m venv --without-pip /srv/$name/venv; done",
        after: "true",
        answer: None,
    },
    Story {
        page: "examples/flask/README.md",
        before: "mv /path/to/my-application/venv /tmp && apachectl graceful",
        after: "true",
        answer: Some("^200 .*my-application/venv/lib"),
    },
    Story {
        page: "examples/django/README.md",
        before: "virtualenv /srv/django/venv && /srv/django/venv/bin/pip install django",
        after: "true",
        answer: None,
    },
];

/// Pages that tell of the package for pip.
const OF_THE_PACKAGE: [&str; 2] = ["README.md", "docs/upgrading.md"];

/// Does what the page says in a container of an image.
fn follow(page: &str, image: &str) {
    let blocks = blocks(page);
    if blocks.is_empty() {
        return;
    }
    println!("{page}");
    let container = site_of(image, &[]);
    furnish(&container);
    let story = STORIES.iter().find(|story| story.page == page);
    if let Some(story) = story {
        in_workplace(&container, story.before, true);
    }
    for block in &blocks {
        match block.language {
            Language::Console => block.commands().for_each(|(command, as_root)| {
                give(&container, command, as_root);
            }),
            Language::Apache => configure(&container, block),
            Language::Toml => {
                write(&container, &format!("{WORKPLACE}/pyproject.toml"), &block.text);
                serve(&container, "mod_wsgi-rs start-server", false);
            }
            Language::Dockerfile => {
                let words = block.text.trim().strip_prefix("CMD [").expect("the form of a list");
                let words = words.trim_end_matches(']').replace("\", \"", "\" \"");
                serve(&container, &words, false);
            }
            Language::Text => {}
        }
    }
    if let Some(story) = story {
        in_workplace(&container, story.after, true);
        if let Some(answer) = story.answer {
            container.wait_for(&format!("{} | grep '{answer}'", get("/")));
        }
    }
}

/// Puts what commands and configurations name where they look for it.
fn furnish(container: &Container) {
    container.sh(&format!("install --directory --owner username {WORKPLACE} {WORKPLACE}/static"));
    for name in ["app.wsgi", "app.py", "shop.py", "shop.wsgi", "wiki.py"] {
        write(container, &format!("{WORKPLACE}/{name}"), APPLICATION);
    }
    container.copy(&root().join("conf"), WORKPLACE);
    for name in ["django", "hello"] {
        container.copy(&root().join("examples").join(name), "/srv");
    }
    container
        .sh(&format!("chmod -R a+rX /srv && ( [ ! -d /wheels ] || cp -r /wheels {WORKPLACE} )"));
}

fn write(container: &Container, path: &str, text: &str) {
    container.sh(&format!("cat > {path} <<'END'\n{text}\nEND"));
}

/// A command as it is given in the workplace, in the application's environment.
fn in_its_place(command: &str, as_root: bool) -> String {
    let user = if as_root { "" } else { "runuser -u username -- " };
    let command = command.replace('\'', r"'\''");
    format!(
        "cd {WORKPLACE} && exec {user}env HOME={WORKPLACE} PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels \
         PATH=/path/to/my-application/venv/bin:/usr/lib/mod_wsgi_rs:$PATH sh -c '{command}'"
    )
}

fn in_workplace(container: &Container, command: &str, as_root: bool) -> String {
    container.sh(&in_its_place(command, as_root))
}

/// Gives a command of a page.
fn give(container: &Container, command: &str, as_root: bool) {
    match command.split_whitespace().collect::<Vec<_>>()[..] {
        ["cargo", ..] => assert_known_to_xtask(command),
        ["mod_wsgi-rs", "start-server", ..] => serve(container, command, as_root),
        _ => drop(in_workplace(container, command, as_root)),
    }
}

/// Gives a command that serves until it is told to end.
fn serve(container: &Container, command: &str, as_root: bool) {
    let command = command.split("   ").next().unwrap_or_default();
    let words: Vec<_> = command.split([' ', '"']).filter(|word| !word.is_empty()).collect();
    let after = |option: &'static str| {
        words.iter().zip(words.iter().skip(1)).filter(move |(word, _)| **word == option)
    };
    let port = after("--port").next().map_or("8000", |(_, port)| port);
    let mounts = after("--app").filter_map(|(_, app)| app.split('=').next());
    let mut paths: Vec<_> = mounts.map(|mount| format!("{mount}/")).collect();
    if paths.is_empty() {
        paths.push("/".to_owned());
    }
    let place = in_its_place(&format!("exec {command}"), as_root);
    container.sh(&format!("({place}) > /tmp/served 2>&1 & echo $! > /tmp/served.pid"));
    for path in paths {
        container.wait_for(&format!(
            "{} | grep '^200 served by' || {{ cat /tmp/served; false; }}",
            get(&format!("http://127.0.0.1:{port}{path}"))
        ));
    }
    container.sh("kill $(cat /tmp/served.pid)");
    container.wait_for("! kill -0 $(cat /tmp/served.pid)");
}

/// Has httpd take a configuration, asks for what it names, and takes it away again.
fn configure(container: &Container, block: &Block) {
    // Directives that are there to be chosen are taken, too.
    let text: String = block.text.lines().map(|line| uncommented(line) + "\n").collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // What to ask for, and the status of the answer.
    let mut requests = Vec::new();
    let mut location = None;
    let mut host = "localhost".to_owned();
    for line in text.lines().map(words) {
        let home = line.iter().find_map(|word| word.strip_prefix("python-home="));
        if let Some(home) = home {
            container.sh(&format!("[ -e {home} ] || python3 -m venv --without-pip {home}"));
        }
        match line.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["WSGIScriptAlias", url, script, ..] => {
                let folder = script.rsplit_once('/').expect("an absolute path").0;
                container.sh(&format!(
                    "[ -e {script} ] || {{ mkdir -p {folder} && cp {WORKPLACE}/app.wsgi {script}; }}"
                ));
                requests.push((url.to_owned(), "200"));
            }
            ["ServerName", name] => name.clone_into(&mut host),
            ["<Location", url] => location = Some(url.trim_end_matches('>').to_owned()),
            // For others than us, who ask from here.
            ["Require", "ip", ..] => requests.extend(location.take().map(|url| (url, "403"))),
            ["</Location>"] => requests.extend(location.take().map(|url| (url, "200"))),
            _ => {}
        }
    }
    let loads = text.trim_start().starts_with("LoadModule");
    let file = match loads {
        true => "/etc/apache2/mods-available/wsgi.load",
        false => "/etc/apache2/sites-available/my-application.conf",
    };
    container.sh("a2dissite 050-my-application");
    write(container, file, &text);
    if loads {
        container.sh("a2enmod wsgi && a2ensite 050-my-application");
        host = "my-application.org".to_owned();
        requests.push(("/".to_owned(), "200"));
    } else {
        container.sh("a2ensite my-application");
    }
    let tested = container.sh("apachectl configtest 2>&1 && apachectl graceful");
    assert_holds(&tested, &["Syntax OK"]);
    assert!(!tested.contains("wsgi:"), "{}: {tested}", block.place);
    for (url, status) in requests {
        println!("  {}: {url}", block.place);
        let url = get(&format!("http://{host}{url}"));
        container.wait_for(&format!("{url} | grep '^{status} '"));
    }
    if !loads {
        container.sh("a2dissite my-application && apachectl graceful");
    }
}

/// A line without the sign that keeps httpd from reading a directive in it.
fn uncommented(line: &str) -> String {
    let content = line.trim_start();
    match content.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_uppercase()) => rest.to_owned(),
        _ => line.to_owned(),
    }
}

/// Follows the pages that tell of the package for pip, or the others.
fn follow_all(image: &str, of_the_package: bool) {
    let pages = pages();
    for page in STORIES.iter().map(|story| story.page).chain(OF_THE_PACKAGE) {
        assert!(pages.iter().any(|name| name == page), "there is no page {page}");
    }
    for page in
        pages.iter().filter(|page| OF_THE_PACKAGE.contains(&page.as_str()) == of_the_package)
    {
        follow(page, image);
    }
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn what_the_pages_say_works() {
    follow_all(&environment::docker_image(), false);
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn what_the_pages_say_of_the_package_works() {
    let Some(image) = environment::wheel_image() else {
        testkit::skipped("no wheel was built: `cargo xtask test` and `cargo xtask test wheel` do");
        return;
    };
    follow_all(&image, true);
}

#[test]
#[ignore = "needs a Docker engine: `cargo xtask test`"]
fn the_shipped_site_with_an_environment_of_venv() {
    let site = site_of(&environment::docker_image(), &[]);
    let folder = "/path/to/my-application";
    site.sh(&format!(
        "cd {folder} && mv venv /tmp/with-pip && python3 -m venv --without-pip venv && \
         /tmp/with-pip/bin/python -m pip --python venv/bin/python install --no-index --find-links /wheels flask && \
         apachectl graceful"
    ));
    site.wait_for(&format!("{} | grep '^500 '", get("/")));
    wait_for_log(&site, "error.log", &format!("python-home={folder}/venv in WSGIDaemonProcess"));
    // What the line says.
    site.sh(&format!(
        "sed -i '/activate_this/d' {folder}/my-application.wsgi && \
         sed -i 's|^ *WSGIDaemonProcess.*|& python-home={folder}/venv|' \
         /etc/apache2/sites-available/050-my-application.conf && \
         apachectl configtest && apachectl graceful"
    ));
    let page = site.wait_for(&format!("{} | grep '^200 '", get("/")));
    assert_holds(&page, &[&format!("\"flask\":\"{folder}/venv/lib/"), "\"user\":\"username\""]);
}
