//! Options about who may come.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Scripts that decide.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Authentication")]
pub struct Authentication {
    /// Script with allow_access(environ, host)
    #[arg(long, value_name = "FILE")]
    pub host_access_script: Option<PathBuf>,
    /// Script with check_password(environ, user, password), or get_realm_hash(environ, user, realm)
    #[arg(long, value_name = "FILE")]
    pub auth_user_script: Option<PathBuf>,
    /// How passwords are asked for
    #[arg(long, value_name = "TYPE", default_value = "Basic", ignore_case = true)]
    pub auth_type: AuthType,
    /// Script with groups_for_user(environ, user)
    #[arg(long, value_name = "FILE")]
    pub auth_group_script: Option<PathBuf>,
    /// The group that users must be in
    #[arg(long, value_name = "NAME", default_value = "wsgi")]
    pub auth_group: String,
}

/// Values of `AuthType`.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum AuthType {
    /// The password itself is sent
    Basic,
    /// A digest of it is sent
    Digest,
}

impl AuthType {
    /// As the directive takes it.
    pub fn name(self) -> &'static str {
        match self {
            AuthType::Basic => "Basic",
            AuthType::Digest => "Digest",
        }
    }
}
