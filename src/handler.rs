//! The handler: from a request that httpd has mapped to a WSGI script, to its response.

mod account;
mod admission;
mod dispatch;
mod environ;
mod exchange;
mod exit_reason;
mod fault;
mod inquiry;
mod owner;
mod peer;
mod presence;
mod queue;
mod search;
mod target;
mod turn;
mod windows;
mod workers;

use std::ffi::CStr;

use tracing::{error, info};

use crate::config::{DirConfig, HandlerScript};
use crate::ffi::request::{FileKind, Request};
use crate::ffi::{
    DECLINED, HTTP_FORBIDDEN, HTTP_INTERNAL_SERVER_ERROR, HTTP_NOT_FOUND,
    HTTP_REQUEST_ENTITY_TOO_LARGE,
};
use crate::generation;
use crate::mapping::{self, HANDLER};
use crate::request_id;
use target::{Target, TargetError};

pub use environ::Environ;
pub use inquiry::ask;

/// The `log_transaction` hook.
pub fn log(request: Request<'_>) {
    account::Account::note_sent(request);
}

/// Note on a request whose body a worker has been offered.
const BODY_OFFERED: &CStr = c"mod_wsgi_rs: body";

/// The media type that also leads here, from `AddType`.
const MEDIA_TYPE: &[u8] = b"application/x-httpd-wsgi";

/// The `handler` hook. Returns an HTTP status for httpd to make a page of, or `OK` when the
/// response has been passed on.
pub fn handle(request: Request<'_>) -> i32 {
    let name = request.handler();
    let is_script = name == HANDLER.to_bytes() || name == MEDIA_TYPE;
    let handler = match request.dir_config::<DirConfig>() {
        Some(config) if !is_script => config.handler_scripts.iter().find(|it| it.handler == name),
        _ => None,
    };
    let handler = handler.map(|handler| &**handler);
    if !is_script && handler.is_none() {
        return DECLINED;
    }
    mapping::recall(request);
    request_id::settle(request);
    crate::log::in_request(request, || {
        // A handler script may answer for files that are not there.
        let checked = if is_script { check_script(request) } else { Ok(()) };
        let outcome = checked
            .and_then(|()| check_body(request))
            .and_then(|has_body| run(request, handler, has_body));
        match outcome {
            Ok(status) => status,
            Err(status) => {
                // httpd's page follows.
                exchange::discard(request);
                fault::name_in_page(request, status);
                status
            }
        }
    })
}

/// Turns away requests for what is no script.
fn check_script(request: Request<'_>) -> Result<(), i32> {
    let script = String::from_utf8_lossy(request.filename());
    if mapping::alias(request).is_none() && !request.allows_exec_cgi() {
        error!(
            "Options ExecCGI is off in this directory: {script} is not run. Add 'Options +ExecCGI' \
             where SetHandler or AddHandler names wsgi-script, or use WSGIScriptAlias."
        );
        return Err(HTTP_FORBIDDEN);
    }
    match request.file_kind() {
        FileKind::Missing => {
            error!("The WSGI script {script} does not exist, or httpd's user cannot see it.");
            return Err(HTTP_NOT_FOUND);
        }
        FileKind::Directory => {
            error!("{script} is a directory, not a WSGI script.");
            return Err(HTTP_FORBIDDEN);
        }
        FileKind::File => {}
    }
    if request.rejects_path_info() && !request.path_info().is_empty() {
        error!("AcceptPathInfo is off, and the URL goes on behind {script}.");
        return Err(HTTP_NOT_FOUND);
    }
    Ok(())
}

/// Turns away bodies that no application should see. Returns whether there is one.
fn check_body(request: Request<'_>) -> Result<bool, i32> {
    let chunked = request.dir_config::<DirConfig>().and_then(|config| config.chunked_request);
    let has_body = request.set_up_body(chunked.unwrap_or(true))?;
    if has_body && request.body_is_over_limit() {
        info!("The request body is larger than LimitRequestBody allows.");
        return Err(HTTP_REQUEST_ENTITY_TOO_LARGE);
    }
    Ok(has_body)
}

fn run(request: Request<'_>, handler: Option<&HandlerScript>, has_body: bool) -> Result<i32, i32> {
    let Some(generation) = generation::current() else {
        error!("No supervisor has been started: see the error log at httpd's start.");
        return Err(HTTP_INTERNAL_SERVER_ERROR);
    };
    let target = Target::of(request, handler, &generation).map_err(|problem| {
        error!("{problem}");
        match problem {
            TargetError::Owner(_) => HTTP_FORBIDDEN,
            _ => HTTP_INTERNAL_SERVER_ERROR,
        }
    })?;
    crate::log::note_groups(request, &target.process_group, &target.application_group);
    let has_body = has_body && !is_body_gone(request);
    if has_body {
        request.notes().set(BODY_OFFERED, b"offered");
    }
    dispatch::run(request, &target, &generation, has_body)
}

/// Whether an application before this one had the body: this one writes the `ErrorDocument`, or is
/// where the other one's `Location` led to. What has been left of it is a part without a beginning.
fn is_body_gone(request: Request<'_>) -> bool {
    std::iter::successors(request.redirected_from(), |request| request.redirected_from())
        .any(|request| request.notes().get(BODY_OFFERED).is_some())
}
