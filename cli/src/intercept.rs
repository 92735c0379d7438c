//! `outrigger intercept`: the rules that redirect an app's traffic to its proxy, in the network namespace that it is run in.
//!
//! What the rules are is in `intercept/rules.rs`, what is there and how it differs in `intercept/present.rs`; this file reads
//! the command line, has the programs run and tells what came of it.

mod present;
mod rules;
mod tables;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use crate::{exit, output::Output};
use present::{Difference, Present};
use rules::{Chosen, Family, Ports, Redirects, Rules};
use tables::Tables;

/// Redirect the TCP connections of an app to its proxy, in this network namespace: those that the app makes, and those that
/// come to it.
///
/// The rules are put into chains of their own (OUTRIGGER_*) in one step, for IPv4 and IPv6, by iptables; running the command
/// again with the same options changes nothing. Loopback, the proxy's own calls and its own ports are never redirected.
/// Needs root, or CAP_NET_ADMIN and CAP_NET_RAW. Ends with 0, with 1 if `--verify` finds a difference, and with 2 if it
/// cannot do its work.
#[derive(Debug, clap::Args)]
pub(crate) struct Intercept {
    /// The user that the proxy runs as: its own calls are not redirected.
    #[arg(long, value_name = "UID", default_value_t = 1337)]
    proxy_uid: u32,
    /// Where the proxy takes the app's calls.
    #[arg(long, value_name = "PORT", default_value_t = 15001, value_parser = clap::value_parser!(u16).range(1..))]
    outbound_port: u16,
    /// Where the proxy takes calls of the app.
    #[arg(long, value_name = "PORT", default_value_t = 15006, value_parser = clap::value_parser!(u16).range(1..))]
    inbound_port: u16,
    /// Ports of the app that are redirected: `all`, `none`, or a list such as 80,8000-8100.
    #[arg(long, value_name = "PORTS", default_value = "all", value_parser = chosen)]
    inbound_ports: Chosen,
    /// Ports of the app that are not.
    #[arg(long, value_name = "PORTS", value_delimiter = ',', value_parser = ports)]
    exclude_inbound_ports: Vec<Ports>,
    /// Ports that the app calls which are redirected: `all`, `none`, or a list.
    #[arg(long, value_name = "PORTS", default_value = "all", value_parser = chosen)]
    outbound_ports: Chosen,
    /// Ports that the app calls which are not.
    #[arg(long, value_name = "PORTS", value_delimiter = ',', value_parser = ports)]
    exclude_outbound_ports: Vec<Ports>,
    /// Networks that the app calls which are redirected [default: all].
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', value_parser = network)]
    cidrs: Vec<IpNet>,
    /// Networks that the app calls which are not.
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', value_parser = network)]
    exclude_cidrs: Vec<IpNet>,
    /// Users whose calls are not redirected.
    #[arg(long, value_name = "UIDS", value_delimiter = ',')]
    exclude_uids: Vec<u32>,
    /// Groups whose calls are not redirected.
    #[arg(long, value_name = "GIDS", value_delimiter = ',')]
    exclude_gids: Vec<u32>,
    /// Leave IPv6 alone.
    #[arg(long)]
    ipv4_only: bool,
    /// Remove all rules of this command, whatever their options were, and nothing else.
    #[arg(long, group = "instead")]
    remove: bool,
    /// Change nothing: tell what is missing, and end with 1 if anything is.
    #[arg(long, group = "instead")]
    verify: bool,
    /// Change nothing and look at nothing: print the rules as `iptables-restore --noflush` reads them.
    #[arg(long, group = "instead")]
    dry_run: bool,
    /// How the findings of `--verify` are written; as JSON
    /// `{"families": [{"family", "backend", "inPlace", "missing", "unexpected", "outOfOrder"}]}`.
    #[arg(short, long, value_enum, default_value_t = Output::Table, requires = "verify")]
    output: Output,
}

/// What `--verify` finds for one family.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    family: Family,
    backend: String,
    in_place: bool,
    #[serde(flatten)]
    difference: Difference,
}

impl Intercept {
    /// Does it, and tells on standard output what was done.
    ///
    /// # Errors
    /// When no program for the tables works.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let redirects = self.redirects();
        if self.dry_run {
            for family in self.families() {
                let rules = Rules::of(&redirects, family);
                print(&format!("# {family:?}\n{}", rules.to_restore(&[])));
            }
            return Ok(exit::FINE);
        }
        let mut families = self.families();
        if !tables::has(Family::IPv6) && families.contains(&Family::IPv6) {
            families.retain(|family| *family != Family::IPv6);
            eprintln!("IPv6: skipped, this kernel has none");
        }
        if self.remove {
            for family in families {
                print(&remove(family).with_context(|| format!("{family:?}"))?);
            }
            return Ok(exit::FINE);
        }
        if self.verify {
            return self.find(&redirects, &families);
        }
        for family in families {
            print(&install(&Rules::of(&redirects, family), family).with_context(|| format!("{family:?}"))?);
        }
        Ok(exit::FINE)
    }

    fn redirects(&self) -> Redirects {
        Redirects {
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            proxy_uid: self.proxy_uid,
            inbound: self.inbound_ports.clone(),
            exclude_inbound: self.exclude_inbound_ports.clone(),
            outbound: self.outbound_ports.clone(),
            exclude_outbound: self.exclude_outbound_ports.clone(),
            cidrs: self.cidrs.clone(),
            exclude_cidrs: self.exclude_cidrs.clone(),
            exclude_uids: self.exclude_uids.clone(),
            exclude_gids: self.exclude_gids.clone(),
        }
    }

    fn families(&self) -> Vec<Family> {
        if self.ipv4_only { vec![Family::IPv4] } else { vec![Family::IPv4, Family::IPv6] }
    }

    fn find(&self, redirects: &Redirects, families: &[Family]) -> Result<ExitCode> {
        let find = |family: &Family| {
            let (tables, present) = tables::in_use(*family).with_context(|| format!("{family:?}"))?;
            let difference = present.difference(&Rules::of(redirects, *family));
            Ok(Finding { family: *family, backend: tables.name, in_place: difference.is_none(), difference })
        };
        let findings = families.iter().map(find).collect::<Result<Vec<_>>>()?;
        let report = serde_json::json!({ "families": findings });
        print(&self.output.of(&report, || findings.iter().map(Finding::to_text).collect())?);
        Ok(if findings.iter().all(|finding| finding.in_place) { exit::FINE } else { exit::FINDINGS })
    }
}

/// Puts the rules in place.
fn install(wanted: &Rules, family: Family) -> Result<String> {
    let (tables, present) = tables::in_use(family)?;
    if present.difference(wanted).is_none() {
        return Ok(format!("{family:?}: in place already ({})\n", tables.name));
    }
    // Jumps of other options, or of another version, would stay beside the new ones.
    let stale = Present { chains: Vec::new(), ..present.clone() };
    let odd = present.jumps.iter().any(|jump| !wanted.jumps.contains(jump))
        || present.jumps.len() > wanted.jumps.len();
    let kept = if odd { &[][..] } else { &present.jumps };
    if odd {
        tables.apply(&stale.to_removal())?;
    }
    tables.apply(&wanted.to_restore(kept))?;
    let left = tables.present()?.difference(wanted);
    if !left.is_none() {
        anyhow::bail!("{} took the rules, but shows others: {left:?}", tables.name);
    }
    Ok(format!("{family:?}: {} rules in place ({})\n", wanted.rules.len() + wanted.jumps.len(), tables.name))
}

/// Removes what is ours, from every backend.
fn remove(family: Family) -> Result<String> {
    let mut text = String::new();
    for (tables, present) in tables::working(family)? {
        let Tables { name, .. } = &tables;
        if !present.is_empty() {
            tables.apply(&present.to_removal())?;
            text += &format!(
                "{family:?}: {} rules removed ({name})\n",
                present.rules.len() + present.jumps.len()
            );
        }
    }
    Ok(if text.is_empty() { format!("{family:?}: nothing to remove\n") } else { text })
}

impl Finding {
    fn to_text(&self) -> String {
        let Self { family, backend, in_place, difference } = self;
        if *in_place {
            return format!("{family:?}: in place ({backend})\n");
        }
        let mut text = format!("{family:?}: not in place ({backend})\n");
        difference.missing.iter().for_each(|rule| text += &format!("  missing     {rule}\n"));
        difference.unexpected.iter().for_each(|rule| text += &format!("  unexpected  {rule}\n"));
        if difference.out_of_order {
            text += "  the rules are there, in another order\n";
        }
        text
    }
}

/// A closed pipe is no failure: the exit code still tells.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn chosen(text: &str) -> Result<Chosen, String> {
    match text {
        "all" => Ok(Chosen::All),
        "none" => Ok(Chosen::These(Vec::new())),
        list => list.split(',').map(ports).collect::<Result<_, _>>().map(Chosen::These),
    }
}

fn ports(text: &str) -> Result<Ports, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(Ports { first, last }),
        _ => Err("a port from 1 to 65535, or a range such as 8000-8100".to_owned()),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or_else(|| "a network such as 10.0.0.0/8 or fd00::/8".to_owned())
}
