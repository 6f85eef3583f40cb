//! Starts real httpds, on this machine and in containers, for the tests and the demo.
//!
//! ```no_run
//! use testkit::{Httpd, Mpm};
//!
//! let httpd = Httpd::new()
//!     .mpm(Mpm::Event)
//!     .app("hello.wsgi", "def application(environ, start_response): ...")
//!     .conf("WSGIScriptAlias / {apps}/hello.wsgi")
//!     .start();
//! httpd.get("/").assert(200);
//! ```
//!
//! Each httpd has a directory and a port of its own. When its handle goes out of scope it is
//! stopped, and the test fails if a process is left over or if the error log holds a warning or
//! an error that the test did not declare with [`Httpd::expect_log`].
#![forbid(unsafe_code)]

mod apache;
mod config;
mod container;
mod curl;
mod directory;
pub mod environment;
mod errorlog;
mod express;
mod foreground;
mod http;
mod httpd;
mod lingering;
mod process;
mod running;
mod tls;
mod transfers;
mod under_test;
mod users;
mod wait;

pub use apache::{Apache, Mpm};
pub use container::{Container, Executed};
pub use curl::Curl;
pub use express::Express;
pub use foreground::{Foreground, Workplace};
pub use http::{Connection, Response};
pub use httpd::{Checked, Httpd, free_port};
pub use lingering::send_lingering;
pub use process::Process;
pub use running::Running;
pub use tls::Certificate;
pub use transfers::{Ports, Protocol, Transfer, has_h2load, transfer};
pub use under_test::{
    SKIPPED, UnderTest, dropped_by_pypis, later_than_debians, ours_only, skipped,
};
pub use users::{app_user, httpd_user, running_as_root, sees_into_processes};
pub use wait::{PATIENCE, until};
