//! The list of finding codes. A code never changes its meaning and is never used again for another.

macro_rules! codes {
    ($( $(#[doc = $doc:literal])* $name:ident = $text:literal, )*) => {
        /// What kind of finding it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $( $(#[doc = $doc])* $name, )* }

        impl Code {
            /// Every code with what it means, in order.
            pub const ALL: &[(Code, &str)] = &[$( (Code::$name, concat!($($doc),*)), )*];

            /// The code as shown: `OR110`.
            pub fn as_str(self) -> &'static str {
                match self { $( Code::$name => $text, )* }
            }
        }
    };
}

codes! {
    /// The file is not UTF-8.
    Encoding = "OR101",
    /// The file is not YAML, or uses a part of YAML that has no meaning in policy.
    Syntax = "OR102",
    /// A key is written twice in one mapping.
    DuplicateKey = "OR103",
    /// The file costs more to read than a policy file may: size, nesting, number of values, aliases.
    Budget = "OR104",
    /// The file holds no object.
    Empty = "OR105",
    /// The field does not exist.
    UnknownField = "OR110",
    /// The value has the wrong type.
    WrongType = "OR111",
    /// A required field is missing.
    MissingField = "OR112",
    /// The value is none of the allowed ones.
    UnknownValue = "OR113",
    /// Exactly one of several fields must be set.
    OneOf = "OR114",
    /// The value is not a duration.
    Duration = "OR115",
    /// The number, or the number of items, is outside its range.
    Range = "OR116",
    /// The kind or apiVersion is not one that Outrigger reads.
    UnknownKind = "OR117",
    /// The field, value or kind belongs to the contract but is not enforced yet.
    NotSupported = "OR118",
    /// The object is of no concern to Outrigger and was skipped.
    Skipped = "OR119",
    /// The value is not a valid name.
    Name = "OR120",
    /// The value is not a valid address or network.
    Address = "OR121",
    /// The regular expression is not valid, or too large.
    Regex = "OR122",
    /// The header name or value is not valid, or may not be changed.
    Header = "OR123",
    /// The path is not valid.
    Path = "OR124",
    /// The trust domain or SPIFFE id is not valid.
    Spiffe = "OR125",
    /// Fields of one object contradict each other.
    Conflict = "OR126",
    /// Two objects have one kind, namespace and name, or Service and MeshService share a name.
    DuplicateObject = "OR140",
    /// The reference names an object, port or rule that does not exist.
    UnknownReference = "OR141",
    /// The reference names a kind that cannot stand here.
    WrongReference = "OR142",
    /// A backendRef resolves to nothing: its share of the requests is answered 500.
    UnresolvedBackend = "OR143",
    /// No backend has a weight above 0.
    Weights = "OR144",
    /// The rule or match can never be chosen.
    Shadowed = "OR145",
    /// A shorter limit is longer than the limit around it.
    Timeouts = "OR146",
    /// Two policies or routes contend for one target.
    Contended = "OR147",
    /// Two objects claim one host.
    HostClaimed = "OR148",
    /// Two listeners have one address, or a listener sends to itself.
    Bind = "OR149",
    /// A listener is open to more than this machine without being told to.
    Exposed = "OR150",
    /// The block has no effect on this kind of target.
    Misplaced = "OR151",
    /// The field is valid and has no effect here.
    NoEffect = "OR152",
    /// The Service has no endpoints.
    NoEndpoints = "OR153",
    /// The retry budget holds no repeat back.
    RetryBudget = "OR154",
    /// The limits leave no time for a repeat.
    RetryRoom = "OR155",
    /// A file that the policy names cannot be read, or holds something else.
    NamedFile = "OR160",
}
