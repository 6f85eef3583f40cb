//! `cargo xtask demo`: a Flask application on an httpd of its own, from nothing.

use anyhow::{Context, Result, ensure};
use lexopt::Arg;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testkit::{Running, until};

use crate::dist::Profile;
use crate::{dist, flask_site, python, requirements, stage};

/// Runs the command.
pub fn run(mut arguments: lexopt::Parser) -> Result<()> {
    let mut check = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("check") => check = true,
            other => return Err(other.unexpected().into()),
        }
    }
    requirements::ensure()?;
    let python = python::default()?;
    println!("Serving with {python}.");
    let stage = stage::ensure()?;
    let dist = stage.join("dist");
    dist::build(&dist, std::slice::from_ref(&python), Profile::Release)?;
    let application = flask_site::application(&stage, &python)?;

    // From here on Ctrl-C is heeded when we wait for it, so that httpd is always stopped in order.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    // What the application logs is no failure of the demonstration.
    let mut httpd =
        flask_site::httpd(&application)?.dist(&dist).expect_log("[wsgi:error]").try_start()?;
    let outcome = if check { verify(&mut httpd) } else { serve(&mut httpd, &mut signals) };
    let report = httpd.abandon();
    outcome.with_context(|| format!("the demonstration failed\n{report}"))
}

/// Serves until a signal comes.
fn serve(httpd: &mut Running, signals: &mut Signals) -> Result<()> {
    show(httpd)?;
    println!("\nServing until Ctrl-C. Logs: {}/logs", httpd.dir().display());
    signals.forever().next();
    println!("\nStopping.");
    httpd.shut_down()
}

/// Shows the URL and the page, and gives the page.
fn show(httpd: &Running) -> Result<String> {
    let response = httpd.connect().request("GET", "/", &[("Host", flask_site::HOST)], b"")?;
    println!("\nhttp://127.0.0.1:{}/\n\n{response}", httpd.port());
    ensure!(response.status == 200 && response.complete, "that is not the page of the application");
    Ok(response.text())
}

/// Checks what the guide promises of user and logs, and that httpd leaves nothing behind.
fn verify(httpd: &mut Running) -> Result<()> {
    let page = show(httpd)?;
    let (user, _) = testkit::app_user();
    ensure!(page.contains("Hello from Flask"), "the page is not the application's");
    ensure!(page.contains(&format!("as {user}")), "the application does not run as {user}");
    let mut connection = httpd.connect();
    let mut status = |path| -> Result<u16> {
        Ok(connection.request("GET", path, &[("Host", flask_site::HOST)], b"")?.status)
    };
    ensure!(status("/print")? == 200, "/print is not answered");
    ensure!(status("/error")? == 500, "/error does not fail");
    for (log, texts) in [
        ("error.log", ["[wsgi:error]", "printed by the application"]),
        ("error.log", ["app.py", "in error"]),
        ("error.log", ["RuntimeError", "raised by the application"]),
        ("access.log", ["GET /print", "200"]),
        ("access.log", ["GET /error", "500"]),
    ] {
        let found = until(|| {
            let log = httpd.log(log);
            log.lines().any(|line| texts.iter().all(|text| line.contains(text))).then_some(())
        });
        ensure!(found.is_some(), "no line of {log} holds {texts:?}");
        println!("found in {log}: {}", texts.join(" … "));
    }
    httpd.shut_down()?;
    httpd.check_logs()?;
    println!("The demonstration works.");
    Ok(())
}
