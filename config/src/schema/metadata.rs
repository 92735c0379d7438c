//! `metadata` of every object, as upstream ObjectMeta has it.

use crate::convert::{Any, Label, List, Spanned, Subdomain, Text, TextMap, Timestamp, object};

impl Metadata {
    /// The namespace of objects that name none.
    pub(crate) const NAMESPACE: &str = "default";
}

object! {
    /// The object's name and what else Kubernetes keeps about it.
    pub(crate) struct Metadata {
        /// The name, unique among the objects of the kind in the namespace.
        name("name"): Spanned<Subdomain>,
        /// The namespace.
        namespace("namespace"): Option<Spanned<Label>> = Metadata::NAMESPACE,
        /// Labels. An EndpointSlice names its Service with `kubernetes.io/service-name`; a Sidecar tells the version of
        /// its app, for traces, with `app.kubernetes.io/version`.
        labels("labels"): TextMap,
        /// When the object was made; the older of two contenders wins, and one without a time is younger than all that
        /// have one. Among equals the order is that of namespace and name.
        created("creationTimestamp"): Option<Timestamp>,
    }
    ignored {
        "annotations": TextMap,
        "deletionGracePeriodSeconds": Any,
        "deletionTimestamp": Text,
        "finalizers": List<Text>,
        "generateName": Text,
        "generation": Any,
        "managedFields": Any,
        "ownerReferences": Any,
        "resourceVersion": Text,
        "selfLink": Text,
        "uid": Text,
    }
}
