//! The course of the demo: acts by the timer or by a key, the live view meanwhile, the judgement at the end.

use std::{
    io::{self, IsTerminal},
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::Result;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    act::Act,
    ledger::Epoch,
    load::{Load, Scene},
    mesh::Mesh,
    policy::FIRST_WEIGHTS,
    promise::{Evidence, judge},
    screen::{self, Screen},
    stream::Stream,
    view::{self, Frame, Paint},
};

/// Between two pictures.
const PICTURE: Duration = Duration::from_millis(250);
/// Between two lines, where there is no terminal.
const LINE: Duration = Duration::from_secs(1);
/// The weights that an act of edits goes through; the last are the first again.
const WEIGHTS: [(u32, u32); 3] = [(50, 50), (20, 80), FIRST_WEIGHTS];

/// The running demo.
pub(super) struct Show {
    mesh: Mesh,
    load: Load,
    stream: Stream,
    rate: u32,
    length: Option<Duration>,
    started: Instant,
    screen: Option<Screen>,
    keys: UnboundedReceiver<u8>,
    act: Act,
    edits: u32,
    evidence: Evidence,
    last_line: Instant,
    frontend_killed: bool,
}

/// Why a time of watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It was over.
    TimeIsUp,
    /// A key asked for another act.
    Act(Act),
    /// Somebody wants the end.
    Quit,
}

/// The signals that end the demo, summary included.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Show {
    /// Starts load and stream.
    pub(super) fn open(mesh: Mesh, rate: u32, length: Option<Duration>) -> Self {
        let scene = Scene { act: Act::Calm, epoch: Epoch::Edit(0) };
        let now = Instant::now();
        Self {
            load: Load::start(mesh.frontend(), rate, scene),
            stream: Stream::open(mesh.ratings()),
            mesh,
            rate,
            length,
            started: now,
            screen: Screen::open(),
            keys: screen::keys(),
            act: Act::Calm,
            edits: 0,
            evidence: Evidence { splits: vec![(FIRST_WEIGHTS, Default::default())], ..Evidence::default() },
            last_line: now,
            frontend_killed: false,
        }
    }

    /// Plays, and judges. Whether every promise held.
    ///
    /// # Errors
    /// When the mesh cannot be handled any more.
    pub(super) async fn run(mut self) -> Result<bool> {
        let mut signals = Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        let mut order = Act::ALL.iter().copied().cycle();
        let mut played = 0;
        let mut act = order.next();
        while let Some(now) = act {
            let next = Box::pin(self.play(now, &mut signals)).await?;
            played += 1;
            act = match next {
                Next::Quit => None,
                Next::TimeIsUp if self.length.is_some() && played == Act::ALL.len() => None,
                Next::TimeIsUp => order.next(),
                Next::Act(act) => Some(act),
            };
        }
        self.judge().await
    }

    /// One act, from its beginning to what puts things right again.
    async fn play(&mut self, act: Act, signals: &mut Signals) -> Result<Next> {
        self.act = act;
        self.load.set_act(act);
        if self.screen.is_none() {
            view::act(act).iter().for_each(|line| println!("{line}"));
        }
        let time = self.length.map_or(act.attended(), |length| length.mul_f64(act.share()));
        self.evidence.faults_played |= !act.is_edit() && act != Act::Calm;
        let set =
            |mesh: &Mesh, name, knob: fn(&super::service::Knobs) -> &std::sync::atomic::AtomicU32, value| {
                knob(mesh.knobs(name)).store(value, Ordering::Relaxed);
            };
        match act {
            Act::Calm => {}
            Act::Errors => set(&self.mesh, "reviews-v1-a", |knobs| &knobs.errors, 50),
            Act::Resets => set(&self.mesh, "reviews-v1-b", |knobs| &knobs.resets, 33),
            Act::Unavailable => set(&self.mesh, "ratings-a", |knobs| &knobs.errors, 50),
            Act::Slow => set(&self.mesh, "reviews-v1-a", |knobs| &knobs.slow, 2000),
            Act::Kill => return self.kill(time, signals).await,
            Act::Outage => return self.outage(time, signals).await,
            Act::Weights => return self.weights(time, signals).await,
            Act::BadEdit => return self.bad_edit(time, signals).await,
        }
        let next = self.watch(time, signals).await;
        self.mesh.behave();
        Ok(next)
    }

    async fn kill(&mut self, time: Duration, signals: &mut Signals) -> Result<Next> {
        self.mesh.sidecar("reviews-v1-b").kill().await?;
        let next = self.watch(time.mul_f64(0.6), signals).await;
        self.mesh.sidecar("reviews-v1-b").restart().await?;
        match next {
            Next::TimeIsUp => Ok(self.watch(time.mul_f64(0.4), signals).await),
            other => Ok(other),
        }
    }

    async fn outage(&mut self, time: Duration, signals: &mut Signals) -> Result<Next> {
        let before = self.mesh.frontend_counted().await;
        // v1 answers for v2: no share is what the policy says.
        self.load.set_epoch(Epoch::Open);
        self.mesh.outage();
        let mut next = self.watch(time.mul_f64(0.6), signals).await;
        self.mesh.behave();
        if next == Next::TimeIsUp {
            next = self.watch(time.mul_f64(0.4), signals).await;
        }
        let after = self.mesh.recover().await;
        self.load.set_epoch(Epoch::Edit(self.edits));
        // What a person has interrupted, or has written other policy for, is not judged.
        if next == Next::TimeIsUp && !self.mesh.policy().is_foreign() {
            let outage = self.evidence.outage.get_or_insert_default();
            outage.opened += after.opened - before.opened.min(after.opened);
            outage.fell_back += after.fell_back - before.fell_back.min(after.fell_back);
            outage.closed = after.open == 0;
        }
        Ok(next)
    }

    async fn weights(&mut self, time: Duration, signals: &mut Signals) -> Result<Next> {
        for weights in WEIGHTS {
            self.load.set_epoch(Epoch::Open);
            let late = self.mesh.edit_weights(weights).await?;
            self.evidence.late.extend(late.filter(|_| !self.mesh.policy().is_foreign()));
            self.frontend_killed |= self.mesh.kills_on_edit();
            self.edits += 1;
            self.evidence.splits.push((weights, Default::default()));
            self.load.set_epoch(Epoch::Edit(self.edits));
            match self.watch(time / WEIGHTS.len() as u32, signals).await {
                Next::TimeIsUp => {}
                other => return Ok(other),
            }
        }
        Ok(Next::TimeIsUp)
    }

    async fn bad_edit(&mut self, time: Duration, signals: &mut Signals) -> Result<Next> {
        let (good, wrong) = self.mesh.edit_badly().await?;
        self.evidence.accepted.extend(wrong.filter(|_| !self.mesh.policy().is_foreign()));
        self.evidence.bad_edits += 1;
        let next = self.watch(time, signals).await;
        self.mesh.restore(good)?;
        Ok(next)
    }

    /// Shows what happens until the time is up, or somebody wants something else.
    async fn watch(&mut self, time: Duration, signals: &mut Signals) -> Next {
        let end = Instant::now() + time;
        let mut pictures = interval(PICTURE);
        pictures.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                _ = signals.interrupt.recv() => return Next::Quit,
                _ = signals.terminate.recv() => return Next::Quit,
                Some(key) = self.keys.recv() => {
                    if key == b'q' {
                        return Next::Quit;
                    }
                    if let Some(act) = Act::ALL.into_iter().find(|act| act.key() == key) {
                        return Next::Act(act);
                    }
                }
                () = sleep_until(end) => return Next::TimeIsUp,
                _ = pictures.tick() => {
                    if self.mesh.policy().is_foreign() {
                        self.load.set_epoch(Epoch::Open);
                    }
                    self.mesh.refresh().await;
                    self.show();
                }
            }
        }
    }

    fn show(&mut self) {
        let frame = self.frame();
        if let Some(screen) = &self.screen {
            screen.show(&view::picture(&frame, paint()));
        } else if self.last_line.elapsed() >= LINE {
            self.last_line = Instant::now();
            println!("{}", view::line(&frame));
        }
    }

    fn frame(&self) -> Frame {
        let ledger = self.load.ledger();
        let stream = self.stream.state();
        let total = self.mesh.counted();
        Frame {
            elapsed: self.started.elapsed(),
            rate: self.rate,
            sidecars: self.mesh.sidecars().len(),
            act: self.act,
            requests: ledger.requests(),
            failed: ledger.failures(|_| true),
            recent: ledger.recent(),
            total,
            generation: total.generation,
            weights: self.mesh.policy().weights(),
            messages: stream.messages,
            stream_ended: stream.ended,
            policy: self.mesh.policy().path().to_path_buf(),
            keys: io::stdin().is_terminal(),
        }
    }

    async fn judge(mut self) -> Result<bool> {
        self.load.finish().await;
        let requests = self.load.ledger().requests();
        let counted = self.mesh.settle(requests).await;
        let mut evidence = std::mem::take(&mut self.evidence);
        {
            let ledger = self.load.ledger();
            evidence.requests = requests;
            evidence.fault_failures = ledger.failures(|act| !act.is_edit() && act != Act::Outage);
            if let Some(outage) = &mut evidence.outage {
                outage.failures = ledger.failures(|act| act == Act::Outage);
            }
            evidence.edit_failures = ledger.failures(Act::is_edit);
            evidence.failures = ledger.kept_failures().to_vec();
            evidence.p99 = ledger.quantile(0.99);
            for (edit, (_, split)) in (0..).zip(&mut evidence.splits) {
                *split = ledger.split(edit);
            }
        }
        evidence.retries = self.mesh.counted().retries;
        evidence.stream_ended = self.stream.state().ended;
        evidence.counted = (!self.frontend_killed).then_some(counted);
        let verdicts = judge(&evidence);
        drop(self.screen.take());
        let sidecars: Vec<_> =
            self.mesh.sidecars().iter().map(|sidecar| (sidecar.replica().name, sidecar.counted())).collect();
        println!();
        view::summary(&sidecars, &verdicts, paint()).iter().for_each(|line| println!("{line}"));
        drop(self.stream);
        self.mesh.stop().await;
        Ok(verdicts.iter().all(|verdict| verdict.broken.is_none()))
    }
}

fn paint() -> Paint {
    let plain = std::env::var_os("NO_COLOR").is_some() || !io::stdout().is_terminal();
    if plain { Paint::Plain } else { Paint::Colour }
}
