//! What httpd tells of workers and requests: the handlers `wsgi-metrics`, `wsgi-health` and
//! `wsgi-status`. All of it is read from memory: no worker and no supervisor is asked.

mod page;
mod plot;
mod section;
mod table;

use std::net::IpAddr;

use metrics::{Format, Health, Summary};

use crate::config::DirConfig;
use crate::ffi::bucket::{Brigade, Then};
use crate::ffi::request::Request;
use crate::ffi::{HTTP_FORBIDDEN, HTTP_METHOD_NOT_ALLOWED, HTTP_SERVICE_UNAVAILABLE, OK};
use crate::generation::metrics;

pub use section::show;

/// What a proxy adds. Where there is one on this machine, all its clients seem to be on it, too.
const FORWARDED: [&std::ffi::CStr; 4] =
    [c"Forwarded", c"X-Forwarded-For", c"X-Forwarded-Host", c"Via"];

/// Answers, if the request's handler is one of ours.
pub fn handle(request: Request<'_>) -> Option<i32> {
    let answer = match request.handler() {
        b"wsgi-metrics" => measure,
        b"wsgi-health" => examine,
        b"wsgi-status" => page::show,
        _ => return None,
    };
    Some(crate::log::in_request(request, || {
        if !matches!(request.method(), b"GET" | b"HEAD") {
            return HTTP_METHOD_NOT_ALLOWED;
        }
        if is_restricted(request) && !is_local(request) {
            tracing::error!(
                "{} answers only clients on this machine. 'WSGIStatusLocal Off' leaves it to \
                 Require who may see it.",
                String::from_utf8_lossy(request.handler())
            );
            return HTTP_FORBIDDEN;
        }
        answer(request)
    }))
}

fn is_restricted(request: Request<'_>) -> bool {
    let config = request.dir_config::<DirConfig>();
    config.and_then(|config| config.status_local).unwrap_or(true)
}

/// Whether the client is on this machine, and no proxy there speaks for it.
fn is_local(request: Request<'_>) -> bool {
    let is_loopback = |address: &[u8]| {
        let address = str::from_utf8(address).ok().and_then(|text| text.parse::<IpAddr>().ok());
        address.is_some_and(|address| address.to_canonical().is_loopback())
    };
    let forwarded = FORWARDED.iter().any(|name| request.headers_in().get(name).is_some());
    is_loopback(request.peer_ip()) && is_loopback(request.client_ip()) && !forwarded
}

/// `wsgi-metrics`.
fn measure(request: Request<'_>) -> i32 {
    let Some(metrics) = metrics() else { return HTTP_SERVICE_UNAVAILABLE };
    let accept = request.headers_in().get(c"Accept").unwrap_or_default();
    let format = Format::accepted(accept);
    let text = metrics::write(&Summary::of(metrics), format);
    send(request, format.content_type(), text.as_bytes())
}

/// `wsgi-health`: whether all is there that is to be there before any request. Below `/live`: whether
/// httpd answers.
fn examine(request: Request<'_>) -> i32 {
    let Some(metrics) = metrics() else { return HTTP_SERVICE_UNAVAILABLE };
    if request.uri().ends_with(b"/live") {
        return send(request, "text/plain; charset=utf-8", b"alive\n");
    }
    let Health { problems } = Health::of(metrics);
    if problems.is_empty() {
        return send(request, "text/plain; charset=utf-8", b"ready\n");
    }
    request.set_status(503, b"503 Service Unavailable");
    let text = problems.join("\n") + "\n";
    send(request, "text/plain; charset=utf-8", text.as_bytes())
}

/// Sends a whole response, which nothing on the way shall keep.
fn send(request: Request<'_>, content_type: &str, body: &[u8]) -> i32 {
    request.headers_out().set(c"Cache-Control", b"no-store");
    request.set_content_type(content_type.as_bytes());
    request.set_content_length(body.len() as u64);
    let body = if request.is_header_only() { &[] } else { body };
    // A client that has gone needs no answer.
    let _ = Brigade::new(request).pass(body, Then::End);
    OK
}
