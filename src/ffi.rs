//! Every use of httpd's C API, behind safe types. All `unsafe` code of the module stands here.
//!
//! The types wrap a C struct under its own name, hold its pointer, and bear the lifetime that httpd
//! gives it. They are neither `Send` nor `Sync`: httpd's structs belong to one thread at a time.
//! `docs/SAFETY.md` lists the rules of httpd that the comments here refer to.

mod bindings;
mod boundary;
pub mod bucket;
pub mod command;
pub mod connection;
pub mod fork;
pub mod hooks;
pub mod log;
pub mod module;
pub mod pool;
pub mod process;
pub mod regex;
pub mod request;
pub mod scoreboard;
pub mod server;
pub mod socket;
pub mod stopping;
pub mod string;
pub mod table;
mod typed;
pub mod waking;

pub use bindings::{
    AP_FILTER_ERROR, DECLINED, HTTP_BAD_GATEWAY, HTTP_BAD_REQUEST, HTTP_FORBIDDEN,
    HTTP_GATEWAY_TIME_OUT, HTTP_INTERNAL_SERVER_ERROR, HTTP_METHOD_NOT_ALLOWED, HTTP_NOT_FOUND,
    HTTP_REQUEST_ENTITY_TOO_LARGE, HTTP_SERVICE_UNAVAILABLE, OK,
};
