//! Whether the Python of each group starts, for `apachectl configtest`.

use std::time::Duration;

use wire::exchange::Level;
use wire::generation::FromSupervisor;

use super::describe;
use super::lifeline::Lifeline;
use super::log;
use crate::config::install_directory;
use crate::ffi::pool::Pool;
use crate::ffi::server::Server;

/// How long all of them together may take: each has a limit of its own.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// Has a supervisor start the Python of each group once, as its user, and logs what is wrong. That is
/// advice and no reason not to start: it concerns that group alone, and may be right by then.
pub fn check(pool: Pool<'_>, main: Server<'_>) {
    let checked = describe::generation(pool, main).and_then(|generation| {
        let (mut configuration, logs) = describe::configuration(main, &generation)?;
        // The default group is there for whatever names no other one.
        let defined = configuration.groups.iter().any(|group| group.prestart);
        configuration.groups.retain(|group| group.prestart || !defined);
        let lifeline = Lifeline::new()?;
        let program = install_directory().join("wsgi-supervisor");
        lifeline.execute_to_check(&program)?.check(configuration, &logs, CHECK_TIMEOUT)
    });
    match checked {
        Ok(FromSupervisor::Checked { problems }) => {
            for problem in problems {
                log(
                    Level::Error,
                    &format!("{problem}. Its requests get status 503 until it does."),
                );
            }
        }
        Ok(FromSupervisor::Ready | FromSupervisor::Pong) => {}
        Ok(FromSupervisor::Failed { reason: problem }) | Err(problem) => {
            log(Level::Error, &format!("The Pythons of process groups are not checked: {problem}"));
        }
    }
}
