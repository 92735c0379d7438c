//! The redirect rules as data, and as the text that `iptables-restore` reads. Pure.
//!
//! A rule is written exactly as `iptables-save` writes it again, on both backends, so that what is in place can be compared
//! with what is wanted line by line. Order counts: the first rule of a chain that matches decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use outrigger_proxy::ctx::APP_CALLER;

/// What all chains of ours begin with; nothing else may.
pub(super) const PREFIX: &str = "OUTRIGGER_";

/// Where rules of ours hang in chains of the kernel.
const PREROUTING: &str = "PREROUTING";
const OUTPUT: &str = "OUTPUT";

const INBOUND: &str = "OUTRIGGER_INBOUND";
const OUTBOUND: &str = "OUTRIGGER_OUTPUT";
const IN_REDIRECT: &str = "OUTRIGGER_IN_REDIRECT";
const OUT_REDIRECT: &str = "OUTRIGGER_OUT_REDIRECT";

/// Ports that one `multiport` match takes; a range counts as two.
const MULTIPORT: usize = 15;

/// The admin API, and metrics and health for other machines.
const OWN_PORTS: [u16; 2] = [15000, 15020];

/// Which version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) enum Family {
    IPv4,
    IPv6,
}

impl Family {
    /// The addresses of this machine that nobody else reaches.
    fn loopback(self) -> IpNet {
        match self {
            Self::IPv4 => net(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            Self::IPv6 => net(Ipv6Addr::LOCALHOST.into(), 128),
        }
    }

    /// The address from which the proxy calls the app.
    fn app_caller(self) -> IpNet {
        match self {
            Self::IPv4 => net(APP_CALLER.0.into(), 32),
            Self::IPv6 => net(APP_CALLER.1.into(), 128),
        }
    }

    fn has(self, net: &IpNet) -> bool {
        matches!((self, net), (Self::IPv4, IpNet::V4(_)) | (Self::IPv6, IpNet::V6(_)))
    }
}

fn net(address: IpAddr, bits: u8) -> IpNet {
    IpNet::new_assert(address, bits)
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) first: u16,
    pub(super) last: u16,
}

/// Which ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    All,
    /// Empty: none.
    These(Vec<Ports>),
}

/// What is redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirects {
    /// The proxy's listener for the app's calls.
    pub(super) outbound_port: u16,
    /// The proxy's listener for calls of the app.
    pub(super) inbound_port: u16,
    pub(super) proxy_uid: u32,
    pub(super) inbound: Chosen,
    pub(super) exclude_inbound: Vec<Ports>,
    pub(super) outbound: Chosen,
    pub(super) exclude_outbound: Vec<Ports>,
    /// Destinations of the app's calls; empty: all.
    pub(super) cidrs: Vec<IpNet>,
    pub(super) exclude_cidrs: Vec<IpNet>,
    pub(super) exclude_uids: Vec<u32>,
    pub(super) exclude_gids: Vec<u32>,
}

/// The rules of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Chains of ours.
    pub(super) chains: [&'static str; 4],
    /// Rules in chains of the kernel that lead into ours.
    pub(super) jumps: [String; 2],
    /// Rules in chains of ours, in order, each with its chain: `-A CHAIN ...`.
    pub(super) rules: Vec<String>,
}

impl Rules {
    /// Lays out the rules of one family.
    pub(super) fn of(redirects: &Redirects, family: Family) -> Self {
        let mut rules = List { family, rules: Vec::new() };
        rules.inbound(redirects);
        rules.outbound(redirects);
        rules.add(IN_REDIRECT, "-p tcp", &format!("REDIRECT --to-ports {}", redirects.inbound_port));
        rules.add(OUT_REDIRECT, "-p tcp", &format!("REDIRECT --to-ports {}", redirects.outbound_port));
        Self {
            chains: [INBOUND, OUTBOUND, IN_REDIRECT, OUT_REDIRECT],
            jumps: [
                // What is routed through this machine is for others.
                format!("-A {PREROUTING} -p tcp -m addrtype --dst-type LOCAL -j {INBOUND}"),
                format!("-A {OUTPUT} -p tcp -j {OUTBOUND}"),
            ],
            rules: rules.rules,
        }
    }

    /// What `iptables-restore --noflush` makes the rules of: chains that are listed are emptied and filled anew in one step.
    /// Jumps that are `present` are not added again.
    pub(super) fn to_restore(&self, present: &[String]) -> String {
        let mut text = "*nat\n".to_owned();
        self.chains.iter().for_each(|chain| text.push_str(&format!(":{chain} - [0:0]\n")));
        let jumps = self.jumps.iter().filter(|jump| !present.contains(jump));
        self.rules.iter().chain(jumps).for_each(|rule| text.push_str(&format!("{rule}\n")));
        text + "COMMIT\n"
    }
}

struct List {
    family: Family,
    rules: Vec<String>,
}

impl List {
    fn add(&mut self, chain: &str, matches: &str, target: &str) {
        let parts = [format!("-A {chain}"), matches.to_owned(), format!("-j {target}")];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        self.rules.push(parts.join(" "));
    }

    fn ports(&mut self, chain: &str, matches: &str, ports: &[Ports], target: &str) {
        for list in multiport(ports) {
            let matches = format!("{matches} -p tcp -m multiport --dports {list}");
            self.add(chain, matches.trim_start(), target);
        }
    }

    /// Calls of the app.
    fn inbound(&mut self, redirects: &Redirects) {
        let loopback = self.family.loopback();
        // A neighbour may send such packets, and what listens there is for nobody but this machine.
        self.add(INBOUND, &format!("-d {loopback}"), "RETURN");
        let own = [OWN_PORTS[0], redirects.outbound_port, redirects.inbound_port, OWN_PORTS[1]];
        self.ports(INBOUND, "", &own.map(|port| Ports { first: port, last: port }), "RETURN");
        self.ports(INBOUND, "", &redirects.exclude_inbound, "RETURN");
        match &redirects.inbound {
            Chosen::All => self.add(INBOUND, "", IN_REDIRECT),
            Chosen::These(ports) => self.ports(INBOUND, "", ports, IN_REDIRECT),
        }
    }

    /// Calls of this machine: the app's, and the proxy's.
    fn outbound(&mut self, redirects: &Redirects) {
        let (loopback, app_caller) = (self.family.loopback(), self.family.app_caller());
        let proxy = format!("-m owner --uid-owner {}", redirects.proxy_uid);
        // The proxy calls the app: this has been through the inbound listener.
        self.add(OUTBOUND, &format!("-s {app_caller} -o lo"), "RETURN");
        // The proxy calls an address of this machine: the app's call to itself, which goes by the inbound listener as
        // anybody's does. Its calls to 127.0.0.1 are its own affair.
        self.add(OUTBOUND, &format!("! -d {loopback} -o lo {proxy}"), INBOUND);
        self.add(OUTBOUND, &proxy, "RETURN");
        // The app calls itself, by whatever address.
        self.add(OUTBOUND, "-o lo", "RETURN");
        self.add(OUTBOUND, &format!("-d {loopback}"), "RETURN");
        for uid in &redirects.exclude_uids {
            self.add(OUTBOUND, &format!("-m owner --uid-owner {uid}"), "RETURN");
        }
        for gid in &redirects.exclude_gids {
            self.add(OUTBOUND, &format!("-m owner --gid-owner {gid}"), "RETURN");
        }
        self.ports(OUTBOUND, "", &redirects.exclude_outbound, "RETURN");
        let family = self.family;
        for cidr in redirects.exclude_cidrs.iter().filter(|cidr| family.has(cidr)) {
            self.add(OUTBOUND, &destination(cidr), "RETURN");
        }
        let everywhere = [String::new()];
        let chosen: Vec<String> =
            redirects.cidrs.iter().filter(|cidr| family.has(cidr)).map(destination).collect();
        // Networks of the other family alone mean none of this one.
        let chosen = if redirects.cidrs.is_empty() { &everywhere[..] } else { &chosen };
        for destination in chosen {
            match &redirects.outbound {
                Chosen::All => self.add(OUTBOUND, destination, OUT_REDIRECT),
                Chosen::These(ports) => self.ports(OUTBOUND, destination, ports, OUT_REDIRECT),
            }
        }
    }
}

/// A match for a network; all addresses need none, and `iptables-save` writes none.
fn destination(cidr: &IpNet) -> String {
    if cidr.prefix_len() == 0 { String::new() } else { format!("-d {}", cidr.trunc()) }
}

/// The lists of ports that one rule each takes.
fn multiport(ports: &[Ports]) -> Vec<String> {
    let mut lists: Vec<(usize, Vec<String>)> = Vec::new();
    for Ports { first, last } in ports {
        let (places, text) = match first == last {
            true => (1, first.to_string()),
            false => (2, format!("{first}:{last}")),
        };
        match lists.last_mut() {
            Some((taken, list)) if *taken + places <= MULTIPORT => {
                *taken += places;
                list.push(text);
            }
            _ => lists.push((places, vec![text])),
        }
    }
    lists.into_iter().map(|(_, list)| list.join(",")).collect()
}

#[cfg(test)]
mod tests;
