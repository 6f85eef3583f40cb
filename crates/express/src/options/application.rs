//! Options about the application, and the Python that it runs in.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Python;
use super::values::{mounted, some_seconds};

/// What is served.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Application")]
pub struct Application {
    /// The application: a script, MODULE:CALLABLE, MODULE:FACTORY(), a module's name, or what
    /// --application-type says
    #[arg(value_name = "APPLICATION")]
    pub script: Option<String>,
    /// What the application is given as [default: a script if there is such a file, else a module]
    #[arg(long, value_name = "TYPE")]
    pub application_type: Option<Kind>,
    /// The application, in place of the argument
    #[arg(long, value_name = "APPLICATION")]
    pub entry_point: Option<String>,
    /// Name of the application object, or of a function with (), in its file or module [default:
    /// application, app, or what create_app() or make_app() returns]
    #[arg(long, value_name = "NAME")]
    pub callable_object: Option<String>,
    /// A further application at a URL path of its own, and the environment that it runs in
    #[arg(long = "app", value_name = "MOUNT=APPLICATION[,python=ENV]", value_parser = mounted)]
    pub apps: Vec<String>,
    /// The application group, which is a set of worker processes
    #[arg(long, value_name = "NAME", default_value = "%{GLOBAL}")]
    pub application_group: String,
    /// The process group, whose name worker processes show [default: HOST:PORT]
    #[arg(long, value_name = "NAME")]
    pub process_group: Option<String>,
    /// URL path of the application
    #[arg(long, value_name = "URL", default_value = "/")]
    pub mount_point: String,
    /// Working directory of the application, where it can import from [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub working_directory: Option<PathBuf>,
    #[command(flatten)]
    pub python: Python,
    /// A further directory to import from
    #[arg(long, value_name = "DIR")]
    pub python_path: Vec<PathBuf>,
    /// Where Python eggs are unpacked [default: python-eggs in the server root]
    #[arg(long, value_name = "DIR")]
    pub python_eggs: Option<PathBuf>,
    /// A filter for warnings, as behind Python's option -W
    #[arg(long, value_name = "FILTER")]
    pub python_warnings: Vec<String>,
    /// A variable for the application's environ
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"])]
    pub setenv: Vec<String>,
    /// A variable of this command's environment for the application's environ
    #[arg(long, value_name = "NAME")]
    pub passenv: Vec<String>,
    /// File with NAME=VALUE lines for the server's environment
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Language and locale of the worker processes [default: those of the environment, or a UTF-8
    /// one]
    #[arg(long, alias = "lang", value_name = "NAME")]
    pub locale: Option<String>,
    /// Do not run Python's exit handlers when a worker ends
    #[arg(long)]
    pub orphan_interpreter: bool,
    /// Let a free-threaded Python run without its lock, as it does by itself
    #[arg(long)]
    pub free_threading: bool,
    /// Seconds after which Python lets another thread run
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds)]
    pub switch_interval: Option<f64>,
    /// Run the application in the default process group; httpd itself never holds Python
    #[arg(long)]
    pub embedded_mode: bool,
}

/// What an application is given as.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file with Python code
    Script,
    /// The name of a module
    Module,
    /// A configuration file of Paste Deployment
    Paste,
    /// A folder with files, and no application
    Static,
    /// A CGI program, or a folder with such programs
    Cgi,
}
