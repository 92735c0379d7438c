//! When files have come to rest, and which events count.

use notify::event::{CreateKind, DataChange, RemoveKind, RenameMode};

use super::*;

const PACE: Pace =
    Pace { quiet: Duration::from_millis(75), most: Duration::from_secs(1), poll: Duration::from_secs(10) };

fn changes(pace: Pace) -> (Changes, mpsc::Sender<Event>) {
    let (send, events) = mpsc::channel(EVENTS);
    (Changes::with(&[PathBuf::from("/policy/mesh.yaml")], pace, None, events), send)
}

/// An event that names no path concerns everybody.
fn event(kind: EventKind) -> Event {
    Event::new(kind)
}

const WRITING: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_change() {
    let (mut changes, send) = changes(PACE);
    let start = Instant::now();
    for _ in 0..5 {
        send.send(event(EventKind::Modify(ModifyKind::Name(RenameMode::To)))).await.expect("open");
    }
    assert_eq!(changes.next().await, Wake::Changed);
    assert_eq!(start.elapsed(), PACE.quiet);
    assert_eq!(changes.next().await, Wake::Poll, "and nothing else comes of it");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_waited_for() {
    let (mut changes, send) = changes(PACE);
    let start = Instant::now();
    tokio::spawn(async move {
        send.send(event(WRITING)).await.expect("open");
        tokio::time::sleep(Duration::from_millis(600)).await;
        send.send(event(CLOSED)).await.expect("open");
        std::future::pending::<()>().await;
    });
    assert_eq!(changes.next().await, Wake::Changed);
    assert_eq!(start.elapsed(), Duration::from_millis(675));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_always_being_written_is_read_all_the_same() {
    let (mut changes, send) = changes(PACE);
    let start = Instant::now();
    tokio::spawn(async move {
        loop {
            send.send(event(WRITING)).await.expect("open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(changes.next().await, Wake::Changed);
    assert_eq!(start.elapsed(), PACE.most);
}

#[tokio::test(start_paused = true)]
async fn reading_is_no_change() {
    let (mut changes, send) = changes(PACE);
    send.send(event(EventKind::Access(AccessKind::Open(AccessMode::Any)))).await.expect("open");
    send.send(event(EventKind::Access(AccessKind::Close(AccessMode::Read)))).await.expect("open");
    assert_eq!(changes.next().await, Wake::Poll);
}

#[tokio::test(start_paused = true)]
async fn without_events_there_is_the_poll() {
    let (mut changes, send) = changes(PACE);
    drop(send);
    let start = Instant::now();
    assert_eq!(changes.next().await, Wake::Poll);
    assert_eq!(start.elapsed(), PACE.poll);
    changes.touch();
    assert_eq!(changes.next().await, Wake::Changed);
    assert_eq!(start.elapsed(), PACE.poll + PACE.quiet);
}

#[test]
fn other_peoples_files_say_nothing() {
    let ours = |path: &Path| path == Path::new("/policy/mesh.yaml");
    let about = |kind, path: &str| hint(&Event::new(kind).add_path(path.into()), ours);
    assert_eq!(about(EventKind::Create(CreateKind::File), "/policy/mesh.yaml"), Some(Hint::Whole));
    assert_eq!(about(EventKind::Remove(RemoveKind::File), "/policy/mesh.yaml"), Some(Hint::Whole));
    assert_eq!(about(WRITING, "/policy/mesh.yaml"), Some(Hint::Writing));
    assert_eq!(about(WRITING, "/policy/other.log"), None);
}
