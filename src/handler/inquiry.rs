//! A question to a Python hook, which a worker of the default process group answers.

use std::ops::ControlFlow;

use channel::Inbox;
use tracing::error;
use wire::exchange::{FromWorker, Inquiry, Question, ToWorker, Verdict};

use super::environ::Environ;
use super::search::{Destination, Search};
use super::target::may_use;
use super::turn::{Break, Halt, Outcome, Turn};
use super::workers::Connection;
use crate::config::{DirConfig, Hook, ServerConfig, lossy};
use crate::ffi::request::Request;
use crate::generation;

/// Most variables of mod_ssl that a hook may ask for: it has some 100.
const MOST_VARIABLES: usize = 1000;

/// The default process group, which runs as httpd's own user.
const GROUP: &[u8] = b"";

/// Asks a hook. Without an answer, the log has been told why there is none.
pub fn ask(
    request: Request<'_>,
    hook: &Hook,
    question: &Question<'_>,
    environ: &Environ<'_>,
) -> Option<Verdict<'static>> {
    let Some(generation) = generation::current() else {
        error!("No supervisor has been started: see the error log at httpd's start.");
        return None;
    };
    let server: Option<&ServerConfig> = request.server().settings();
    let restricted = server.and_then(|server| server.globals.restrict_embedded) == Some(true);
    if hook.is_from_htaccess && restricted {
        error!(
            "WSGIRestrictEmbedded does not allow {}, which a .htaccess file names, to run as httpd's \
             user: name it in the server's configuration.",
            lossy(&hook.script)
        );
        return None;
    }
    let facts = may_use(&generation, GROUP, request.server().name());
    let facts = facts.inspect_err(|problem| error!("{problem}")).ok()?;
    let script = facts.root.as_ref().map(|root| root.named(&hook.script));
    let script = script.as_ref().unwrap_or(&hook.script);
    let application_group = hook.application_group.expand(&request);
    let reloading = request.dir_config::<DirConfig>().and_then(|config| config.script_reloading);
    let destination = Destination::new(
        (GROUP.to_vec(), application_group.clone()),
        Some(script),
        (facts.options, facts.capacity),
    );
    // A hook decides, and changes nothing: it may be asked twice.
    let mut search = Search::new(request, &destination, &generation, true);
    let mut verdict = None;
    let answer = loop {
        let mut connection = match search.next_worker() {
            Ok(connection) => connection,
            Err(status) => break Err(status),
        };
        let attempt = search.attempt();
        let message = ToWorker::Ask(Inquiry {
            script,
            application_group: &application_group,
            script_reloading: reloading.unwrap_or(true),
            may_refuse: attempt.may_refuse,
            may_wait: attempt.may_wait,
            https: environ.https,
            environ: environ.entries(),
            question: question.clone(),
        });
        let outcome = connection.send(&message).and_then(|()| {
            let Connection { stream, inbox, worker, .. } = &mut connection;
            await_verdict(request, search.turn((stream, worker)), inbox).map_err(Outcome::from)
        });
        let outcome = match outcome {
            Ok(Answer::Verdict(found)) => {
                verdict = Some(found);
                Outcome::Complete
            }
            Ok(Answer::Failed(status)) => Outcome::Failed(status),
            Err(outcome) => outcome,
        };
        if let ControlFlow::Break(answer) = search.judge(connection, outcome) {
            break answer;
        }
    };
    if answer.is_err() {
        error!("There is no answer of {}.", lossy(&hook.script));
    }
    verdict
}

impl From<Halt> for Outcome {
    /// A question has no response that could have been begun.
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::NotBegun(outcome) => outcome,
            Halt::Broken { fault, why, lost } => {
                Self::Broken(Break { why, lost, answer: Err(fault.status()), untouched: true })
            }
        }
    }
}

/// What a worker answers.
enum Answer {
    Verdict(Verdict<'static>),
    /// The hook failed: an HTTP status.
    Failed(i32),
}

/// Passes log lines on until there is an answer.
fn await_verdict(
    request: Request<'_>,
    mut turn: Turn<'_, '_>,
    inbox: &mut Inbox,
) -> Result<Answer, Halt> {
    let mut asked = 0;
    loop {
        let message = turn.next(inbox)?;
        if turn.hear(&message)? {
            continue;
        }
        match message {
            // Each takes memory of the request's.
            FromWorker::NeedVariable(_) if asked == MOST_VARIABLES => {
                return Err(Turn::nonsense(format!("asks for more than {asked} variables")));
            }
            FromWorker::NeedVariable(name) => {
                asked += 1;
                let value = request.ssl_variable(name);
                channel::send_message(turn.stream, &ToWorker::Variable(value))
                    .map_err(|_| turn.lost("closed the connection"))?;
            }
            FromWorker::Verdict(verdict) => return Ok(Answer::Verdict(verdict.into_owned())),
            FromWorker::Failed { status } => return Ok(Answer::Failed(status.into())),
            _ => return Err(Turn::nonsense("answers something else")),
        }
    }
}
