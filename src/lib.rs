//! mod_wsgi_rs: the httpd module that serves Python WSGI applications from worker processes.
//!
//! `ffi` is the way in and out: httpd calls its `module`, which calls everything else. A request
//! goes through `mapping` (which script?), `access` (may it?) and `handler` (which workers, and
//! back); `config` has the directives; `generation` starts the supervisor. `docs/ARCHITECTURE.md`
//! tells the whole story.
#![deny(unsafe_code)]

mod access;
mod config;
#[expect(unsafe_code, reason = "the one place that speaks C; see docs/SAFETY.md")]
mod ffi;
mod generation;
mod handler;
mod log;
mod mapping;
