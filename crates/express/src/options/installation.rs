//! Options about what is on this machine, and where the server's own files are.

use std::path::PathBuf;

use clap::Args;

/// Programs and places.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Programs and places")]
pub struct Installation {
    /// Folder for all that is generated [default: mod_wsgi-HOST:PORT:UID in TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    pub server_root: Option<PathBuf>,
    /// File with the process id of httpd [default: httpd.pid in the server root]
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Folder for sockets [default: the server root]
    #[arg(long, value_name = "DIR")]
    pub socket_prefix: Option<PathBuf>,
    /// Shell script that sets the environment of httpd [default: envvars in the server root]
    #[arg(long, value_name = "FILE")]
    pub envvars_script: Option<PathBuf>,
    /// Without effect: httpd keeps its name, and worker processes show --process-group
    #[arg(long, value_name = "NAME")]
    pub process_name: Option<String>,
    /// The program httpd [default: HTTPD of the environment, or the system's]
    #[arg(long, value_name = "FILE")]
    pub httpd_executable: Option<PathBuf>,
    /// Folder with the modules of httpd [default: that httpd's]
    #[arg(long, value_name = "DIR")]
    pub modules_directory: Option<PathBuf>,
    /// File with MIME types [default: that httpd's]
    #[arg(long, value_name = "FILE")]
    pub mime_types: Option<PathBuf>,
    /// Shell that runs the control script
    #[arg(long, value_name = "FILE", default_value = "/bin/sh")]
    pub shell_executable: PathBuf,
    /// Start nothing, as setup-server does
    #[arg(long)]
    pub setup_only: bool,
    /// Check, as the command of that name does, and start nothing else
    #[arg(long)]
    pub check: bool,
    /// File whose table [tool.mod_wsgi_rs] has further options [default: pyproject.toml]
    #[arg(long, value_name = "FILE")]
    pub pyproject: Option<PathBuf>,
}
