//! `rateLimit`: how many requests a Service takes in a time.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    convert::{Bounded, Context, FromNode, HeaderName, Spanned, Strict, TextValue, object},
    duration::GepDuration,
    yaml::Node,
};

object! {
    /// How many requests a Service takes in a time, from all or from each of its callers. The proxy before the service
    /// counts, each proxy for itself: a Service with three of them takes three times as much.
    ///
    /// Requests flow in evenly: after a burst one more is taken each `per` divided by `requests`. What is too much is
    /// answered 429 `rate_limited` with `retry-after`, a gRPC call with code 8 and `grpc-retry-pushback-ms`. Of several
    /// policies that reach a Service each counts; the one of `Mesh.spec.defaults` holds where no other is written.
    pub(crate) struct RateLimitBody {
        /// How many requests.
        requests("requests"): Spanned<Bounded<1, 1_000_000>>,
        /// In which time; 1s to 24h (OR116).
        per("per"): Spanned<GepDuration>,
        /// How many may come at once after a pause; `requests` unless set.
        burst("burst"): Strict<Bounded<1, 1_000_000>>,
        /// Whose requests are counted together. `identity`: those of one authenticated caller; callers without an identity
        /// share one count. `sourceIp`: those from one address, which is a proxy's where one stands between. `{header: NAME}`:
        /// those with one value of this request header; those without it share one count. Unset: all requests. Of 10,000
        /// counts that are in use, all further callers share one more.
        by("by"): Strict<RateLimitBy>,
    }
}

/// Whose requests are counted together.
#[derive(Clone, Debug)]
pub(crate) enum RateLimitBy {
    /// Those of one authenticated caller.
    Identity,
    /// Those from one address.
    SourceIp,
    /// Those with one value of a header.
    Header(Spanned<HeaderName>),
}

object! {
    /// A request header.
    pub(crate) struct ByHeader {
        /// Its name.
        header("header"): Spanned<HeaderName>,
    }
}

impl RateLimitBy {
    const WORDS: &[&str] = &["identity", "sourceIp"];
}

impl FromNode for RateLimitBy {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if node.scalar().is_none() {
            return ByHeader::from_node(node, cx).map(|by| Self::Header(by.header));
        }
        match TextValue::read_word(node, Self::WORDS, cx)? {
            "identity" => Some(Self::Identity),
            "sourceIp" => Some(Self::SourceIp),
            other => {
                cx.unknown_value(node, other, &["identity", "sourceIp", "{header: NAME}"]);
                None
            }
        }
    }
}

impl JsonSchema for RateLimitBy {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RateLimitBy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let by_header = ByHeader::json_schema(generator);
        json_schema!({"anyOf": [{"type": "string", "enum": Self::WORDS}, by_header]})
    }
}
