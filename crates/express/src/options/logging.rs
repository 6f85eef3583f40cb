//! Options about logs and metrics.

use std::path::PathBuf;

use clap::Args;

use super::values::{seconds, some_seconds, unix_socket};

/// What is written where.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Logs and metrics")]
pub struct Logging {
    /// Folder for logs [default: the terminal for start-server, the server root for setup-server]
    #[arg(long, value_name = "DIR")]
    pub log_directory: Option<PathBuf>,
    /// Least level of what is logged, as httpd's LogLevel has it
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
    /// Log to standard error and output, as start-server does without --log-directory
    #[arg(long)]
    pub log_to_terminal: bool,
    /// Log each line as a JSON object, for programs that collect logs
    #[arg(long, conflicts_with_all = ["log_directory", "access_log_format", "error_log_format"])]
    pub log_json: bool,
    /// File name of the error log
    #[arg(long, value_name = "NAME", default_value = "error_log")]
    pub error_log_name: String,
    /// File name of the access log
    #[arg(long, value_name = "NAME", default_value = "access_log")]
    pub access_log_name: String,
    /// File name of the log of httpd's start
    #[arg(long, value_name = "NAME", default_value = "startup_log")]
    pub startup_log_name: String,
    /// Log each request, as is always done where logs go to the terminal
    #[arg(long)]
    pub access_log: bool,
    /// Log no request
    #[arg(long, overrides_with = "access_log")]
    pub no_access_log: bool,
    /// Write what httpd says before it has its error log into a file
    #[arg(long)]
    pub startup_log: bool,
    /// common, combined, or a format as httpd's LogFormat has it
    #[arg(long, value_name = "FORMAT", default_value = "common")]
    pub access_log_format: String,
    /// A format as httpd's ErrorLogFormat has it
    #[arg(long, value_name = "FORMAT")]
    pub error_log_format: Option<String>,
    /// Begin a new log file when one has --max-log-size
    #[arg(long)]
    pub rotate_logs: bool,
    /// Size for that, in megabytes
    #[arg(long, value_name = "MEGABYTES", default_value_t = 5)]
    pub max_log_size: u32,
    /// The program rotatelogs [default: the one beside httpd]
    #[arg(long, value_name = "FILE")]
    pub rotatelogs_executable: Option<PathBuf>,
    /// Show httpd's state to this machine at /server-status
    #[arg(long)]
    pub server_status: bool,
    /// Let applications ask for httpd's metrics
    #[arg(long)]
    pub server_metrics: bool,
    /// Socket that metrics are sent to, as unix:PATH
    #[arg(long, value_name = "ADDRESS", value_parser = unix_socket)]
    pub telemetry_service: Option<String>,
    /// Seconds between two such messages
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = some_seconds)]
    pub telemetry_interval: f64,
    /// What these may tell: All, None, or a name with + or - in front
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true)]
    pub telemetry_options: Vec<String>,
    /// Seconds after which such a message tells of a slow request
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "telemetry_service")]
    pub slow_requests: Option<f64>,
    /// Refused: start mod_wsgi-telemetry beside, and name its socket with --telemetry-service
    #[arg(long)]
    pub enable_telemetry: bool,
    /// The port of its pages
    #[arg(long, value_name = "NUMBER", default_value_t = 8888)]
    pub telemetry_ui_port: u16,
    /// Refused: the documentation is no part of the server
    #[arg(long)]
    pub enable_docs: bool,
}
