//! A scrape: sums the workers' cells and lays them out as Prometheus families.
//!
//! A series that was never touched is left out; the registry drops families that stay empty.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use prometheus::{
    core::{Collector, Desc},
    proto::{self, LabelPair, MetricFamily, MetricType},
};

use super::{
    super::histogram::Sum, AttemptOutcome, BreakerLimit, CheckOutcome, Counters, Detector, Direction,
    FAMILIES, FallbackKind, Family, FaultKind, Kind, MeshFault, MirrorOutcome, ParseError, PriorityClass,
    ProbeOutcome, RateLimitOutcome, RetryDenied, RetryReason, RouteMetrics, Security, SessionOutcome,
    TunnelKind, process::Process,
};
use crate::{
    balance::State,
    policy::circuit_breaker::{Limit, Phase},
};

/// The collector that is registered with Prometheus' registry.
#[derive(Debug)]
pub(super) struct Scrape {
    counters: Arc<Counters>,
    descs: Vec<Desc>,
}

impl Scrape {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        let desc = |family: &Family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
                .expect("names, labels and helps of the list are valid: a test says so")
        };
        Self { counters, descs: FAMILIES.iter().map(desc).collect() }
    }
}

impl Collector for Scrape {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        families.routes(&self.counters);
        families.connections(&self.counters);
        families.backends(&self.counters);
        families.endpoints(&self.counters);
        families.circuit_breakers(&self.counters);
        families.fallbacks(&self.counters);
        families.mirrors(&self.counters);
        families.rate_limits(&self.counters);
        families.concurrency(&self.counters);
        families.listeners(&self.counters);
        families.security(&self.counters);
        families.events(&self.counters);
        families.process(&Process::read());
        families.into_proto()
    }
}

/// Series by family, in the order in which families were first used.
#[derive(Default)]
struct Families {
    series: HashMap<&'static str, (Family, Vec<proto::Metric>)>,
}

impl Families {
    fn push(&mut self, family: Family, values: &[&str], value: f64) {
        let mut metric = labelled(family, values);
        match family.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.keep(family, metric);
    }

    fn push_touched(&mut self, family: Family, values: &[&str], count: u64) {
        if count > 0 {
            self.push(family, values, count as f64);
        }
    }

    fn push_histogram(&mut self, family: Family, values: &[&str], sum: &Sum) {
        if sum.count() > 0 {
            let mut metric = labelled(family, values);
            metric.set_histogram(sum.proto());
            self.keep(family, metric);
        }
    }

    fn keep(&mut self, family: Family, metric: proto::Metric) {
        self.series.entry(family.name).or_insert_with(|| (family, Vec::new())).1.push(metric);
    }

    fn into_proto(self) -> Vec<MetricFamily> {
        let families = self.series.into_values().map(|(family, series)| {
            let mut proto = MetricFamily::default();
            proto.set_name(family.name.to_owned());
            proto.set_help(family.help.to_owned());
            proto.set_field_type(match family.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            proto.set_metric(series);
            proto
        });
        families.collect()
    }

    fn routes(&mut self, counters: &Counters) {
        let routes = counters.routes.lock().alive();
        for route in routes {
            let labels = [route.side.as_str(), &route.service, &route.route];
            route.each_count(|code, flag, count| {
                let [side, service, route] = labels;
                self.push(super::REQUESTS, &[side, service, route, code, flag], count as f64);
            });
            self.push_histogram(super::REQUEST_DURATION, &labels, &route.duration());
            if let Some(open) = route.open() {
                self.push(super::REQUESTS_OPEN, &labels, open as f64);
            }
            self.tunnels(&route, labels);
            for kind in FaultKind::ALL {
                let [_, service, route_name] = labels;
                self.push_touched(super::FAULTS, &[service, route_name, kind.as_str()], route.faults(*kind));
            }
            let [side, service, name] = labels;
            for outcome in SessionOutcome::ALL {
                let values = [side, service, name, outcome.as_str()];
                self.push_touched(super::SESSIONS, &values, route.sessions(*outcome));
            }
        }
    }

    fn tunnels(&mut self, route: &RouteMetrics, labels: [&str; 3]) {
        let counts = TunnelKind::ALL.iter().map(|kind| (kind, route.tunnels(*kind)));
        let mut begun = 0;
        for (kind, count) in counts {
            let [side, service, route] = labels;
            self.push_touched(super::TUNNELS, &[side, service, route, kind.as_str()], count);
            begun += count;
        }
        if begun > 0 {
            self.push(super::TUNNELS_OPEN, &labels, (begun - route.tunnels_ended().min(begun)) as f64);
        }
    }

    fn connections(&mut self, counters: &Counters) {
        let rules = counters.connections.lock().alive();
        for rule in rules {
            let labels = [rule.side.as_str(), &rule.service, &rule.route];
            let [side, service, route] = labels;
            rule.each_ended(|flag, count| {
                self.push(super::TCP_CONNECTIONS, &[side, service, route, flag], count as f64);
            });
            let Some(open) = rule.open() else { continue };
            self.push(super::TCP_CONNECTIONS_OPEN, &labels, open as f64);
            self.push_histogram(super::TCP_CONNECTION_DURATION, &labels, &rule.duration());
            for direction in Direction::ALL {
                let values = [side, service, route, direction.as_str()];
                self.push(super::TCP_BYTES, &values, rule.bytes(*direction) as f64);
            }
        }
    }

    fn backends(&mut self, counters: &Counters) {
        let backends = counters.backends.lock().alive();
        for backend in backends {
            let service: &str = &backend.service;
            for outcome in AttemptOutcome::ALL {
                let count = backend.attempts(*outcome);
                self.push_touched(super::ATTEMPTS, &[service, outcome.as_str()], count);
            }
            self.push_histogram(super::ATTEMPT_DURATION, &[service], &backend.attempt_duration());
            for reason in RetryReason::ALL {
                self.push_touched(super::RETRIES, &[service, reason.as_str()], backend.retries(*reason));
            }
            for reason in RetryDenied::ALL {
                self.push_touched(
                    super::RETRIES_DENIED,
                    &[service, reason.as_str()],
                    backend.denied(*reason),
                );
            }
            if backend.connections() > 0 {
                self.push(super::UPSTREAM_CONNECTIONS, &[service], backend.connections() as f64);
                self.push(super::UPSTREAM_CONNECTIONS_OPEN, &[service], backend.connections_open() as f64);
            }
            self.push_touched(super::UPSTREAM_CONNECT_FAILURES, &[service], backend.connect_failures());
            for why in MeshFault::all() {
                let count = backend.tls_failures(why);
                self.push_touched(super::UPSTREAM_TLS_FAILURES, &[service, why.as_str()], count);
            }
        }
    }

    fn endpoints(&mut self, counters: &Counters) {
        let all = counters.endpoints.lock().alive();
        for one in all {
            let service: &str = &one.service;
            for (state, gauge) in State::ALL.iter().zip(&one.states) {
                self.push(super::ENDPOINTS, &[service, state.as_str()], gauge.get() as f64);
            }
            for (why, (ejected, withheld)) in
                Detector::ALL.iter().zip(one.ejections.iter().zip(&one.withheld))
            {
                self.push_touched(super::EJECTIONS, &[service, why.as_str()], ejected.get());
                self.push_touched(super::EJECTIONS_WITHHELD, &[service, why.as_str()], withheld.get());
            }
            for (outcome, count) in ProbeOutcome::ALL.iter().zip(&one.probes) {
                self.push_touched(super::PROBES, &[service, outcome.as_str()], count.get());
            }
            for (outcome, count) in CheckOutcome::ALL.iter().zip(&one.checks) {
                self.push_touched(super::HEALTH_CHECKS, &[service, outcome.as_str()], count.get());
            }
            self.push_touched(super::HEALTH_CHANGES, &[service, "healthy"], one.healthy.get());
            self.push_touched(super::HEALTH_CHANGES, &[service, "unhealthy"], one.unhealthy.get());
            self.push(super::PANIC, &[service], one.panic.get() as f64);
            self.push_touched(super::PANICS, &[service], one.panics.get());
        }
    }

    fn circuit_breakers(&mut self, counters: &Counters) {
        let breakers = counters.circuit_breakers.lock().alive();
        for breaker in breakers {
            let service: &str = &breaker.service;
            if let Some(phase) = breaker.phase() {
                self.push(super::BREAKER_STATE, &[service], phase as f64);
            }
            for to in Phase::ALL {
                self.push_touched(super::BREAKER_CHANGES, &[service, to.as_str()], breaker.changes(to));
            }
            for by in BreakerLimit::ALL {
                self.push_touched(super::BREAKER_REFUSED, &[service, by.as_str()], breaker.refusals(*by));
            }
            let Some(limits) = breaker.limits() else { continue };
            for limit in Limit::ALL {
                let (held, _) = limits.usage(limit);
                self.push(super::BREAKER_HELD, &[service, limit.counted().as_str()], f64::from(held));
            }
        }
    }

    fn fallbacks(&mut self, counters: &Counters) {
        for fallback in counters.fallbacks.lock().alive() {
            for kind in FallbackKind::ALL {
                let values = [&*fallback.service, kind.as_str()];
                self.push_touched(super::FALLBACKS, &values, fallback.given(*kind));
            }
        }
        self.push_touched(super::FALLBACK_KEPT, &[], counters.fallback_kept.get());
    }

    fn mirrors(&mut self, counters: &Counters) {
        let mirrors = counters.mirrors.lock().alive();
        for mirror in mirrors {
            let service: &str = &mirror.service;
            for outcome in MirrorOutcome::ALL {
                self.push_touched(super::MIRRORED, &[service, outcome.as_str()], mirror.count(*outcome));
            }
            if let Some(open) = mirror.open() {
                self.push(super::MIRRORED_OPEN, &[service], open as f64);
            }
        }
    }

    fn rate_limits(&mut self, counters: &Counters) {
        let limits = counters.rate_limits.lock().alive();
        for limit in limits {
            let labels: [&str; 2] = [&limit.service, &limit.policy];
            for outcome in RateLimitOutcome::ALL {
                let values = [labels[0], labels[1], outcome.as_str()];
                self.push_touched(super::RATE_LIMITED, &values, limit.total(*outcome));
            }
            self.push(super::RATE_LIMIT_CALLERS, &labels, limit.callers_now() as f64);
        }
    }

    fn concurrency(&mut self, counters: &Counters) {
        let loads = counters.concurrency.lock().alive();
        for load in loads {
            let service: &str = &load.service;
            self.push(super::CONCURRENCY_LIMIT, &[service], f64::from(load.limit()));
            self.push(super::CONCURRENCY_IN_FLIGHT, &[service], f64::from(load.in_flight()));
            if !load.baseline().is_zero() {
                self.push(super::CONCURRENCY_BASELINE, &[service], load.baseline().as_secs_f64());
            }
            for class in PriorityClass::ALL {
                let count = load.total_refused(*class);
                self.push_touched(super::CONCURRENCY_REFUSED, &[service, class.as_str()], count);
            }
        }
    }

    fn listeners(&mut self, counters: &Counters) {
        let listeners = counters.listeners.lock().alive();
        for listener in listeners {
            let labels = [listener.side.as_str(), &*listener.bind];
            if let Some((total, open)) = listener.connections().zip(listener.connections_open()) {
                self.push(super::DOWNSTREAM_CONNECTIONS, &labels, total as f64);
                self.push(super::DOWNSTREAM_CONNECTIONS_OPEN, &labels, open as f64);
            }
            self.push_touched(super::DOWNSTREAM_CONNECTIONS_REFUSED, &labels, listener.refused.get());
        }
    }

    fn security(&mut self, counters: &Counters) {
        for one in counters.inbound_security.lock().alive() {
            for how in Security::ALL {
                let values = [&*one.service, how.as_str()];
                self.push_touched(super::INBOUND_SECURITY, &values, one.total(*how));
            }
            self.push_touched(super::PLAINTEXT_REFUSED, &[&one.service], one.total_refused());
        }
    }

    fn events(&mut self, counters: &Counters) {
        for (side, port, outcome, count) in counters.detections.all() {
            self.push_touched(super::DETECTIONS, &[side.as_str(), &port, outcome.as_str()], count);
        }
        for (side, result, count) in counters.mesh_handshakes.all() {
            self.push_touched(super::MESH_HANDSHAKES, &[side.as_str(), result], count);
        }
        for (reason, count) in ParseError::ALL.iter().zip(&counters.parse_errors) {
            self.push_touched(super::PARSE_ERRORS, &[reason.as_str()], count.get());
        }
        self.push_touched(super::INFORMATIONAL_DROPPED, &[], counters.informational_dropped.get());
        self.push_touched(super::TRAILERS_DROPPED, &[], counters.trailers_dropped.get());
        // These three are read by alerts on absence and by whoever waits for a reload: they are there from the start.
        self.push(super::CONFIG_GENERATION, &[], counters.config_generation.get() as f64);
        self.push(super::CONFIG_REJECTIONS, &[], counters.config_rejections.get() as f64);
        self.push(super::CONFIG_LAST_SUCCESS, &[], counters.config_last_success_ms.get() as f64 / 1000.0);
        if let Some(seconds) = counters.identity.not_after() {
            self.push(super::IDENTITY_NOT_AFTER, &[], seconds as f64);
            // Beside a certificate they are there from the start, for alerts on their rise.
            for (result, count) in counters.identity.rotations() {
                self.push(super::IDENTITY_ROTATIONS, &[result.as_str()], count as f64);
            }
        }
        if let Some(seconds) = counters.discovery.stale(SystemTime::now()) {
            self.push(super::CONFIG_STALE, &[], seconds);
        }
        for (kind, count) in counters.discovery.refused() {
            self.push_touched(super::DISCOVERY_REFUSED, &[kind.word()], count);
        }
        self.push_touched(super::DNS_RESOLUTIONS, &["ok"], counters.dns_resolved.get());
        self.push_touched(super::DNS_RESOLUTIONS, &["failed"], counters.dns_failed.get());
        self.push_touched(super::ACCESS_LOG_DROPPED, &[], counters.access_log_dropped.get());
        self.push_touched(super::SPANS_EXPORTED, &[], counters.spans.exported());
        for (reason, count) in counters.spans.dropped() {
            self.push_touched(super::SPANS_DROPPED, &[reason.as_str()], count);
        }
        if counters.spans.any() {
            self.push(super::SPANS_QUEUED, &[], counters.spans.queued() as f64);
        }
        self.push(super::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    }

    fn process(&mut self, process: &Process) {
        let values = [
            (super::PROCESS_CPU, process.cpu_seconds),
            (super::PROCESS_RSS, process.resident_bytes.map(|bytes| bytes as f64)),
            (super::PROCESS_FDS, process.open_fds.map(|count| count as f64)),
            (super::PROCESS_MAX_FDS, process.max_fds.map(|count| count as f64)),
            (super::PROCESS_THREADS, process.threads.map(|count| count as f64)),
            (super::PROCESS_START, process.start_seconds),
        ];
        for (family, value) in values {
            if let Some(value) = value {
                self.push(family, &[], value);
            }
        }
    }
}

fn labelled(family: Family, values: &[&str]) -> proto::Metric {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let labels = family.labels.iter().zip(values).map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    });
    proto::Metric::from_label(labels.collect())
}
