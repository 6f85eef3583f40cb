//! `cargo xtask instructions`: how many instructions a small request costs, counted by callgrind,
//! which no other load on the machine can change.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg;
use testkit::{Httpd, Running};

use crate::dist::Profile;
use crate::{dist, python, requirements, shell, stage};

/// Where the last figures are kept.
const RECORD: &str = "docs/instructions.txt";

/// What stands above the figures.
const RECORD_HEAD: &str = "\
# Instructions in user mode for one GET of examples/hello, by the program or library that executes
# them; in turn: by 20 kinds of clients, each with headers of its own. `cargo xtask instructions`
# compares with this file; with --record it writes it.
";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    /// All requests have the same headers.
    Alike,
    /// Kinds of clients take their turn, as in the bench's row `headers`.
    InTurn,
}

/// How many kinds there are.
const KINDS: u32 = 20;

/// A request's cost is the difference between runs of so many requests: start and end cancel out.
const FEW: u32 = 100;
const MANY: u32 = 600;

/// Of fewer instructions, a change says nothing.
const SIGNIFICANT: f64 = 100.0;

/// How many functions `--functions` lists.
const LISTED: usize = 60;

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let (mut record, mut functions) = (false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("record") => record = true,
            Arg::Long("functions") => functions = true,
            other => return Err(other.unexpected().into()),
        }
    }
    requirements::ensure()?;
    requirements::ensure_tool("valgrind", "it counts instructions")?;
    let python = python::default()?;
    let stage = stage::ensure()?;
    let dist = stage.join("dist");
    dist::build(&dist, std::slice::from_ref(&python), Profile::Release)?;

    let mut figures = BTreeMap::new();
    for clients in [Clients::Alike, Clients::InTurn] {
        let few = count(&stage, &dist, clients, FEW)?;
        let many = count(&stage, &dist, clients, MANY)?;
        let costs = many.per_request(&few, MANY - FEW);
        if functions {
            println!("{clients:?}:");
            list(&costs);
        }
        let prefix = if clients == Clients::InTurn { "in turn, " } else { "" };
        figures.extend(
            by_part(&costs).into_iter().map(|(part, cost)| (format!("{prefix}{part}"), cost)),
        );
    }
    let before = fs::read_to_string(shell::root().join(RECORD)).unwrap_or_default();
    print!("{}", compare(&figures, &parse_record(&before)));
    if record {
        let lines = figures.iter().map(|(part, cost)| format!("{part}: {cost:.0}\n"));
        let text = RECORD_HEAD.to_owned() + &lines.collect::<String>();
        fs::write(shell::root().join(RECORD), text)
            .with_context(|| format!("cannot write {RECORD}"))?;
        println!("Recorded in {RECORD}.");
    }
    Ok(())
}

/// Runs so many requests, with httpd and all that it starts under callgrind.
fn count(stage: &Path, dist: &Path, clients: Clients, requests: u32) -> Result<Costs> {
    let folder = stage.join("instructions");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    stage::folder(&folder)?;
    // httpd's children and the workers write here, each as its user.
    fs::set_permissions(&folder, Permissions::from_mode(0o1777))?;
    let valgrind = shell::on_path("valgrind").context("valgrind is not on PATH")?;
    let hello = fs::read_to_string(shell::root().join("examples/hello/hello.wsgi"))?;
    let mut httpd = Httpd::new()
        .dist(dist)
        .under(&[
            &valgrind.display().to_string(),
            "--quiet",
            "--tool=callgrind",
            // Its pipes would belong to root, and workers do not run as root.
            "--vgdb=no",
            "--trace-children=yes",
            &format!("--callgrind-out-file={}/%p", folder.display()),
        ])
        // Without this, dictionaries of strings differ from run to run.
        .env("PYTHONHASHSEED", "0")
        .app("hello.wsgi", &hello)
        .conf(
            "ServerLimit 1\nStartServers 1\n\
             WSGIDaemonProcess hello user={user} group={group} threads=15\n\
             WSGIScriptAlias / {apps}/hello.wsgi process-group=hello application-group=%{GLOBAL}",
        )
        // valgrind has a word to say about most programs.
        .expect_log("")
        .try_start()?;
    if let Err(error) = ask(&httpd, clients, requests) {
        bail!("{error:#}\n{}", httpd.abandon());
    }
    httpd.shut_down()?;
    let mut costs = Costs::default();
    for entry in fs::read_dir(&folder)? {
        costs.add(&fs::read_to_string(entry?.path())?);
    }
    ensure!(!costs.0.is_empty(), "callgrind has written nothing to {}", folder.display());
    Ok(costs)
}

/// Sends so many requests, one after the other.
fn ask(httpd: &Running, clients: Clients, requests: u32) -> Result<()> {
    let mut connection = httpd.connect();
    for number in 0..requests {
        let headers = match clients {
            Clients::Alike => Vec::new(),
            Clients::InTurn => headers(number % KINDS),
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let response = connection.request("GET", "/", &headers, b"")?;
        ensure!(response.status == 200, "the answer is {}", response.status);
    }
    Ok(())
}

/// What a kind of clients sends, and no other one.
fn headers(kind: u32) -> Vec<(String, String)> {
    let own = |header: u32| (format!("X-Own-{kind}-{header}"), format!("value {header}"));
    let agent = ("User-Agent".to_owned(), format!("client {kind}"));
    std::iter::once(agent).chain((0..kind % 5 + 2).map(own)).collect()
}

/// Instructions by program or library, and function.
#[derive(Debug, Default, PartialEq)]
struct Costs(BTreeMap<(String, String), f64>);

impl Costs {
    /// Adds what callgrind has written about a process ("Callgrind Format Specification" in
    /// valgrind's manual): each function's own instructions, not those of what it calls.
    fn add(&mut self, profile: &str) {
        let (mut objects, mut functions) = (Names::default(), Names::default());
        let (mut object, mut function) = (String::new(), String::new());
        let mut of_a_call = false;
        for line in profile.lines() {
            if let Some(name) = line.strip_prefix("ob=") {
                object = objects.resolve(name);
            } else if let Some(name) = line.strip_prefix("fn=") {
                function = functions.resolve(name);
            } else if let Some(name) = line.strip_prefix("cob=") {
                objects.resolve(name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                functions.resolve(name);
            } else if line.starts_with("calls=") {
                of_a_call = true;
            } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
                let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<f64>().ok());
                if let (Some(cost), false) = (cost, std::mem::take(&mut of_a_call)) {
                    *self.0.entry((object.clone(), function.clone())).or_default() += cost;
                }
            }
        }
    }

    /// What one of so many requests costs that are in these but not in `fewer`.
    fn per_request(&self, fewer: &Costs, requests: u32) -> Costs {
        let cost = |(key, cost): (&(String, String), &f64)| {
            let before = fewer.0.get(key).copied().unwrap_or_default();
            (key.clone(), (cost - before) / f64::from(requests))
        };
        Costs(self.0.iter().map(cost).collect())
    }
}

/// Names that stand in full once, and as a number in parentheses from then on.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn resolve(&mut self, text: &str) -> String {
        match text.split_once(' ') {
            Some((number, name)) => {
                self.0.insert(number.to_owned(), name.to_owned());
                name.to_owned()
            }
            None => self.0.get(text).cloned().unwrap_or_default(),
        }
    }
}

/// The part of the whole that a program or library belongs to.
fn part(object: &str) -> &'static str {
    let file = object.rsplit('/').next().unwrap_or_default();
    match file {
        name if name.starts_with("libmod_wsgi_rs") => "module",
        name if name.starts_with("wsgi_worker") => "worker",
        name if name.starts_with("wsgi-supervisor") => "supervisor",
        name if name.starts_with("libpython") || name.starts_with("python3") => "CPython",
        name if name.starts_with("libapr") || name.starts_with("mod_") => "httpd and APR",
        "apache2" | "httpd" => "httpd and APR",
        _ => "C library and others",
    }
}

fn by_part(costs: &Costs) -> BTreeMap<String, f64> {
    let mut parts = BTreeMap::new();
    for ((object, _), cost) in &costs.0 {
        *parts.entry(part(object).to_owned()).or_default() += cost;
    }
    parts.insert("ours (module and worker)".to_owned(), parts["module"] + parts["worker"]);
    parts
}

/// The costliest functions.
fn list(costs: &Costs) {
    let mut all: Vec<_> = costs.0.iter().collect();
    all.sort_by(|one, other| other.1.total_cmp(one.1));
    for ((object, function), cost) in all.into_iter().take(LISTED) {
        println!("{cost:8.0}  {}  {function}", part(object));
    }
}

fn parse_record(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let figures = lines.filter_map(|line| {
        let (part, cost) = line.rsplit_once(": ")?;
        Some((part.to_owned(), cost.parse().ok()?))
    });
    figures.collect()
}

/// One line for each part, with the change.
fn compare(now: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>) -> String {
    let line = |(part, cost): (&String, &f64)| match before.get(part) {
        Some(old) if *old >= SIGNIFICANT => {
            let change = (cost / old - 1.0) * 100.0;
            format!("{part:35}{cost:9.0} instructions per request, {change:+.1} %\n")
        }
        _ => format!("{part:35}{cost:9.0} instructions per request\n"),
    };
    now.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
version: 1
events: Ir
ob=(1) /x/libmod_wsgi_rs-0a.so
fl=(1) ???
fn=(1) handle
0 10
cob=(2) /lib/libc.so.6
cfn=(2) memcpy
calls=1 0
* 500
+3 5
ob=(2)
fn=(2)
0 500
";

    #[test]
    fn each_function_has_its_own_cost() {
        let mut costs = Costs::default();
        costs.add(PROFILE);
        let key = |object: &str, function: &str| (object.to_owned(), function.to_owned());
        let expected = [
            (key("/lib/libc.so.6", "memcpy"), 500.0),
            (key("/x/libmod_wsgi_rs-0a.so", "handle"), 15.0),
        ];
        assert_eq!(costs, Costs(expected.into()));
        costs.add(PROFILE);
        let mut once = Costs::default();
        once.add(PROFILE);
        assert_eq!(costs.per_request(&once, 1), once);
    }

    #[test]
    fn change() {
        let before = parse_record("# a comment\nworker: 200\n");
        let now = parse_record("worker: 150\nmodule: 7\n");
        let text = compare(&now, &before);
        assert!(text.contains("-25.0 %") && text.lines().count() == 2, "{text}");
    }
}
