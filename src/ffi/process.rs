//! httpd's processes: which one this is, whom it runs as, and the parent's watch over others.

use std::ffi::{CString, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::bindings as c;
use super::pool::Pool;
use super::server::Server;
use super::{boundary, string};

/// Whether this is the first of the two times that httpd reads its configuration at start, after
/// which everything is thrown away and read again (main.c).
pub fn is_dry_run() -> bool {
    // SAFETY: a function of one number.
    unsafe { c::ap_state_query(c::AP_SQ_MAIN_STATE) == c::AP_SQ_MS_CREATE_PRE_CONFIG as c_int }
}

/// Whether httpd only reads its configuration, and says what is wrong with it (`-t`).
pub fn is_configtest() -> bool {
    // SAFETY: a function of one number.
    unsafe { c::ap_state_query(c::AP_SQ_RUN_MODE) == c::AP_SQ_RM_CONFIG_TEST as c_int }
}

/// The number of the configuration cycle: 0 at start, one more at each restart.
pub fn generation() -> u32 {
    let mut generation = 0;
    // SAFETY: fills in the integer that it is given.
    unsafe { c::ap_mpm_query(c::AP_MPMQ_GENERATION as c_int, &raw mut generation) };
    u32::try_from(generation).unwrap_or(0)
}

/// User and group id of `User` and `Group`, which httpd's children run as when root starts it.
pub fn configured_ids() -> (u32, u32) {
    // SAFETY: a struct that mod_unixd writes while configuration is read, by the one thread there is.
    let user = unsafe { c::ap_unixd_config.user_id };
    // SAFETY: as above.
    let group = unsafe { c::ap_unixd_config.group_id };
    (user, group)
}

/// The file that this library was loaded from; the module's others lie beside it.
pub fn library_path() -> Option<PathBuf> {
    let here = library_path as fn() -> Option<PathBuf>;
    // SAFETY: a struct of pointers, for which zero is valid.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: an address in this library, and a struct to fill in.
    if unsafe { libc::dladdr(here as *const c_void, &raw mut found) } == 0 {
        return None;
    }
    // SAFETY: the name that the dynamic loader keeps for a mapped file.
    let name = unsafe { string::bytes(found.dli_fname) }?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// Whether the system has that locale.
pub fn has_locale(name: &[u8]) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: a C string, and no locale that would be changed.
    let locale = unsafe { libc::newlocale(libc::LC_ALL_MASK, name.as_ptr(), std::ptr::null_mut()) };
    if locale.is_null() {
        return false;
    }
    // SAFETY: just made, and in use nowhere.
    unsafe { libc::freelocale(locale) };
    true
}

/// Adds a component to the `Server:` header (`ap_add_version_component`).
pub fn add_version_component(pool: Pool<'_>, component: &str) {
    let component = pool.string(component.as_bytes());
    // SAFETY: the pool is that of the configuration cycle, in which httpd keeps its banner.
    unsafe { c::ap_add_version_component(pool.as_ptr(), component.as_ptr()) };
}

/// Lets httpd's parent tell `ended` that the child process `pid` has ended, with what status as
/// `waitpid` gives it, instead of wondering whose child it was. Goes on over restarts.
///
/// This library stays mapped for ever (`-z nodelete`), so `ended` does too.
pub fn watch_child(server: Server<'_>, pid: u32, ended: fn(pid: u32, status: i32)) {
    struct Watch {
        process: c::apr_proc_t,
        ended: fn(u32, i32),
        pool: *mut c::apr_pool_t,
    }
    /// # Safety
    /// Called by APR, for the registration below (`apr_proc_other_child_register`).
    unsafe extern "C" fn maintenance(reason: c_int, watch: *mut c_void, status: c_int) {
        boundary::guard((), || {
            if reason != c::APR_OC_REASON_DEATH {
                return;
            }
            // SAFETY: the watch registered below; it lives until the pool is destroyed, below.
            let (pid, ended, pool) = unsafe {
                let watch = &*watch.cast::<Watch>();
                (watch.process.pid, watch.ended, watch.pool)
            };
            // SAFETY: registered, and so far not unregistered. Calls back once more, with another
            // reason.
            unsafe { c::apr_proc_other_child_unregister(watch) };
            // SAFETY: made for this watch only. APR does not touch it after this call (otherchild.c).
            unsafe { c::apr_pool_destroy(pool) };
            ended(u32::try_from(pid).unwrap_or(0), status);
        });
    }

    let mut raw = std::ptr::null_mut();
    // SAFETY: a sub-pool of the pool that lives as long as the process.
    unsafe {
        c::apr_pool_create_ex(
            &raw mut raw,
            server.process_pool().as_ptr(),
            None,
            std::ptr::null_mut(),
        );
    }
    // SAFETY: just made, and destroyed only by `maintenance`, for good.
    let pool: Pool<'static> = unsafe { Pool::from_raw(raw) };
    // SAFETY: a struct of integers and pointers, for which zero is valid.
    let process = unsafe { std::mem::zeroed() };
    let watch = pool.keep(Watch { process, ended, pool: raw });
    watch.process.pid = c::pid_t::try_from(pid).unwrap_or(-1);
    let process = &raw mut watch.process;
    let data = std::ptr::from_mut(watch).cast();
    // SAFETY: process and data live as long as the pool, and with it the registration.
    unsafe {
        c::apr_proc_other_child_register(
            process,
            Some(maintenance),
            data,
            std::ptr::null_mut(),
            raw,
        );
    }
}

/// Runs `first` when httpd's parent exits, before anything of its configuration and logs is gone.
pub fn at_exit(server: Server<'_>, first: fn()) {
    struct AtExit(fn());
    impl Drop for AtExit {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    server.process_pool().keep_until_before(AtExit(first));
}

/// Listens to nobody any more.
pub fn close_listeners() {
    // SAFETY: the parent has one thread, and its children have ended. What is closed here is not closed
    // once more with its pool (`apr_socket_close`).
    unsafe { c::ap_close_listeners() }
}
