//! `mod_wsgi.server_metrics()`: what httpd's scoreboard says, where that may be asked for.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::OnceLock;
use std::time::Duration;

use channel::{Inbox, ReceiveError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use wire::scoreboard::{Process, Scoreboard, Thread};

use crate::clock::now;
use crate::clock::seconds;
use crate::ffi::latin1;

/// How long httpd may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// mod_status's signs for `SERVER_DEAD`, `SERVER_STARTING` and so on (scoreboard.h).
const SIGNS: [&str; 11] = [".", "S", "_", "R", "W", "K", "L", "D", "C", "G", "I"];

/// Where to ask, if this process may.
static SOCKET: OnceLock<Vec<u8>> = OnceLock::new();

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("cannot ask httpd: {0}")]
    Connect(#[from] io::Error),
    #[error("httpd gives no answer: {0}")]
    Receive(#[from] ReceiveError),
}

/// Lets applications ask at the socket of this name.
pub fn permit(socket: &[u8]) {
    let _ = SOCKET.set(socket.to_owned());
}

/// What httpd's processes and threads do now, or None where applications may not know.
#[pyfunction]
pub fn server_metrics(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(socket) = SOCKET.get() else { return Ok(None) };
    match py.detach(|| ask(socket)) {
        Ok(scoreboard) => tell(py, &scoreboard).map(Some),
        Err(error) => {
            eprintln!("server_metrics() has nothing to tell: {error}");
            Ok(None)
        }
    }
}

fn ask(socket: &[u8]) -> Result<Scoreboard, AskError> {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(socket)?)?;
    Ok(Inbox::new().wait(&stream, ANSWER_TIMEOUT)?)
}

fn tell<'py>(py: Python<'py>, scoreboard: &Scoreboard) -> PyResult<Bound<'py, PyDict>> {
    let now = now();
    let told = PyDict::new(py);
    told.set_item("server_limit", scoreboard.server_limit)?;
    told.set_item("thread_limit", scoreboard.thread_limit)?;
    told.set_item("running_generation", scoreboard.generation)?;
    told.set_item("restart_time", seconds(scoreboard.restarted))?;
    told.set_item("current_time", seconds(now))?;
    told.set_item("running_time", now.saturating_sub(scoreboard.restarted) / 1_000_000)?;
    let processes = PyList::empty(py);
    for (number, process) in scoreboard.processes.iter().enumerate() {
        processes.append(tell_process(py, number, process)?)?;
    }
    told.set_item("processes", processes)?;
    Ok(told)
}

fn tell_process<'py>(
    py: Python<'py>,
    number: usize,
    process: &Process,
) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("process_num", number)?;
    told.set_item("pid", process.pid)?;
    told.set_item("generation", process.generation)?;
    told.set_item("quiescing", process.quiescing)?;
    let threads = process.threads.iter().map(|thread| tell_thread(py, thread));
    told.set_item("workers", threads.collect::<PyResult<Vec<_>>>()?)?;
    Ok(told)
}

fn tell_thread<'py>(py: Python<'py>, thread: &Thread) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("thread_num", thread.number)?;
    told.set_item("generation", thread.generation)?;
    told.set_item("status", SIGNS.get(usize::from(thread.status)).unwrap_or(&"?"))?;
    told.set_item("access_count", thread.accesses)?;
    told.set_item("bytes_served", thread.bytes)?;
    told.set_item("start_time", seconds(thread.started))?;
    told.set_item("stop_time", seconds(thread.stopped))?;
    told.set_item("last_used", seconds(thread.used))?;
    told.set_item("client", latin1(py, &thread.client)?)?;
    told.set_item("request", latin1(py, &thread.request)?)?;
    told.set_item("vhost", latin1(py, &thread.host)?)?;
    Ok(told)
}
