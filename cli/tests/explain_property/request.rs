//! Random requests, in the words of the random policies: some that are meant, some that nothing answers to.

use outrigger_proxy::{
    decide::Form,
    explain::{Door, Question},
};

use super::{
    luck::Luck,
    policy::{self, GRPC_METHODS, GRPC_SERVICES, HEADERS, PARAMETERS, SEGMENTS, VALUES},
    world::Addresses,
};

/// The listener by which a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ByAuthority,
    Pinned,
    Inbound,
    ProxyForm,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) way: Way,
    pub http2: bool,
    pub(crate) http10: bool,
    pub(crate) method: &'static str,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Asked {
    /// A request to a Service of the policy, or to nothing.
    pub(crate) fn any(luck: &mut Luck, at: &Addresses) -> Self {
        let service = luck.number(0, policy::SERVICES - 1);
        let grpc = luck.chance(if policy::is_grpc(service) { 85 } else { 4 });
        let way = luck.one(&[
            Way::ByAuthority,
            Way::ByAuthority,
            Way::ByAuthority,
            Way::Pinned,
            Way::Inbound,
            Way::ProxyForm,
        ]);
        let http2 = way != Way::ProxyForm && luck.chance(if grpc { 90 } else { 40 });
        let http10 = !http2 && !grpc && way != Way::ProxyForm && luck.chance(12);
        let mut headers = Vec::new();
        for name in HEADERS {
            let many = luck.one(&[0, 0, 1, 1, 2]);
            headers.extend((0..many).map(|_| (name, luck.one(&VALUES).to_owned())));
        }
        let extra = [
            ("x-d", "to be removed"),
            ("connection", "x-c, keep-alive"),
            ("x-outrigger-attempt", "3"),
            ("cookie", "a=b"),
            ("te", "trailers, deflate"),
            ("x-forwarded-for", "10.9.8.7"),
            ("x-request-id", "chosen-by-the-caller"),
        ];
        for (name, value) in extra {
            // What holds between neighbours alone breaks HTTP/2's own rules.
            if luck.chance(12) && !(http2 && matches!(name, "connection" | "te")) {
                headers.push((name, value.to_owned()));
            }
        }
        if grpc {
            headers
                .push(("content-type", luck.one(&["application/grpc", "application/grpc+proto"]).to_owned()));
            headers.push(("te", "trailers".to_owned()));
            if luck.chance(30) {
                headers.push(("grpc-timeout", "40S".to_owned()));
            }
        }
        let preflight = !grpc && luck.chance(12);
        if preflight || luck.chance(20) {
            let origin =
                luck.one(&["http://a.example.com", "https://b.example.com", "https://elsewhere.org"]);
            headers.push(("origin", origin.to_owned()));
        }
        if preflight {
            headers.push(("access-control-request-method", luck.one(&["GET", "PUT", "DELETE"]).to_owned()));
            if luck.chance(50) {
                headers.push(("access-control-request-headers", luck.one(&["x-a", "x-a,x-c"]).to_owned()));
            }
        }
        let method = match grpc && luck.chance(95) {
            _ if preflight => "OPTIONS",
            true => "POST",
            false => luck.one(&["GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
        };
        let path = if grpc { call(luck) } else { path(luck) };
        Self { way, http2, http10, method, authority: authority(luck, service, at), path, headers }
    }

    /// The same, to be explained.
    pub(crate) fn question(&self, dice: Option<u64>, at: &Addresses) -> Question {
        let mut question = Question::new(self.method, &self.url()).expect("a URL");
        for (name, value) in &self.headers {
            question.header(name, value).expect("a header");
        }
        question.version = Some(self.version());
        question.form = if self.way == Way::ProxyForm { Form::Absolute } else { Form::Origin };
        question.door = match self.way {
            Way::ByAuthority | Way::ProxyForm => Door::Outbound,
            Way::Pinned => Door::At(at.pinned),
            Way::Inbound => Door::Inbound,
        };
        question.dice = dice;
        question
    }

    /// The arguments of `outrigger explain` for the same.
    pub(crate) fn arguments(&self, dice: u64, at: &Addresses) -> Vec<String> {
        let mut arguments = vec![format!("--dice={dice:#x}"), self.method.to_owned(), self.url()];
        arguments.extend(self.headers.iter().map(|(name, value)| format!("-H{name}: {value}")));
        let version = match self.version() {
            http::Version::HTTP_2 => "--http2",
            http::Version::HTTP_10 => "--http1.0",
            _ => "--http1",
        };
        arguments.push(version.to_owned());
        match self.way {
            Way::ByAuthority => {}
            Way::ProxyForm => arguments.push("--proxy-form".to_owned()),
            Way::Pinned => arguments.push(format!("--listener={}", at.pinned)),
            Way::Inbound => arguments.push("--inbound".to_owned()),
        }
        arguments
    }

    pub(crate) fn version(&self) -> http::Version {
        match (self.http2, self.http10) {
            (true, _) => http::Version::HTTP_2,
            (_, true) => http::Version::HTTP_10,
            _ => http::Version::HTTP_11,
        }
    }

    /// Whether it asks, for a browser, about another request.
    pub(crate) fn is_preflight(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == "access-control-request-method")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }
}

fn authority(luck: &mut Luck, service: usize, at: &Addresses) -> String {
    let (namespace, port) = (policy::namespace(service), luck.one(policy::ports(service)));
    let host = match luck.number(0, 19) {
        0 => return "nowhere.example.com".to_owned(),
        1 => return format!("s{service}.{namespace}:81"),
        2 => return at.of(service)[0].to_string(),
        3 | 4 => match policy::cluster_ip(service) {
            Some(ip) => ip,
            None => format!("s{service}.example.com"),
        },
        5 => format!("S{service}.{}.svc", namespace.to_uppercase()),
        6 => format!("s{service}.{namespace}.svc.cluster.local."),
        7..=12 => format!("s{service}.{namespace}"),
        _ if namespace == "shop" => format!("s{service}"),
        _ => format!("s{service}.{namespace}.svc.cluster.local"),
    };
    let only = policy::ports(service).len() == 1;
    if port != 80 && !(only && luck.chance(50)) || luck.chance(30) { format!("{host}:{port}") } else { host }
}

fn path(luck: &mut Luck) -> String {
    let many = luck.number(0, 3);
    let mut path: String = (0..many).map(|_| format!("/{}", luck.one(&SEGMENTS))).collect();
    if path.is_empty() || luck.chance(15) {
        path.push('/');
    }
    match luck.number(0, 24) {
        0 => path.push_str("/../b"),
        1 => path = format!("/.{path}"),
        2 => path.push_str("/%7eb"),
        3 => path.push_str("/x%2fy"),
        4 => path = "/..".to_owned(),
        5 => path.push_str("//b"),
        _ => {}
    }
    let query = luck.list(0, 2, |luck| {
        let value = luck.one(&["1", "2", "foo", "%31", "a+b", ""]);
        format!("{}={value}", luck.one(&PARAMETERS))
    });
    if query.is_empty() { path } else { format!("{path}?{}", query.replace(", ", "&")) }
}

fn call(luck: &mut Luck) -> String {
    if luck.chance(5) {
        return "/nothing".to_owned();
    }
    let service = luck.one(&[GRPC_SERVICES[0], GRPC_SERVICES[1], "other.Service"]);
    format!("/{service}/{}", luck.one(&GRPC_METHODS))
}
