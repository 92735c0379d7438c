//! Looks names up as this machine is configured to: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
//!
//! The system's own resolver is not used: it blocks a thread per question and hides how long an answer holds. IPv6
//! addresses are taken only for names without an IPv4 one: most networks that have names for both cannot reach the
//! former, and every address is an endpoint here that requests would be sent to.

use std::{
    fs,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
};
use parking_lot::Mutex;

use super::{Answer, Lookup};

/// What the machine's configuration consists of.
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// One question to one server.
const QUESTION: Duration = Duration::from_secs(2);
/// "There is no such name" is believed for this long at most: the name is in a policy, so it is meant to exist.
const NO_SUCH_NAME: Duration = Duration::from_secs(1);
/// Answers that are remembered; a policy has few names, and the default is meant for 8,192.
const REMEMBERED: u64 = 128;

/// When each of [`FILES`] was written last.
type Written = [Option<SystemTime>; FILES.len()];

/// The machine's name service. Costs nothing before the first question.
#[derive(Debug, Default)]
pub(crate) struct System {
    current: Mutex<Option<(Written, TokioResolver)>>,
}

impl System {
    /// The resolver for the configuration as it is now.
    fn resolver(&self) -> Result<TokioResolver, String> {
        let written = FILES.map(|file| fs::metadata(file).and_then(|about| about.modified()).ok());
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
        tracing::warn!(%error, "/etc/resolv.conf names no server; only /etc/hosts is used");
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
    options.negative_max_ttl = Some(NO_SUCH_NAME);
    options.try_tcp_on_error = true;
}

impl Lookup for System {
    async fn lookup(&self, host: &str) -> Result<Answer, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Answer { addresses: vec![ip], lifetime: Duration::MAX });
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
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn literals_and_the_hosts_file_need_no_server() {
        let system = System::default();
        let literal = system.lookup("192.0.2.7").await.expect("an address is its own answer");
        assert_eq!(literal.addresses, [IpAddr::from([192, 0, 2, 7])]);
        assert!(system.current.lock().is_none(), "no resolver was needed");
        let localhost = system.lookup("localhost").await.expect("known everywhere");
        assert_eq!(localhost.addresses, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }
}
