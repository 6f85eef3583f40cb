//! A server as it is going to be: options with their defaults filled in, and what contradicts itself
//! refused.

mod application;
mod refusals;
mod user;

use std::io;
use std::path::{Path, PathBuf, absolute};

use nix::unistd::geteuid;

pub use self::application::{Application, Target};
use self::refusals::{notes, refuse};
pub use self::user::User;
use self::user::user;
use crate::files::{Files, FilesError};
use crate::httpd::{Httpd, HttpdError};
use crate::options::Server;
use crate::options::application::Kind;
use crate::options::capacity::Mpm;
use crate::options::pairs;
use crate::python::{self, PythonError};
use crate::sources::Variables;

/// What a server is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run in the foreground.
    Start,
    /// To be started by its control script.
    Setup,
    /// To be looked at, and thrown away.
    Check,
}

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// To this command, which passes them on to its own outputs.
    Terminal,
    /// Into files of this folder.
    Folder(PathBuf),
}

/// Certificate and key for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The private key's file.
    pub key: PathBuf,
}

/// A server with all decisions taken. Paths are absolute.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What was said.
    pub options: Server,
    /// The environment.
    pub variables: Variables,
    /// The httpd that runs it.
    pub httpd: Httpd,
    /// The module.
    pub files: Files,
    /// How that httpd spreads its work.
    pub mpm: Mpm,
    /// The applications; without one, only files are served.
    pub applications: Vec<Application>,
    /// The environment of applications that name none of their own.
    pub python_home: Option<PathBuf>,
    /// The folder for all that is generated.
    pub root: PathBuf,
    /// The folder whose files are served.
    pub document_root: PathBuf,
    /// The working directory of applications.
    pub working_directory: PathBuf,
    /// The name that stands for the address in names and URLs.
    pub host: String,
    /// TLS, if there is any.
    pub certificate: Option<Certificate>,
    /// Who runs it, where root starts it.
    pub user: Option<User>,
    /// Language and locale of workers.
    pub locale: String,
    /// Where logs go.
    pub logs: Logs,
    /// Whether requests are logged.
    pub access_log: bool,
    /// Whether it is one process with one thread.
    pub debug: bool,
    /// What the user should know.
    pub notes: Vec<String>,
    /// What is particular to a check.
    pub check: Option<Check>,
}

/// How an application is checked ([`Purpose::Check`]).
#[derive(Debug, Clone)]
pub struct Check {
    /// What a client says that may ask how loading went.
    pub token: String,
    /// Scripts that are compiled, and not run.
    pub compiled: Vec<PathBuf>,
}

/// Options that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// They contradict each other, or have no sense here.
    #[error("{0}")]
    Refused(String),
    /// The application is not there.
    #[error("the {what} {} does not exist", path.display())]
    Missing {
        /// What it would be.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A folder cannot be found out.
    #[error("cannot find out the working directory: {0}")]
    Directory(#[from] io::Error),
    /// The environment of Python.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// There is no such user.
    #[error("there is no user or group {0} on this machine")]
    User(String),
    /// No randomness.
    #[error("the system has no random numbers: {0}")]
    Random(rustix::io::Errno),
    /// The system's httpd.
    #[error(transparent)]
    Httpd(#[from] HttpdError),
    /// The module.
    #[error(transparent)]
    Files(#[from] FilesError),
}

impl SettingsError {
    /// Whether the words of the command are at fault, not the machine.
    pub fn is_usage(&self) -> bool {
        !matches!(
            self,
            SettingsError::Httpd(_) | SettingsError::Files(_) | SettingsError::Random(_)
        )
    }
}

impl Settings {
    /// Takes all decisions.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn resolve(
        mut options: Server,
        variables: Variables,
        purpose: Purpose,
    ) -> Result<Settings, SettingsError> {
        let httpd = Httpd::find(&options.installation, &variables)?;
        let files = Files::find(&variables)?;
        let check = (purpose == Purpose::Check).then(|| private(&mut options)).transpose()?;
        Settings::with(options, variables, purpose, httpd, files, check)
    }

    /// The same with an httpd and a module that are known.
    pub fn with(
        options: Server,
        variables: Variables,
        purpose: Purpose,
        httpd: Httpd,
        files: Files,
        check: Option<Check>,
    ) -> Result<Settings, SettingsError> {
        refuse(&options)?;
        if options.logging.log_json && purpose == Purpose::Setup {
            let text = "--log-json is for start-server, which passes httpd's logs on; httpd itself \
                        cannot write JSON";
            return Err(SettingsError::Refused(text.to_owned()));
        }
        let wanted = &options;
        let debugging = &wanted.debugging;
        let debug = debugging.debug_mode
            || debugging.enable_debugger
            || debugging.debugger_startup
            || debugging.enable_coverage
            || debugging.enable_profiler
            || debugging.enable_recorder;
        let mpm = httpd.mpm(&wanted.capacity.server_mpm)?;
        let host = wanted.network.host.clone().filter(|host| !is_any(host));
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        let root = match (&wanted.installation.server_root, purpose) {
            (Some(root), Purpose::Start | Purpose::Setup) => absolute(root)?,
            _ => default_root(&variables, &host, wanted.network.port, check.as_ref()),
        };
        let directory = wanted.application.working_directory.as_deref();
        let working_directory = absolute(directory.unwrap_or(Path::new(".")))?;
        let working_directory = working_directory.components().collect::<PathBuf>();
        let python_home = python::home(&wanted.application.python, &variables)?;
        let applications = application::applications(
            wanted,
            &host,
            &root,
            &working_directory,
            python_home.as_deref(),
        )?;
        let document_root = document_root(wanted, &root, &working_directory)?;
        let logs = match &wanted.logging.log_directory {
            Some(folder) if purpose != Purpose::Check => Logs::Folder(absolute(folder)?),
            None if purpose == Purpose::Start || wanted.logging.log_to_terminal => Logs::Terminal,
            _ => Logs::Folder(root.clone()),
        };
        let shows = logs == Logs::Terminal && purpose == Purpose::Start;
        let access_log = !wanted.logging.no_access_log && (wanted.logging.access_log || shows);
        let certificate = certificate(wanted)?;
        let user = user(wanted)?;
        let locale = locale(wanted.application.locale.as_deref(), &variables);
        let notes = notes(wanted, user.as_ref());
        Ok(Settings {
            mpm,
            python_home,
            document_root,
            working_directory,
            access_log,
            debug,
            certificate,
            user,
            locale,
            notes,
            options,
            variables,
            httpd,
            files,
            applications,
            root,
            host,
            logs,
            check,
        })
    }

    /// A file in the server root.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The file with the process id of httpd.
    pub fn pid_file(&self) -> PathBuf {
        let named = self.options.installation.pid_file.as_ref();
        named.and_then(|path| absolute(path).ok()).unwrap_or_else(|| self.file("httpd.pid"))
    }

    /// What `WSGISocketPrefix` says.
    pub fn socket_prefix(&self) -> PathBuf {
        let named = self.options.installation.socket_prefix.as_ref();
        let folder = named.and_then(|path| absolute(path).ok());
        folder.unwrap_or_else(|| self.root.clone()).join("wsgi")
    }

    /// The ports that it listens at.
    pub fn ports(&self) -> Vec<u16> {
        let network = &self.options.network;
        let https = network.https_port.filter(|port| *port != 0);
        [Some(network.port), https].into_iter().flatten().collect()
    }

    /// The name of the server, with the port for HTTP.
    pub fn address(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.options.network.port)
    }

    /// The URL of the server, for people.
    pub fn url(&self) -> String {
        let name = self.options.network.server_name.as_deref().unwrap_or(&self.host);
        let mount = self.applications.first().map_or("/", |application| &application.mount);
        match self.options.network.port {
            80 => format!("http://{}{mount}", bracketed(name)),
            port => format!("http://{}:{port}{mount}", bracketed(name)),
        }
    }

    /// Requests that httpd serves at the same time. Those that run and those that wait for a worker
    /// (`listen-backlog=`) hold a thread of httpd each, and where there are several applications, the module lets one
    /// that waits have seven eighths of all. mod_wsgi-express makes it about 20, with which fewer may wait.
    pub fn clients(&self) -> u32 {
        let capacity = &self.options.capacity;
        let applications = u32::try_from(self.applications.len().max(1)).unwrap_or(u32::MAX);
        let processes = capacity.processes.unwrap_or(1);
        let running = processes.saturating_mul(capacity.threads).saturating_mul(applications);
        let all = running.saturating_add(capacity.daemon_backlog);
        let usual = all.saturating_add(all.div_ceil(7)).max(10 + running.saturating_mul(3) / 2);
        capacity.max_clients.unwrap_or(usual).max(running)
    }
}

/// An IPv6 address as it stands in URLs.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Whether an address stands for all.
fn is_any(host: &str) -> bool {
    ["", "*", "0.0.0.0", "::", "[::]"].contains(&host)
}

/// Makes a server for a check private: nothing of it is seen by others, or left behind, and nothing
/// but the loading of applications has effects.
fn private(options: &mut Server) -> Result<Check, SettingsError> {
    let port =
        || Ok::<_, io::Error>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    options.network.host = Some("127.0.0.1".to_owned());
    options.network.port = port()?;
    options.network.https_port = options.network.https_port.map(|_| port()).transpose()?;
    options.network.https_only = false;
    options.installation.pid_file = None;
    options.installation.socket_prefix = None;
    options.logging.rotate_logs = false;
    options.logging.log_json = false;
    let authentication = &mut options.authentication;
    let scripts = [
        authentication.host_access_script.take(),
        authentication.auth_user_script.take(),
        authentication.auth_group_script.take(),
    ];
    let services = pairs(&options.services.service_script);
    let handlers = pairs(&options.content.add_handler);
    let others = services.chain(handlers).map(|(_, script)| PathBuf::from(script));
    let compiled = scripts.into_iter().flatten().chain(others).map(absolute);
    let compiled = compiled.collect::<Result<_, _>>()?;
    options.services.service_script.clear();
    options.content.add_handler.clear();
    Ok(Check { token: random()?, compiled })
}

fn random() -> Result<String, SettingsError> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(SettingsError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn default_root(variables: &Variables, host: &str, port: u16, check: Option<&Check>) -> PathBuf {
    let folder = variables.get("TMPDIR").unwrap_or("/tmp");
    let name = match check {
        Some(check) => format!("mod_wsgi-check-{}", check.token),
        None => format!("mod_wsgi-{host}:{port}:{}", geteuid().as_raw()),
    };
    Path::new(folder).join(name)
}

fn document_root(options: &Server, root: &Path, directory: &Path) -> io::Result<PathBuf> {
    let named = options.content.document_root.as_deref();
    let application = &options.application;
    let entry = application.entry_point.as_ref().or(application.script.as_ref()).map(Path::new);
    match (named, application.application_type) {
        (Some(named), _) => absolute(named),
        (None, Some(Kind::Static)) => absolute(entry.unwrap_or(directory)),
        (None, Some(Kind::Cgi)) if entry.is_none_or(Path::is_dir) => {
            absolute(entry.unwrap_or(directory))
        }
        _ => Ok(root.join("htdocs")),
    }
}

fn certificate(options: &Server) -> Result<Option<Certificate>, SettingsError> {
    let network = &options.network;
    if network.https_port.is_none() {
        return Ok(None);
    }
    let by_prefix = |extension: &str| {
        let mut path = network.ssl_certificate.clone()?.into_os_string();
        path.push(extension);
        Some(PathBuf::from(path))
    };
    let certificate = network.ssl_certificate_file.clone().or_else(|| by_prefix(".crt"));
    let key = network.ssl_certificate_key_file.clone().or_else(|| by_prefix(".key"));
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Ok(Some(Certificate { certificate: absolute(certificate)?, key: absolute(key)? }))
        }
        _ => Err(SettingsError::Refused(
            "--https-port needs --ssl-certificate, or --ssl-certificate-file and \
             --ssl-certificate-key-file"
                .to_owned(),
        )),
    }
}

/// The locale of workers: applications expect one with UTF-8.
fn locale(named: Option<&str>, variables: &Variables) -> String {
    let usual = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variables.get(name));
    match named.or(usual) {
        Some(name) if named.is_some() || !["C", "POSIX"].contains(&name) => name.to_owned(),
        _ => "C.UTF-8".to_owned(),
    }
}
