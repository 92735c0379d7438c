//! Endpoints.

use super::field::{one_of, record};
use crate::model::{Endpoint, EndpointAddress, Endpoints};

record! {
    Endpoints { service, endpoints };
    Endpoint { address, weight, zone, labels, identity, origin } sound |of| {
        if of.weight == 0 { Err("its weight is 0") } else { Ok(()) }
    };
}

one_of! {
    EndpointAddress in endpoint_address { Ip(ip) }
    bare {}
    fields { Dns(dns): DnsAddress { host, port } }
}
