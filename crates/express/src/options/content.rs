//! Options about what stands beside the application: files, error pages, other servers.

use std::path::PathBuf;

use clap::Args;

/// Files, error pages, and what is passed on.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Files, error pages and proxies")]
pub struct Content {
    /// Folder whose files are served before the application is asked [default: htdocs in the server
    /// root]
    #[arg(long, value_name = "DIR")]
    pub document_root: Option<PathBuf>,
    /// File that is served for a folder
    #[arg(long, value_name = "FILE")]
    pub directory_index: Option<String>,
    /// List what is in a folder
    #[arg(long)]
    pub directory_listing: bool,
    /// What .htaccess files may say
    #[arg(long, value_name = "WHAT")]
    pub allow_override: Vec<String>,
    /// A file or folder for a URL path
    #[arg(long, num_args = 2, value_names = ["URL", "PATH"])]
    pub url_alias: Vec<String>,
    /// The page for an HTTP status
    #[arg(long, num_args = 2, value_names = ["STATUS", "URL"])]
    pub error_document: Vec<String>,
    /// Put these pages in the place of the application's own
    #[arg(long)]
    pub error_override: bool,
    /// Another server for a URL path
    #[arg(long, alias = "proxy-url-alias", num_args = 2, value_names = ["PATH", "URL"])]
    pub proxy_mount_point: Vec<String>,
    /// Another server for a host name
    #[arg(long, num_args = 2, value_names = ["NAME", "URL"])]
    pub proxy_virtual_host: Vec<String>,
    /// A WSGI script for files in the document root, by their extension
    #[arg(long, num_args = 2, value_names = ["EXTENSION", "SCRIPT"])]
    pub add_handler: Vec<String>,
    /// Run files with the extension .cgi
    #[arg(long)]
    pub with_cgi: bool,
    /// Refused: --include-file leads to what PHP needs
    #[arg(long, hide = true)]
    pub with_php5: bool,
    /// File with rules of mod_rewrite [default: rewrite.conf in the server root]
    #[arg(long, value_name = "FILE")]
    pub rewrite_rules: Option<PathBuf>,
    /// File with further configuration for httpd
    #[arg(long, value_name = "FILE")]
    pub include_file: Vec<PathBuf>,
}
