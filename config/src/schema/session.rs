//! `sessionPersistence` of HTTPRoute and GRPCRoute rules (GEP-1619).

use crate::{
    convert::{Spanned, Text, choice, object},
    duration::GepDuration,
};

object! {
    /// Keeps a caller with the endpoint that answered it first, by a token that the answer gives and the caller sends back.
    ///
    /// The token stands above the weights of the backends, also above a weight of 0. A caller without a token that holds
    /// is balanced as any other, and the answer gives it a new one: where there was none, where it has expired or was not
    /// made for this rule, where its endpoint is gone, and where a retry was answered by another endpoint. The token is read and made by every proxy that has
    /// this rule, and outlives restarts; it goes on to the backend as it came.
    pub(crate) struct SessionPersistence {
        /// The name of the cookie or header. `session-` and eight digits, the same on every proxy and another for every rule,
        /// unless set. Two rules of one route that ask for one name push each other's sessions out (OR171).
        session_name("sessionName"): Option<Spanned<Text>>,
        /// How long a session lasts at most, from its first answer; without limit unless set, and with `0s`.
        absolute_timeout("absoluteTimeout"): Option<Spanned<GepDuration>>,
        /// How long a session may go unused, to the second; without limit unless set, and with `0s`. Not longer than
        /// `absoluteTimeout` (OR146).
        idle_timeout("idleTimeout"): Option<Spanned<GepDuration>>,
        /// How the token travels.
        kind("type"): Option<Spanned<SessionType>> = SessionType::Cookie.word(),
        /// What the cookie is like; only with `type: Cookie` (OR126).
        cookie_config("cookieConfig"): Option<CookieConfig>,
    }
}

choice! {
    /// How a session's token travels.
    pub(crate) enum SessionType {
        /// In a cookie: `HttpOnly`, `SameSite=Lax`, and with the path of the match that holds.
        Cookie = "Cookie",
        /// In a header of the answer, which the caller puts into its next request.
        Header = "Header",
    }
}

object! {
    /// What a session's cookie is like.
    pub(crate) struct CookieConfig {
        /// How long the caller keeps it.
        lifetime_type("lifetimeType"): Option<Spanned<CookieLifetime>> = CookieLifetime::Session.word(),
    }
}

choice! {
    /// How long a caller keeps a cookie.
    pub(crate) enum CookieLifetime {
        /// Until it ends; the proxy holds the session to its limits all the same.
        Session = "Session",
        /// For `absoluteTimeout`, which must be set (OR112): the cookie has `Max-Age`.
        Permanent = "Permanent",
    }
}
