//! Precedence: TrafficPolicies, route fields and mesh defaults merged leaf by leaf, most specific first.
//!
//! Route rule field > policy on the rule > on the route > on the Service > `Mesh.spec.defaults` > built-in. Of two
//! policies on one target the older comes first. Null switches a leaf, or a whole block, off.

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use crate::{
    convert::{Setting, Spanned, Strict},
    duration::GepDuration,
    model::{
        Backoff, LoadBalancer, ObjectName, Retry, RetryBudget, RetryOn, RouteKind, Timeouts, TrafficSettings,
    },
    objects::{Object, Objects},
    schema::{
        Balance, Condition, LoadBalancerBody, RetryBody, Route, RouteRetry, RouteTimeouts, Rule, TargetKind,
        TimeoutsBody,
    },
};

/// One policy body.
#[derive(Clone, Copy)]
struct Layer<'a> {
    timeouts: &'a Setting<TimeoutsBody>,
    retry: &'a Setting<RetryBody>,
    load_balancer: &'a Strict<LoadBalancerBody>,
}

/// What a policy holds for.
type Target = (TargetName, ObjectName, Option<Arc<str>>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum TargetName {
    Service,
    Route(RouteKind),
}

/// Every policy body by what it holds for.
pub(super) struct Layers<'a> {
    by_target: HashMap<Target, Vec<Layer<'a>>>,
    defaults: Vec<Layer<'a>>,
    /// Merged settings of Services that were asked for, so that equal ones are one value.
    merged: RefCell<HashMap<Option<ObjectName>, Arc<TrafficSettings>>>,
}

impl<'a> Layers<'a> {
    /// Collects the bodies, the older before the younger.
    pub(super) fn new(objects: &'a Objects) -> Self {
        let mut by_target: HashMap<Target, Vec<Layer<'a>>> = HashMap::new();
        for policy in &objects.policies {
            let spec = &policy.body.spec;
            let layer =
                Layer { timeouts: &spec.timeouts, retry: &spec.retry, load_balancer: &spec.load_balancer };
            for target in spec.target_refs.iter() {
                let kind = match target.kind.value {
                    TargetKind::Service => TargetName::Service,
                    TargetKind::HTTPRoute => TargetName::Route(RouteKind::HTTPRoute),
                    TargetKind::GRPCRoute => TargetName::Route(RouteKind::GRPCRoute),
                };
                let name = ObjectName::new(policy.name.namespace.clone(), target.name.value.0.clone());
                let section = target.section_name.as_ref().map(|section| section.value.0.clone());
                by_target.entry((kind, name, section)).or_default().push(layer);
            }
        }
        let defaults =
            objects.meshes.iter().filter_map(|mesh| mesh.body.spec.defaults.as_ref()).map(|body| Layer {
                timeouts: &body.timeouts,
                retry: &body.retry,
                load_balancer: &body.load_balancer,
            });
        Self { by_target, defaults: defaults.take(1).collect(), merged: RefCell::default() }
    }

    /// The settings where no Service is known.
    pub(super) fn defaults(&self) -> Arc<TrafficSettings> {
        self.shared(None)
    }

    /// The settings of a Service.
    pub(super) fn service(&self, name: &ObjectName) -> Arc<TrafficSettings> {
        self.shared(Some(name.clone()))
    }

    fn shared(&self, service: Option<ObjectName>) -> Arc<TrafficSettings> {
        if let Some(settings) = self.merged.borrow().get(&service) {
            return settings.clone();
        }
        let settings = Arc::new(merge(&self.of_service(service.as_ref()), None, None));
        self.merged.borrow_mut().insert(service, settings.clone());
        settings
    }

    fn of_service(&self, service: Option<&ObjectName>) -> Vec<Layer<'a>> {
        let own = service.and_then(|name| self.by_target.get(&(TargetName::Service, name.clone(), None)));
        own.into_iter().flatten().chain(&self.defaults).copied().collect()
    }

    /// The settings of a rule for requests to the Service; those of the Service itself where nothing is added.
    pub(super) fn rule(
        &self,
        service: &ObjectName,
        route: &Object<Route>,
        rule: Option<&Rule>,
    ) -> Arc<TrafficSettings> {
        let section = rule.and_then(|rule| rule.name.as_ref()).map(|name| name.value.0.clone());
        let on_rule = section.and_then(|section| self.of_route(route, Some(section)));
        let on_route = self.of_route(route, None);
        let fields = rule.and_then(|rule| rule.timeouts.as_ref());
        let repeats = rule.and_then(|rule| rule.retry.as_ref());
        if on_rule.is_none() && on_route.is_none() && fields.is_none() && repeats.is_none() {
            return self.service(service);
        }
        let mut layers: Vec<Layer<'a>> = on_rule.into_iter().chain(on_route).flatten().copied().collect();
        layers.extend(self.of_service(Some(service)));
        Arc::new(merge(&layers, fields, repeats))
    }

    fn of_route(&self, route: &Object<Route>, section: Option<Arc<str>>) -> Option<&Vec<Layer<'a>>> {
        self.by_target.get(&(TargetName::Route(route.body.kind), route.name.clone(), section))
    }
}

fn merge(
    layers: &[Layer<'_>],
    fields: Option<&RouteTimeouts>,
    repeats: Option<&RouteRetry>,
) -> TrafficSettings {
    TrafficSettings {
        timeouts: timeouts(layers, fields),
        retry: match repeats {
            Some(field) => on_rule(field, layers),
            None => retry(layers),
        },
        load_balancer: match layers.iter().find_map(|layer| layer.load_balancer.0.as_ref()?.policy.0) {
            None | Some(Balance::LeastRequest) => LoadBalancer::LeastRequest,
            Some(Balance::PeakEwma) => LoadBalancer::PeakEwma,
            Some(Balance::RoundRobin) => LoadBalancer::RoundRobin,
            Some(Balance::Random) => LoadBalancer::Random,
        },
    }
}

/// `Some(None)` is off; `0s` is off too.
type Leaf = Option<Option<Duration>>;

fn timeouts(layers: &[Layer<'_>], fields: Option<&RouteTimeouts>) -> Timeouts {
    let leaf = |read: fn(&TimeoutsBody) -> &Setting<Spanned<GepDuration>>| -> Leaf {
        layers.iter().find_map(|layer| match layer.timeouts {
            Setting::Unset => None,
            Setting::Off => Some(None),
            Setting::Set(body) => match read(body) {
                Setting::Unset => None,
                Setting::Off => Some(None),
                Setting::Set(written) => Some(positive(written)),
            },
        })
    };
    let field = |written: Option<&Spanned<GepDuration>>| -> Leaf { written.map(positive) };
    let request = field(fields.and_then(|fields| fields.request.as_ref()));
    let attempt = field(fields.and_then(|fields| fields.backend_request.as_ref()));
    let stream_idle = leaf(|body| &body.stream_idle);
    let built_in = Timeouts::default();
    Timeouts {
        request: request.or_else(|| leaf(|body| &body.request)).unwrap_or(built_in.request),
        attempt: attempt.or_else(|| leaf(|body| &body.attempt)).unwrap_or(built_in.attempt),
        connect: leaf(|body| &body.connect).unwrap_or(built_in.connect),
        stream_idle: stream_idle.unwrap_or(built_in.stream_idle),
        stream_idle_set: matches!(stream_idle, Some(Some(_))),
    }
}

fn positive(written: &Spanned<GepDuration>) -> Option<Duration> {
    Some(written.value.0).filter(|duration| !duration.is_zero())
}

fn retry(layers: &[Layer<'_>]) -> Retry {
    let bodies = || {
        layers.iter().filter_map(|layer| match layer.retry {
            Setting::Set(body) => Some(body),
            Setting::Unset | Setting::Off => None,
        })
    };
    let attempts = layers.iter().find_map(|layer| match layer.retry {
        Setting::Unset => None,
        Setting::Off => Some(0),
        Setting::Set(body) => match &body.attempts {
            Setting::Unset => None,
            Setting::Off => Some(0),
            Setting::Set(written) => Some(written.value.0),
        },
    });
    let built_in = Retry::default();
    let time = |read: fn(&RetryBody) -> Option<&Spanned<GepDuration>>, default: Duration| {
        bodies().find_map(read).map_or(default, |written| written.value.0)
    };
    let budget = |body: &RetryBody| body.budget.0.as_ref().and_then(|budget| budget.percent.0);
    let floor = |body: &RetryBody| body.budget.0.as_ref().and_then(|budget| budget.min_per_second.0);
    Retry {
        attempts: attempts.unwrap_or(built_in.attempts),
        on: match bodies().find(|body| body.on.written) {
            Some(body) => retry_on(body, bodies().find(|body| body.statuses.written)),
            None => built_in.on,
        },
        backoff: Backoff {
            least: built_in.backoff.least,
            base: time(|body| body.backoff.0.as_ref()?.base.0.as_ref(), built_in.backoff.base),
            max: time(|body| body.backoff.0.as_ref()?.max.0.as_ref(), built_in.backoff.max),
        },
        budget: RetryBudget {
            percent: bodies().find_map(budget).map_or(built_in.budget.percent, |percent| percent.0),
            min_per_second: bodies()
                .find_map(floor)
                .map_or(built_in.budget.min_per_second, |number| number.0),
            ttl: time(|body| body.budget.0.as_ref()?.ttl.0.as_ref(), built_in.budget.ttl),
        },
        idempotent: bodies().find_map(|body| body.idempotent.0).is_some_and(|flag| flag.0),
    }
}

/// A rule's own `retry`, over that of the policies. A failed connection is a reason whatever the policies list: the
/// Gateway API has no word for it because it takes it for granted.
fn on_rule(field: &RouteRetry, layers: &[Layer<'_>]) -> Retry {
    let mut merged = retry(layers);
    let written = layers.iter().any(|layer| match layer.retry {
        Setting::Unset => false,
        Setting::Off => true,
        Setting::Set(body) => !matches!(body.attempts, Setting::Unset),
    });
    match &field.attempts {
        Some(attempts) => merged.attempts = attempts.value.0,
        None if !written => merged.attempts = 1,
        None => {}
    }
    if field.codes.written {
        merged.on = RetryOn::default();
        merged.on.statuses = field.codes.iter().map(|code| code.value.0 as u16).collect();
    }
    (merged.on.connect_failure, merged.on.refused_stream, merged.on.reset) = (true, true, true);
    if let Some(least) = &field.backoff {
        let base = least.value.0;
        merged.backoff = Backoff { least: base, base, max: merged.backoff.max.max(base) };
    }
    merged
}

/// What `on` of one policy lists, with the statuses of the most specific policy that has some.
fn retry_on(on: &RetryBody, statuses: Option<&RetryBody>) -> RetryOn {
    let mut result = RetryOn::default();
    for condition in on.on.iter().map(|condition| condition.value) {
        match condition {
            Condition::ConnectFailure => result.connect_failure = true,
            Condition::RefusedStream => result.refused_stream = true,
            Condition::Reset => result.reset = true,
            Condition::GatewayError => result.gateway_error = true,
            Condition::ServerError => result.server_error = true,
            Condition::RetriableStatus => {
                result.statuses = statuses
                    .map(|body| body.statuses.iter().map(|status| status.value.0 as u16).collect())
                    .unwrap_or_default();
            }
            Condition::Cancelled => result.grpc_codes.push(1),
            Condition::Unknown => result.grpc_codes.push(2),
            Condition::DeadlineExceeded => result.grpc_codes.push(4),
            Condition::ResourceExhausted => result.grpc_codes.push(8),
            Condition::Aborted => result.grpc_codes.push(10),
            Condition::Internal => result.grpc_codes.push(13),
            Condition::Unavailable => result.grpc_codes.push(14),
            Condition::DataLoss => result.grpc_codes.push(15),
        }
    }
    result.grpc_codes.sort_unstable();
    result.grpc_codes.dedup();
    result
}
