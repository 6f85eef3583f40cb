//! The module record, and every function that httpd calls through it or through a hook.
//!
//! Each one only translates, inside the panic boundary: behaviour is that of a [`Module`].

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::bindings as c;
use super::boundary::guard;
use super::command::Commands;
use super::hooks::{Authentication, Authorization, RealmHash};
use super::pool::Pool;
use super::request::Request;
use super::server::Server;
use super::typed::Typed;

/// Settings that httpd keeps for a module.
pub trait Settings: Default + 'static {
    /// The settings of `inner`, over these.
    fn merged_with(&self, inner: &Self) -> Self;
}

/// What a module does when httpd calls it. `Err(())` has been logged.
pub trait Module: 'static {
    /// Settings of a server.
    type Server: Settings;
    /// Settings of a section.
    type Directory: Settings;

    /// Its directives.
    fn commands() -> Commands<Self::Server, Self::Directory>;

    /// Before the configuration is read.
    fn begin_configuration();

    /// When the configuration has been read, also for `apachectl configtest`.
    fn check_configuration(configuration: Pool<'_>, main: Server<'_>) -> Result<(), ()>;

    /// When everything is ready for children to be forked.
    fn start(configuration: Pool<'_>, main: Server<'_>) -> Result<(), ()>;

    /// When httpd's scoreboard is there, and now and then afterwards, in the parent.
    fn look_after();

    /// In a new child of httpd.
    fn enter_child();

    /// Maps a URL to a file and a handler (`translate_name`).
    fn translate(request: Request<'_>) -> i32;

    /// Answers a request.
    fn handle(request: Request<'_>) -> i32;

    /// What is to be on the page of mod_status: a piece of HTML, or lines `Key: value` if that is to be
    /// `short` (`status_hook`).
    fn show_status(request: Request<'_>, short: bool) -> String;

    /// What a request is to be called in httpd's logs, if the module knows (`generate_log_id`).
    fn name(request: Request<'_>) -> Option<&[u8]>;

    /// When a request and its response are over (`log_transaction`).
    fn log(request: Request<'_>);

    /// Says whether the client may have this at all (`access_checker`).
    fn check_access(request: Request<'_>) -> i32;

    /// `authn_provider::check_password`.
    fn check_password(request: Request<'_>, user: &[u8], password: &[u8]) -> Authentication;

    /// `authn_provider::get_realm_hash`.
    fn realm_hash(request: Request<'_>, user: &[u8], realm: &[u8]) -> RealmHash;

    /// `authz_provider::check_authorization`.
    fn check_authorization(request: Request<'_>, required: &[u8]) -> Authorization;
}

/// Defines the function by which `loader.c` has the record of a [`Module`] filled in.
macro_rules! entry {
    ($module:ty) => {
        /// Fills in the record that httpd looks for.
        ///
        /// # Safety
        /// Called by `loader.c` alone, each time that httpd loads it, with its zeroed room.
        #[expect(unsafe_code, reason = "a symbol for C; what it does is in ffi")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn mwrs_attach(record: *mut std::ffi::c_void) {
            // SAFETY: what this function asks for is what that one does.
            unsafe { $crate::ffi::module::attach::<$module>(record) }
        }
    };
}
pub(crate) use entry;

/// The module record, while httpd has the module loaded. It lies in `mod_wsgi_rs.so` (`loader.c`),
/// which httpd unloads; this library stays.
static RECORD: AtomicPtr<c::module> = AtomicPtr::new(std::ptr::null_mut());

/// How much room `loader.c` has for the record.
const ROOM: usize = 32 * size_of::<*const ()>();

/// Fills in the record that httpd looks for (`LoadModule wsgi_module …`). The module's name is
/// mod_wsgi's, so that `<IfModule mod_wsgi.c>` holds.
///
/// # Safety
/// Called by `loader.c` alone, each time that httpd loads it, with its zeroed room.
pub unsafe fn attach<M: Module>(record: *mut c_void) {
    let record = record.cast::<c::module>();
    const {
        assert!(
            size_of::<c::module>() <= ROOM && align_of::<c::module>() <= align_of::<*const ()>()
        )
    };
    let filled_in = c::module {
        version: c::MODULE_MAGIC_NUMBER_MAJOR as c_int,
        minor_version: c::MODULE_MAGIC_NUMBER_MINOR as c_int,
        module_index: -1,
        name: c"mod_wsgi.c".as_ptr(),
        dynamic_load_handle: std::ptr::null_mut(),
        next: std::ptr::null_mut(),
        magic: c::MODULE_MAGIC_COOKIE as _,
        rewrite_args: None,
        create_dir_config: Some(create_dir_config::<M::Directory>),
        merge_dir_config: Some(merge_config::<M::Directory>),
        create_server_config: Some(create_server_config::<M::Server>),
        merge_server_config: Some(merge_config::<M::Server>),
        cmds: M::commands().as_ptr(),
        register_hooks: Some(register_hooks::<M>),
        flags: 0,
    };
    // SAFETY: room enough, as checked above, that httpd has not seen yet.
    unsafe { record.write(filled_in) };
    RECORD.store(record, Ordering::Release);
}

/// The record's address, which is what httpd's functions know the module by. Null while the module is
/// not loaded.
pub(super) fn this() -> *const c::module {
    RECORD.load(Ordering::Acquire)
}

/// The module's place in configuration vectors, once httpd has loaded it. While it is not loaded, -1:
/// httpd's log then goes by its own level (`APLOG_NO_MODULE`).
pub(super) fn module_index() -> c_int {
    // SAFETY: the record stays until `Attached` is dropped; httpd writes the index while it loads the
    // module, single-threaded.
    unsafe { this().as_ref() }.map_or(-1, |record| record.module_index)
}

/// Kept in the pool of a configuration cycle, whose end unloads the module. What was kept there later
/// is dropped before.
struct Attached;

impl Drop for Attached {
    fn drop(&mut self) {
        RECORD.store(std::ptr::null_mut(), Ordering::Release);
    }
}

/// `ap_HOOK_status_hook_t`.
type StatusHook = unsafe extern "C" fn(*mut c::request_rec, c_int) -> c_int;

/// Names of modules that a hook runs before or after, with a null behind the last one.
pub(super) struct Names<const N: usize>(pub(super) [*const c_char; N]);

// SAFETY: httpd only reads the names, and they are literals.
unsafe impl<const N: usize> Sync for Names<N> {}

/// Tells httpd which of its hooks the module takes part in.
///
/// # Safety
/// Called by httpd alone, as `module_struct::register_hooks`.
unsafe extern "C" fn register_hooks<M: Module>(pool: *mut c::apr_pool_t) {
    // mod_alias comes first: an overlapping `Alias` wins, as with mod_wsgi.
    static BEFORE: Names<2> = Names([c"mod_alias.c".as_ptr(), std::ptr::null()]);
    static AFTER: Names<3> =
        Names([c"mod_userdir.c".as_ptr(), c"mod_vhost_alias.c".as_ptr(), std::ptr::null()]);
    let none = std::ptr::null();
    let middle = c::APR_HOOK_MIDDLE as c_int;

    guard((), || {
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_pre_config(Some(pre_config::<M>), none, none, middle) };
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_check_config(Some(check_config::<M>), none, none, middle) };
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_post_config(Some(post_config::<M>), none, none, middle) };
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_monitor(Some(monitor::<M>), none, none, middle) };
        let last = c::APR_HOOK_REALLY_LAST as c_int;
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_pre_mpm(Some(pre_mpm::<M>), none, none, last) };
        let (before, after) = (BEFORE.0.as_ptr(), AFTER.0.as_ptr());
        // SAFETY: a function with the hook's signature; the lists of names are static and end with a null.
        unsafe { c::ap_hook_translate_name(Some(translate_name::<M>), before, after, middle) };
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_handler(Some(handler::<M>), none, none, middle) };
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_log_transaction(Some(log_transaction::<M>), none, none, middle) };
        // mod_unique_id, and then httpd itself, name what this module does not.
        let first = c::APR_HOOK_FIRST as c_int;
        // SAFETY: a function of this file with the hook's signature; this library stays mapped.
        unsafe { c::ap_hook_generate_log_id(Some(generate_log_id::<M>), none, none, first) };
        let show: StatusHook = status_hook::<M>;
        // SAFETY: from one kind of function pointer to another one. mod_status calls it as what it is,
        // its `status_hook` (mod_status.h); this is what the macro APR_OPTIONAL_HOOK does.
        let show = unsafe { std::mem::transmute::<StatusHook, unsafe extern "C" fn()>(show) };
        // SAFETY: the name is a literal.
        unsafe {
            c::apr_optional_hook_add(c"status_hook".as_ptr(), Some(show), none, none, middle)
        };
        super::stopping::register();
        super::waking::register::<M>();
        // SAFETY: the pool of the configuration cycle.
        let pool = unsafe { Pool::from_raw(pool) };
        pool.keep(Attached);
        super::hooks::register::<M>(pool);
    });
}

/// Makes the settings of a section, with nothing set.
///
/// # Safety
/// Called by httpd alone, as `module_struct::create_dir_config`.
unsafe extern "C" fn create_dir_config<T: Settings>(
    pool: *mut c::apr_pool_t,
    _: *mut c_char,
) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        // SAFETY: httpd gives the pool in which the configuration lives.
        let pool = unsafe { Pool::from_raw(pool) };
        std::ptr::from_mut(pool.keep(Typed::new(T::default()))).cast()
    })
}

/// Makes the settings of a server, with nothing set.
///
/// # Safety
/// Called by httpd alone, as `module_struct::create_server_config`.
unsafe extern "C" fn create_server_config<T: Settings>(
    pool: *mut c::apr_pool_t,
    _: *mut c::server_rec,
) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        // SAFETY: httpd gives the pool in which the configuration lives.
        let pool = unsafe { Pool::from_raw(pool) };
        std::ptr::from_mut(pool.keep(Typed::new(T::default()))).cast()
    })
}

/// Makes the settings of a section within another one, or of a virtual host over the main server's.
///
/// # Safety
/// Called by httpd alone, as `module_struct::merge_dir_config` or `merge_server_config`, for the `T`
/// that the `create_…` function of the same record makes.
unsafe extern "C" fn merge_config<T: Settings>(
    pool: *mut c::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    guard(outer, || {
        // SAFETY: one of the `create_…` function's or of this one's, still alive.
        let over = unsafe { Typed::<T>::get(inner) };
        // SAFETY: the outer one, which is such settings as well.
        let (Some(under), Some(over)) = (unsafe { Typed::<T>::get(outer) }, over) else {
            return outer;
        };
        // SAFETY: httpd gives the pool in which the configuration lives.
        let pool = unsafe { Pool::from_raw(pool) };
        std::ptr::from_mut(pool.keep(Typed::new(under.merged_with(over)))).cast()
    })
}

/// Before the configuration is read.
///
/// # Safety
/// Called by httpd alone, as its hook `pre_config` (http_config.h).
unsafe extern "C" fn pre_config<M: Module>(
    _: *mut c::apr_pool_t,
    _: *mut c::apr_pool_t,
    _: *mut c::apr_pool_t,
) -> c_int {
    guard(c::HTTP_INTERNAL_SERVER_ERROR, || {
        M::begin_configuration();
        c::OK
    })
}

/// When the configuration has been read, also for `apachectl configtest`.
///
/// # Safety
/// Called by httpd alone, as its hook `check_config` (http_config.h).
unsafe extern "C" fn check_config<M: Module>(
    configuration: *mut c::apr_pool_t,
    _: *mut c::apr_pool_t,
    _: *mut c::apr_pool_t,
    server: *mut c::server_rec,
) -> c_int {
    guard(c::HTTP_INTERNAL_SERVER_ERROR, || {
        // SAFETY: the pool of the configuration cycle.
        let pool = unsafe { Pool::from_raw(configuration) };
        // SAFETY: the main server of the configuration cycle.
        let server = unsafe { Server::from_raw(server) };
        match M::check_configuration(pool, server) {
            Ok(()) => c::OK,
            Err(()) => c::HTTP_INTERNAL_SERVER_ERROR,
        }
    })
}

/// When everything is ready for children to be forked.
///
/// # Safety
/// Called by httpd alone, as its hook `post_config` (http_config.h).
unsafe extern "C" fn post_config<M: Module>(
    configuration: *mut c::apr_pool_t,
    _: *mut c::apr_pool_t,
    _: *mut c::apr_pool_t,
    server: *mut c::server_rec,
) -> c_int {
    guard(c::HTTP_INTERNAL_SERVER_ERROR, || {
        // SAFETY: the pool of the configuration cycle.
        let pool = unsafe { Pool::from_raw(configuration) };
        // SAFETY: the main server of the configuration cycle.
        let server = unsafe { Server::from_raw(server) };
        match M::start(pool, server) {
            Ok(()) => c::OK,
            Err(()) => c::HTTP_INTERNAL_SERVER_ERROR,
        }
    })
}

/// When the scoreboard is there, which the core makes in this hook.
///
/// # Safety
/// Called by httpd alone, as its hook `pre_mpm` (scoreboard.h).
unsafe extern "C" fn pre_mpm<M: Module>(_: *mut c::apr_pool_t, _: c::ap_scoreboard_e) -> c_int {
    guard(c::OK, || {
        M::look_after();
        c::OK
    })
}

/// Now and then in httpd's parent, while it serves.
///
/// # Safety
/// Called by httpd alone, as its hook `monitor` (mpm_common.h).
unsafe extern "C" fn monitor<M: Module>(_: *mut c::apr_pool_t, _: *mut c::server_rec) -> c_int {
    guard(c::DECLINED, || {
        M::look_after();
        c::DECLINED
    })
}

/// Maps a URL to a file and a handler.
///
/// # Safety
/// Called by httpd alone, as its hook `translate_name` (http_request.h).
unsafe extern "C" fn translate_name<M: Module>(request: *mut c::request_rec) -> c_int {
    guard(c::HTTP_INTERNAL_SERVER_ERROR, || {
        // SAFETY: the request that httpd is handling in this thread.
        let request = unsafe { Request::from_raw(request) };
        M::translate(request)
    })
}

/// Answers a request.
///
/// # Safety
/// Called by httpd alone, as its hook `handler` (http_config.h).
unsafe extern "C" fn handler<M: Module>(request: *mut c::request_rec) -> c_int {
    guard(c::HTTP_INTERNAL_SERVER_ERROR, || {
        // SAFETY: the request that httpd is handling in this thread.
        let request = unsafe { Request::from_raw(request) };
        M::handle(request)
    })
}

/// Names a request, or a connection, in the logs.
///
/// # Safety
/// Called by httpd alone, as its hook `generate_log_id` (http_core.h).
unsafe extern "C" fn generate_log_id<M: Module>(
    _: *const c::conn_rec,
    request: *const c::request_rec,
    id: *mut *const c_char,
) -> c_int {
    if request.is_null() {
        return c::DECLINED;
    }
    guard(c::DECLINED, || {
        // SAFETY: the request that httpd is handling in this thread. It is const only because the log is
        // told of it so; httpd itself writes the id to it.
        let request = unsafe { Request::from_raw(request.cast_mut()) };
        let Some(name) = M::name(request) else { return c::DECLINED };
        let name = request.pool().string(name).as_ptr();
        // SAFETY: where httpd wants the id, which it keeps with the request.
        unsafe { *id = name };
        c::OK
    })
}

/// When a request and its response are over.
///
/// # Safety
/// Called by httpd alone, as its hook `log_transaction` (http_protocol.h).
unsafe extern "C" fn log_transaction<M: Module>(request: *mut c::request_rec) -> c_int {
    guard(c::DECLINED, || {
        // SAFETY: the request that httpd is done with, in this thread.
        let request = unsafe { Request::from_raw(request) };
        M::log(request);
        c::DECLINED
    })
}

/// mod_status makes its page.
///
/// # Safety
/// Called by mod_status alone, as its hook `status_hook` (mod_status.h).
unsafe extern "C" fn status_hook<M: Module>(request: *mut c::request_rec, flags: c_int) -> c_int {
    guard(c::OK, || {
        // SAFETY: the request that httpd is handling in this thread.
        let request = unsafe { Request::from_raw(request) };
        let text = M::show_status(request, flags & c::AP_STATUS_SHORT as c_int != 0);
        request.write(text.as_bytes());
        c::OK
    })
}
