//! `circuitBreaker`: limits and what trips leaf by leaf, a fallback as a whole.

use std::{sync::Arc, time::Duration};

use super::{super::Layer, Merge};
use crate::{
    convert::{Bounded, Setting, Spanned},
    duration::GepDuration,
    model::{
        CircuitBreaker, Fallback, FixedResponse, ObjectName, OpenTime, ServiceLimits, ServicePort, Trip,
    },
    schema::{
        CircuitBreakerBody, FallbackBody, OpenBody, ResponseBody, ServiceLimitsBody, ServiceRef, TripBody,
    },
    yaml::Span,
};

/// A limit that is written, or `None` where it is off, with its place, if it has one.
type Most = (Option<u32>, Option<Span>);

/// Where a reference of `Mesh.spec.defaults` looks: a Mesh stands in no namespace.
const OF_MESH: &str = "default";

impl Merge<'_> {
    pub(super) fn circuit_breaker(&mut self) -> CircuitBreaker {
        let limits = ServiceLimits {
            connections: self.most("circuitBreaker.limits.connections", |body| number(&body.connections)),
            pending_requests: self
                .most("circuitBreaker.limits.pendingRequests", |body| number(&body.pending_requests)),
            requests: self.most("circuitBreaker.limits.requests", |body| number(&body.requests)),
            retries: self.most("circuitBreaker.limits.retries", |body| number(&body.retries)),
        };
        CircuitBreaker { limits, trip: self.trip(), fallback: self.fallback() }
    }

    fn most(&mut self, leaf: &'static str, read: fn(&ServiceLimitsBody) -> Option<Most>) -> Option<u32> {
        let written = self.first(leaf, |layer| match in_block(layer, |body| &body.limits)? {
            (None, span) => Some((None, span)),
            (Some(body), span) => {
                let (most, place) = read(body)?;
                Some((most, place.unwrap_or(span)))
            }
        });
        written.flatten()
    }

    fn trip(&mut self) -> Option<Trip> {
        let trips = self.first("circuitBreaker.trip", |layer| {
            let (body, span) = in_block(layer, |body| &body.trip)?;
            Some((body.is_some(), span))
        });
        if trips != Some(true) {
            return None;
        }
        let built_in = Trip::default();
        let percent = self.tripping("circuitBreaker.trip.failurePercent", |body| {
            let written = body.failure_percent.0.as_ref()?;
            Some((written.value.0, written.span))
        });
        let window = self.tripping("circuitBreaker.trip.window", |body| time(body.window.0.as_ref()));
        let min_requests = self.tripping("circuitBreaker.trip.minRequests", |body| {
            let written = body.min_requests.0.as_ref()?;
            Some((written.value.0, written.span))
        });
        let probe_requests = self.written("circuitBreaker.probe.requests", |body| {
            let written = body.probe.0.as_ref()?.requests.0.as_ref()?;
            Some((written.value.0, written.span))
        });
        Some(Trip {
            failure_percent: percent.unwrap_or(built_in.failure_percent),
            window: window.unwrap_or(built_in.window),
            min_requests: min_requests.unwrap_or(built_in.min_requests),
            open: self.open(built_in.open),
            probe_requests: probe_requests.unwrap_or(built_in.probe_requests),
        })
    }

    /// A limit that one policy lowers below the `initial` of another is raised to it.
    fn open(&mut self, built_in: OpenTime) -> OpenTime {
        let of = |body: &CircuitBreakerBody, read: fn(&OpenBody) -> Option<&Spanned<GepDuration>>| {
            time(read(body.open.0.as_ref()?))
        };
        let initial =
            self.written("circuitBreaker.open.initial", |body| of(body, |open| open.initial.0.as_ref()));
        let max = self.written("circuitBreaker.open.max", |body| of(body, |open| open.max.0.as_ref()));
        let initial = initial.unwrap_or(built_in.initial);
        OpenTime { initial, max: max.unwrap_or(built_in.max).max(initial) }
    }

    /// As `first`, of the blocks that are there.
    fn written<T>(
        &mut self,
        leaf: &'static str,
        read: impl Fn(&CircuitBreakerBody) -> Option<(T, Span)>,
    ) -> Option<T> {
        self.first(leaf, |layer| match layer.blocks.circuit_breaker {
            Setting::Set(body) => read(body),
            Setting::Unset | Setting::Off => None,
        })
    }

    fn tripping<T>(
        &mut self,
        leaf: &'static str,
        read: impl Fn(&TripBody) -> Option<(T, Span)>,
    ) -> Option<T> {
        self.written(leaf, |body| match &body.trip {
            Setting::Set(trip) => read(trip),
            Setting::Unset | Setting::Off => None,
        })
    }

    fn fallback(&mut self) -> Option<Fallback> {
        let written = self.first("circuitBreaker.fallback", |layer| {
            let (body, span) = in_block(layer, |body| &body.fallback)?;
            let namespace = layer.policy.map_or_else(|| OF_MESH.into(), |policy| policy.namespace.clone());
            Some((body.and_then(|body| of_body(body, namespace)), span))
        });
        written.flatten()
    }
}

/// A part of a layer's block, or `None` with the place where it is switched off.
fn in_block<'a, T>(
    layer: &Layer<'a>,
    read: fn(&'a CircuitBreakerBody) -> &'a Setting<T>,
) -> Option<(Option<&'a T>, Span)> {
    let body = match layer.blocks.circuit_breaker {
        Setting::Unset => return None,
        Setting::Off => return Some((None, layer.span)),
        Setting::Set(body) => body,
    };
    match read(body) {
        Setting::Unset => None,
        Setting::Off => Some((None, body.span)),
        Setting::Set(part) => Some((Some(part), body.span)),
    }
}

fn number<const MIN: u32>(written: &Setting<Spanned<Bounded<MIN, 1_000_000>>>) -> Option<Most> {
    match written {
        Setting::Unset => None,
        Setting::Off => Some((None, None)),
        Setting::Set(most) => Some((Some(most.value.0), Some(most.span))),
    }
}

fn time(written: Option<&Spanned<GepDuration>>) -> Option<(Duration, Span)> {
    written.map(|written| (written.value.0, written.span))
}

fn of_body(body: &FallbackBody, namespace: Arc<str>) -> Option<Fallback> {
    let stale = body.stale_for.as_ref().map(|time| Fallback::StaleFor(time.value.0));
    let response = || body.response.as_ref().map(|body| Fallback::Response(fixed(body)));
    let service = || body.service.as_ref().map(|to| Fallback::Service(port(to, namespace)));
    stale.or_else(response).or_else(service)
}

fn fixed(body: &ResponseBody) -> FixedResponse {
    let headers = body.headers.iter().map(|pair| (pair.name.value.0.clone(), pair.value.0.clone()));
    FixedResponse {
        status: body.status.value.0 as u16,
        headers: headers.collect(),
        body: body.body.as_ref().map_or_else(|| "".into(), |text| text.value.0.clone()),
    }
}

fn port(to: &ServiceRef, namespace: Arc<str>) -> ServicePort {
    let namespace = to.namespace.as_ref().map_or(namespace, |written| written.0.clone());
    let service = ObjectName { namespace, name: to.name.value.0.clone() };
    ServicePort { service, port: to.port.value.port() }
}
