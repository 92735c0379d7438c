//! The rules, to the letter: each line is a promise about some traffic.

use super::*;

fn redirects() -> Redirects {
    Redirects {
        outbound_port: 15001,
        inbound_port: 15006,
        proxy_uid: 1337,
        inbound: Chosen::All,
        exclude_inbound: Vec::new(),
        outbound: Chosen::All,
        exclude_outbound: Vec::new(),
        cidrs: Vec::new(),
        exclude_cidrs: Vec::new(),
        exclude_uids: Vec::new(),
        exclude_gids: Vec::new(),
    }
}

fn one(port: u16) -> Ports {
    Ports { first: port, last: port }
}

#[test]
fn everything_over_ipv4() {
    let expected = "\
*nat
:OUTRIGGER_INBOUND - [0:0]
:OUTRIGGER_OUTPUT - [0:0]
:OUTRIGGER_IN_REDIRECT - [0:0]
:OUTRIGGER_OUT_REDIRECT - [0:0]
-A OUTRIGGER_INBOUND -d 127.0.0.0/8 -j RETURN
-A OUTRIGGER_INBOUND -p tcp -m multiport --dports 15000,15001,15006,15020 -j RETURN
-A OUTRIGGER_INBOUND -j OUTRIGGER_IN_REDIRECT
-A OUTRIGGER_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A OUTRIGGER_OUTPUT ! -d 127.0.0.0/8 -o lo -m owner --uid-owner 1337 -j OUTRIGGER_INBOUND
-A OUTRIGGER_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A OUTRIGGER_OUTPUT -o lo -j RETURN
-A OUTRIGGER_OUTPUT -d 127.0.0.0/8 -j RETURN
-A OUTRIGGER_OUTPUT -j OUTRIGGER_OUT_REDIRECT
-A OUTRIGGER_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A OUTRIGGER_OUT_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j OUTRIGGER_INBOUND
-A OUTPUT -p tcp -j OUTRIGGER_OUTPUT
COMMIT
";
    let rules = Rules::of(&redirects(), Family::IPv4);
    assert_eq!(rules.to_restore(&[]), expected);
    let again = rules.to_restore(&rules.jumps);
    assert!(!again.contains("PREROUTING") && again.lines().count() == expected.lines().count() - 2);
}

#[test]
fn every_option_over_ipv6() {
    let options = Redirects {
        outbound_port: 4001,
        inbound_port: 4006,
        proxy_uid: 7,
        inbound: Chosen::These((1..=20).map(one).collect()),
        exclude_inbound: vec![one(22)],
        outbound: Chosen::These(vec![one(80), Ports { first: 8000, last: 8100 }]),
        exclude_outbound: vec![one(25), one(53)],
        cidrs: ["10.0.0.0/8", "fd00::1/8", "2001:db8::/32"].map(|net| net.parse().unwrap()).to_vec(),
        exclude_cidrs: ["fd00::9/128", "192.0.2.0/24"].map(|net| net.parse().unwrap()).to_vec(),
        exclude_uids: vec![0, 101],
        exclude_gids: vec![102],
    };
    let expected = "\
-A OUTRIGGER_INBOUND -d ::1/128 -j RETURN
-A OUTRIGGER_INBOUND -p tcp -m multiport --dports 15000,4001,4006,15020 -j RETURN
-A OUTRIGGER_INBOUND -p tcp -m multiport --dports 22 -j RETURN
-A OUTRIGGER_INBOUND -p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -j OUTRIGGER_IN_REDIRECT
-A OUTRIGGER_INBOUND -p tcp -m multiport --dports 16,17,18,19,20 -j OUTRIGGER_IN_REDIRECT
-A OUTRIGGER_OUTPUT -s ::1/128 -o lo -j RETURN
-A OUTRIGGER_OUTPUT ! -d ::1/128 -o lo -m owner --uid-owner 7 -j OUTRIGGER_INBOUND
-A OUTRIGGER_OUTPUT -m owner --uid-owner 7 -j RETURN
-A OUTRIGGER_OUTPUT -o lo -j RETURN
-A OUTRIGGER_OUTPUT -d ::1/128 -j RETURN
-A OUTRIGGER_OUTPUT -m owner --uid-owner 0 -j RETURN
-A OUTRIGGER_OUTPUT -m owner --uid-owner 101 -j RETURN
-A OUTRIGGER_OUTPUT -m owner --gid-owner 102 -j RETURN
-A OUTRIGGER_OUTPUT -p tcp -m multiport --dports 25,53 -j RETURN
-A OUTRIGGER_OUTPUT -d fd00::9/128 -j RETURN
-A OUTRIGGER_OUTPUT -d fd00::/8 -p tcp -m multiport --dports 80,8000:8100 -j OUTRIGGER_OUT_REDIRECT
-A OUTRIGGER_OUTPUT -d 2001:db8::/32 -p tcp -m multiport --dports 80,8000:8100 -j OUTRIGGER_OUT_REDIRECT
-A OUTRIGGER_IN_REDIRECT -p tcp -j REDIRECT --to-ports 4006
-A OUTRIGGER_OUT_REDIRECT -p tcp -j REDIRECT --to-ports 4001
";
    let rules = Rules::of(&options, Family::IPv6).rules;
    assert_eq!(rules.iter().map(|rule| format!("{rule}\n")).collect::<String>(), expected);
}

#[test]
fn nothing_is_chosen_where_none_is() {
    let options = Redirects {
        inbound: Chosen::These(Vec::new()),
        cidrs: vec!["fd00::/8".parse().unwrap()],
        ..redirects()
    };
    let rules = Rules::of(&options, Family::IPv4).rules;
    assert!(!rules.iter().any(|rule| rule.ends_with("_REDIRECT")), "{rules:?}");
    let everything = Redirects { cidrs: vec!["0.0.0.0/0".parse().unwrap()], ..redirects() };
    assert_eq!(Rules::of(&everything, Family::IPv4), Rules::of(&redirects(), Family::IPv4));
}

#[test]
fn a_range_takes_two_places_of_fifteen() {
    let mut ports: Vec<Ports> = (1..=14).map(one).collect();
    ports.push(Ports { first: 100, last: 200 });
    let lists = multiport(&ports);
    assert_eq!(lists.len(), 2);
    assert_eq!(lists[1], "100:200");
}
