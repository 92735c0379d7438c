//! Precedence: which policies, route fields and mesh defaults speak for a Service or a rule, most specific first.
//!
//! Route rule field > policy on the rule > on the route > on the Service > on its namespace > `Mesh.spec.defaults` >
//! built-in. Of two policies on one target the older comes first. How they become one value, leaf by leaf, is [`merge`]'s.

mod merge;

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use super::written::{self, Attempts, Limits};
use crate::{
    diagnostic::Sources,
    model::{ObjectName, Retry, RouteKind, SettingLayer, TrafficSettings},
    objects::{Object, Objects},
    schema::{Blocks, RetryBody, Route, Rule},
    yaml::Span,
};
use merge::{RuleFields, merge};

/// One policy body, and what it was written on.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) blocks: Blocks<'a>,
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
pub(crate) struct Layers<'a> {
    sources: &'a Sources,
    by_target: HashMap<Target, Vec<Layer<'a>>>,
    /// Policies without a target: what they hold is for every Service of their namespace.
    by_namespace: HashMap<&'a str, Vec<Layer<'a>>>,
    defaults: Vec<Layer<'a>>,
    /// The MeshService of which another one is a subset.
    wholes: HashMap<&'a ObjectName, ObjectName>,
    /// Merged settings of Services that were asked for, so that equal ones are one value.
    merged: RefCell<HashMap<Option<ObjectName>, Arc<TrafficSettings>>>,
}

impl<'a> Layers<'a> {
    /// Collects the bodies, the older before the younger.
    pub(crate) fn new(objects: &'a Objects, sources: &'a Sources) -> Self {
        let mut by_target: HashMap<Target, Vec<Layer<'a>>> = HashMap::new();
        let mut by_namespace: HashMap<&str, Vec<Layer<'a>>> = HashMap::new();
        for policy in &objects.policies {
            let spec = &policy.body.spec;
            let layer =
                |on| Layer { blocks: spec.blocks(), on, policy: Some(&policy.name), span: policy.span };
            if spec.target_refs.is_empty() {
                let here = by_namespace.entry(&policy.name.namespace).or_default();
                here.push(layer(SettingLayer::PolicyOnNamespace));
            }
            for target in spec.target_refs.iter() {
                let section = target.section_name.as_ref().map(|section| section.value.0.clone());
                let kind = target.kind.value.route().map_or(TargetName::Service, TargetName::Route);
                let on = match (kind, &section) {
                    (TargetName::Service, _) => SettingLayer::PolicyOnService,
                    (TargetName::Route(_), None) => SettingLayer::PolicyOnRoute,
                    (TargetName::Route(_), Some(_)) => SettingLayer::PolicyOnRule,
                };
                let name = ObjectName::new(policy.name.namespace.clone(), target.name.value.0.clone());
                by_target.entry((kind, name, section)).or_default().push(layer(on));
            }
        }
        let defaults =
            objects.meshes.iter().filter_map(|mesh| mesh.body.spec.defaults.as_ref()).map(|body| Layer {
                blocks: body.blocks(),
                on: SettingLayer::MeshDefaults,
                policy: None,
                span: body.span,
            });
        let wholes = objects.mesh_services.iter().filter_map(|object| {
            let of = &object.body.spec.subset.as_ref()?.of.name.value.0;
            Some((&object.name, ObjectName::new(object.name.namespace.clone(), of.clone())))
        });
        Self {
            sources,
            by_target,
            by_namespace,
            defaults: defaults.take(1).collect(),
            wholes: wholes.collect(),
            merged: RefCell::default(),
        }
    }

    /// As `new`, where nobody asks for the places of merged values.
    pub(crate) fn unplaced(objects: &'a Objects) -> Self {
        static NO_FILES: Sources = Sources::none();
        Self::new(objects, &NO_FILES)
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
        let of = |name: &ObjectName| self.by_target.get(&(TargetName::Service, name.clone(), None));
        let own = service.and_then(of);
        let whole = service.and_then(|name| self.wholes.get(name)).and_then(of);
        let around = service.and_then(|name| self.by_namespace.get(&*name.namespace));
        own.into_iter().chain(whole).chain(around).flatten().chain(&self.defaults).copied().collect()
    }

    /// The settings of a rule for requests to the Service; those of the Service itself where nothing is added.
    pub(super) fn rule(
        &self,
        service: &ObjectName,
        route: &Object<Route>,
        rule: Option<&Rule>,
    ) -> Arc<TrafficSettings> {
        let own = self.of_rule(route, rule);
        let fields = rule.map(RuleFields::of).unwrap_or_default();
        if own.is_empty() && fields.are_absent() {
            return self.service(service);
        }
        let layers: Vec<Layer<'a>> = own.into_iter().chain(self.of_service(Some(service))).collect();
        Arc::new(merge(&layers, fields, self.sources))
    }

    /// The policies of a rule and of its route.
    fn of_rule(&self, route: &Object<Route>, rule: Option<&Rule>) -> Vec<Layer<'a>> {
        let section = rule.and_then(|rule| rule.name.as_ref()).map(|name| name.value.0.clone());
        let on_rule = section.and_then(|section| self.of_route(route, Some(section)));
        on_rule.into_iter().chain(self.of_route(route, None)).flatten().copied().collect()
    }

    /// What is written for requests to the Service, and of a rule of a route where one takes them.
    pub(crate) fn written(
        &self,
        service: &ObjectName,
        taken_by: Option<(&Object<Route>, &'a Rule)>,
    ) -> Written<'a> {
        let own = taken_by.map(|(route, rule)| self.of_rule(route, Some(rule))).unwrap_or_default();
        let layers: Vec<Layer<'a>> = own.into_iter().chain(self.of_service(Some(service))).collect();
        let rule = taken_by.map(|(_, rule)| rule);
        let field = rule.and_then(|rule| rule.retry.as_ref());
        Written {
            limits: written::limits(&layers, rule.and_then(|rule| rule.timeouts.as_ref())),
            attempts: written::attempts(&layers, field),
            on: written::on(&layers),
            merged: merge(&layers, rule.map(RuleFields::of).unwrap_or_default(), self.sources).retry,
        }
    }

    fn of_route(&self, route: &Object<Route>, section: Option<Arc<str>>) -> Option<&Vec<Layer<'a>>> {
        self.by_target.get(&(TargetName::Route(route.body.kind), route.name.clone(), section))
    }
}

/// What a person wrote for some requests, with places, and what their retries come to.
pub(crate) struct Written<'a> {
    pub(crate) limits: Limits<'a>,
    pub(crate) attempts: Attempts<'a>,
    /// The policy whose `retry.on` holds; a rule's own `codes` stand above it.
    pub(crate) on: Option<&'a RetryBody>,
    pub(crate) merged: Retry,
}
