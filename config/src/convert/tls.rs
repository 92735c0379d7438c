//! What TLS settings are written with: the name of a server, the path of a file.

use std::{net::IpAddr, path::Path, sync::Arc};

use schemars::{Schema, json_schema};

use super::{Host, Problem, parsed};
use crate::diagnostic::Code;

/// The name that a certificate is for: a host, lower-cased, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerName(pub(crate) Arc<str>);

impl ServerName {
    fn parse(text: &str) -> Result<Self, Problem> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(ip.to_string().into()));
        }
        Host::parse(text).map(|host| Self(host.0))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

/// The path of a file; a relative one is taken from the folder of the policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) Arc<str>);

impl FilePath {
    fn parse(text: &str) -> Result<Self, Problem> {
        if Path::new(text).file_name().is_some() && !text.contains('\0') {
            return Ok(Self(text.into()));
        }
        let help = "such as `ca.pem`, beside this policy file";
        Err(Problem::new(Code::Path, format!("`{text}` is not the path of a file"), help))
    }

    fn schema() -> Schema {
        json_schema!({"type": "string", "minLength": 1})
    }
}

parsed!(ServerName);
parsed!(FilePath);
