//! Every unsafe operation of the worker: setting up CPython, text from bytes, and the process's
//! environment and end.
#![expect(unsafe_code, reason = "the one file of this program that may")]

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;

use channel::Bytes;
use pyo3::ffi as python;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// A bytes object of these parts, one behind the other; `None` if there is no memory for it. The one
/// copy that is made of them.
pub fn bytes_of<'py>(py: Python<'py>, parts: [Bytes<'_>; 2]) -> Option<Bound<'py, PyBytes>> {
    let len = parts.iter().map(Bytes::len).sum::<usize>();
    // SAFETY: we are attached to Python. Without a source, room for so many bytes is made.
    let object = unsafe { python::PyBytes_FromStringAndSize(std::ptr::null(), len.cast_signed()) };
    // SAFETY: the reference is new, or null with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_opt(py, object) };
    let Some(object) = object else {
        drop(PyErr::take(py));
        return None;
    };
    let object = object.cast_into::<PyBytes>().expect("it is one");
    // SAFETY: the object is alive, and a bytes object.
    let mut room = unsafe { python::PyBytes_AsString(object.as_ptr()) }.cast::<u8>();
    for part in parts {
        // SAFETY: the object has room for all parts and is nobody else's yet; the part is readable
        // while it lives (`Bytes::as_ptr`), and is read without a reference, as another process may
        // change it.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), room, part.len()) };
        // SAFETY: within the room, or at its end, by the sum above.
        room = unsafe { room.add(part.len()) };
    }
    Some(object)
}

/// Removes a variable from the environment, which later programs would inherit.
///
/// # Panics
/// When the process has more than one thread, as any of them could be reading the environment.
pub fn forget_variable(name: &str) {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    assert!(!matches!(threads, Ok(2..)), "the environment is changed before threads start");
    // SAFETY: the line above shows that no other thread exists that could read the environment.
    unsafe { std::env::remove_var(name) };
}

/// Sets the locale of the process, in all its categories. Returns whether the system has it.
///
/// # Panics
/// When Python is initialised already: threads could be reading the locale.
pub fn set_locale(name: &CStr) -> bool {
    // SAFETY: `Py_IsInitialized` can be called at any time.
    let already = unsafe { python::Py_IsInitialized() };
    assert_eq!(already, 0, "the locale is changed before threads start");
    // SAFETY: the name is a C string. Before Python is initialised, which starts what runs in other
    // threads, nobody else reads the locale.
    !unsafe { libc::setlocale(libc::LC_ALL, name.as_ptr()) }.is_null()
}

/// Ends the process at once, without the exit handlers of C libraries: other threads still run, and
/// what those handlers take down would be in use.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit(2)` has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Lets the C library take memory for all threads from two heaps, unless the environment has it
/// otherwise. Where each thread has a heap of its own, each keeps what the largest request that it
/// ran has needed, and hardly ever finds it in the processor's caches.
pub fn share_heaps() {
    const HEAPS: libc::c_int = 2;
    if std::env::var_os("MALLOC_ARENA_MAX").is_none()
        && std::env::var_os("GLIBC_TUNABLES").is_none()
    {
        // SAFETY: a function of two numbers.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
    }
}

/// Lets other threads that want to run go before the calling one when it wakes (`SCHED_BATCH`),
/// unless the administrator has given httpd a policy of its own (`chrt(1)`, systemd's
/// `CPUSchedulingPolicy`).
pub fn let_others_go_first() {
    // SAFETY: a function of a number, of which 0 is the calling thread.
    if unsafe { libc::sched_getscheduler(0) } != libc::SCHED_OTHER {
        return;
    }
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a value that outlives the call. What it refuses stays as it was.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
}

/// The machine's name, which also a process without `/proc` can know.
pub fn host_name() -> Vec<u8> {
    let mut name = vec![0_u8; 256];
    // SAFETY: writes at most so many bytes into the vector; what fails leaves it at zero.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    name
}

/// What has been used so far, as `getrusage(2)` has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Seconds of processor time in user mode.
    pub user: f64,
    /// And in system mode.
    pub system: f64,
    /// The most bytes of resident memory, of the whole process.
    pub most_memory: u64,
}

impl Usage {
    /// By this thread.
    pub fn of_thread() -> Self {
        Self::of(libc::RUSAGE_THREAD)
    }

    /// By this process.
    pub fn of_process() -> Self {
        Self::of(libc::RUSAGE_SELF)
    }

    fn of(whom: libc::c_int) -> Self {
        // SAFETY: a struct of numbers, for which zero is valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: fills in the struct that it is given; what fails leaves it at zero.
        unsafe { libc::getrusage(whom, &raw mut usage) };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        let most_memory = usage.ru_maxrss.cast_unsigned() * 1024;
        Self { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime), most_memory }
    }
}

/// `sys.version` of the libpython that is loaded, which need not be the one of the build. Can be
/// asked before Python is initialised.
pub fn running_version() -> String {
    // SAFETY: `Py_GetVersion` is documented as callable before `Py_Initialize`.
    let version = unsafe { python::Py_GetVersion() };
    // SAFETY: it returns a C string in static storage.
    let version = unsafe { CStr::from_ptr(version) };
    version.to_string_lossy().into_owned()
}

/// Where Python finds its standard library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// As if this program had been run: its place tells, and a `pyvenv.cfg` near it.
    Program(CString),
    /// Below this prefix.
    Home(CString),
}

/// Initialises CPython, and releases its lock again: from here on threads attach to it.
///
/// # Errors
/// What CPython says went wrong.
///
/// # Panics
/// When Python is initialised already.
pub fn initialize(
    location: &Location,
    argv0: &CStr,
    settings: &wire::control::Python,
) -> Result<(), String> {
    // SAFETY: `Py_IsInitialized` can be called at any time.
    let already = unsafe { python::Py_IsInitialized() };
    assert_eq!(already, 0, "Python is initialised once");

    let mut config = MaybeUninit::<python::PyConfig>::uninit();
    // SAFETY: the pointer is to memory of the right size, which the function fills.
    unsafe { python::PyConfig_InitPythonConfig(config.as_mut_ptr()) };
    // SAFETY: `PyConfig_InitPythonConfig` above has set every field.
    let mut config = unsafe { config.assume_init() };
    config.parse_argv = 0;
    config.install_signal_handlers = 0;
    if settings.optimize > 0 {
        config.optimization_level = i32::try_from(settings.optimize).unwrap_or(2);
    }
    if settings.dont_write_bytecode {
        config.write_bytecode = 0;
    }
    if let Some(seed) = settings.hash_seed {
        config.use_hash_seed = 1;
        config.hash_seed = seed.into();
    }

    let outcome = fill_in(&mut config, location, argv0).and_then(|()| {
        for filter in &settings.warnings {
            add_warning(&mut config, filter)?;
        }
        // SAFETY: the configuration is valid, and Python not initialised (asserted above).
        check(unsafe { python::Py_InitializeFromConfig(&config) })
    });
    // SAFETY: `config` was initialised above and is used no more.
    unsafe { python::PyConfig_Clear(&mut config) };
    outcome?;

    // SAFETY: initialisation succeeded, so that this thread holds the lock. The thread state that
    // is returned stays known to Python as this thread's own and is found when it attaches.
    unsafe { python::PyEval_SaveThread() };
    Ok(())
}

fn fill_in(config: &mut python::PyConfig, location: &Location, argv0: &CStr) -> Result<(), String> {
    let mut argv = [argv0.as_ptr()];
    let config: *mut python::PyConfig = config;
    // SAFETY: the list has the one element that is announced, a C string, and is copied.
    check(unsafe { python::PyConfig_SetBytesArgv(config, 1, argv.as_mut_ptr()) })?;
    let (field, path) = match location {
        // SAFETY: `config` comes from a reference and is therefore valid.
        Location::Program(path) => (unsafe { &raw mut (*config).program_name }, path),
        // SAFETY: as above.
        Location::Home(path) => (unsafe { &raw mut (*config).home }, path),
    };
    // SAFETY: `field` points into the same configuration; `path` is a C string and is copied.
    check(unsafe { python::PyConfig_SetBytesString(config, field, path.as_ptr()) })
}

/// Adds a filter as behind the option `-W`.
fn add_warning(config: &mut python::PyConfig, filter: &[u8]) -> Result<(), String> {
    let Ok(filter) = CString::new(filter) else { return Ok(()) };
    // SAFETY: a C string. Python's memory is set up: `PyConfig_SetBytesArgv` in `fill_in` did that.
    let wide = unsafe { python::Py_DecodeLocale(filter.as_ptr(), std::ptr::null_mut()) };
    if wide.is_null() {
        return Err("a WSGIPythonWarnings cannot be decoded".to_owned());
    }
    // SAFETY: a list of an initialised configuration, and a wide C string, which is copied.
    let outcome = check(unsafe { python::PyWideStringList_Append(&mut config.warnoptions, wide) });
    // SAFETY: `Py_DecodeLocale` gives memory that is to be freed this way, and it is used no more.
    unsafe { python::PyMem_RawFree(wide.cast()) };
    outcome
}

fn check(status: python::PyStatus) -> Result<(), String> {
    // SAFETY: `PyStatus_Exception` only looks at the value passed.
    if unsafe { python::PyStatus_Exception(status) } == 0 {
        return Ok(());
    }
    let text = |pointer: *const c_char| {
        if pointer.is_null() {
            return None;
        }
        // SAFETY: texts in a `PyStatus` that are not null are C strings in static storage.
        let text = unsafe { CStr::from_ptr(pointer) };
        Some(text.to_string_lossy().into_owned())
    };
    Err(match (text(status.func), text(status.err_msg)) {
        (Some(function), Some(message)) => format!("{function}: {message}"),
        (None, Some(message)) => message,
        (_, None) => format!("it asks to exit with status {}", status.exitcode),
    })
}

/// Python's own record of this thread, as an address to compare with.
pub fn thread_state(_py: Python<'_>) -> usize {
    // SAFETY: this thread is attached, as `_py` shows.
    unsafe { python::PyThreadState_Get() }.addr()
}

/// Python's record of the thread that holds its lock, where Python tells (up to 3.11).
pub fn lock_holder() -> Option<usize> {
    // SAFETY: it reads one variable, and needs neither the lock nor a thread that Python knows; what
    // it returns is compared, and not looked into.
    let state = unsafe { python::compat::PyThreadState_GetUnchecked() };
    Some(state.addr()).filter(|state| *state != 0)
}

/// Lets Python raise an exception of `class` in the thread that it knows as `ident`, at the next
/// occasion; without a class, takes back one that has not been raised yet.
pub fn raise_in_thread(_py: Python<'_>, ident: u64, class: Option<&Bound<'_, PyAny>>) {
    let class = class.map_or(std::ptr::null_mut(), |class| class.as_ptr());
    // SAFETY: this thread is attached, as `_py` shows; Python looks for the number among its threads
    // and takes a reference of its own to the class, or takes a null pointer as "none".
    unsafe { python::PyThreadState_SetAsyncExc(ident.cast_signed(), class) };
}

/// Decodes latin-1, as PEP 3333 has it for strings that are bytes in disguise.
///
/// # Errors
/// `MemoryError`.
pub fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let data = bytes.as_ptr().cast();
    let len = bytes.len().cast_signed();
    // SAFETY: `data` and `len` are those of a slice, which Python copies; `py` shows that this
    // thread is attached.
    let object = unsafe { python::PyUnicode_DecodeLatin1(data, len, std::ptr::null()) };
    // SAFETY: the function returns a new reference, or null with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, object) }?;
    Ok(object.cast_into()?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// The policy of a thread that had `before` and was asked to let others go first.
    fn policy_after(before: libc::c_int) -> libc::c_int {
        let changed = thread::spawn(move || {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: the pointer is to a value that outlives the call.
            let status = unsafe { libc::sched_setscheduler(0, before, &raw const parameters) };
            assert_eq!(status, 0, "anybody may");
            let_others_go_first();
            // SAFETY: a function of a number.
            unsafe { libc::sched_getscheduler(0) }
        });
        changed.join().unwrap()
    }

    #[test]
    fn others_go_first_unless_the_administrator_has_said_how_to_run() {
        assert_eq!(policy_after(libc::SCHED_OTHER), libc::SCHED_BATCH);
        assert_eq!(policy_after(libc::SCHED_IDLE), libc::SCHED_IDLE);
    }
}
