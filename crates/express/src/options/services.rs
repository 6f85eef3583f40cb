//! Options about services: scripts that run beside the application.

use clap::Args;

/// Scripts that run in processes of their own, and who they run as.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Services and users")]
pub struct Services {
    /// A script that runs beside the application
    #[arg(long, num_args = 2, value_names = ["SERVICE", "SCRIPT"])]
    pub service_script: Vec<String>,
    /// User that a service runs as
    #[arg(long, num_args = 2, value_names = ["SERVICE", "USER"])]
    pub service_user: Vec<String>,
    /// Group that a service runs as
    #[arg(long, num_args = 2, value_names = ["SERVICE", "GROUP"])]
    pub service_group: Vec<String>,
    /// File name of a service's own log
    #[arg(long, num_args = 2, value_names = ["SERVICE", "NAME"])]
    pub service_log_file: Vec<String>,
    /// User that httpd and the application run as, where root starts the server
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Group for the same [default: that of the user]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}
