//! The Transport on the official client; the only file that names it.

use std::path::PathBuf;

/// `output.elasticsearch`: how to reach the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// URLs; tried in turn.
    pub hosts: Vec<String>,
    /// Who we are.
    pub credentials: Credentials,
    /// PEM file of the authority that signed the cluster's certificate.
    pub ca: Option<PathBuf>,
    /// gzip request bodies.
    pub compress: bool,
}

/// Who we are to the cluster.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Security is off.
    None,
    /// `id:api_key`, or its base64 as Kibana shows it ("encoded").
    ApiKey(String),
    /// User and password.
    Basic(String, String),
}

impl std::fmt::Debug for Credentials {
    /// Never prints a secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::ApiKey(_) => "ApiKey(…)",
            Self::Basic(..) => "Basic(…)",
        })
    }
}
