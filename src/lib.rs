//! mod_wsgi_rs: the httpd module that serves Python WSGI applications from worker processes.
//!
//! `ffi` is the way in and out: httpd calls it, and it calls `Wsgi`, below. A request goes through
//! `mapping` (which script?), `access` (may it?) and `handler` (which workers, and back); `config` has
//! the directives; `generation` starts the supervisor; `status` tells
//! how all of it does. `docs/ARCHITECTURE.md` tells the whole story.
#![deny(unsafe_code)]

mod access;
mod config;
#[expect(unsafe_code, reason = "the one place that speaks C; see docs/SAFETY.md")]
mod ffi;
mod generation;
mod handler;
mod log;
mod mapping;
mod request_id;
mod status;
mod url;

use config::{DirConfig, ServerConfig};
use ffi::command::Commands;
use ffi::hooks::{Authentication, Authorization, RealmHash};
use ffi::module::Module;
use ffi::pool::Pool;
use ffi::request::Request;
use ffi::server::Server;

/// The module, as httpd sees it.
enum Wsgi {}

impl Module for Wsgi {
    type Server = ServerConfig;
    type Directory = DirConfig;

    fn commands() -> Commands<ServerConfig, DirConfig> {
        config::COMMANDS.commands()
    }

    fn begin_configuration() {
        log::install();
        log::write_json(false);
    }

    fn check_configuration(configuration: Pool<'_>, main: Server<'_>) -> Result<(), ()> {
        config::check(configuration, main)?;
        if ffi::process::is_configtest() {
            generation::check(configuration, main);
        }
        Ok(())
    }

    fn start(configuration: Pool<'_>, main: Server<'_>) -> Result<(), ()> {
        let settings = main.settings::<ServerConfig>();
        log::write_json(settings.is_some_and(|settings| settings.globals.json_logs));
        generation::start(configuration, main)
    }

    fn look_after() {
        generation::look_after();
    }

    fn enter_child() {
        generation::enter_child();
    }

    fn translate(request: Request<'_>) -> i32 {
        mapping::translate(request)
    }

    fn handle(request: Request<'_>) -> i32 {
        status::handle(request).unwrap_or_else(|| handler::handle(request))
    }

    fn show_status(request: Request<'_>, short: bool) -> String {
        status::show(request, short)
    }

    fn name(request: Request<'_>) -> Option<&[u8]> {
        request_id::find(request)
    }

    fn log(request: Request<'_>) {
        handler::log(request);
    }

    fn check_access(request: Request<'_>) -> i32 {
        access::check_access(request)
    }

    fn check_password(request: Request<'_>, user: &[u8], password: &[u8]) -> Authentication {
        access::check_password(request, user, password)
    }

    fn realm_hash(request: Request<'_>, user: &[u8], realm: &[u8]) -> RealmHash {
        access::realm_hash(request, user, realm)
    }

    fn check_authorization(request: Request<'_>, required: &[u8]) -> Authorization {
        access::check_groups(request, required)
    }
}

ffi::module::entry!(Wsgi);
