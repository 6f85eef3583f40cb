//! A request's way to a worker, and its response's way back.

use std::ops::ControlFlow;

use wire::exchange::{Request as Message, ToWorker};

use super::account::Account;
use super::environ::Environ;
use super::exchange::{Body, Exchange};
use super::search::{Destination, Search};
use super::target::Target;
use super::turn::Outcome;
use super::workers::Connection;
use crate::ffi::request::Request;
use crate::generation::Generation;

/// Runs the request, passes its response on, and counts it.
///
/// # Errors
/// The HTTP status of the page that httpd is to answer with.
pub fn run(
    request: Request<'_>,
    target: &Target,
    generation: &Generation,
    has_body: bool,
) -> Result<i32, i32> {
    let destination = Destination::new(
        (target.process_group.clone(), target.application_group.clone()),
        target.may_be_made_up.then_some(target.script.as_slice()),
        (target.options, target.capacity),
    );
    let account = Account::open(request, destination.place, has_body);
    let mut body = Body::new(request, has_body);
    let answer =
        serve(request, (target, &destination), generation, account.as_deref(), &mut body, has_body);
    if let Some(account) = account {
        let page = answer.err().and_then(|status| u16::try_from(status).ok());
        account.close(page.unwrap_or_else(|| request.status()), body.received());
    }
    answer
}

fn serve<'r>(
    request: Request<'r>,
    (target, destination): (&Target, &Destination),
    generation: &Generation,
    account: Option<&Account>,
    body: &mut Body<'r>,
    has_body: bool,
) -> Result<i32, i32> {
    if has_body {
        body.await_beginning()?;
    }
    let environ = Environ::of(request, target);
    // A safe method may be asked for twice (RFC 9110, section 9.2.2).
    let is_safe = matches!(request.method(), b"GET" | b"HEAD");
    let repeatable = is_safe && target.options.retry.unwrap_or(true);
    // Its thread counts as held also while a client takes its time for the rest of a response.
    let mut search = Search::new(request, destination, generation, repeatable);
    search.queue.exclude(body.spent());
    if let Some(account) = account {
        account.is_ready(body.spent());
    }
    loop {
        let mut connection = search.next_worker()?;
        let mut rest = None;
        let outcome = 'turn: {
            if has_body && let Err(status) = body.await_whole(connection.windows.body()) {
                break 'turn Outcome::Failed(status);
            }
            search.queue.exclude(body.spent());
            if let Some(account) = account {
                account.note_spent(body.spent());
            }
            let attempt = search.attempt();
            let message = ToWorker::Request(Message {
                script: &target.script,
                callable: &target.callable,
                application_group: &target.application_group,
                https: environ.https,
                script_reloading: target.script_reloading,
                ignore_activity: target.ignore_activity,
                may_refuse: attempt.may_refuse,
                may_wait: attempt.may_wait,
                connects: attempt.connects,
                restarts: attempt.restarts,
                received: search.queue.received(),
                has_body,
                whole_body: body.whole(),
                environ: environ.entries(),
            });
            if let Err(outcome) = connection.send(&message) {
                break 'turn outcome;
            }
            let Connection { stream, inbox, worker, windows, .. } = &mut connection;
            let turn = search.turn((stream, worker));
            let (outcome, unsent) =
                Exchange::new(request, target, (turn, account), windows, body).run(inbox);
            rest = unsent;
            outcome
        };
        if !outcome.is_final() {
            body.take_back(connection.windows.body().as_deref());
        }
        let location = match &outcome {
            Outcome::Redirected(location) => Some(location.clone()),
            _ => None,
        };
        if let ControlFlow::Break(answer) = search.judge(connection, outcome) {
            search.flight = None;
            if let Some(location) = location {
                body.finish();
                request.redirect(&location);
                return answer;
            }
            // The worker is free by now, and its connection another request's.
            if let Some(rest) = rest {
                rest.pass();
            }
            return answer;
        }
    }
}
