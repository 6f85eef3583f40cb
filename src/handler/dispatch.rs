//! A request's way to a worker, and its response's way back.

use std::ops::ControlFlow;

use wire::exchange::{Request as Message, ToWorker};

use super::environ::Environ;
use super::exchange::{Body, Exchange};
use super::search::{Destination, Search};
use super::target::Target;
use super::turn::Outcome;
use super::workers::Connection;
use crate::ffi::request::Request;
use crate::generation::Generation;

/// Runs the request and passes its response on.
///
/// # Errors
/// The HTTP status of the page that httpd is to answer with.
pub fn run(
    request: Request<'_>,
    target: &Target,
    generation: &Generation,
    has_body: bool,
) -> Result<i32, i32> {
    let mut body = Body::new(request, has_body);
    if has_body {
        body.await_beginning()?;
    }
    let environ = Environ::of(request, target);
    let destination = Destination::new(
        target.process_group.clone(),
        target.application_group.clone(),
        (target.options, target.capacity),
    );
    // A safe method may be asked for twice (RFC 9110, section 9.2.2).
    let is_safe = matches!(request.method(), b"GET" | b"HEAD");
    let repeatable = is_safe && target.options.retry.unwrap_or(true);
    // Its thread counts as held also while a client takes its time for the rest of a response.
    let mut search = Search::new(request, &destination, generation, repeatable);
    search.queue.exclude(body.spent());
    loop {
        let mut connection = search.next_worker()?;
        let mut rest = None;
        let outcome = 'turn: {
            if has_body && let Err(status) = body.await_whole(connection.windows.body()) {
                break 'turn Outcome::Failed(status);
            }
            search.queue.exclude(body.spent());
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
                Exchange::new(request, target, turn, windows, &mut body).run(inbox);
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
