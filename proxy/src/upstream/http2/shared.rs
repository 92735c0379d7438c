//! The HTTP/2 connections of one worker to one endpoint: which has room, and which one is being made.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{Connection, Place};
use crate::{
    error::Failure,
    upstream::attempt::{AttemptError, Class},
};

/// A connection without streams is closed after this.
const IDLE: Duration = Duration::from_secs(300);

/// The HTTP/2 connections to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    connections: RefCell<Vec<Rc<Connection>>>,
    connecting: Cell<bool>,
    made: Notify,
}

impl Shared {
    /// A connection is about to be made.
    pub(super) fn takes_off(&self) -> Flight<'_> {
        self.connecting.set(true);
        Flight(self)
    }

    /// It is made.
    pub(super) fn add(&self, connection: Rc<Connection>) {
        self.connections.borrow_mut().push(connection);
    }

    /// A place on a connection that has room and that is `wanted`.
    pub(in crate::upstream) fn free(&self, wanted: impl Fn(&Connection) -> bool) -> Option<Place> {
        self.with_room(wanted).as_ref().map(Place::take)
    }

    /// The same connection, of which no place is taken yet.
    pub(in crate::upstream) fn with_room(
        &self,
        wanted: impl Fn(&Connection) -> bool,
    ) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.ended.get());
        let free = connections.iter().find(|connection| {
            connection.streams.get() < connection.send.borrow().current_max_send_streams()
                && wanted(connection)
        });
        free.cloned()
    }

    /// Whether a connection is being made.
    pub(in crate::upstream) fn is_connecting(&self) -> bool {
        self.connecting.get()
    }

    /// Waits for the connection that is being made; `false`: none is.
    pub(in crate::upstream) async fn connection_is_made(
        &self,
        until: Option<Instant>,
    ) -> Result<bool, AttemptError> {
        if !self.connecting.get() {
            return Ok(false);
        }
        let mut made = pin!(self.made.notified());
        made.as_mut().enable();
        made.await;
        match until.is_some_and(|at| at <= Instant::now()) {
            true => Err(AttemptError::new(Failure::ConnectTimeout, Class::Connect)),
            false => Ok(true),
        }
    }

    /// Lets go of the connections that `which` finds: they end with their last streams.
    pub(in crate::upstream) fn let_go_of(&self, which: impl Fn(&Connection) -> bool) {
        // Dropped outside of the borrow.
        let gone: Vec<_> =
            self.connections.borrow_mut().extract_if(.., |connection| which(connection)).collect();
        drop(gone);
    }

    /// Lets go of a connection: it ends with its last stream.
    pub(in crate::upstream) fn let_go(&self, connection: &Rc<Connection>) {
        // Dropped outside of the borrow.
        let mut connections = self.connections.borrow_mut();
        let at = connections.iter().position(|known| Rc::ptr_eq(known, connection));
        let gone = at.map(|at| connections.swap_remove(at));
        drop(connections);
        drop(gone);
    }

    /// Lets go of a connection without streams; `false`: there is none.
    pub(in crate::upstream) fn give_up_one(&self) -> bool {
        let idle = |connection: &&Rc<Connection>| connection.is_idle() && !connection.ended.get();
        let found = self.connections.borrow().iter().find(idle).cloned();
        found.inspect(|connection| self.let_go(connection)).is_some()
    }

    /// Whether no connection is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty() && !self.connecting.get()
    }

    /// Lets go of connections that have had no stream for long; they end when nobody holds them.
    pub(crate) fn sweep(&self, now: Instant) {
        self.connections.borrow_mut().retain(|connection| {
            let idle = connection.streams.get() == 0 && now.duration_since(connection.used.get()) > IDLE;
            !connection.ended.get() && !idle
        });
    }
}

/// Ends the single flight, however it ends.
pub(super) struct Flight<'a>(&'a Shared);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.made.notify_waiters();
    }
}
