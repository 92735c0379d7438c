//! Where the attempts of a request have been, and what that says about where the next may go.

use std::net::SocketAddr;

use http::Response;

use super::Attempted;
use crate::{
    body::UpstreamBody,
    error::Failure,
    policy::{
        circuit_breaker::RetryPermit,
        target::{Held, Target},
    },
    upstream::attempt::{AttemptError, Class},
};

/// Another endpoint that could not be reached either is passed over this many times before it counts as an attempt.
const FREE_HOPS: u32 = 3;

/// Where the attempts of a request have been.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub(super) tried: Vec<SocketAddr>,
    /// Those of `tried` that no connection could be made to.
    dead: Vec<SocketAddr>,
    hops: u32,
    pub(super) made: u32,
    /// An endpoint may have begun to work on the request.
    pub(super) started: bool,
    /// Where it counts that the request is on a repeat.
    pub(super) repeat: Option<RetryPermit>,
}

impl Trail {
    pub(super) fn ended(
        self,
        result: Result<(Response<UpstreamBody>, Held), Failure>,
        upstream: Option<SocketAddr>,
    ) -> Attempted {
        let upstream = upstream.or(self.tried.last().copied());
        Attempted { result, upstream, made: self.made, started: self.started, instead: None }
    }

    /// What the next attempt stays away from: all that was tried, or what is known to be dead once nothing is untried.
    pub(super) fn avoid(&self, target: &Target) -> &[SocketAddr] {
        if self.dead.is_empty() || target.has_other(&self.tried) { &self.tried } else { &self.dead }
    }

    pub(super) fn add(&mut self, addr: SocketAddr, dead: bool) {
        self.tried.push(addr);
        if dead {
            self.dead.push(addr);
        }
    }

    /// Attempts that count against the policy's: a connection that could not be made does not, while there is another
    /// endpoint to go to.
    pub(super) fn counted(&mut self, addr: SocketAddr, dead: bool, target: &Target) -> u32 {
        if dead && self.hops < FREE_HOPS {
            let here = self.tried.iter().copied().chain([addr]).collect::<Vec<_>>();
            self.hops += u32::from(target.has_other(&here));
        }
        self.made - self.hops
    }
}

/// Whether an endpoint may have begun to work on the request.
pub(super) fn may_have_started(result: &Result<Response<UpstreamBody>, AttemptError>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => match error.class {
            Class::Connect | Class::Unsent | Class::Refused | Class::Limit => false,
            Class::Reset | Class::Timeout | Class::Protocol | Class::Caller => true,
        },
    }
}
