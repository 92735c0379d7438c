//! Looks names up as this machine is configured to: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
//!
//! The system's own resolver is not used: it blocks a thread per question and hides how long an answer holds. IPv6
//! addresses are taken only for names without an IPv4 one: most networks that have names for both cannot reach the
//! former, and every address is an endpoint here that requests would be sent to.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
};
use parking_lot::Mutex;

use super::{Answer, Lookup};

/// Names that need no server.
const HOSTS: &str = "/etc/hosts";
/// Which servers there are.
const SERVERS: &str = "/etc/resolv.conf";
/// One question to one server.
const QUESTION: Duration = Duration::from_secs(2);
/// "There is no such name" is believed for this long at most: the name is in a policy, so it is meant to exist.
const NO_SUCH_NAME: Duration = Duration::from_secs(1);
/// Answers that are remembered; a policy has few names, and the default is meant for 8,192.
const REMEMBERED: u64 = 128;

/// The machine's name service. Costs nothing before the first question.
#[derive(Debug, Default)]
pub(crate) struct System {
    /// The resolver, and when the file that it was made from had been written.
    current: Mutex<Option<(Option<SystemTime>, TokioResolver)>>,
}

impl System {
    /// The resolver for the configuration as it is now.
    fn resolver(&self) -> Result<TokioResolver, String> {
        let written = fs::metadata(SERVERS).and_then(|about| about.modified()).ok();
        let mut current = self.current.lock();
        match &*current {
            Some((known, resolver)) if *known == written => Ok(resolver.clone()),
            _ => {
                let resolver = build()?;
                *current = Some((written, resolver.clone()));
                Ok(resolver)
            }
        }
    }
}

fn build() -> Result<TokioResolver, String> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
        tracing::warn!(%error, "{SERVERS} names no server; only {HOSTS} is used");
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
    });
    adjust(builder.options_mut());
    builder.build().map_err(|error| error.to_string())
}

fn adjust(options: &mut ResolverOpts) {
    options.timeout = options.timeout.min(QUESTION);
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.cache_size = REMEMBERED;
    // Asked here: hickory looks there for each name of the search list in turn, after the servers were asked for the
    // one before.
    options.use_hosts_file = ResolveHosts::Never;
    options.negative_max_ttl = Some(NO_SUCH_NAME);
    options.try_tcp_on_error = true;
}

/// What a file in the form of hosts(5) says about a name, IPv4 before IPv6 as above. `localhost` is known without.
fn known_here(host: &str, hosts: &str) -> Option<Vec<IpAddr>> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace());
    let found = lines.filter_map(|mut fields| {
        let address = fields.next()?.parse::<IpAddr>().ok()?;
        fields.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    });
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) = found.partition(IpAddr::is_ipv4);
    match (first.is_empty(), second.is_empty()) {
        (false, _) => Some(first),
        (true, false) => Some(second),
        (true, true) => host.eq_ignore_ascii_case("localhost").then(|| vec![Ipv4Addr::LOCALHOST.into()]),
    }
}

impl Lookup for System {
    async fn lookup(&self, host: &str) -> Result<Answer, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Answer { addresses: vec![ip], lifetime: Duration::MAX });
        }
        // A small local file, read at most once a second and name.
        if let Some(addresses) = known_here(host, &fs::read_to_string(HOSTS).unwrap_or_default()) {
            return Ok(Answer { addresses, lifetime: Duration::MAX });
        }
        let found = self.resolver()?.lookup_ip(host).await.map_err(|error| error.to_string())?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        Ok(Answer { addresses, lifetime: found.valid_until().saturating_duration_since(Instant::now()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literals_and_local_names_need_no_server() {
        let system = System::default();
        let literal = system.lookup("192.0.2.7").await.expect("an address is its own answer");
        assert_eq!(literal.addresses, [IpAddr::from([192, 0, 2, 7])]);
        let localhost = system.lookup("localhost").await.expect("known everywhere");
        assert!(localhost.addresses.iter().all(IpAddr::is_loopback), "{localhost:?}");
        assert!(system.current.lock().is_none(), "no resolver was needed");
    }

    #[test]
    fn the_hosts_file_is_read_as_others_read_it() {
        let hosts = "# 10.0.0.9 cart\n::1 localhost cart\n10.0.0.1\tcart Cart.shop # and more\n10.0.0.2 cart\nx cart\n";
        let known = |host| {
            known_here(host, hosts).map(|found| found.iter().map(IpAddr::to_string).collect::<Vec<_>>())
        };
        assert_eq!(known("cart"), Some(vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()]));
        assert_eq!(known("cart.shop"), Some(vec!["10.0.0.1".to_owned()]));
        assert_eq!(known("localhost"), Some(vec!["::1".to_owned()]));
        assert_eq!(known("and"), None);
        assert_eq!(known_here("localhost", ""), Some(vec![Ipv4Addr::LOCALHOST.into()]));
    }
}
