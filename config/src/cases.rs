//! Case files of `outrigger test`: requests, and what is expected of a policy for each.
//!
//! They are no objects: a folder of policy must stay one that a proxy can run. They are read as policy is, so every slip is a
//! finding with its place. What a case means for a request is not known here.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    Finding, Severity, SourceFile,
    convert::{
        Bounded, Context, Flag, FromNode, List, Percent, SocketAddress, Spanned, Text, TextMap, choice,
        object,
    },
    diagnostic::{self, Code, Fault, Sources},
    model::Origin,
    spiffe::SpiffeId,
    yaml,
};

object! {
    /// A file of cases.
    pub(crate) struct CaseFile {
        /// The cases, at least one.
        cases("cases"): List<CaseBody>,
    }
}

object! {
    /// One case.
    pub(crate) struct CaseBody {
        /// What it is about, in words.
        name("name"): Spanned<Text>,
        /// The request.
        request("request"): RequestBody,
        /// What must become of it: at least one field.
        expect("expect"): ExpectBody,
    }
}

object! {
    /// The request of a case.
    pub(crate) struct RequestBody {
        /// Its method.
        method("method"): Option<Text>,
        /// Its URL.
        url("url"): Text,
        /// Its header.
        headers("headers"): TextMap,
        /// Its version.
        version("version"): Option<VersionWord>,
        /// It is for the app, by the first inbound listener.
        inbound("inbound"): Option<Flag>,
        /// The bind address of the listener by which it comes.
        listener("listener"): Option<SocketAddress>,
        /// The address that the caller dialled, where traffic is redirected.
        destination("destination"): Option<SocketAddress>,
        /// It comes as to an HTTP proxy.
        proxy_form("proxyForm"): Option<Flag>,
        /// The caller's SPIFFE ID.
        from("from"): Option<Spanned<Text>>,
    }
}

choice! {
    /// A version of HTTP.
    pub(crate) enum VersionWord {
        /// HTTP/1.0.
        Http10 = "http1.0",
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2.
        Http2 = "http2",
    }
}

object! {
    /// What must become of a request.
    pub(crate) struct ExpectBody {
        /// The rule that is taken: `namespace/name/rule`, or `default`.
        rule("rule"): Option<Text>,
        /// The only backend: `namespace/name:port`, `app` or `egress`.
        backend("backend"): Option<Text>,
        /// The backends with their shares; all that have any.
        shares("shares"): List<ShareBody>,
        /// The status of an answer that the proxy makes itself.
        status("status"): Option<Bounded<100, 599>>,
        /// `x-outrigger-error` of a refusal.
        reason("reason"): Option<Text>,
        /// Where a redirect leads.
        location("location"): Option<Text>,
        /// Path and query as the endpoint gets them.
        path("path"): Option<Text>,
        /// Host or `:authority` as the endpoint gets it.
        host("host"): Option<Text>,
        /// Header fields as the endpoint gets them; an empty text: absent.
        headers("headers"): TextMap,
        /// Time limits, as policy files write them, or `off`.
        timeouts("timeouts"): Option<TimeoutsBody>,
        /// Repeats after the first try.
        attempts("attempts"): Option<Bounded<0, 20>>,
    }
}

object! {
    /// One share.
    pub(crate) struct ShareBody {
        /// The backend.
        backend("backend"): Text,
        /// Its share.
        percent("percent"): Percent,
    }
}

object! {
    /// Time limits.
    pub(crate) struct TimeoutsBody {
        /// For the whole request.
        request("request"): Option<Text>,
        /// For one attempt.
        attempt("attempt"): Option<Text>,
        /// For making a connection.
        connect("connect"): Option<Text>,
        /// Without a byte.
        stream_idle("streamIdle"): Option<Text>,
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub name: Arc<str>,
    /// Where it stands.
    pub origin: Origin,
    /// The request.
    pub request: CaseRequest,
    /// What is expected, by the field that says it: `status`, `headers.x-a`, `shares`, `timeouts.request`.
    pub expect: Vec<(String, Expected)>,
}

/// What is expected of one field.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// This text.
    Text(String),
    /// These backends with these percentages, and no other.
    Shares(Vec<(String, f64)>),
}

/// The request of a case.
#[derive(Clone, Debug)]
pub struct CaseRequest {
    /// Its method; GET unless set.
    pub method: Arc<str>,
    /// Its URL.
    pub url: Arc<str>,
    /// Its header.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// `http1.0`, `http1` or `http2`.
    pub version: Option<&'static str>,
    /// It is for the app.
    pub inbound: bool,
    /// The listener by which it comes.
    pub listener: Option<SocketAddr>,
    /// The address that the caller dialled.
    pub destination: Option<SocketAddr>,
    /// It comes as to an HTTP proxy.
    pub proxy_form: bool,
    /// Who sends it.
    pub from: Option<SpiffeId>,
}

/// The outcome of [`read_cases`].
#[derive(Debug)]
pub struct CheckedCases {
    /// The cases that could be read.
    pub cases: Vec<Case>,
    /// What is wrong with the files.
    pub findings: Vec<Finding>,
    sources: Sources,
}

impl CheckedCases {
    /// Whether there is an error.
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All findings as text, as `check` shows them.
    pub fn render_text(&self, color: bool) -> String {
        diagnostic::text(&self.findings, &self.sources, color)
    }
}

/// Reads case files.
pub fn read_cases(files: &[SourceFile]) -> CheckedCases {
    let mut sources = Sources::default();
    let (mut faults, mut roots, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for (file, source) in (0u32..).zip(files) {
        match yaml::decode(file, &source.text) {
            Ok(text) => {
                sources.add(&source.path, text);
                for root in yaml::read(file, text, &mut faults).roots {
                    let read = CaseFile::from_node(&root, &mut Context::new("cases", &root, &mut faults));
                    bodies.extend(read.into_iter().flat_map(|read| read.cases.to_vec()));
                    roots.push(root);
                }
            }
            Err(fault) => {
                sources.add(&source.path, &String::from_utf8_lossy(&source.text));
                faults.push(fault);
            }
        }
    }
    let cases = bodies.iter().filter_map(|body| case(body, &sources, &mut faults)).collect();
    CheckedCases { cases, findings: sources.findings(faults, &roots), sources }
}

fn case(body: &CaseBody, sources: &Sources, faults: &mut Vec<Fault>) -> Option<Case> {
    let request = &body.request;
    let from = match request.from.as_ref().map(|from| (from, SpiffeId::parse(&from.value.0))) {
        None => None,
        Some((_, Ok(id))) => Some(id),
        Some((from, Err(why))) => {
            faults.push(Fault::error(Code::Spiffe, from.span, why));
            return None;
        }
    };
    let expect = expected(&body.expect);
    if expect.is_empty() {
        let message = "the case expects nothing";
        faults.push(
            Fault::error(Code::MissingField, body.expect.span, message)
                .help("name what must become of the request"),
        );
    }
    let flag = |flag: &Option<Flag>| flag.is_some_and(|flag| flag.0);
    Some(Case {
        name: body.name.value.0.clone(),
        origin: sources.origin(&body.name.span),
        request: CaseRequest {
            method: request.method.as_ref().map_or_else(|| "GET".into(), |method| method.0.clone()),
            url: request.url.0.clone(),
            headers: request
                .headers
                .0
                .iter()
                .map(|(name, value)| (name.clone(), value.value.clone()))
                .collect(),
            version: request.version.map(VersionWord::word),
            inbound: flag(&request.inbound),
            listener: request.listener.map(|listener| listener.0),
            destination: request.destination.map(|destination| destination.0),
            proxy_form: flag(&request.proxy_form),
            from,
        },
        expect,
    })
}

fn expected(body: &ExpectBody) -> Vec<(String, Expected)> {
    let text = |value: &Option<Text>| value.as_ref().map(|value| value.0.to_string());
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let time =
        |read: fn(&TimeoutsBody) -> &Option<Text>| body.timeouts.as_ref().and_then(|one| text(read(one)));
    let mut expect: Vec<(String, Expected)> = [
        ("rule", text(&body.rule)),
        ("backend", text(&body.backend)),
        ("status", number(body.status.map(|status| status.0))),
        ("reason", text(&body.reason)),
        ("location", text(&body.location)),
        ("path", text(&body.path)),
        ("host", text(&body.host)),
        ("timeouts.request", time(|one| &one.request)),
        ("timeouts.attempt", time(|one| &one.attempt)),
        ("timeouts.connect", time(|one| &one.connect)),
        ("timeouts.streamIdle", time(|one| &one.stream_idle)),
        ("attempts", number(body.attempts.map(|attempts| attempts.0))),
    ]
    .into_iter()
    .filter_map(|(field, value)| Some((field.to_owned(), Expected::Text(value?))))
    .collect();
    if body.shares.written {
        let shares = body.shares.iter().map(|share| (share.backend.0.to_string(), share.percent.0));
        expect.push(("shares".to_owned(), Expected::Shares(shares.collect())));
    }
    let headers = body.headers.0.iter();
    expect.extend(headers.map(|(name, value)| {
        (format!("headers.{}", name.to_ascii_lowercase()), Expected::Text(value.value.to_string()))
    }));
    expect
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> CheckedCases {
        read_cases(&[SourceFile { path: "cases.yaml".to_owned(), text: text.as_bytes().to_vec() }])
    }

    #[test]
    fn cases_are_read_with_their_places() {
        let read =
            read("cases:\n- name: a\n  request: {url: /}\n  expect: {status: 404, headers: {X-A: b}}\n");
        assert!(!read.failed(), "{}", read.render_text(false));
        let case = &read.cases[0];
        assert_eq!((&*case.request.method, case.origin.to_string().as_str()), ("GET", "cases.yaml:2:9"));
        let expected = |text: &str| Expected::Text(text.to_owned());
        assert_eq!(
            case.expect,
            [("status".to_owned(), expected("404")), ("headers.x-a".to_owned(), expected("b"))]
        );
    }

    #[test]
    fn slips_are_findings() {
        let read = read(
            "cases:\n- {name: a, request: {url: /, from: nobody}, expect: {stauts: 404}}\n- {name: b, request: {url: /}, expect: {}}\n",
        );
        let told = read.render_text(false);
        assert!(read.failed() && told.contains("did you mean `status`?"), "{told}");
        assert!(told.contains("the case expects nothing") && told.contains("is not a SPIFFE ID"), "{told}");
    }
}
