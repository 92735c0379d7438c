//! The list of metrics, and what a scrape shows of them.

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use outrigger_config::wire::ResourceType;

use super::*;
use crate::{
    balance::{Change, Health},
    error::Flag,
    policy::circuit_breaker::{Limits, Phase},
};

/// What dashboards and alerts are built on: a change here is a change for users.
const LIST: &str = "\
outrigger_access_log_dropped_total{}
outrigger_attempt_duration_seconds{service}
outrigger_attempts_total{service,outcome}
outrigger_build_info{version}
outrigger_circuit_breaker_changes_total{service,to}
outrigger_circuit_breaker_held{service,limit}
outrigger_circuit_breaker_refused_total{service,limit}
outrigger_circuit_breaker_state{service}
outrigger_concurrency_baseline_seconds{service}
outrigger_concurrency_in_flight{service}
outrigger_concurrency_limit{service}
outrigger_concurrency_refused_total{service,priority}
outrigger_config_generation{}
outrigger_config_last_reload_success_timestamp_seconds{}
outrigger_config_rejections_total{}
outrigger_config_stale_seconds{}
outrigger_discovery_refused_resources_total{type}
outrigger_dns_resolutions_total{outcome}
outrigger_downstream_connections_open{side,listener}
outrigger_downstream_connections_refused_total{side,listener}
outrigger_downstream_connections_total{side,listener}
outrigger_downstream_parse_errors_total{reason}
outrigger_ejection_probes_total{service,outcome}
outrigger_ejections_total{service,detector}
outrigger_ejections_withheld_total{service,detector}
outrigger_endpoints_panics_total{service}
outrigger_endpoints_panic{service}
outrigger_endpoints{service,state}
outrigger_fallback_kept_bytes{}
outrigger_fallbacks_total{service,kind}
outrigger_faults_total{service,route,kind}
outrigger_health_changes_total{service,to}
outrigger_health_checks_total{service,outcome}
outrigger_identity_not_after_seconds{}
outrigger_identity_rotations_total{result}
outrigger_inbound_security_total{service,security}
outrigger_informational_dropped_total{}
outrigger_mesh_handshakes_total{side,result}
outrigger_mirror_requests_open{service}
outrigger_mirror_requests_total{service,outcome}
outrigger_plaintext_refused_total{service}
outrigger_protocol_detections_total{side,port,outcome}
outrigger_rate_limit_callers{service,policy}
outrigger_rate_limit_requests_total{service,policy,outcome}
outrigger_request_duration_seconds{side,service,route}
outrigger_requests_open{side,service,route}
outrigger_requests_total{side,service,route,code,flag}
outrigger_retries_denied_total{service,reason}
outrigger_retries_total{service,reason}
outrigger_sessions_total{side,service,route,outcome}
outrigger_spans_dropped_total{reason}
outrigger_spans_exported_total{}
outrigger_spans_queued{}
outrigger_tcp_bytes_total{side,service,route,direction}
outrigger_tcp_connection_duration_seconds{side,service,route}
outrigger_tcp_connections_open{side,service,route}
outrigger_tcp_connections_total{side,service,route,flag}
outrigger_trailers_dropped_total{}
outrigger_tunnels_open{side,service,route}
outrigger_tunnels_total{side,service,route,kind}
outrigger_upstream_connect_failures_total{service}
outrigger_upstream_connections_open{service}
outrigger_upstream_connections_total{service}
outrigger_upstream_tls_failures_total{service,reason}
process_cpu_seconds_total{}
process_max_fds{}
process_open_fds{}
process_resident_memory_bytes{}
process_start_time_seconds{}
process_threads{}
";

#[test]
fn the_list_is_what_users_rely_on() {
    let mut names: Vec<String> =
        FAMILIES.iter().map(|family| format!("{}{{{}}}\n", family.name, family.labels.join(","))).collect();
    names.sort();
    assert_eq!(names.concat(), LIST);
    for family in FAMILIES {
        assert!(family.help.ends_with('.'), "{}", family.name);
        assert!(!family.bound.is_empty(), "{}", family.name);
        assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
    }
}

/// The handles of everything.
type Touched = (
    Arc<RouteMetrics>,
    Arc<ConnectionMetrics>,
    Arc<BackendMetrics>,
    Arc<MirrorMetrics>,
    (Arc<CircuitBreakerMetrics>, Arc<Limits>, Arc<FallbackMetrics>),
    Arc<ListenerMetrics>,
    Arc<EndpointMetrics>,
    (Arc<RateLimitMetrics>, Arc<InboundSecurity>),
    Arc<ConcurrencyMetrics>,
);

/// Touches everything once.
fn touch_all(metrics: &Metrics) -> Touched {
    let route = metrics.route(Side::Outbound, "shop/cart:80", "default/r/0");
    route.opened(0);
    route.record(0, 200, None, Duration::from_millis(3));
    route.record(1, 503, Some(Flag::UF), Duration::from_millis(30));
    let connections = metrics.connections(Side::Inbound, "shop/db:5432", "default");
    (0..3).for_each(|_| connections.begun(0));
    connections.ended(0, None, Duration::from_secs(3));
    connections.ended(0, Some(Flag::UR), Duration::from_secs(3));
    connections.moved(0, Direction::In, 5);
    connections.moved(1, Direction::In, 2);
    FaultKind::ALL.iter().for_each(|kind| route.fault(0, *kind));
    TunnelKind::ALL.iter().for_each(|kind| route.tunnel_opened(0, *kind));
    route.tunnel_closed(1);
    SessionOutcome::ALL.iter().for_each(|outcome| route.session(0, *outcome));
    let backend = metrics.backend("shop/cart:80");
    AttemptOutcome::ALL.iter().for_each(|outcome| backend.attempt(1, *outcome, Duration::from_millis(1)));
    RetryReason::ALL.iter().for_each(|reason| backend.retry(0, *reason));
    RetryDenied::ALL.iter().for_each(|reason| backend.retry_denied(0, *reason));
    backend.connection_opened(0);
    backend.connect_failed(0);
    metrics.identity_in_use(Some(SystemTime::now()));
    MeshFault::all().for_each(|why| backend.tls_failed(0, why));
    for side in [Side::Inbound, Side::Outbound] {
        MeshFault::all().map(Err).chain([Ok(())]).for_each(|result| metrics.mesh_handshake(side, result));
    }
    let mirror = metrics.mirror("shop/shadow:80");
    mirror.begun(0);
    MirrorOutcome::ALL.iter().for_each(|outcome| (mirror.begun(1), mirror.ended(1, *outcome)).0);
    let endpoints = metrics.endpoints("shop/cart:80");
    for why in Detector::ALL {
        endpoints.changed(Change::Ejected(*why, Duration::from_secs(1)));
        endpoints.changed(Change::Withheld(*why));
    }
    endpoints.changed(Change::Returned);
    endpoints.stand([3, 2, 1, 0], true);
    endpoints.panicked();
    CheckOutcome::ALL.iter().for_each(|outcome| endpoints.checked(*outcome));
    [Health::Healthy, Health::Unhealthy].into_iter().for_each(|health| endpoints.turned(health));
    let breaker = metrics.circuit_breaker("shop/cart:80");
    let limits = Limits::new(1, &breaker);
    Phase::ALL.iter().for_each(|phase| breaker.changed(*phase));
    BreakerLimit::ALL.iter().for_each(|limit| breaker.refused(*limit));
    let fallback = metrics.fallback("shop/cart:80");
    FallbackKind::ALL.iter().for_each(|kind| fallback.count(*kind));
    metrics.fallback_kept(1024);
    let listener = metrics.listener(Side::Outbound, "127.0.0.1:15001");
    listener.connection_opened(0);
    listener.connection_refused();
    ParseError::ALL.iter().for_each(|reason| metrics.parse_error(*reason));
    Detected::ALL.iter().for_each(|outcome| metrics.detected(Side::Inbound, 8080, *outcome));
    metrics.informational_dropped();
    metrics.trailers_dropped();
    metrics.config_applied(7, UNIX_EPOCH + Duration::from_millis(1_500));
    metrics.config_rejected();
    metrics.discovery_away(Some(UNIX_EPOCH));
    ResourceType::ALL.iter().for_each(|kind| metrics.discovery_refused(*kind, 1));
    metrics.dns_resolved();
    metrics.dns_failed();
    metrics.access_log_dropped(3);
    metrics.spans_queued(20);
    metrics.spans_exported(2);
    SpansDropped::ALL.iter().for_each(|reason| metrics.spans_dropped(*reason, 3));
    metrics.identity_in_use(Some(std::time::SystemTime::now()));
    Rotation::ALL.iter().for_each(|result| metrics.identity_rotation(*result));
    let security = metrics.inbound_security("shop/cart:80");
    Security::ALL.iter().for_each(|how| security.came(1, *how));
    security.refused();
    let limit = metrics.rate_limit("shop/cart", "shop/limits");
    let load = metrics.concurrency("shop/cart");
    load.set_baseline(Duration::from_millis(2));
    PriorityClass::ALL.iter().for_each(|class| load.refused(1, *class));
    RateLimitOutcome::ALL.iter().for_each(|outcome| limit.count(0, *outcome));
    (
        route,
        connections,
        backend,
        mirror,
        (breaker, limits, fallback),
        listener,
        endpoints,
        (limit, security),
        load,
    )
}

#[test]
fn every_metric_of_the_list_can_be_scraped_and_nothing_else() {
    let metrics = Metrics::new(2);
    let _handles = touch_all(&metrics);
    let text = metrics.render();
    let shown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let listed: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(shown, listed);
    for line in [
        r#"outrigger_requests_total{code="200",flag="-",route="default/r/0",service="shop/cart:80",side="outbound"} 1"#,
        r#"outrigger_requests_total{code="503",flag="UF",route="default/r/0",service="shop/cart:80",side="outbound"} 1"#,
        r#"outrigger_request_duration_seconds_count{route="default/r/0",service="shop/cart:80",side="outbound"} 2"#,
        r#"outrigger_requests_open{route="default/r/0",service="shop/cart:80",side="outbound"} 1"#,
        r#"outrigger_tcp_connections_total{flag="-",route="default",service="shop/db:5432",side="inbound"} 1"#,
        r#"outrigger_tcp_connections_total{flag="UR",route="default",service="shop/db:5432",side="inbound"} 1"#,
        r#"outrigger_tcp_connections_open{route="default",service="shop/db:5432",side="inbound"} 1"#,
        r#"outrigger_tcp_bytes_total{direction="in",route="default",service="shop/db:5432",side="inbound"} 7"#,
        r#"outrigger_tcp_bytes_total{direction="out",route="default",service="shop/db:5432",side="inbound"} 0"#,
        r#"outrigger_retries_total{reason="unsent",service="shop/cart:80"} 1"#,
        r#"outrigger_mirror_requests_total{outcome="shed",service="shop/shadow:80"} 1"#,
        r#"outrigger_mirror_requests_open{service="shop/shadow:80"} 1"#,
        "outrigger_config_generation 7",
        "outrigger_config_last_reload_success_timestamp_seconds 1.5",
        "outrigger_access_log_dropped_total 3",
    ] {
        let labels_in_any_order =
            |text: &str| -> BTreeSet<String> { text.split(['{', ',', '}']).map(str::to_owned).collect() };
        let wanted = labels_in_any_order(line);
        assert!(text.lines().any(|shown| labels_in_any_order(shown) == wanted), "{line} is not in:\n{text}");
    }
}

#[test]
fn what_was_never_touched_is_not_shown() {
    let metrics = Metrics::new(1);
    let _route = metrics.route(Side::Inbound, "shop/cart:80", "-");
    let _backend = metrics.backend("shop/cart:80");
    assert!(!metrics.render().contains("shop/cart"));
}

#[test]
fn the_same_labels_give_the_same_handle_across_snapshots() {
    let metrics = Metrics::new(1);
    let old = metrics.route(Side::Inbound, "a", "b");
    old.record(0, 200, None, Duration::ZERO);
    let new = metrics.route(Side::Inbound, "a", "b");
    assert!(Arc::ptr_eq(&old, &new));
    drop(old);
    assert!(metrics.render().contains("outrigger_requests_total"));
    drop(new);
    assert!(!metrics.render().contains("outrigger_requests_total"), "nobody holds it");
}

#[test]
fn open_connections_are_told_by_side() {
    let metrics = Metrics::new(2);
    let inbound = metrics.listener(Side::Inbound, "127.0.0.1:0");
    let outbound = metrics.listener(Side::Outbound, "127.0.0.1:0");
    inbound.connection_opened(0);
    inbound.connection_opened(1);
    inbound.connection_closed(1);
    outbound.connection_opened(1);
    outbound.connection_closed(1);
    assert_eq!((metrics.downstream_open(Side::Inbound), metrics.downstream_open(Side::Outbound)), (1, 0));
}

#[test]
fn reloads_that_rename_everything_do_not_grow_the_maps() {
    let metrics = Metrics::new(1);
    for generation in 0..500 {
        let held: Vec<_> = (0..10)
            .map(|index| metrics.route(Side::Outbound, &format!("s{generation}"), &index.to_string()))
            .collect();
        drop(held);
    }
    assert!(metrics.counters.routes.lock().by_key.len() <= 64);
}

#[test]
fn workers_count_apart_and_a_scrape_adds_them() {
    let metrics = Metrics::new(4);
    let route = metrics.route(Side::Outbound, "s", "r");
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let route = &route;
            scope.spawn(move || {
                for _ in 0..10_000 {
                    route.opened(worker);
                    route.record(worker, 200, None, Duration::from_micros(150));
                    route.closed(worker);
                }
            });
        }
    });
    let mut counts = Vec::new();
    route.each_count(|code, flag, count| counts.push((code.to_owned(), flag, count)));
    assert_eq!(counts, [("200".to_owned(), "-", 40_000)]);
    assert_eq!(route.open(), Some(0));
}
