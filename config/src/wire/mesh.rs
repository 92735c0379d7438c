//! Mesh-wide settings.

use super::field::{record, words};
use crate::model::{AccessLog, Egress, Limits, MeshConfig, Propagation, Tracing};

record! {
    MeshConfig { trust_domain, mtls, egress, proxy_form_egress, limits, defaults, access_log, tracing };
    Limits {
        header_bytes, header_count, uri_bytes, trailer_bytes, header_timeout, detect_timeout,
        max_concurrent_streams, connection_idle, pool_idle, max_connections, replay_bytes,
    };
    Tracing { otlp, sample_percent, propagation, resource };
}

words! {
    Egress { Allow, Log, Deny }
    AccessLog { Json }
    Propagation { W3c, B3, B3Multi }
}
