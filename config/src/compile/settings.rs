//! Precedence: which policies, route fields and mesh defaults speak for a Service or a rule, most specific first.
//!
//! Route rule field > policy on the rule > on the route > on the Service > `Mesh.spec.defaults` > built-in. Of two
//! policies on one target the older comes first. How they become one value, leaf by leaf, is [`merge`]'s.

mod merge;

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use crate::{
    convert::{Setting, Strict},
    diagnostic::Sources,
    model::{ObjectName, RouteKind, SettingLayer, TrafficSettings},
    objects::{Object, Objects},
    schema::{LoadBalancerBody, RetryBody, Route, Rule, TargetKind, TimeoutsBody},
    yaml::Span,
};
use merge::{RuleFields, merge};

/// One policy body, and what it was written on.
#[derive(Clone, Copy)]
struct Layer<'a> {
    timeouts: &'a Setting<TimeoutsBody>,
    retry: &'a Setting<RetryBody>,
    load_balancer: &'a Strict<LoadBalancerBody>,
    on: SettingLayer,
    policy: Option<&'a ObjectName>,
    /// The place of the whole body: a block that null switches off has none of its own.
    span: Span,
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
    sources: &'a Sources,
    by_target: HashMap<Target, Vec<Layer<'a>>>,
    defaults: Vec<Layer<'a>>,
    /// Merged settings of Services that were asked for, so that equal ones are one value.
    merged: RefCell<HashMap<Option<ObjectName>, Arc<TrafficSettings>>>,
}

impl<'a> Layers<'a> {
    /// Collects the bodies, the older before the younger.
    pub(super) fn new(objects: &'a Objects, sources: &'a Sources) -> Self {
        let mut by_target: HashMap<Target, Vec<Layer<'a>>> = HashMap::new();
        for policy in &objects.policies {
            let spec = &policy.body.spec;
            for target in spec.target_refs.iter() {
                let section = target.section_name.as_ref().map(|section| section.value.0.clone());
                let kind = match target.kind.value {
                    TargetKind::Service => TargetName::Service,
                    TargetKind::HTTPRoute => TargetName::Route(RouteKind::HTTPRoute),
                    TargetKind::GRPCRoute => TargetName::Route(RouteKind::GRPCRoute),
                };
                let on = match (kind, &section) {
                    (TargetName::Service, _) => SettingLayer::PolicyOnService,
                    (TargetName::Route(_), None) => SettingLayer::PolicyOnRoute,
                    (TargetName::Route(_), Some(_)) => SettingLayer::PolicyOnRule,
                };
                let layer = Layer {
                    timeouts: &spec.timeouts,
                    retry: &spec.retry,
                    load_balancer: &spec.load_balancer,
                    on,
                    policy: Some(&policy.name),
                    span: policy.span,
                };
                let name = ObjectName::new(policy.name.namespace.clone(), target.name.value.0.clone());
                by_target.entry((kind, name, section)).or_default().push(layer);
            }
        }
        let defaults =
            objects.meshes.iter().filter_map(|mesh| mesh.body.spec.defaults.as_ref()).map(|body| Layer {
                timeouts: &body.timeouts,
                retry: &body.retry,
                load_balancer: &body.load_balancer,
                on: SettingLayer::MeshDefaults,
                policy: None,
                span: body.span,
            });
        Self { sources, by_target, defaults: defaults.take(1).collect(), merged: RefCell::default() }
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
        let layers = self.of_service(service.as_ref());
        let settings = Arc::new(merge(&layers, RuleFields::default(), self.sources));
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
        let fields = rule.map(RuleFields::of).unwrap_or_default();
        if on_rule.is_none() && on_route.is_none() && fields.are_absent() {
            return self.service(service);
        }
        let mut layers: Vec<Layer<'a>> = on_rule.into_iter().chain(on_route).flatten().copied().collect();
        layers.extend(self.of_service(Some(service)));
        Arc::new(merge(&layers, fields, self.sources))
    }

    fn of_route(&self, route: &Object<Route>, section: Option<Arc<str>>) -> Option<&Vec<Layer<'a>>> {
        self.by_target.get(&(TargetName::Route(route.body.kind), route.name.clone(), section))
    }
}
