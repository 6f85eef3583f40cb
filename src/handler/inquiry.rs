//! A question to a Python hook, which a worker of the default process group answers.

use std::time::Duration;

use channel::ReceiveError;
use tracing::error;
use wire::exchange::{FromWorker, Inquiry, Question, ToWorker, Verdict};

use super::dispatch::{self, Attempt, Destination, Sending};
use super::environ::Environ;
use super::exchange::{Break, Outcome, STOPPING};
use super::target::may_use;
use super::workers::{Connection, FULL_PATIENCE};
use crate::config::{Hook, lossy};
use crate::ffi::log::{log_request, log_request_from};
use crate::ffi::request::Request;
use crate::ffi::stopping;
use crate::ffi::{HTTP_BAD_GATEWAY, HTTP_GATEWAY_TIME_OUT, HTTP_SERVICE_UNAVAILABLE};
use crate::generation;

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
    let facts = may_use(&generation, GROUP, request.server().name());
    let facts = facts.inspect_err(|problem| error!("{problem}")).ok()?;
    let script = facts.root.as_ref().map(|root| root.named(&hook.script));
    let script = script.as_ref().unwrap_or(&hook.script);
    let application_group = hook.application_group.expand(&request);
    let reloading = request.dir_config().and_then(|config| config.script_reloading);
    let message = |attempt: Attempt| {
        ToWorker::Ask(Inquiry {
            script,
            application_group: &application_group,
            script_reloading: reloading.unwrap_or(true),
            may_refuse: attempt.may_refuse,
            may_wait: attempt.may_wait,
            https: environ.https,
            environ: environ.entries(),
            question: question.clone(),
        })
    };
    let destination = Destination::new(GROUP.to_vec(), application_group.clone(), facts.link);
    let patience = facts.link.socket_timeout.unwrap_or_else(|| request.server().timeout());
    let mut verdict = None;
    let place = destination.take_place();
    let may_wait = place.may_wait;
    let converse = |connection: &mut Connection, send: Sending<'_>| {
        let answer =
            send(connection).and_then(|()| await_verdict(request, connection, patience, may_wait));
        match answer {
            Ok(answer) => {
                verdict = Some(answer);
                Outcome::Complete
            }
            Err(outcome) => outcome,
        }
    };
    // A hook decides, and changes nothing: it may be asked twice.
    let delivered =
        dispatch::deliver(request, &destination, &generation, (true, may_wait), message, converse);
    if delivered.is_err() {
        error!("There is no answer of {}.", lossy(&hook.script));
    }
    verdict
}

/// Passes log lines on until there is an answer.
fn await_verdict(
    request: Request<'_>,
    Connection { stream, inbox, worker, .. }: &mut Connection,
    patience: Duration,
    may_wait: bool,
) -> Result<Verdict<'static>, Outcome> {
    let broken = |status, why: &str| {
        let why = why.to_owned();
        Outcome::Broken(Break { why, lost: false, answer: Err(status), untouched: true })
    };
    let lost = || {
        let (why, answer) = ("closed the connection".to_owned(), Err(HTTP_BAD_GATEWAY));
        Outcome::Broken(Break { why, lost: true, answer, untouched: true })
    };
    let mut heard = false;
    loop {
        let hurries = !may_wait && worker.is_none();
        let patience = if hurries { FULL_PATIENCE } else { patience };
        let message =
            match inbox.wait_unless::<FromWorker<'_>>(&*stream, patience, stopping::descriptor()) {
                Ok(message) => message,
                Err(ReceiveError::Timeout(_)) if hurries => return Err(Outcome::Full),
                Err(ReceiveError::Timeout(patience)) => {
                    let patience = patience.as_secs();
                    let why = format!("said nothing for {patience} s (Timeout or socket-timeout=)");
                    return Err(broken(HTTP_GATEWAY_TIME_OUT, &why));
                }
                Err(ReceiveError::Frame(problem)) => {
                    let why = format!("sends what is no message ({problem})");
                    return Err(broken(HTTP_BAD_GATEWAY, &why));
                }
                Err(ReceiveError::GivenUp) => {
                    return Err(broken(HTTP_SERVICE_UNAVAILABLE, STOPPING));
                }
                Err(_) if worker.is_none() => {
                    return Err(Outcome::NotBegun("its worker closed the connection".to_owned()));
                }
                Err(_) => return Err(lost()),
            };
        if let FromWorker::Welcome { worker: pid } = message {
            *worker = Some(pid);
            continue;
        }
        let is_word = !matches!(message, FromWorker::Log { .. } | FromWorker::LogFrom { .. });
        if is_word
            && !std::mem::replace(&mut heard, true)
            && let Some(outcome) = Outcome::of_first(&message)
        {
            return Err(outcome);
        }
        match message {
            FromWorker::Log { level, text } => log_request(request, level.number(), text),
            FromWorker::LogFrom { level, path, line, text } => {
                log_request_from(request, level.number(), (path, line), text);
            }
            FromWorker::NeedVariable(name) => {
                let value = request.ssl_variable(name);
                channel::send_message(&*stream, &ToWorker::Variable(value)).map_err(|_| lost())?;
            }
            FromWorker::Verdict(verdict) => return Ok(verdict.into_owned()),
            FromWorker::Failed { status } => return Err(Outcome::Failed(status.into())),
            _ => return Err(broken(HTTP_BAD_GATEWAY, "answers something else")),
        }
    }
}
