//! `wsgi-supervisor`: starts, watches, replaces and drains the workers of one httpd generation.
//!
//! httpd's parent executes it with a socket as standard input, over which the configuration comes
//! (`wire::generation`). Decisions are made in [`logic`], which does no I/O; [`supervisor`] has the
//! loop around it.
#![deny(unsafe_code)]

mod admin;
mod broker;
mod check;
mod children;
mod closing;
mod directory;
mod environment;
mod gauge;
mod identity;
mod installed;
mod launch;
mod link;
mod log;
mod logic;
mod looks;
mod observer;
mod outliving;
mod output;
mod privileges;
mod sessions;
mod shortage;
mod spawn;
mod startup;
mod supervisor;
#[expect(unsafe_code, reason = "system calls that no library makes safe; all of them are here")]
mod sys;
mod watch;

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Resource, Rlimit};
use wire::generation::FromSupervisor;

use crate::startup::StartError;
use crate::supervisor::Supervisor;

/// The argument of a supervisor that is only to look whether each group's Python starts.
const CHECK: &str = "check";

fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    if argument.as_deref().is_some_and(|argument| argument == closing::CLOSE) {
        return closing::close_by_ending();
    }
    if argument.as_deref().is_some_and(|argument| argument == children::SIGNAL) {
        let arguments =
            std::env::args_os().skip(2).filter_map(|argument| argument.into_string().ok());
        return children::signal_and_end(arguments);
    }
    if argument.as_deref().is_some_and(|argument| argument == outliving::READ) {
        abort_on_panic();
        return outliving::read_on();
    }
    if argument.as_deref().is_some_and(|argument| argument == CHECK) {
        return check_only();
    }
    if argument.is_some() {
        let (version, protocol) = (env!("CARGO_PKG_VERSION"), wire::VERSION);
        println!("wsgi-supervisor {version}, protocol {protocol}; started by mod_wsgi_rs.so");
        return ExitCode::SUCCESS;
    }
    abort_on_panic();
    let httpd = rustix::stdio::stdin();
    match start() {
        Ok(supervisor) => {
            // Should the parent be gone already, its end of the connection is too.
            let _ = channel::send_message(httpd, &FromSupervisor::Ready);
            supervisor.run()
        }
        Err(error) => {
            let failed = FromSupervisor::Failed { reason: error.to_string() };
            if channel::send_message(httpd, &failed).is_err() {
                eprintln!("wsgi-supervisor: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Starts the Python of each group once, and tells httpd what is wrong.
fn check_only() -> ExitCode {
    abort_on_panic();
    let httpd = rustix::stdio::stdin();
    let checked = leave_traces_behind().and_then(|()| {
        let startup::Handover { configuration, .. } = startup::receive(httpd)?;
        Ok(check::check(&configuration, rustix::process::getrlimit(Resource::Nofile)))
    });
    let answer = match checked {
        Ok(problems) => FromSupervisor::Checked { problems },
        Err(error) => FromSupervisor::Failed { reason: error.to_string() },
    };
    match channel::send_message(httpd, &answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Has nothing of whatever executed us.
fn leave_traces_behind() -> Result<(), StartError> {
    sys::reset_signal_effects();
    sys::close_inherited_descriptors().map_err(system("close inherited descriptors"))
}

fn start() -> Result<Supervisor, StartError> {
    leave_traces_behind()?;
    leave_httpd()?;
    privileges::spare_from_oom_killer();
    let signals = receive_signals()?;
    let limit = raise_descriptor_limit();
    let handover = startup::receive(rustix::stdio::stdin())?;
    Supervisor::new(handover, signals, limit)
}

/// Nothing of a supervisor works on after it has found itself wrong.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// httpd signals its whole process group when it stops or restarts; that is not for us. And it
/// would log "long lost child" about orphans of applications that came to it.
fn leave_httpd() -> Result<(), StartError> {
    // It fails only for the leader of a process group, which has left httpd's already.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| system("become a subreaper")(error.into()))
}

/// Turns signals into something to read. SIGUSR1 and SIGUSR2 are read and ignored. SIGHUP is an
/// order to reload: that of httpd goes to its process group, which is no longer ours.
fn receive_signals() -> Result<SignalFd, StartError> {
    let signals = [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ];
    let signals = SigSet::from_iter(signals);
    signals
        .thread_block()
        .and_then(|()| {
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        })
        .map_err(|error| system("receive signals")(error.into()))
}

/// Lets us have as many descriptors as the system allows. Returns the limit that workers get,
/// which is the one that httpd has.
fn raise_descriptor_limit() -> Rlimit {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    // What it was will do, until it does not, which is then told.
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    limit
}

fn system(action: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |source| StartError::System { action, source }
}
