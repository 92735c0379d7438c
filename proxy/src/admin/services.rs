//! `/services`: every destination with the endpoints that it has at this moment and what they are doing.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use outrigger_config::model::AppProtocol;
use serde::Serialize;

use super::{answer, parameter};

/// A destination.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    /// `namespace/name`.
    pub name: String,
    /// The authorities it answers to.
    pub hosts: Vec<Arc<str>>,
    /// Its ports.
    pub ports: Vec<PortView>,
}

/// A port of a destination.
#[derive(Clone, Debug, Serialize)]
pub struct PortView {
    /// Its number.
    pub port: u16,
    /// What its endpoints speak.
    pub protocol: AppProtocol,
    /// Its endpoints; a name stands for each of its addresses.
    pub endpoints: Vec<EndpointView>,
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of the traffic, relative to the others'.
    pub weight: u32,
    /// Requests that it is working on for this proxy, and connections that are passed on to it whole.
    pub requests_open: u64,
}

/// The answer in the form that `?o=` asks for.
pub(super) fn answer(services: &[ServiceView], query: &str) -> Response<Full<Bytes>> {
    match parameter(query, "o").as_deref() {
        None | Some("json") => answer::json(StatusCode::OK, &services),
        Some("table") => answer::text(StatusCode::OK, &table(services)),
        Some(_) => answer::error(StatusCode::BAD_REQUEST, "o is json or table"),
    }
}

fn table(services: &[ServiceView]) -> String {
    let mut rows = vec![["SERVICE", "PORT", "PROTOCOL", "ENDPOINT", "WEIGHT", "OPEN"].map(str::to_owned)];
    for service in services {
        for port in &service.ports {
            let protocol = port.protocol.word();
            let row = |endpoint: [String; 3]| {
                let [address, weight, open] = endpoint;
                [service.name.clone(), port.port.to_string(), protocol.to_owned(), address, weight, open]
            };
            if port.endpoints.is_empty() {
                rows.push(row(["none", "-", "-"].map(str::to_owned)));
            }
            rows.extend(port.endpoints.iter().map(|endpoint| {
                row([
                    endpoint.address.to_string(),
                    endpoint.weight.to_string(),
                    endpoint.requests_open.to_string(),
                ])
            }));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
