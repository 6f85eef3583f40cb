//! Developer commands: `cargo xtask COMMAND`. Each command has a file of its own.
#![forbid(unsafe_code)]

mod bench;
mod components;
mod demo;
mod dist;
mod docker;
mod environments;
mod flask_site;
mod httpds;
mod instructions;
mod lint;
mod originals;
mod package;
mod python;
mod record;
mod requirements;
mod sdist;
mod shell;
mod soak;
mod stage;
mod tally;
mod test;
mod tidy;
mod wheel;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Arg;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  requirements       install what building and testing need, or say how to
  demo [--check]     serve a Flask application with an httpd of its own until Ctrl-C;
                     with --check, only verify that it works
  dist --out DIR [--python PYTHON]... [--debug]
                     put everything a server needs into one folder, with a worker for each Python
  wheel [--out DIR] [--check-reproducible]
                     the same as one package for pip, for every Linux on x86_64 and every Python;
                     with --check-reproducible, this and `sdist` once more elsewhere: the same bytes
  sdist [--out DIR]  the same as sources, with those of all crates, which pip builds without a network
  test [FILTER]      all tests, in a container too where a Docker engine answers; with
                     MOD_WSGI_UNDER_TEST=theirs (or debian) the tests against httpd alone, run on
                     PyPI's (or Debian's) mod_wsgi
  bench [--quick] [--row NAME]
                     compare with mod_wsgi, uWSGI, Granian and gunicorn; in full, this writes
                     docs/performance.md
  instructions [--functions] [--record]
                     count the instructions of a request, and compare with the last record
  soak [--row NAME] [--theirs] [--record] [--graceful N | --slow N | --minutes N [--seed N]] [--dist DIR]
                     what is lost when things go wrong under load: row by row, in N graceful
                     restarts, or by a random mix; --theirs: of mod_wsgi's; --record: of both,
                     into docs/reliability.md
  docker-base        make the base image of the container tests where no registry can be reached
  tidy               the rules of this repository that no other tool checks
  lint               format, clippy, documentation, tidy; then `test` is all that a change must pass
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = lexopt::Parser::from_env();
    let Some(Arg::Value(command)) = arguments.next()? else {
        print!("{HELP}");
        return Ok(());
    };
    match command.to_str() {
        Some("requirements") => nothing_more(arguments).and_then(|()| requirements::run()),
        Some("demo") => demo::run(arguments),
        Some("dist") => dist::run(arguments),
        Some("wheel") => wheel::run(arguments),
        Some("sdist") => sdist::run(arguments),
        Some("test") => test::run(arguments),
        Some("bench") => bench::run(arguments),
        Some("instructions") => instructions::run(arguments),
        Some("soak") => soak::run(arguments),
        Some("docker-base") => nothing_more(arguments).and_then(|()| docker::run()),
        Some("tidy") => nothing_more(arguments).and_then(|()| tidy::run()),
        Some("lint") => nothing_more(arguments).and_then(|()| lint::run()),
        _ => bail!("there is no command {}\n\n{HELP}", command.display()),
    }
}

/// For commands without arguments of their own.
fn nothing_more(mut arguments: lexopt::Parser) -> Result<()> {
    match arguments.next()? {
        None => Ok(()),
        Some(argument) => Err(argument.unexpected().into()),
    }
}
