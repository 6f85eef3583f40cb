//! `server_rec`: the main server or a virtual host.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::time::Duration;

use super::bindings as c;
use super::module::module_index;
use super::pool::Pool;
use super::string;
use super::typed::Typed;

/// A server of the configuration cycle `'s`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Server<'s> {
    raw: NonNull<c::server_rec>,
    lifetime: PhantomData<&'s ()>,
}

impl<'s> Server<'s> {
    /// # Safety
    /// `raw` is a server of a configuration cycle that lasts for `'s`.
    pub(super) unsafe fn from_raw(raw: *mut c::server_rec) -> Self {
        let raw = NonNull::new(raw).expect("httpd gives no null servers");
        Self { raw, lifetime: PhantomData }
    }

    pub(super) fn as_ptr(self) -> *const c::server_rec {
        self.raw.as_ptr()
    }

    fn rec(&self) -> &c::server_rec {
        // SAFETY: alive for 's (`from_raw`); httpd does not change servers after configuration,
        // and during it only this thread runs.
        unsafe { self.raw.as_ref() }
    }

    /// `ServerName`, without a port.
    pub fn name(self) -> &'s [u8] {
        // SAFETY: a C string of the configuration cycle, or null.
        unsafe { string::bytes(self.rec().server_hostname) }.unwrap_or_default()
    }

    /// The port that `ServerName` has, or 0.
    pub fn named_port(self) -> u16 {
        self.rec().port
    }

    /// `ServerAdmin`.
    pub fn admin(self) -> &'s [u8] {
        // SAFETY: a C string of the configuration cycle, or null.
        unsafe { string::bytes(self.rec().server_admin) }.unwrap_or_default()
    }

    /// `ErrorLog`, as written.
    pub fn error_log_name(self) -> &'s [u8] {
        // SAFETY: a C string of the configuration cycle, or null.
        unsafe { string::bytes(self.rec().error_fname) }.unwrap_or_default()
    }

    /// Whether `ErrorLog` is syslog, as `open_error_log` in log.c finds out.
    pub fn logs_to_syslog(self) -> bool {
        const SYSLOG: &[u8] = b"syslog";
        let name = self.error_log_name();
        name.get(..SYSLOG.len()).is_some_and(|name| name.eq_ignore_ascii_case(SYSLOG))
            && self.rec().error_log.is_null()
    }

    /// The name of httpd's program, which is what it is called in syslog (`ap_server_argv0`).
    pub fn program_name(self) -> &'s [u8] {
        // SAFETY: each server points to the one process_rec (main.c), which is never freed.
        let process = unsafe { &*self.rec().process };
        // SAFETY: a C string of the process's pool.
        unsafe { string::bytes(process.short_name) }.unwrap_or_default()
    }

    /// `Timeout`.
    pub fn timeout(self) -> Duration {
        Duration::from_micros(self.rec().timeout.try_into().unwrap_or(0))
    }

    /// Whether this is a `<VirtualHost>`.
    pub fn is_virtual(self) -> bool {
        self.rec().is_virtual != 0
    }

    /// The servers from this one on: from the main server, all of them.
    pub fn and_following(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |server| {
            let next = server.rec().next;
            // SAFETY: httpd's list of servers, all of the same configuration cycle.
            (!next.is_null()).then(|| unsafe { Self::from_raw(next) })
        })
    }

    /// The servers from this one on, the main server, and what is written in each: httpd gives a
    /// virtual host in which no directive of ours stands the settings of the main server
    /// (`merge_server_configs` in config.c).
    pub fn with_own_settings<S: 'static>(self) -> impl Iterator<Item = (Self, &'s S)> {
        let is_own = move |server: &Self| *server == self || server.config() != self.config();
        self.and_following().filter(is_own).filter_map(|server| Some((server, server.settings()?)))
    }

    /// The open `ErrorLog`, unless it is syslog or not open yet.
    pub fn error_log(self) -> Option<BorrowedFd<'s>> {
        let file = self.rec().error_log;
        if file.is_null() {
            return None;
        }
        let mut descriptor = -1;
        // SAFETY: an open apr_file_t of the configuration cycle.
        let status = unsafe { c::apr_os_file_get(&raw mut descriptor, file) };
        if status != 0 || descriptor < 0 {
            return None;
        }
        // SAFETY: httpd keeps the file open until the configuration cycle ends.
        Some(unsafe { BorrowedFd::borrow_raw(descriptor) })
    }

    /// Least severe level that the server's `LogLevel` lets this module log, as httpd's number.
    pub fn log_level(self) -> u8 {
        // SAFETY: the server is alive, and the index is this module's.
        let level = unsafe { c::ap_get_server_module_loglevel(self.as_ptr(), module_index()) };
        u8::try_from(level).unwrap_or(0)
    }

    /// What this module keeps for the server, as a pointer of unknown type.
    pub(super) fn config(self) -> *mut std::ffi::c_void {
        // SAFETY: a server's config vector has a slot for each loaded module. Nobody asks while this
        // one is not: what then still runs, the watch over supervisors, needs no settings.
        unsafe { c::ap_get_module_config(self.rec().module_config, super::module::this()) }
    }

    /// This module's settings for the server: those of the type that [`super::module::Module`] names.
    pub fn settings<S: 'static>(self) -> Option<&'s S> {
        // SAFETY: null, or what `create_server_config` or `merge_config` made, which lives
        // as long as the configuration cycle and is changed only while it is being read.
        unsafe { Typed::get(self.config()) }
    }

    /// The text of the header `Server`, as far as `ServerTokens` lets it say something.
    pub fn banner(self) -> &'s [u8] {
        // SAFETY: the configuration has been read, which is all that it asks for.
        let banner = unsafe { c::ap_get_server_banner() };
        // SAFETY: a C string in the pool of the configuration cycle (core.c).
        unsafe { string::bytes(banner) }.unwrap_or_default()
    }

    /// The pool that lives as long as httpd's parent process (`process_rec::pool`).
    pub(super) fn process_pool(self) -> Pool<'static> {
        // SAFETY: each server points to the one process_rec (main.c), which is never freed.
        let process = unsafe { &*self.rec().process };
        // SAFETY: the process pool is destroyed only when the process ends.
        unsafe { Pool::from_raw(process.pool) }
    }
}

/// Calls `body` with the main server, once its configuration has been read. What httpd keeps of the
/// server may be gone at the next restart, so that nothing of it can be kept.
pub fn with_main_server<R>(body: impl FnOnce(Option<Server<'_>>) -> R) -> R {
    // SAFETY: a pointer that httpd writes while it is single-threaded.
    let server = unsafe { c::ap_server_conf };
    // SAFETY: not null, and of the running configuration cycle. That does not end before `body` does:
    // a child has no other one, and the parent's only thread is here.
    body((!server.is_null()).then(|| unsafe { Server::from_raw(server) }))
}

/// `path` below `DefaultRuntimeDir` (`ap_runtime_dir_relative`).
pub fn runtime_path(pool: Pool<'_>, path: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let path = pool.string(path.as_bytes());
    // SAFETY: the pool is alive, the path a C string.
    let full = unsafe { c::ap_runtime_dir_relative(pool.as_ptr(), path.as_ptr()) };
    // SAFETY: a C string in the pool, or null.
    let full = unsafe { string::bytes(full) }?;
    Some(Path::new(std::ffi::OsStr::from_bytes(full)).to_owned())
}

/// httpd's own version.
pub fn httpd_version() -> (u32, u32, u32) {
    let mut version =
        c::ap_version_t { major: 0, minor: 0, patch: 0, add_string: std::ptr::null() };
    // SAFETY: fills in the struct that it is given.
    unsafe { c::ap_get_server_revision(&raw mut version) };
    let part = |number: c_int| u32::try_from(number).unwrap_or(0);
    (part(version.major), part(version.minor), part(version.patch))
}

/// When httpd was built, as it says itself.
pub fn build_date() -> &'static [u8] {
    // SAFETY: it has no preconditions.
    let date = unsafe { c::ap_get_server_built() };
    // SAFETY: a C string that is part of httpd's program.
    unsafe { string::bytes(date) }.unwrap_or_default()
}

/// The name of the MPM.
pub fn mpm_name() -> &'static [u8] {
    // SAFETY: it has no preconditions.
    let name = unsafe { c::ap_show_mpm() };
    // SAFETY: a C string that is part of the MPM, which stays as long as httpd.
    unsafe { string::bytes(name) }.unwrap_or_default()
}

/// The most children, and the most threads in each, that the MPM has at a time.
pub fn mpm_limits() -> (u32, u32) {
    let query = |what: c_int| {
        let mut answer = 0;
        // SAFETY: fills in the integer that it is given.
        unsafe { c::ap_mpm_query(what, &raw mut answer) };
        u32::try_from(answer).unwrap_or(0)
    };
    (query(c::AP_MPMQ_MAX_DAEMONS), query(c::AP_MPMQ_MAX_THREADS))
}
