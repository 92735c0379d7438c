//! What stands at one proxy.

use super::field::{one_of, record, words};
use crate::model::{
    Identity, IdentityFiles, IdentitySource, InboundApp, InboundListener, InboundPort, InboundProtocol,
    OutboundListener, Workload,
};

record! {
    Workload { name, version, origin, zone, service_account, inbound, outbound, identity, admin };
    InboundListener { bind, to, ports, origin };
    InboundApp { app, protocol, service, mtls, settings };
    InboundPort { port, to, origin };
    OutboundListener { bind, service, intercepted, origin };
    Identity { source, trust_domain, expected, origin };
    IdentityFiles { certificate, private_key, trust_bundle };
}

words! {
    InboundProtocol { Auto, Http1, Http2, Grpc, Tcp, Detect }
}

one_of! {
    IdentitySource in identity_source { Files(files) }
    bare {}
    fields {}
}
