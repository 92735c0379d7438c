//! The list of finding codes. A code never changes its meaning and is never used again for another.

use super::Severity;
use crate::convert::paragraphs;

macro_rules! codes {
    ($( $(#[doc = $doc:literal])* $name:ident = $text:literal, )*) => {
        /// What kind of finding it is. The first paragraph of each says what is wrong, the second why it matters and what
        /// helps: they are the reference of findings, and the rules of SARIF.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $( $(#[doc = $doc])* $name, )* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Code] = &[$( Code::$name, )*];

            /// The code as shown: `OR110`.
            pub fn as_str(self) -> &'static str {
                match self { $( Code::$name => $text, )* }
            }

            fn doc(self) -> &'static str {
                match self { $( Code::$name => concat!($($doc, "\n"),*), )* }
            }
        }
    };
}

impl Code {
    /// What is wrong, in a sentence.
    pub fn meaning(self) -> String {
        paragraphs(self.doc()).split("\n\n").next().unwrap_or_default().to_owned()
    }

    /// Why it matters and what helps.
    pub fn advice(self) -> String {
        paragraphs(self.doc()).split_once("\n\n").map(|(_, advice)| advice.to_owned()).unwrap_or_default()
    }

    /// How bad such a finding mostly is; a few codes are milder in some places.
    pub fn severity(self) -> Severity {
        match self {
            Code::Skipped => Severity::Note,
            Code::UnresolvedBackend
            | Code::Shadowed
            | Code::Contended
            | Code::HostClaimed
            | Code::NoEffect
            | Code::NoEndpoints
            | Code::RetryBudget
            | Code::RetryRoom
            | Code::RetryChain
            | Code::AnyOrigin
            | Code::SessionName
            | Code::PlaintextCaller
            | Code::EndpointIdentity => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

codes! {
    /// The file is not UTF-8.
    ///
    /// Save it as UTF-8, without a byte order mark of UTF-16. The other files are still checked.
    Encoding = "OR101",
    /// The file is not YAML, or uses a part of YAML that has no meaning in policy.
    ///
    /// Tabs, tags, anchors on keys and the like. What the file holds is not known then, so nothing is said about references
    /// into it.
    Syntax = "OR102",
    /// A key is written twice in one mapping.
    ///
    /// YAML readers differ in which one they take, so neither is: remove one. Both places are shown.
    DuplicateKey = "OR103",
    /// The file costs more to read than a policy file may: size, nesting, number of values, aliases.
    ///
    /// The limits are far beyond any policy that people write; a file beyond them is a mistake or an attack.
    Budget = "OR104",
    /// The file holds no object.
    ///
    /// Probably the wrong file, or one that an editor has not finished.
    Empty = "OR105",
    /// The field does not exist.
    ///
    /// A field that is not known would be a wish that nobody fulfils, so it is refused rather than ignored; the nearest name
    /// is shown. Every field of the upstream schema of a Kubernetes kind is known.
    UnknownField = "OR110",
    /// The value has the wrong type.
    ///
    /// Often YAML's own surprise: `off`, `yes` and `010` are not what they look like. The help says how to write it.
    WrongType = "OR111",
    /// A required field is missing.
    ///
    /// `outrigger reference KIND` shows which fields a kind needs.
    MissingField = "OR112",
    /// The value is none of the allowed ones.
    ///
    /// The allowed ones are shown, or the nearest.
    UnknownValue = "OR113",
    /// Exactly one of several fields must be set.
    ///
    /// Each of them says what the object is, so two of them say two things.
    OneOf = "OR114",
    /// The value is not a duration.
    ///
    /// Durations are those of the Gateway API (GEP-2257): whole numbers with `h`, `m`, `s` or `ms`, such as `500ms` or `1m30s`. A
    /// bare number has no unit.
    Duration = "OR115",
    /// The number, or the number of items, is outside its range.
    ///
    /// The range is shown.
    Range = "OR116",
    /// The kind or apiVersion is not one that Outrigger reads.
    ///
    /// Kinds of other API groups are skipped with a note (OR119); a kind of our own group, or of a group of which we
    /// read kinds, is probably a slip.
    UnknownKind = "OR117",
    /// The field, value or kind belongs to the contract but is not enforced yet.
    ///
    /// It is refused, for a limit that is written and not held would be worse than none. The list only shrinks.
    NotSupported = "OR118",
    /// The object is of no concern to Outrigger and was skipped.
    ///
    /// Deployments, Gateways and the like may stand in the same files.
    Skipped = "OR119",
    /// The value is not a valid name.
    ///
    /// Names are those of Kubernetes: lower-case letters, digits and `-`.
    Name = "OR120",
    /// The value is not a valid address or network.
    ///
    /// Addresses are IP addresses; a host name stands in `dns`.
    Address = "OR121",
    /// The regular expression is not valid, or too large.
    ///
    /// The syntax is that of the Rust crate `regex`, which runs in linear time and so has no look-around and no
    /// backreferences. A compiled expression may take 1 MiB.
    Regex = "OR122",
    /// The header name or value is not valid, or may not be changed.
    ///
    /// Headers that frame or route a request, and those of the mesh, are the proxy's own.
    Header = "OR123",
    /// The path is not valid.
    ///
    /// Requests are matched by their canonical path, so a path that is not canonical would match nothing.
    Path = "OR124",
    /// The trust domain or SPIFFE id is not valid.
    ///
    /// A trust domain stands alone: `cluster.local`, not `spiffe://cluster.local/...`.
    Spiffe = "OR125",
    /// Fields of one object contradict each other.
    ///
    /// Both places are shown where there are two.
    Conflict = "OR126",
    /// Two objects have one kind, namespace and name, or Service and MeshService share a name.
    ///
    /// References would mean either. Often one file was given twice, or an object was copied and not renamed.
    DuplicateObject = "OR140",
    /// The reference names an object, port or rule that does not exist.
    ///
    /// The nearest name is shown with its place. References look in the namespace of the object that holds them unless they
    /// name another.
    UnknownReference = "OR141",
    /// The reference names a kind that cannot stand here.
    ///
    /// A parentRef without `kind` means a Gateway, as the Gateway API has it; for a Service write `group: ""` and
    /// `kind: Service`.
    WrongReference = "OR142",
    /// A backendRef resolves to nothing: its share of the requests is answered 500.
    ///
    /// As the Gateway API wants it: the rest of the rule goes on working. Add the Service, or correct the name.
    UnresolvedBackend = "OR143",
    /// No backend has a weight above 0.
    ///
    /// Every request of the rule would be answered 500.
    Weights = "OR144",
    /// The rule or match can never be chosen.
    ///
    /// Of all matches on a port the most specific that holds is taken, so one whose requests another one always takes first is
    /// dead. What hides it is shown.
    Shadowed = "OR145",
    /// A shorter limit is longer than the limit around it.
    ///
    /// The inner one never expires, so what hangs on it (a repeat after an attempt that takes too long) never happens.
    Timeouts = "OR146",
    /// Two policies or routes contend for one target.
    ///
    /// The older wins, field by field; both are shown.
    Contended = "OR147",
    /// Two objects claim one host.
    ///
    /// The older has it; both are shown.
    HostClaimed = "OR148",
    /// Two listeners have one address, or a listener sends to itself.
    ///
    /// The proxy could not start, or requests would go round.
    Bind = "OR149",
    /// A listener is open to more than this machine without being told to.
    ///
    /// Whoever reaches an outbound listener calls as the app does, and whoever reaches the admin API can stop the proxy.
    Exposed = "OR150",
    /// The block has no effect on this kind of target.
    ///
    /// It would look as if it held. The help says where it belongs.
    Misplaced = "OR151",
    /// The field is valid and has no effect here.
    ///
    /// Remove it, or add what is missing for it to count.
    NoEffect = "OR152",
    /// The Service has no endpoints.
    ///
    /// Requests to it are answered 503 `no_endpoint`.
    NoEndpoints = "OR153",
    /// The retry budget holds no repeat back.
    ///
    /// A service that fails then gets all its requests again, just when it can least bear them.
    RetryBudget = "OR154",
    /// The limits leave no time for a repeat.
    ///
    /// The repeats are written and never made, or are cut off.
    RetryRoom = "OR155",
    /// Retries multiply along a chain of services.
    ///
    /// Each proxy repeats by itself, so a failure at the end of the chain comes back to it as many requests. It is told where the
    /// files prove who calls whom: Sidecars whose outbound listeners are pinned.
    RetryChain = "OR156",
    /// A file that the policy names cannot be read, or holds something else.
    ///
    /// Certificates and keys are read when a proxy takes the policy up, and again when they change; one that cannot be used
    /// keeps the change from being taken up.
    NamedFile = "OR160",
    /// Every origin is allowed, with credentials.
    ///
    /// Any page that somebody visits may then call the service with their cookies and read the answers. List the origins
    /// that are meant to.
    AnyOrigin = "OR170",
    /// Two rules of a route name their sessions alike.
    ///
    /// Sessions are never shared between rules, and a caller keeps one token of a name: each rule takes the other's for none,
    /// and replaces it. Two cookies whose paths never meet may have one name.
    SessionName = "OR171",
    /// A Sidecar needs an identity and has none.
    ///
    /// A port of mode Strict takes mutual TLS alone, so nobody could connect to it there; and callers that speak mutual TLS to an
    /// endpoint that has an identity find nobody who answers. Give the Sidecar an `identity`, or the port a milder mode.
    NoIdentity = "OR172",
    /// A Sidecar without identity calls endpoints that have one.
    ///
    /// It calls them in plaintext: whoever is on the way can read along, they take it for anonymous, and ports of mode Strict
    /// refuse it.
    PlaintextCaller = "OR173",
    /// The identity of an endpoint is missing, or is not that of the Sidecar that listens there.
    ///
    /// Callers speak mutual TLS only to endpoints that have an identity, and only with whoever has that identity. Where it is missing,
    /// a port of mode Strict refuses them; where it is another's, they refuse the Sidecar.
    EndpointIdentity = "OR174",
    /// The identity belongs to another trust domain than the mesh.
    ///
    /// There are no authorities for it that could be believed, so nobody could prove to have it. The trust domain is
    /// `Mesh.spec.trustDomain`.
    ForeignIdentity = "OR175",
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn each_code_says_what_is_wrong_and_what_helps() {
        for code in Code::ALL {
            assert!(code.meaning().ends_with('.') && code.advice().ends_with('.'), "{}", code.as_str());
        }
        assert!(Code::ALL.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    }
}
