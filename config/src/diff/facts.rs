//! Resources as subjects with named values, so that two of them can be compared whatever the model holds.
//!
//! Values are leaves of the model's own serialized form; places in files are left out, and so are ranks, which move
//! with every rule that is added: what counts is the order of the rules that both policies have.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

use crate::{
    duration::format_duration,
    model::{
        BackendTarget, ConnectionRule, DestinationPort, ObjectName, Origin, Resources, RouteKind, RouteRule,
        ServicePort,
    },
};

/// Everything that is known of one Sidecar's policy.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// By subject, as [`super::Change::subject`] has it.
    pub(super) subjects: BTreeMap<String, Fact>,
    /// The rules of each Service port, by rank.
    orders: BTreeMap<String, Vec<String>>,
}

/// What is known of one subject.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) origin: Option<Origin>,
    pub(super) values: BTreeMap<String, String>,
}

/// A backend: its weight, what it points at, and all that is known of it.
type Share<'a> = (u32, &'a BackendTarget, serde_json::Result<Value>);

/// Fields that hold places in files.
const PLACES: [&str; 2] = ["origin", "origins"];

/// The field of a Service port that tells the order of rules whose matches are equally specific.
const ORDER: &str = "order of rules";

impl Facts {
    /// Lays out the resources of one Sidecar.
    pub(super) fn of(resources: &Resources) -> Self {
        let mut facts = Self::default();
        let workload = &resources.workload;
        facts.add("mesh".to_owned(), None, &resources.mesh, &[]);
        let name = format!("sidecar {}", workload.name);
        facts.add(name, Some(&workload.origin), workload, &["name", "inbound", "outbound"]);
        for listener in &workload.inbound {
            facts.add(format!("inbound {}", listener.bind), Some(&listener.origin), listener, &["bind"]);
        }
        for listener in &workload.outbound {
            facts.add(format!("outbound {}", listener.bind), Some(&listener.origin), listener, &["bind"]);
        }
        for destination in &resources.destinations {
            let subject = format!("service {}", destination.name);
            facts.add(subject, Some(&destination.origin), &**destination, &["name", "ports"]);
            for port in &destination.ports {
                facts.port(&destination.name, port, &destination.origin);
            }
        }
        for endpoints in &resources.endpoints {
            for endpoint in &endpoints.endpoints {
                let address = match serde_json::to_value(&endpoint.address).unwrap_or_default() {
                    Value::Object(fields) => fields.values().map(short).collect::<Vec<_>>().join(" "),
                    other => short(&other),
                };
                let subject = format!("endpoint {address} of {}", endpoints.service);
                facts.add(subject, Some(&endpoint.origin), endpoint, &["address"]);
            }
        }
        facts
    }

    fn port(&mut self, service: &ObjectName, port: &DestinationPort, origin: &Origin) {
        let name = ServicePort { service: service.clone(), port: port.port };
        let subject = format!("service {name}");
        self.add(subject.clone(), Some(origin), port, &["port", "routes", "connections"]);
        if port.protocol.is_opaque() {
            self.connections(&subject, &name, port);
            return;
        }
        let kind = port.routes.as_ref().map(|rules| rules.first().map(|rule| rule.id.kind));
        let unmatched = match kind {
            None => "its own endpoints",
            Some(Some(RouteKind::GRPCRoute)) => "UNIMPLEMENTED (12), or 404 if they are no calls",
            Some(_) => "404",
        };
        self.set(&subject, "requests that no rule matches", unmatched.to_owned());
        let mut rules: Vec<&RouteRule> = port.routes.iter().flatten().map(AsRef::as_ref).collect();
        rules.sort_by_key(|rule| rule.rank);
        for rule in &rules {
            let subject = format!("rule {} of {name}", rule.id);
            self.add(subject.clone(), Some(&rule.origin), *rule, &["id", "rank", "backends"]);
            self.set(&subject, "kind", rule.id.kind.word().to_owned());
            let backends =
                rule.backends.iter().map(|one| (one.weight, &one.target, serde_json::to_value(one)));
            self.backends(&subject, backends.collect());
        }
        self.orders.insert(subject, rules.iter().map(|rule| rule.id.to_string()).collect());
    }

    /// The rules of a port that passes connections on whole.
    fn connections(&mut self, subject: &str, name: &ServicePort, port: &DestinationPort) {
        let unmatched = if port.connections.is_some() { "reset" } else { "its own endpoints" };
        self.set(subject, "connections that no rule takes", unmatched.to_owned());
        let mut rules: Vec<&ConnectionRule> = port.connections.iter().flatten().map(AsRef::as_ref).collect();
        rules.sort_by_key(|rule| rule.rank);
        for rule in &rules {
            let subject = format!("rule {} of {name}", rule.id);
            self.add(subject.clone(), Some(&rule.origin), *rule, &["id", "rank", "backends"]);
            self.set(&subject, "kind", rule.id.kind.word().to_owned());
            let backends =
                rule.backends.iter().map(|one| (one.weight, &one.target, serde_json::to_value(one)));
            self.backends(&subject, backends.collect());
        }
        self.orders.insert(subject.to_owned(), rules.iter().map(|rule| rule.id.to_string()).collect());
    }

    /// Backends by what they point at, with their shares: the order in which they are written means nothing.
    fn backends(&mut self, subject: &str, backends: Vec<Share<'_>>) {
        let total: u64 = backends.iter().map(|(weight, ..)| u64::from(*weight)).sum();
        for (weight, target, value) in backends {
            let target = match target {
                BackendTarget::Service(port) => port.to_string(),
                invalid => short(&serde_json::to_value(invalid).unwrap_or_default()),
            };
            let share = f64::from(weight) * 100.0 / total.max(1) as f64;
            let mut field = format!("backends.{target}");
            let taken = |field: &str| {
                self.subjects
                    .get(subject)
                    .is_some_and(|fact| fact.values.contains_key(&format!("{field}.share")))
            };
            // One Service may stand in a rule twice, with other filters.
            while taken(&field) {
                field.push('\'');
            }
            let mut values = BTreeMap::new();
            flatten(&field, &without(value.unwrap_or_default(), &["weight", "target"]), &mut values);
            values.insert(format!("{field}.share"), format!("{}%", (share * 100.0).round() / 100.0));
            for (field, value) in values {
                self.set(subject, &field, value);
            }
        }
    }

    fn add(&mut self, subject: String, origin: Option<&Origin>, from: &impl serde::Serialize, but: &[&str]) {
        let mut values = BTreeMap::new();
        let whole = serde_json::to_value(from).unwrap_or_default();
        flatten("", &without(whole, but), &mut values);
        // Two endpoints of one address are told apart by their number.
        let mut name = subject.clone();
        let mut number = 1;
        while self.subjects.contains_key(&name) {
            number += 1;
            name = format!("{subject} #{number}");
        }
        self.subjects.insert(name, Fact { origin: origin.cloned(), values });
    }

    fn set(&mut self, subject: &str, field: &str, value: String) {
        if let Some(fact) = self.subjects.get_mut(subject) {
            fact.values.insert(field.to_owned(), value);
        }
    }
}

/// Writes down the order of the rules that both have: only there can a changed order be seen.
pub(super) fn keep_common_order(old: &mut Facts, new: &mut Facts) {
    let common = |port: &str, one: &[String], other: &Facts| {
        let others = other.orders.get(port).map(Vec::as_slice).unwrap_or_default();
        let kept: Vec<&str> = one.iter().filter(|rule| others.contains(rule)).map(String::as_str).collect();
        kept.join(", ")
    };
    let of = |one: &Facts, other: &Facts| -> Vec<(String, String)> {
        one.orders.iter().map(|(port, rules)| (port.clone(), common(port, rules, other))).collect()
    };
    let (before, after) = (of(old, new), of(new, old));
    for (facts, orders) in [(old, before), (new, after)] {
        for (port, order) in orders.into_iter().filter(|(_, order)| !order.is_empty()) {
            facts.set(&port, ORDER, order);
        }
    }
}

fn without(mut value: Value, but: &[&str]) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, _| !but.contains(&name.as_str()));
    }
    value
}

/// Every leaf under its path. A list of plain values is one leaf, since its order is part of what it says.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) if duration(fields).is_none() && !is_name(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !PLACES.contains(&name.as_str())) {
                flatten(&below(name), value, into);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object()) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), item, into);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Null => {}
        leaf => {
            into.insert(path.to_owned(), short(leaf));
        }
    }
}

/// A leaf as a person writes it.
fn short(value: &Value) -> String {
    match value {
        Value::Object(fields) => match duration(fields) {
            Some(text) => text,
            None if is_name(fields) => {
                ["namespace", "name"].map(|name| fields[name].as_str().unwrap_or_default()).join("/")
            }
            None => value.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(short).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn is_name(fields: &Map<String, Value>) -> bool {
    fields.len() == 2 && fields.contains_key("namespace") && fields.contains_key("name")
}

/// The text of a serialized `Duration`.
fn duration(fields: &Map<String, Value>) -> Option<String> {
    if fields.len() != 2 {
        return None;
    }
    let (secs, nanos) = (fields.get("secs")?.as_u64()?, fields.get("nanos")?.as_u64()?);
    Some(format_duration(Duration::new(secs, u32::try_from(nanos).ok()?)))
}
