//! Every unsafe operation of the worker: what PyO3 leaves out of CPython, and of the process.
#![expect(unsafe_code, reason = "the one file of this program that may")]

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

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

/// Sets the locale of the process, in all its categories. Returns whether the system has it.
///
/// # Panics
/// When the process has other threads, which could be reading the locale.
pub fn set_locale(name: &CStr) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    assert!(!matches!(threads, Ok(2..)), "the locale is changed before threads start");
    // SAFETY: the name is a C string, and no other thread exists that could read the locale.
    !unsafe { libc::setlocale(libc::LC_ALL, name.as_ptr()) }.is_null()
}

/// Where this process's arguments are, which lists of processes show.
#[derive(Debug, Clone)]
pub struct Arguments(Range<usize>);

impl Arguments {
    /// Asks the kernel (proc(5): `arg_start` and `arg_end`), which must be done while there is a
    /// `/proc`.
    pub fn find() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name may hold anything; the third field is behind it.
        let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ').skip(48 - 3);
        let (start, end) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (0 < start && start < end).then_some(Self(start..end))
    }

    /// Puts `text` in their place, as far as there is room.
    pub fn overwrite(&self, text: &[u8]) {
        let start = std::ptr::with_exposed_provenance_mut::<u8>(self.0.start);
        // The last byte stays zero, which is how the kernel knows that the text ends here.
        let length = text.len().min(self.0.len().saturating_sub(1));
        // SAFETY: the kernel has said that these bytes are the arguments (`find`): they lie on the
        // first stack, which is there as long as the process, and Python has its own copy of them.
        unsafe { std::ptr::write_bytes(start, 0, self.0.len()) };
        // SAFETY: the same bytes, of which `length` is no more than there are; the text is elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), start, length) };
    }
}

/// Writes a byte to `descriptor` whenever a signal comes. A process that the application has just forked
/// has the same handler and the same descriptor: for it, the signal does what it does by default.
///
/// # Errors
/// The system's error.
pub fn note_signal(number: i32, descriptor: OwnedFd) -> io::Result<()> {
    let worker = std::process::id();
    let note = move || {
        if std::process::id() == worker {
            let _ = rustix::io::write(&descriptor, b"x");
        } else {
            let _ = signal_hook::low_level::emulate_default_handler(number);
        }
    };
    // SAFETY: the handler only makes system calls, and one function that is meant for handlers
    // (signal-safety(7), `emulate_default_handler`); it neither allocates nor takes a lock.
    unsafe { signal_hook::low_level::register(number, note) }.map(drop)
}

/// Gives SIGINT its default effect again, instead of `KeyboardInterrupt` (`Modules/signalmodule.c`).
/// To be called before handlers of ours are set, which would call Python's.
pub fn reset_interrupt() {
    // SAFETY: `SIG_DFL` is no function that could be called at a bad time.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
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

/// `sys.version` of this Python, which need not be the one of the build.
pub fn running_version() -> String {
    // SAFETY: `Py_GetVersion` is documented as callable before `Py_Initialize`.
    let version = unsafe { python::Py_GetVersion() };
    // SAFETY: it returns a C string in static storage.
    let version = unsafe { CStr::from_ptr(version) };
    version.to_string_lossy().into_owned()
}

/// Runs Python as its own program does with these arguments, of which the first is its path.
pub fn run_python(arguments: &[CString]) -> i32 {
    let mut pointers: Vec<*mut c_char> =
        arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    let count = libc::c_int::try_from(pointers.len()).expect("a few arguments");
    // SAFETY: as many C strings as announced, which Python copies (`Py_BytesMain`).
    unsafe { python::Py_BytesMain(count, pointers.as_mut_ptr()) }
}

/// Python's own record of this thread, as an address to compare with.
pub fn thread_state(_py: Python<'_>) -> usize {
    // SAFETY: this thread is attached, as `_py` shows.
    unsafe { python::PyThreadState_Get() }.addr()
}

/// Python's record of the thread that holds its lock, where Python tells (up to 3.11).
pub fn lock_holder() -> Option<usize> {
    type Unchecked = unsafe extern "C" fn() -> *mut python::PyThreadState;
    static FUNCTION: OnceLock<Option<Unchecked>> = OnceLock::new();
    let function = FUNCTION.get_or_init(|| {
        // Not in the ABI of all versions: asked for by name.
        let name = c"_PyThreadState_UncheckedGet".as_ptr();
        // SAFETY: a C string, looked up among what is loaded already.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name) };
        // SAFETY: the function has had this shape since Python 3.5; null becomes `None`.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<Unchecked>>(address) }
    });
    // SAFETY: it reads one variable, and needs neither the lock nor a thread that Python knows; what
    // it returns is compared, and not looked into.
    let state = unsafe { (*function)?() };
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
