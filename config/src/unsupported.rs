//! The closed list of what the contract has and this version does not enforce. Each is refused, never ignored: a
//! limit that is written and not held would be worse than none.
//!
//! A row leaves this list in the change that enforces it; a test holds the list, so that it can only shrink. The row
//! of a whole kind may leave rows for fields of it behind.

/// Fields (`spec.hedge`) and values (`spec.loadBalancer.policy=maglev`) by kind. Indices are left out of paths, and an
/// empty path is the whole kind.
pub(crate) const LIST: &[(&str, &str)] = &[
    ("AuthorizationPolicy", ""),
    ("GRPCRoute", "spec.rules[].backendRefs[].filters[].extensionRef"),
    ("GRPCRoute", "spec.rules[].backendRefs[].filters[].type=ExtensionRef"),
    ("GRPCRoute", "spec.rules[].filters[].extensionRef"),
    ("GRPCRoute", "spec.rules[].filters[].type=ExtensionRef"),
    ("HTTPRoute", "spec.rules[].backendRefs[].filters[].extensionRef"),
    ("HTTPRoute", "spec.rules[].backendRefs[].filters[].externalAuth"),
    ("HTTPRoute", "spec.rules[].backendRefs[].filters[].type=ExtensionRef"),
    ("HTTPRoute", "spec.rules[].backendRefs[].filters[].type=ExternalAuth"),
    ("HTTPRoute", "spec.rules[].filters[].extensionRef"),
    ("HTTPRoute", "spec.rules[].filters[].externalAuth"),
    ("HTTPRoute", "spec.rules[].filters[].type=ExtensionRef"),
    ("HTTPRoute", "spec.rules[].filters[].type=ExternalAuth"),
    ("Mesh", "spec.defaults.hedge"),
    ("Mesh", "spec.discovery"),
    ("Sidecar", "spec.identity.controlPlane"),
    ("Sidecar", "spec.identity.workloadApi"),
    ("TrafficPolicy", "spec.hedge"),
];

/// Whether the field, value or kind is in the list.
pub(crate) fn is(kind: &str, path: &str) -> bool {
    LIST.binary_search(&(kind, path)).is_ok()
}

/// What to do instead of a field or value of a row, where it is not only yet to come.
pub(crate) fn instead(word: &str) -> Option<&'static str> {
    match word {
        "extensionRef" | "ExtensionRef" => Some(
            "it names a filter that some other implementation brings; there are none here, so use those of the Gateway API",
        ),
        "externalAuth" | "ExternalAuth" => Some(
            "who may call is for the Service that is called to say, in an AuthorizationPolicy, which is yet to come",
        ),
        _ => None,
    }
}

/// The rows of a kind.
pub(crate) fn of(kind: &str) -> impl Iterator<Item = &'static str> {
    LIST.iter().filter(move |(of, _)| *of == kind).map(|(_, path)| *path)
}

#[cfg(test)]
mod tests;
