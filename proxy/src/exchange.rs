//! One request from its complete head to its answer: what every stage knows of it, as an argument, never as an
//! extension.

use std::{rc::Rc, time::SystemTime};

use http::{
    HeaderMap, HeaderValue, Method, Response, Uri, Version,
    header::{CONTENT_LENGTH, HOST, LOCATION},
    request::Parts,
    response,
};
use hyper::{ext::Protocol, upgrade::OnUpgrade};
use tokio::time::Instant;

use crate::{
    body::{AnswerBody, Flow},
    ctx::Side,
    decide::{Facts, Form, Head, Preflight, Redirected},
    error::Failure,
    listen::{
        answer::{self, Caller},
        connection::Connection,
        original_dst::Dialled,
    },
    policy::concurrency::Permit,
    request::{
        strict::{self, Checked, PathRules, StrictContext},
        switch::ConnectRule,
    },
    runtime::snapshot::{ListenerKey, OutboundTarget, Snapshot},
    telemetry::{record::Record, trace::Trace},
    worker::Worker,
};

/// What is known of a request.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) connection: Rc<Connection>,
    /// What its bodies have moved.
    pub(crate) flow: Rc<Flow>,
    /// What it will have come to.
    pub(crate) record: Record,
    /// What the form of the answer depends on.
    pub(crate) caller: Caller,
    /// When its head was complete.
    pub(crate) started: Instant,
    /// Gives the caller's stream of HTTP/2 once we have agreed to what it is to become.
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Its place before the app, where that is limited.
    pub(crate) permit: Option<Permit>,
    /// How it named its target; the strict check brings all to one form.
    form: Form,
}

impl Exchange {
    /// Opens the exchange of a request whose head is complete.
    pub(crate) fn open(connection: &Rc<Connection>, head: &Parts, snapshot: &Snapshot) -> Self {
        let now = Instant::now();
        let flow = Rc::new(Flow::new(now));
        let mut record = Record::open(connection, head, &flow, snapshot.mesh.access_log.is_some());
        record.trace = Trace::begin(snapshot.tracing, head, now);
        let (caller, form) = (Caller::of(head), form_of(head));
        Self {
            connection: connection.clone(),
            flow,
            record,
            caller,
            started: now,
            upgrade: None,
            permit: None,
            form,
        }
    }

    /// The worker that serves it.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.connection.worker
    }

    /// The strict request check: refuses what two servers may read differently, brings the rest to one spelling.
    pub(crate) fn check(
        &mut self,
        head: &mut Parts,
        body_ended: bool,
        snapshot: &Snapshot,
    ) -> Result<Checked, Failure> {
        if self.connection.dialled == Dialled::Loop {
            return Err(Failure::Loop);
        }
        let came = Came {
            listener: self.connection.listener.key,
            body_ended,
            authenticated: self.connection.identity().is_some(),
        };
        let checked = check(head, came, snapshot)?;
        if checked.switch.is_some() {
            // That of HTTP/1 is of no use: its connection is given back whole.
            let upgrade = head.extensions.remove::<OnUpgrade>();
            self.upgrade = upgrade.filter(|_| checked.version == Version::HTTP_2);
        }
        Ok(checked)
    }

    /// What the decision needs beside the head.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            original_destination: self.connection.dialled.original(),
            form: self.form,
            peer: self.connection.peer.ip(),
            identity: self.connection.identity(),
            now: self.started.into_std(),
            clock: SystemTime::now(),
            dice: self.worker().dice(),
        }
    }

    /// The answer of a rule, or of a backend, that redirects.
    pub(crate) fn redirect(self, by: &Redirected, uri: &Uri, checked: &Checked) -> Response<AnswerBody> {
        self.made(redirection(by, uri, checked))
    }

    /// The answer to a preflight.
    pub(crate) fn preflight(self, preflight: &Preflight, request: &HeaderMap) -> Response<AnswerBody> {
        self.made(preflighted(preflight, request))
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&mut self, head: &response::Parts) {
        if let Some(permit) = &mut self.permit {
            permit.answered(head, self.flow.bytes_in.get());
        }
    }

    /// An answer without a body that the proxy makes for a rule.
    fn made(mut self, made: Option<Response<()>>) -> Response<AnswerBody> {
        let Some(answer) = made.map(|made| made.map(|()| AnswerBody::fixed(None, None))) else {
            return self.refuse(Failure::Internal);
        };
        self.record.answered(answer.status(), answer.headers());
        self.record.complete();
        answer
    }

    /// The proxy's own answer to a failure.
    pub(crate) fn refuse(mut self, failure: Failure) -> Response<AnswerBody> {
        self.record.refused(failure, self.caller.grpc);
        let (head, body) = answer::answer(failure, self.caller).into_parts();
        self.flow.bytes_out.set(body.len() as u64);
        self.record.complete();
        Response::from_parts(head, AnswerBody::fixed((!body.is_empty()).then_some(body), None))
    }
}

/// The head of a redirect; `None` where there is none that can be written.
pub(crate) fn redirection(by: &Redirected, uri: &Uri, checked: &Checked) -> Option<Response<()>> {
    let redirection = by.redirection()?;
    let location = redirection.location(checked.authority.host(), checked.authority.port(), uri);
    let answer = Response::builder().status(redirection.redirect.status).header(LOCATION, location);
    let mut answer = answer.header(CONTENT_LENGTH, 0).body(()).ok()?;
    by.response_headers().for_each(|modifier| modifier.apply(answer.headers_mut()));
    Some(answer)
}

/// The head of the answer to a preflight; its status says nothing of what is allowed.
pub(crate) fn preflighted(preflight: &Preflight, request: &HeaderMap) -> Option<Response<()>> {
    let cors = preflight.cors()?;
    let mut answer = Response::builder().header(CONTENT_LENGTH, 0).body(()).ok()?;
    preflight.rule.response_headers.iter().for_each(|modifier| modifier.apply(answer.headers_mut()));
    cors.on_preflight(request, answer.headers_mut());
    Some(answer)
}

/// How a request named its target. Ask before [`check`], which brings all to one form.
pub(crate) fn form_of(head: &Parts) -> Form {
    let proxied = head.version != Version::HTTP_2 && head.uri.authority().is_some();
    match head.method {
        // An extended CONNECT of HTTP/2 has scheme and path as any other request.
        Method::CONNECT if head.extensions.get::<Protocol>().is_none() => Form::Connect,
        _ if proxied => Form::Absolute,
        _ => Form::Origin,
    }
}

/// How a request came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    pub(crate) listener: ListenerKey,
    /// Its body is known to be at its end.
    pub(crate) body_ended: bool,
    /// Its caller is a proxy of the mesh.
    pub(crate) authenticated: bool,
}

/// The strict check of a request. Pure; `explain` asks the same function.
pub(crate) fn check(head: &mut Parts, came: Came, snapshot: &Snapshot) -> Result<Checked, Failure> {
    let Came { listener, body_ended, authenticated } = came;
    let fallback_host = fallback_host(head, listener, snapshot);
    let context = StrictContext {
        side: listener.side,
        path_rules: match listener.side {
            Side::Outbound if snapshot.path_policy => PathRules::Policy,
            _ => PathRules::Plain,
        },
        peer_authenticated: authenticated,
        connect: connect_rule(head, listener, snapshot),
        body_ended,
        fallback_host: fallback_host.as_ref(),
    };
    strict::check(head, &snapshot.mesh.limits, &context)
}

/// CONNECT is for listeners that go by authority: a pinned one, or one before the app, has nowhere else to go.
fn connect_rule(head: &Parts, listener: ListenerKey, snapshot: &Snapshot) -> ConnectRule {
    if head.method != Method::CONNECT {
        return ConnectRule::Refused;
    }
    match snapshot.outbound(listener).map(|listener| &listener.target) {
        Some(OutboundTarget::ByAuthority) => ConnectRule::Served,
        _ => ConnectRule::Refused,
    }
}

/// What an HTTP/1.0 request without Host means, as health checks still send them: the app, or the listener's Service.
fn fallback_host(head: &Parts, listener: ListenerKey, snapshot: &Snapshot) -> Option<HeaderValue> {
    if head.version != Version::HTTP_10 || head.headers.contains_key(HOST) {
        return None;
    }
    let name = match listener.side {
        // Behind an intercepted listener it is not known yet, and nothing is decided by it.
        Side::Inbound => {
            snapshot.inbound(listener)?.app.address.map_or("app".to_owned(), |app| app.to_string())
        }
        Side::Outbound => {
            let port = snapshot.outbound(listener)?.source.service.as_ref()?;
            format!("{}.{}:{}", port.service.name, port.service.namespace, port.port)
        }
    };
    HeaderValue::from_str(&name).ok()
}

/// The head as the decision reads it.
pub(crate) fn decision_head<'a>(head: &'a Parts, checked: &'a Checked) -> Head<'a> {
    Head {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        host: checked.authority.host().trim_start_matches('[').trim_end_matches(']'),
        // What CONNECT writes is meant: its port has no default.
        port: checked.authority.port().filter(|port| *port != 80 || head.method == Method::CONNECT),
        headers: &head.headers,
    }
}
