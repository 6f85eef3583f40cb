//! Python hooks: functions of scripts that decide who may have what, and where it runs.
//!
//! Each one is called with `environ` and what the question is about. What it returns is taken for
//! what mod_wsgi takes it for; anything else goes to the log, and counts as a failure.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyString, PyTuple};
use wire::exchange::{Inquiry, Password, Question, Verdict};

use crate::conversation::exchange::{Exchange, Outcome};
use crate::ffi::latin1;
use crate::lines::Source;
use crate::python::context::Context;
use crate::python::script::ScriptError;
use crate::wsgi::{Environ, Errors};

/// Most bytes of an answer: no name and no list of groups is longer.
const MOST: usize = 512 << 10;

/// A question on its way to a hook, with its arguments as Python has them. A password may be among
/// them, so there is no `Debug`.
pub struct Call<'py> {
    hook: Hook,
    environ: Bound<'py, PyDict>,
    /// What comes after `environ`.
    arguments: Vec<Bound<'py, PyString>>,
    https: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Access,
    Password,
    RealmHash,
    Groups,
    Dispatch,
}

/// Why there is no answer. The log has been told.
struct Failed;

impl<'py> Call<'py> {
    /// Prepares what an inquiry asks.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn new(py: Python<'py>, inquiry: &Inquiry<'_>, environs: &mut Environ) -> PyResult<Self> {
        let (hook, arguments) = match inquiry.question {
            Question::Access { host } => (Hook::Access, vec![host]),
            Question::Password { user, password: Password(password) } => {
                (Hook::Password, vec![user, password])
            }
            Question::RealmHash { user, realm } => (Hook::RealmHash, vec![user, realm]),
            Question::Groups { user } => (Hook::Groups, vec![user]),
            Question::Dispatch => (Hook::Dispatch, Vec::new()),
        };
        let arguments = arguments.into_iter().map(|argument| latin1(py, argument));
        Ok(Self {
            hook,
            environ: environs.build_for_hook(py, &inquiry.environ)?,
            arguments: arguments.collect::<PyResult<_>>()?,
            https: inquiry.https,
        })
    }

    /// Asks the hook in `script`.
    pub fn answer(
        self,
        py: Python<'py>,
        context: &Context,
        exchange: &Arc<Exchange>,
        script: &[u8],
        reloading: bool,
    ) -> Outcome {
        let asked = Asked { context, exchange, script };
        if let Err(error) = self.add_objects(exchange) {
            context.failures.log(py, exchange, "cannot begin", script, &error);
            return Outcome::Failed(500);
        }
        let wants_reload = |globals: &Bound<'_, PyDict>| {
            let resource = || Ok(OsStr::from_bytes(script).into_pyobject(py)?.into_any());
            reloading && context.wants_reload(globals, exchange, script, resource)
        };
        let verdict = match context.scripts.globals(py, script, wants_reload) {
            Ok(globals) => self.ask(&asked, &globals),
            Err(ScriptError::Elsewhere) => return Outcome::NotBegun,
            Err(error) => {
                context.log_script_error(py, exchange, script, &error);
                match self.hook {
                    // As if there were no function in it: what is configured holds.
                    Hook::Dispatch => Ok(NO_TARGET),
                    _ => Err(Failed),
                }
            }
        };
        match verdict {
            Ok(verdict) => Outcome::Verdict(verdict),
            Err(Failed) => Outcome::Failed(500),
        }
    }

    /// What belongs to the conversation, and is of no use after it.
    fn add_objects(&self, exchange: &Arc<Exchange>) -> PyResult<()> {
        let py = self.environ.py();
        Errors::add_to(&self.environ, exchange)?;
        if self.hook != Hook::Dispatch {
            let ssl = Ssl { exchange: Arc::clone(exchange), https: self.https };
            let ssl = Bound::new(py, ssl)?;
            let is_https = ssl.getattr(intern!(py, "is_https"))?;
            self.environ.set_item(intern!(py, "mod_ssl.is_https"), is_https)?;
            let var_lookup = ssl.getattr(intern!(py, "var_lookup"))?;
            self.environ.set_item(intern!(py, "mod_ssl.var_lookup"), var_lookup)?;
        }
        Ok(())
    }

    fn ask(
        &self,
        asked: &Asked<'_>,
        globals: &Bound<'py, PyDict>,
    ) -> Result<Verdict<'static>, Failed> {
        match self.hook {
            Hook::Access => {
                let name = "allow_access";
                let answer = self.call(asked, globals, name)?;
                Ok(simple(&answer).unwrap_or_else(|| {
                    asked.complain(&answer, name, "True, False or None");
                    Verdict::Denied
                }))
            }
            Hook::Password => {
                let name = "check_password";
                let answer = self.call(asked, globals, name)?;
                match simple(&answer) {
                    Some(verdict) => Ok(verdict),
                    None => {
                        // The name becomes REMOTE_USER, whose bytes applications see as latin-1.
                        let user = answer.cast::<PyString>().ok();
                        let user = user.map(|user| user.to_cow().map(Cow::into_owned)).transpose();
                        let user = asked.checked(name, user)?.filter(|user| !user.is_empty());
                        let user = user.ok_or_else(|| {
                            asked.complain(&answer, name, "True, False, None or a user's name")
                        })?;
                        Ok(Verdict::User(Cow::Owned(asked.bounded(name, user.into_bytes())?)))
                    }
                }
            }
            Hook::RealmHash => {
                let name = "get_realm_hash";
                let answer = self.call(asked, globals, name)?;
                if answer.is_none() {
                    return Ok(Verdict::Declined);
                }
                let hash = asked.checked(name, text(&answer))?.filter(|hash| !hash.is_empty());
                let hash = hash.ok_or_else(|| {
                    asked.complain(&answer, name, "None or a hash, as str or bytes")
                })?;
                Ok(Verdict::Hash(Cow::Owned(asked.bounded(name, hash)?)))
            }
            Hook::Groups => {
                let name = "groups_for_user";
                let answer = self.call(asked, globals, name)?;
                Ok(Verdict::Groups(asked.groups(name, &answer)?))
            }
            Hook::Dispatch => Ok(Verdict::Target {
                process_group: self.choice(asked, globals, "process_group")?,
                application_group: self.choice(asked, globals, "application_group")?,
                callable: self.choice(asked, globals, "callable_object")?,
            }),
        }
    }

    /// Calls a function that has to be there.
    fn call(
        &self,
        asked: &Asked<'_>,
        globals: &Bound<'py, PyDict>,
        name: &'static str,
    ) -> Result<Bound<'py, PyAny>, Failed> {
        match asked.checked(name, globals.get_item(name))? {
            Some(function) => self.call_found(asked, &function, name),
            None => {
                asked.say(globals.py(), &format!("has no '{name}': define that function in it"));
                Err(Failed)
            }
        }
    }

    fn call_found(
        &self,
        asked: &Asked<'_>,
        function: &Bound<'py, PyAny>,
        name: &'static str,
    ) -> Result<Bound<'py, PyAny>, Failed> {
        let environ = std::iter::once(self.environ.as_any());
        let arguments = environ.chain(self.arguments.iter().map(|argument| argument.as_any()));
        let arguments = PyTuple::new(function.py(), arguments.collect::<Vec<_>>());
        let answer = arguments.and_then(|arguments| function.call1(arguments));
        asked.checked(name, answer)
    }

    /// What a function of a dispatch script says, if there is one.
    fn choice(
        &self,
        asked: &Asked<'_>,
        globals: &Bound<'py, PyDict>,
        name: &'static str,
    ) -> Result<Option<Cow<'static, [u8]>>, Failed> {
        let Some(function) = asked.checked(name, globals.get_item(name))? else {
            return Ok(None);
        };
        let answer = self.call_found(asked, &function, name)?;
        if answer.is_none() {
            return Ok(None);
        }
        match asked.checked(name, text(&answer))? {
            Some(choice) => Ok(Some(Cow::Owned(asked.bounded(name, choice)?))),
            None => Err(asked.complain(&answer, name, "None or a name, as str or bytes")),
        }
    }
}

const NO_TARGET: Verdict<'static> =
    Verdict::Target { process_group: None, application_group: None, callable: None };

/// What log lines about a hook need.
struct Asked<'a> {
    context: &'a Context,
    exchange: &'a Arc<Exchange>,
    script: &'a [u8],
}

impl Asked<'_> {
    /// The result of something that the function named `name` did.
    fn checked<T>(&self, name: &'static str, result: PyResult<T>) -> Result<T, Failed> {
        result.map_err(|error| {
            Python::attach(|py| {
                let what = format!("{name}() failed in");
                self.context.failures.log(py, self.exchange, &what, self.script, &error);
            });
            Failed
        })
    }

    /// The names that a function returned, whatever holds them.
    fn groups(
        &self,
        name: &'static str,
        answer: &Bound<'_, PyAny>,
    ) -> Result<Vec<Cow<'static, [u8]>>, Failed> {
        let Ok(items) = answer.try_iter() else {
            return Err(self.complain(answer, name, "names that can be iterated over"));
        };
        let (mut groups, mut length) = (Vec::new(), 0);
        for item in items {
            let item = self.checked(name, item)?;
            let Some(group) = self.checked(name, text(&item))? else {
                return Err(self.complain(&item, name, "names, each as str or bytes"));
            };
            // Each has a length in front of it, too.
            length += group.len() + size_of::<u32>();
            if length > MOST {
                return Err(self.too_long(name));
            }
            groups.push(Cow::Owned(group));
        }
        Ok(groups)
    }

    fn bounded(&self, name: &'static str, answer: Vec<u8>) -> Result<Vec<u8>, Failed> {
        if answer.len() > MOST { Err(self.too_long(name)) } else { Ok(answer) }
    }

    fn too_long(&self, name: &'static str) -> Failed {
        let text = format!("has a {name}() that returned more than {MOST} bytes");
        Python::attach(|py| self.say(py, &text));
        Failed
    }

    /// Says that a function returned what makes no sense. Its type is named, not its value: that
    /// may be a secret.
    fn complain(&self, answer: &Bound<'_, PyAny>, name: &'static str, expected: &str) -> Failed {
        let class = answer.get_type();
        let class = class.name().map_or_else(|_| "object".into(), |name| name.to_string());
        let size = match answer.len() {
            Ok(0) => "an empty ",
            _ => "",
        };
        let text = format!("has a {name}() that returned {size}{class}, not {expected}");
        self.say(answer.py(), &text);
        Failed
    }

    fn say(&self, py: Python<'_>, text: &str) {
        let line = format!("WSGI script '{}' {text}\n", String::from_utf8_lossy(self.script));
        self.exchange.log(py, Source::Errors, line.as_bytes());
    }
}

/// `True`, `False` and `None` themselves, and not what equals them.
fn simple(answer: &Bound<'_, PyAny>) -> Option<Verdict<'static>> {
    if answer.is_none() {
        return Some(Verdict::Declined);
    }
    let allowed = answer.cast::<PyBool>().ok()?.is_true();
    Some(if allowed { Verdict::Allowed } else { Verdict::Denied })
}

/// The bytes of a `str` in latin-1, or of `bytes`; `None` for anything else.
fn text(answer: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    let py = answer.py();
    if let Ok(bytes) = answer.cast::<PyBytes>() {
        return Ok(Some(bytes.as_bytes().to_vec()));
    }
    let Ok(text) = answer.cast::<PyString>() else {
        return Ok(None);
    };
    match text.call_method1(intern!(py, "encode"), (intern!(py, "latin-1"),)) {
        Ok(bytes) => Ok(Some(bytes.cast::<PyBytes>()?.as_bytes().to_vec())),
        Err(_) => Err(PyTypeError::new_err("a str with characters that latin-1 does not have")),
    }
}

/// What a hook can ask about the connection.
#[pyclass(module = "mod_wsgi", frozen)]
#[derive(Debug)]
struct Ssl {
    exchange: Arc<Exchange>,
    https: bool,
}

#[pymethods]
impl Ssl {
    /// Says whether the connection is encrypted.
    fn is_https(&self, py: Python<'_>) -> PyResult<bool> {
        if self.exchange.is_over(py) {
            return Err(PyRuntimeError::new_err("is_https() called after request completed"));
        }
        Ok(self.https)
    }

    /// Gives the value of one of mod_ssl's variables, or `None` without mod_ssl.
    #[pyo3(signature = (name, /))]
    fn var_lookup<'py>(
        &self,
        py: Python<'py>,
        name: &str,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        if name.len() > MOST || name.contains('\0') {
            return Err(PyValueError::new_err("no variable has such a name"));
        }
        let value = self.exchange.variable(py, name.as_bytes());
        let value = value.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        value.map(|value| latin1(py, &value)).transpose()
    }
}
