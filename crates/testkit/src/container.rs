//! A container with an httpd of its own, reached through the Docker command line.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::wait::until;

/// A container that runs until it is dropped.
#[derive(Debug)]
pub struct Container(String);

/// What a command in a container printed, and whether it succeeded.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Whether it ended with status 0.
    pub ok: bool,
    /// Its standard output and its standard error.
    pub output: String,
}

impl Container {
    /// Starts a container from an image, with the image's own command as its main process.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn start(image: &str) -> Result<Container> {
        Self::start_with(image, &[])
    }

    /// Starts a container with further options of `docker run`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn start_with(image: &str, options: &[&str]) -> Result<Container> {
        // With an init process orphans are reaped as on a real machine, where httpd is not the
        // first process either.
        Self::run_with(&[&["--init"], options, &[image]].concat())
    }

    /// Starts a container in which this command is process 1.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn start_first(image: &str, options: &[&str], command: &[&str]) -> Result<Container> {
        Self::run_with(&[options, &[image], command].concat())
    }

    fn run_with(words: &[&str]) -> Result<Container> {
        let output = docker(&[&["run", "--detach"], words].concat())?;
        ensure!(output.status.success(), "docker run: {}", text(&output));
        Ok(Container(String::from_utf8(output.stdout)?.trim().to_owned()))
    }

    /// Its address in the engine's own network.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self) -> Result<IpAddr> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let output = docker(&["inspect", "--format", format, &self.0])?;
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }

    /// Stops it as an operator does, and returns the status of its main process.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub fn stop(&self) -> Result<i32> {
        let output = docker(&["stop", &self.0])?;
        ensure!(output.status.success(), "docker stop: {}", text(&output));
        let output = docker(&["inspect", "--format", "{{.State.ExitCode}}", &self.0])?;
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }

    /// Runs a shell command as root in the container.
    ///
    /// # Panics
    /// When the engine cannot be asked.
    #[track_caller]
    pub fn run(&self, script: &str) -> Executed {
        let output = docker(&["exec", &self.0, "sh", "-c", script]).expect("docker can be run");
        Executed { ok: output.status.success(), output: text(&output) }
    }

    /// Runs a shell command that must succeed, and gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let executed = self.run(script);
        assert!(executed.ok, "{script}: {}", executed.output);
        executed.output
    }

    /// Copies a file or a folder into the container, where folders that lead to it have to be.
    ///
    /// # Panics
    /// When the engine refuses.
    #[track_caller]
    pub fn copy(&self, from: &Path, to: &str) {
        let target = format!("{}:{to}", self.0);
        let output = docker(&["cp", &from.display().to_string(), &target]);
        let output = output.expect("docker can be run");
        assert!(output.status.success(), "docker cp: {}", text(&output));
    }

    /// Runs a shell command until it succeeds, and gives what it printed.
    ///
    /// # Panics
    /// When it does not succeed in good time.
    #[track_caller]
    pub fn wait_for(&self, script: &str) -> String {
        let mut last = None;
        let output = until(|| {
            let executed = self.run(script);
            let output = executed.ok.then(|| executed.output.clone());
            last = Some(executed);
            output
        });
        output.unwrap_or_else(|| panic!("{script} does not succeed: {last:?}\n{}", self.logs()))
    }

    /// What the container's main process printed.
    pub fn logs(&self) -> String {
        docker(&["logs", &self.0]).map(|output| text(&output)).unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error_log = self.run("cat /var/log/apache2/error.log").output;
            eprintln!("--- container\n{}--- error.log\n{error_log}---", self.logs());
        }
        if let Err(error) = docker(&["rm", "--force", "--volumes", &self.0]) {
            eprintln!("cannot remove container {}: {error:#}", self.0);
        }
    }
}

/// Runs the Docker command line.
fn docker(arguments: &[&str]) -> Result<Output> {
    Command::new("docker").args(arguments).output().context("cannot run docker")
}

/// Both outputs of a command.
fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
