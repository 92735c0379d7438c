//! Names are asked for in time, answers reach every cell that lists them, failures change nothing.

use outrigger_config::model::{Endpoint, EndpointAddress, Origin};
use tokio::time::Instant;

use super::*;

/// Answers by name; what is not there fails.
#[derive(Debug, Default)]
struct Book {
    pages: Mutex<HashMap<String, Answer>>,
    asked: Mutex<Vec<(String, Instant)>>,
}

impl Lookup for Arc<Book> {
    async fn lookup(&self, host: &str) -> Result<Answer, String> {
        self.asked.lock().push((host.to_owned(), Instant::now()));
        self.pages.lock().get(host).cloned().ok_or_else(|| "no answer".to_owned())
    }
}

impl Book {
    fn write(&self, host: &str, address: [u8; 4], seconds: u64) {
        let answer = Answer { addresses: vec![address.into()], lifetime: Duration::from_secs(seconds) };
        self.pages.lock().insert(host.to_owned(), answer);
    }

    fn asked(&self, host: &str) -> usize {
        self.asked.lock().iter().filter(|(asked, _)| asked == host).count()
    }
}

fn resolver() -> (Arc<Book>, Resolver<Arc<Book>>) {
    let book = Arc::new(Book::default());
    (book.clone(), Resolver::with(book, Handle::current(), Metrics::new(1)))
}

/// A cell that lists these names, all with port 80.
fn cell(hosts: &[&str]) -> Arc<EndpointCell> {
    let endpoint = |host: &&str| Endpoint {
        address: EndpointAddress::Dns { host: (*host).into(), port: 80 },
        weight: 1,
        zone: None,
        labels: Default::default(),
        identity: None,
        origin: Origin { file: "mesh.yaml".into(), line: 1, column: 1 },
    };
    let cell = Arc::new(EndpointCell::default());
    cell.replace(&hosts.iter().map(endpoint).collect::<Vec<_>>());
    cell
}

fn addresses(cell: &EndpointCell) -> Vec<String> {
    cell.load().endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn answers_reach_every_cell_and_are_refreshed_when_they_end() {
    let (book, resolver) = resolver();
    book.write("a.internal", [10, 0, 0, 1], 5);
    let (one, two) = (cell(&["a.internal"]), cell(&["a.internal"]));
    resolver.follow_cells([&one, &two].into_iter());
    resolver.first_answers().await;
    assert_eq!((addresses(&one), addresses(&two)), (vec!["10.0.0.1:80".into()], vec!["10.0.0.1:80".into()]));
    assert_eq!(book.asked("a.internal"), 1, "one question for both");
    book.write("a.internal", [10, 0, 0, 2], 5);
    tokio::time::sleep(Duration::from_millis(4_990)).await;
    assert_eq!(addresses(&one), ["10.0.0.1:80"]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(addresses(&one), ["10.0.0.2:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_last_addresses_and_is_followed_by_others_ever_more_slowly() {
    let (book, resolver) = resolver();
    book.write("a.internal", [10, 0, 0, 1], 0);
    let cell = cell(&["a.internal"]);
    resolver.follow_cells([&cell].into_iter());
    resolver.first_answers().await;
    book.pages.lock().clear();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(addresses(&cell), ["10.0.0.1:80"]);
    let asked = book.asked.lock().clone();
    let pauses: Vec<Duration> = asked.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert_eq!(pauses[0], SHORTEST, "an answer that does not hold is used for a second");
    let longest = pauses.iter().max().expect("several");
    assert!(*longest <= LONGEST + Duration::from_millis(1) && *longest > LONGEST / 2, "{pauses:?}");
    book.write("a.internal", [10, 0, 0, 9], 5);
    tokio::time::sleep(LONGEST).await;
    assert_eq!(addresses(&cell), ["10.0.0.9:80"], "it recovers by itself");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_never_had_an_answer_does_not_hold_up_a_start() {
    let (_book, resolver) = resolver();
    let cell = cell(&["nowhere.internal"]);
    resolver.follow_cells([&cell].into_iter());
    resolver.first_answers().await;
    assert!(addresses(&cell).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_addresses_and_drops_what_it_no_longer_has() {
    let (book, resolver) = resolver();
    book.write("stays.internal", [10, 0, 0, 1], 30);
    book.write("goes.internal", [10, 0, 0, 2], 2);
    let old = cell(&["stays.internal", "goes.internal"]);
    resolver.follow_cells([&old].into_iter());
    resolver.first_answers().await;
    let new = cell(&["stays.internal"]);
    resolver.follow_cells([&new].into_iter());
    assert_eq!(addresses(&new), ["10.0.0.1:80"], "at once, without another question");
    assert_eq!(book.asked("stays.internal"), 1);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(book.asked("goes.internal"), 1);
}

#[test]
fn pauses_stay_within_their_bounds() {
    let mut pauses = Pauses::default();
    assert_eq!(pauses.after_answer(Duration::ZERO), SHORTEST);
    assert_eq!(pauses.after_answer(Duration::MAX), LONGEST);
    assert_eq!(pauses.after_failure(1.0), Duration::from_secs(1));
    assert_eq!(pauses.after_failure(0.0), Duration::from_secs(1));
    assert_eq!(pauses.after_failure(1.0), Duration::from_secs(4));
    for _ in 0..100 {
        assert!(pauses.after_failure(1.0) <= LONGEST);
    }
    pauses.after_answer(Duration::from_secs(3));
    assert_eq!(pauses.after_failure(1.0), Duration::from_secs(1), "an answer ends the series");
}
