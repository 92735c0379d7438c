//! What to say about a reference to something that does not exist: the nearest name, and where it stands.

use super::Checks;
use crate::{
    diagnostic::{Code, DETAILED, Fault},
    model::ObjectName,
    references::service_port,
    schema::ServiceRef,
    services::Entry,
    yaml::Span,
};

impl<'a> Checks<'a> {
    /// The destination of the name; a fault if there is certainly none.
    pub(super) fn service(&mut self, name: &ObjectName, span: Span) -> Option<Entry<'a>> {
        let found = self.services.get(name).cloned();
        if found.is_none() && !self.service_may_exist(name) {
            let fault = self.unknown_service(Fault::error(Code::UnknownReference, span, ""), name);
            self.push(fault);
        }
        found
    }

    /// Whether a destination that could not be read may have the name.
    pub(super) fn service_may_exist(&self, name: &ObjectName) -> bool {
        self.objects.may_exist(&["Service", "MeshService"], name)
    }

    /// Says of a fault that the Service does not exist, and which one may be meant.
    pub(super) fn unknown_service(&self, fault: Fault, name: &ObjectName) -> Fault {
        let fault = Fault { message: format!("there is no Service or MeshService `{name}`"), ..fault };
        let near = if self.faults.len() < DETAILED { self.services.nearest(name) } else { None };
        match near {
            Some(near) => {
                let help = if near.name.name == name.name {
                    format!("did you mean the one in namespace `{}`?", near.name.namespace)
                } else {
                    format!("did you mean `{}`?", near.name.name)
                };
                fault.related(near.span, format!("`{}` stands here", near.name)).help(help)
            }
            None => fault,
        }
    }

    /// Checks that a destination has the port.
    pub(super) fn port(&mut self, entry: &Entry<'_>, number: u16, span: Span) {
        if !entry.has_port(number) {
            let message = format!("`{}` has no port {number}", entry.name);
            let fault = Fault::error(Code::UnknownReference, span, message)
                .related(entry.span, format!("`{}` stands here", entry.name))
                .help(format!("its ports: {}", entry.ports_in_words()));
            self.push(fault);
        }
    }

    /// Checks a reference to one port of one Service.
    pub(super) fn service_ref(&mut self, reference: &ServiceRef, namespace: &std::sync::Arc<str>) {
        let port = service_port(reference, namespace);
        if let Some(entry) = self.service(&port.service, reference.name.span) {
            self.port(&entry, port.port, reference.port.span);
        }
    }
}
