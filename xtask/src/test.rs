//! `cargo xtask test`: builds everything, then runs all tests, the last of them in a container.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lexopt::Arg;
use testkit::{SKIPPED, UnderTest, environment};

use crate::dist::Profile;
use crate::originals::{self, Original};
use crate::python::{self, Found, Python};
use crate::tally::Tally;
use crate::{
    dist, docker, environments, httpds, interpreters, requirements, sdist, shell, stage, wheel,
};

/// What the test applications import.
const PACKAGES: [&str; 6] = ["flask", "django", "falcon", "bottle", "pyramid", "py-spy"];

/// What they import in the Pythons that are not the default.
const FEWER_PACKAGES: [&str; 2] = ["flask", "django"];

/// Filters that begin so ask for every Python that there is, as no filter does.
const EVERY_PYTHON: &str = "versions";

/// The module that holds the tests of the package for pip, and how filters begin that ask for it.
const WHEEL_TESTS: &str = "wheel";

/// The module with tests of files of two releases, and how filters begin that ask for it.
const MIXED: &str = "mixed";

/// The module that holds the container tests: elsewhere they are skipped, not failed.
const CONTAINER_TESTS: &str = "in_a_container::";

/// Modules of tests that look at our supervisor, our workers, or what we promise of them. An original
/// has none, and one Python for all groups, so nothing of it can be asked there.
const OURS_ALONE: [&str; 23] = [
    "admin::",
    "broken_workers::",
    "command::",
    "crash_loops::",
    "exit_reasons::",
    "hostile_workers::",
    "json_logs::",
    "limits::",
    "looking::",
    "made_up_names::",
    "metrics::",
    "mixed::",
    "overload::",
    "page::",
    "prometheus::",
    "reliability::",
    "reload::",
    "request_ids::",
    "services::",
    "slow_clients::",
    "strangers::",
    "versions::",
    "wheel::",
];

/// Tests of servers that `mod_wsgi-express` sets up: they are run on those of `mod_wsgi-rs`, too.
const EXPRESS: &str = "configurations::express";

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let mut filter = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) if filter.is_none() => filter = Some(value.into_string().ok()),
            other => return Err(other.unexpected().into()),
        }
    }
    let filter = filter.flatten();
    let filter = filter.as_deref();
    requirements::ensure()?;
    requirements::ensure_promtool()?;
    requirements::look_for_mpm_itk();
    requirements::look_for_chromium();
    requirements::look_for_h2load();
    let stage = stage::ensure()?;
    let every = filter.is_none_or(|filter| filter.starts_with(EVERY_PYTHON));
    if every {
        interpreters::bring_wanted()?;
    }
    let pythons = pythons(&stage, every);
    let site = Site::prepare(&stage, &pythons)?;
    let mut run = Run { tally: Tally::default(), left_out: 0, complete: true };

    if let Some(original) = original(&stage, site.python)? {
        println!("The tests are run on mod_wsgi {} instead of ours.", original.version);
        println!("Skipping what only ours has: {}", OURS_ALONE.join(", "));
        let mut tests = site.tests(&["--test", "httpd", "--no-fail-fast"]);
        tests.args(filter).arg("--");
        tests.args(OURS_ALONE.iter().flat_map(|module| ["--skip", module]));
        run.tests(tests.env(environment::ORIGINAL, original.module))?;
        return run.finish();
    }
    let mut tests = site.tests(&["--workspace", "--no-fail-fast"]);
    tests.args(filter);
    let other = stage.join("other-release");
    if filter.is_none_or(|filter| filter.starts_with(MIXED)) {
        dist::build_another_release(&other, site.python)?;
        tests.env(environment::OTHER_RELEASE, &other);
    }
    let wheel = wheel(&stage, filter)?;
    if let Some(wheel) = &wheel {
        tests.env(environment::WHEEL, wheel);
        match httpds::ensure(&stage, site.python) {
            Ok(httpds) => drop(tests.env(environment::HTTPDS, env::join_paths(httpds)?)),
            Err(reason) => println!("Skipping older httpds: {reason:#}"),
        }
    }
    match docker::image(&stage, &site.dist, &site.venv, site.python) {
        Ok(image) => {
            run.tests(tests.args(["--", "--skip", CONTAINER_TESTS]))?;
            let mut container = site.tests(&["--test", "docker"]);
            container.args(filter).args(["--", "--include-ignored"]);
            if let Some(wheel) = wheel {
                let image = docker::wheel_image(&stage, &wheel, site.python)?;
                container.env(environment::WHEEL_IMAGE, image);
                let sdist = sdist::build(&stage, &stage.join("wheel"))?;
                let tools = stage.join(wheel::TOOLS_FOLDER);
                let image = docker::sdist_image(&stage, &sdist, &tools, site.python)?;
                container.env(environment::SDIST_IMAGE, image);
            }
            run.tests(container.env(environment::DOCKER_IMAGE, image))?;
        }
        Err(reason) if env::var_os("CI").is_some() => {
            return Err(reason.context("the container tests cannot run, and here they must"));
        }
        Err(reason) => {
            println!("Skipping the container tests: {reason:#}");
            run.tests(&mut tests)?;
        }
    }
    if filter.is_none_or(|filter| filter.starts_with(EXPRESS)) {
        println!("Servers that mod_wsgi-rs sets up:");
        let mut tests = site.tests(&["--test", "httpd", "--no-fail-fast"]);
        tests.arg(filter.unwrap_or(EXPRESS));
        run.tests(tests.env(environment::EXPRESS, "ours"))?;
    }
    run.finish()
}

/// The package for pip, where the tests that are asked for need it: it takes minutes to build.
fn wheel(stage: &Path, filter: Option<&str>) -> Result<Option<PathBuf>> {
    if filter.is_some_and(|filter| !filter.starts_with(WHEEL_TESTS)) {
        return Ok(None);
    }
    match wheel::build(stage, &stage.join("wheel")) {
        Ok(wheel) => Ok(Some(wheel)),
        Err(reason) if env::var_os("CI").is_some() => {
            Err(reason.context("the wheel cannot be built, and here it must"))
        }
        Err(reason) => {
            println!("Skipping the tests of the wheel: {reason:#}");
            Ok(None)
        }
    }
}

/// The Pythons to test with, the default one first. Those that other users cannot read where they are
/// are copied to the stage if `every` one is asked for.
fn pythons(stage: &Path, every: bool) -> Vec<Python> {
    let Found { mut usable, closed, mut skipped } = python::find();
    if every {
        for python in closed {
            let name = python.to_string();
            match python.staged(stage) {
                Ok(python) => usable.push(python),
                Err(error) => skipped.push(format!("{name}: {error:#}")),
            }
        }
    }
    for reason in skipped {
        println!("Skipping {reason}");
    }
    usable
}

/// What the tests find prepared.
struct Site<'p> {
    /// The Python that everything is tested with, unless a test is about another one.
    python: &'p Python,
    dist: PathBuf,
    venv: PathBuf,
    /// Environments of the other Pythons, as a list of paths.
    other_venvs: OsString,
    original_venv: PathBuf,
}

impl<'p> Site<'p> {
    /// Builds what is tested, with a worker for each Python, and makes the environments.
    fn prepare(stage: &Path, pythons: &'p [Python]) -> Result<Self> {
        let (python, others) = pythons.split_first().context("no Python can be embedded")?;
        println!(
            "Testing with {}.",
            pythons.iter().map(Python::tag).collect::<Vec<_>>().join(", ")
        );
        let dist = stage.join("dist");
        dist::build(&dist, pythons, Profile::Release)?;
        let venv = venv(stage, python, &PACKAGES)?;
        let other_venvs = others.iter().map(|python| self::venv(stage, python, &FEWER_PACKAGES));
        let other_venvs = env::join_paths(other_venvs.collect::<Result<Vec<_>>>()?)?;
        let original_venv = originals::environment(stage, python)?;
        Ok(Self { python, dist, venv, other_venvs, original_venv })
    }

    /// `cargo test` with these arguments, which is told where everything is.
    fn tests(&self, arguments: &[&str]) -> Command {
        let mut tests = shell::cargo();
        tests.arg("test").args(arguments);
        self.python.build_environment(&mut tests);
        tests
            .env(environment::DIST, &self.dist)
            .env(environment::VENV, &self.venv)
            .env(environment::ORIGINAL_VENV, &self.original_venv)
            .env(environment::OTHER_VENVS, &self.other_venvs);
        tests
    }
}

/// The mod_wsgi that shall be tested instead of ours, if any.
fn original(stage: &Path, python: &Python) -> Result<Option<Original>> {
    match UnderTest::chosen() {
        UnderTest::Ours => Ok(None),
        UnderTest::Theirs => originals::pypi(stage, python).map(Some),
        UnderTest::Debian => originals::debian(stage, python).map(Some),
    }
}

/// A virtual environment for a Python, with what the test applications import.
fn venv(stage: &Path, python: &Python, packages: &[&str]) -> Result<PathBuf> {
    let path = stage.join(format!("venv-{}", python.tag()));
    environments::ensure(&path, stage, python, packages)?;
    Ok(path)
}

/// What has come of the tests so far.
struct Run {
    tally: Tally,
    /// Tests that libtest takes for passed, but that returned without asking anything.
    left_out: u32,
    /// Whether cargo ended well or some test is to blame. False: something did not even compile,
    /// or a test program died.
    complete: bool,
}

impl Run {
    /// Runs a `cargo test`, showing and counting what it prints.
    fn tests(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
        let output = child.stdout.take().context("cargo has no output")?;
        let before = self.tally.failed;
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            if let Some(tally) = Tally::parse(&line) {
                self.tally += tally;
            }
            self.left_out += u32::from(line.contains(SKIPPED));
        }
        let well = child.wait()?.success();
        self.complete &= well || self.tally.failed > before;
        Ok(())
    }

    /// Ends with the sums.
    fn finish(mut self) -> Result<()> {
        self.tally.skip(self.left_out);
        if !self.complete {
            eprintln!("error: not all test programs ran to their end");
        }
        println!("{}", self.tally);
        ensure!(self.complete && self.tally.passed > 0, "the tests did not run");
        if self.tally.failed > 0 {
            bail!("{} tests failed", self.tally.failed);
        }
        Ok(())
    }
}
