//! Checks that look at more than one value: references, contradictions, what can never hold.
//!
//! Types and forms are settled before. Objects that were read in part are checked for what is there; nothing is
//! concluded from what is missing in them.

mod arenas;
mod calls;
mod chains;
mod circuit_breaker;
mod connections;
mod cors;
mod counts;
mod faults;
mod filters;
mod health_check;
mod hosts;
mod interception;
mod kinds;
mod limits;
mod load_balancer;
mod merged;
mod mesh;
mod mirrors;
mod mtls;
mod names;
mod outlier_detection;
mod path;
mod policies;
mod protocols;
mod references;
mod regex;
mod repeats;
mod routes;
mod rules;
mod services;
mod session;
mod shadow;
mod sidecars;
mod subset;
mod targets;
mod telemetry;
mod timeouts;
mod tls;

use crate::{
    diagnostic::Fault,
    objects::{Object, Objects},
    schema::Route,
    services::Services,
};
use std::collections::HashMap;

use crate::model::{ObjectName, RouteKind};

/// What every check works with.
struct Checks<'a> {
    objects: &'a Objects,
    services: Services<'a>,
    routes: HashMap<(RouteKind, &'a ObjectName), &'a Object<Route>>,
    faults: &'a mut Vec<Fault>,
}

impl Checks<'_> {
    fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }
}

/// All checks. Faults come in no order; they are sorted by place later.
pub(crate) fn all(objects: &Objects, faults: &mut Vec<Fault>) {
    let routes = objects.routes.iter().map(|route| ((route.body.kind, &route.name), route)).collect();
    let mut checks = Checks { objects, services: Services::new(objects), routes, faults };
    names::check(&mut checks);
    hosts::check(&mut checks);
    services::check(&mut checks);
    sidecars::check(&mut checks);
    interception::check(&mut checks);
    mesh::check(&mut checks);
    routes::check(&mut checks);
    kinds::check(&mut checks);
    shadow::check(&mut checks);
    connections::check(&mut checks);
    protocols::check(&mut checks);
    policies::check(&mut checks);
    circuit_breaker::check(&mut checks);
    merged::check(&mut checks);
    chains::check(&mut checks);
    mtls::check(&mut checks);
}
