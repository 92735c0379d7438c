//! Tables of cases in the manner of the Gateway API's conformance suite: a request, the backend that must get it and what
//! it must look like there, and what the caller must get. Every case goes over HTTP/1.1 and over HTTP/2.
//!
//! A world has three backends, `v1`, `v2` and `v3`, with a MeshService of that name and port 8080 each, and the Service
//! `web` with port 80, whose own endpoint is `v1`; routes come from the test.

use crate::{
    backend::{Answer, Backend, Seen},
    client::Client,
    mesh::{self, Proxy},
};

/// Backends behind a proxy with one listener that goes by authority.
pub struct World {
    proxy: Proxy,
    backends: Vec<Backend>,
}

const NAMES: [&str; 3] = ["v1", "v2", "v3"];

impl World {
    /// Starts it in namespace `default`; in `documents`, `{v1}` stands for the address of a backend.
    ///
    /// # Panics
    /// When the proxy does not start.
    pub async fn start(documents: &str) -> Self {
        Self::of(documents, "default").await
    }

    /// Starts it with the proxy in another namespace; MeshServices stay in `default`.
    ///
    /// # Panics
    /// When the proxy does not start.
    pub async fn of(documents: &str, namespace: &str) -> Self {
        let mut backends = Vec::new();
        for name in NAMES {
            let backend = Backend::http1(name).await;
            backend.answer(echoing);
            backends.push(backend);
        }
        let service = |name: &str, port: u16, of: usize| {
            mesh::service(name, "http1", &[backends[of].address()])
                .replace("port: 80,", &format!("port: {port},"))
        };
        let services =
            [service("web", 80, 0), service("v1", 8080, 0), service("v2", 8080, 1), service("v3", 8080, 2)];
        let documents = NAMES.iter().zip(&backends).fold(documents.to_owned(), |text, (name, backend)| {
            text.replace(&format!("{{{name}}}"), &backend.address().to_string())
        });
        let mut all: Vec<&str> = services.iter().map(String::as_str).collect();
        all.push(&documents);
        let policy = mesh::outbound(&all).replacen(
            "{name: test}",
            &format!("{{name: test, namespace: {namespace}}}"),
            1,
        );
        Self { proxy: Proxy::start(&policy).await, backends }
    }

    /// The proxy.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The backend of this name.
    ///
    /// # Panics
    /// When it is not one of the three.
    pub fn backend(&self, name: &str) -> &Backend {
        let at = NAMES.iter().position(|known| *known == name).expect("v1, v2 or v3");
        &self.backends[at]
    }

    /// Sends every case and compares.
    ///
    /// # Panics
    /// Where one differs.
    pub async fn check(&self, cases: &[Case]) {
        let at = self.proxy.outbound(0);
        for case in cases {
            let mut both = [Client::http1(at, &case.host).await, Client::http2(at, &case.host).await];
            for client in &mut both {
                self.one(client, case).await;
            }
        }
    }

    async fn one(&self, client: &mut Client, case: &Case) {
        let mut request = client.request(&case.method, &case.path, "");
        for (name, value) in &case.headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            request.headers_mut().append(name, value.parse().expect("a header value"));
        }
        let before: usize = self.backends.iter().map(Backend::requests).sum();
        let answer = client.call(request).await.unwrap_or_else(|error| panic!("{case:?}: {error:?}"));
        let after: usize = self.backends.iter().map(Backend::requests).sum();
        let shown = || format!("{case:#?}\ngot {answer:#?}");
        assert_eq!(answer.status.as_u16(), case.status, "{}", shown());
        assert_eq!(answer.header("x-backend"), case.backend, "{}", shown());
        assert_eq!(after - before, usize::from(!case.backend.is_empty()), "{}", shown());
        for (name, value) in &case.gets {
            let all: Vec<_> = answer.headers.get_all(name).iter().collect();
            assert_eq!(joined(&all), *value, "{name} of the answer: {}", shown());
        }
        if !case.backend.is_empty() {
            let seen = self.backend(&case.backend).last();
            case.compare(&seen);
        }
    }
}

/// Answers with what the request's `x-echo` headers say, each `name=value`.
fn echoing(seen: &Seen) -> Answer {
    let echoes = seen.headers.get_all("x-echo").iter().filter_map(|value| value.to_str().ok());
    echoes
        .filter_map(|echo| echo.split_once('='))
        .fold(Answer::status(200), |answer, (name, value)| answer.header(name, value))
}

fn joined(values: &[&http::HeaderValue]) -> String {
    values.iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>().join(" | ")
}

/// A request with what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    status: u16,
    backend: String,
    sees: Vec<(String, String)>,
    sees_path: Option<String>,
    sees_host: Option<String>,
    gets: Vec<(String, String)>,
}

/// GET this path of `web`; unless said otherwise, no rule may match.
pub fn get(path: &str) -> Case {
    Case {
        method: "GET".to_owned(),
        host: "web".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        status: 404,
        backend: String::new(),
        sees: Vec::new(),
        sees_path: None,
        sees_host: None,
        gets: Vec::new(),
    }
}

impl Case {
    /// With another method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    /// With another authority.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// With a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The service answers with this header.
    pub fn echo(self, name: &str, value: &str) -> Self {
        self.with("x-echo", &format!("{name}={value}"))
    }

    /// This backend must get it, and its answer must reach the caller.
    pub fn to(mut self, backend: &str) -> Self {
        (self.backend, self.status) = (backend.to_owned(), 200);
        self
    }

    /// The proxy itself must answer with this status.
    pub fn refused(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The proxy itself must answer with this redirect.
    pub fn redirected(self, status: u16, location: &str) -> Self {
        self.refused(status).gets("location", location)
    }

    /// The backend must see this header; `""`: it must not.
    pub fn sees(mut self, name: &str, value: &str) -> Self {
        self.sees.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The backend must see this path and query.
    pub fn sees_path(mut self, path: &str) -> Self {
        self.sees_path = Some(path.to_owned());
        self
    }

    /// The backend must see this authority.
    pub fn sees_host(mut self, host: &str) -> Self {
        self.sees_host = Some(host.to_owned());
        self
    }

    /// The caller must get this header, several of one name as `a | b`; `""`: it must not.
    pub fn gets(mut self, name: &str, value: &str) -> Self {
        self.gets.push((name.to_owned(), value.to_owned()));
        self
    }

    fn compare(&self, seen: &Seen) {
        assert_eq!(seen.path, self.sees_path.as_deref().unwrap_or(&self.path), "{self:#?}");
        assert_eq!(seen.authority, self.sees_host.as_deref().unwrap_or(&self.host), "{self:#?}");
        assert_eq!(seen.method, self.method, "{self:#?}");
        for (name, value) in &self.sees {
            let all: Vec<_> = seen.headers.get_all(name).iter().collect();
            assert_eq!(joined(&all), *value, "{name} at the backend: {self:#?}");
        }
    }
}
