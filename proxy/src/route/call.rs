//! Conditions on gRPC calls: which service and which method a request names (gRPC over HTTP/2, "Requests").
//!
//! A call is a POST whose content type is one of gRPC's. The HTTP version is not looked at: it belongs to one hop, and
//! this proxy carries a call over either. This file must not know about the precedence between matches.

use http::{Method, header::CONTENT_TYPE};
use outrigger_config::model::CallMatch;

use super::matcher::{Regexes, Value};
use crate::{
    decide::{Head, NotMatched},
    request::is_grpc,
    runtime::BuildError,
};

/// A condition on service and method.
#[derive(Debug)]
pub(super) struct Call {
    service: Option<Value>,
    method: Option<Value>,
}

impl Call {
    pub(super) fn compile(from: &CallMatch, regexes: &mut Regexes) -> Result<Self, BuildError> {
        let mut value =
            |from: &Option<_>| from.as_ref().map(|from| Value::compile(from, regexes)).transpose();
        Ok(Self { service: value(&from.service)?, method: value(&from.method)? })
    }

    /// What the call is not, if it is a call at all.
    pub(super) fn miss(&self, path: &str) -> Option<NotMatched<'static>> {
        let (service, method) = named(path).unwrap_or_default();
        let fails = |wanted: &Option<Value>, name: &str| {
            wanted.as_ref().is_some_and(|wanted| name.is_empty() || !wanted.holds(name.as_bytes()))
        };
        if fails(&self.service, service) {
            return Some(NotMatched::GrpcService);
        }
        fails(&self.method, method).then_some(NotMatched::GrpcMethod)
    }

    /// Service and method, as precedence sees them.
    pub(super) fn parts(&self) -> [Option<&Value>; 2] {
        [self.service.as_ref(), self.method.as_ref()]
    }
}

/// Whether a request is a gRPC call.
pub(super) fn is_call(head: &Head<'_>) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE);
    *head.method == Method::POST && content_type.is_some_and(|value| is_grpc(value.as_bytes()))
}

/// The service and the method that a path names. The last slash divides them, as servers read it.
pub(crate) fn named(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.rsplit_once('/')
}
