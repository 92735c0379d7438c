//! Where the last good answers are kept: one store for all workers, bounded by bytes.
//!
//! It is touched by requests whose rule has `fallback.staleFor`, and by no other. Its parts have a lock each, held for
//! one look-up. What is used least goes first. An answer that depends on headers of its request (Vary) is found in two
//! steps: by what was asked, the names of these headers; by that and their values, the answer.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache};
use tokio::time::Instant;

use super::kept::{Answer, Question, Variant, variant};
use crate::telemetry::metrics::Metrics;

/// Bytes of all answers.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// What an entry costs beside its bytes, about.
const OVERHEAD: usize = 512;

/// Parts, each with its lock and its share of the bytes: several times the longest answer.
const PARTS: usize = 8;

type Key = (Question, Option<Variant>);

#[derive(Clone, Debug)]
enum Value {
    /// What the answers depend on.
    Names(Arc<[HeaderName]>),
    /// One of them, and since when it is kept.
    Answer(Arc<Answer>, Instant),
}

#[derive(Clone, Debug)]
struct Bytewise;

impl Weighter<Key, Value> for Bytewise {
    fn weight(&self, (question, variant): &Key, value: &Value) -> u64 {
        let variant = variant.iter().flatten().flatten().map(HeaderValue::len).sum::<usize>();
        let value = match value {
            Value::Names(names) => names.iter().map(|name| name.as_str().len()).sum(),
            Value::Answer(answer, _) => {
                let headers = answer.headers.iter();
                let headers: usize =
                    headers.map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
                answer.body.len() + headers
            }
        };
        (OVERHEAD + question.weight() + variant + value) as u64
    }
}

type Answers = Cache<Key, Value, Bytewise>;

/// The last good answers of one proxy.
#[derive(Debug)]
pub(crate) struct Store {
    /// Made when the first answer is kept.
    answers: OnceLock<Answers>,
    metrics: Arc<Metrics>,
}

impl Store {
    /// An empty one.
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { answers: OnceLock::new(), metrics: metrics.clone() })
    }

    /// Keeps an answer, in the place of the last one to the same question.
    pub(super) fn put(
        &self,
        question: Question,
        (names, variant): (Vec<HeaderName>, Variant),
        answer: Answer,
    ) {
        let answers = self.answers.get_or_init(made);
        answers.insert((question.clone(), None), Value::Names(names.into()));
        answers.insert((question, Some(variant)), Value::Answer(Arc::new(answer), Instant::now()));
        self.metrics.fallback_kept(answers.weight());
    }

    /// The last good answer to the question that is no older than `age`; it says how old it is.
    pub(super) fn find(
        &self,
        question: &Question,
        request: &HeaderMap,
        age: Duration,
        now: Instant,
    ) -> Option<Response<Bytes>> {
        let answers = self.answers.get()?;
        let mut key = (question.clone(), None);
        let Value::Names(names) = answers.get(&key)? else { return None };
        key.1 = Some(variant(&names, request));
        let Value::Answer(kept, since) = answers.get(&key)? else { return None };
        let old = now.saturating_duration_since(since);
        if old > age {
            return None;
        }
        let mut answer = Response::new(kept.body.clone());
        *answer.status_mut() = kept.status;
        *answer.headers_mut() = kept.headers.clone();
        let before = kept.headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok());
        let seconds = before.unwrap_or(0).saturating_add(old.as_secs());
        answer.headers_mut().insert(header::AGE, HeaderValue::from(seconds));
        Some(answer)
    }
}

fn made() -> Answers {
    let options = OptionsBuilder::new()
        .shards(PARTS)
        .estimated_items_capacity(4096)
        .weight_capacity(MOST_BYTES)
        .build()
        .expect("both capacities are given");
    Cache::with_options(options, Bytewise, DefaultHashBuilder::default(), Default::default())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answer(body: Vec<u8>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("x-made", HeaderValue::from_static("once"));
        Answer { status: StatusCode::OK, headers, body: body.into() }
    }

    fn put(store: &Store, target: &str, language: &'static str, body: &[u8]) {
        let names = vec![header::ACCEPT_LANGUAGE];
        let said = variant(&names, &request(language));
        store.put(Question::made_up(target), (names, said), answer(body.to_vec()));
    }

    fn request(language: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language))])
    }

    fn find(store: &Store, target: &str, language: &'static str, later: Duration) -> Option<Response<Bytes>> {
        let now = Instant::now() + later;
        store.find(&Question::made_up(target), &request(language), Duration::from_secs(60), now)
    }

    #[test]
    fn the_last_answer_to_the_same_question_with_its_age() {
        let store = Store::new(&Metrics::new(1));
        assert!(find(&store, "/", "en", Duration::ZERO).is_none());
        put(&store, "/", "en", b"hello");
        put(&store, "/", "de", b"hallo");
        put(&store, "/", "en", b"hello again");
        let found = find(&store, "/", "en", Duration::from_secs(7)).expect("kept");
        assert_eq!(
            (&found.body()[..], &found.headers()["age"]),
            (&b"hello again"[..], &HeaderValue::from(7))
        );
        assert_eq!(found.headers()["x-made"], "once");
        assert_eq!(find(&store, "/", "de", Duration::ZERO).expect("kept").body(), "hallo");
        assert!(find(&store, "/", "fr", Duration::ZERO).is_none());
        assert!(find(&store, "/other", "en", Duration::ZERO).is_none());
        assert!(find(&store, "/", "en", Duration::from_secs(61)).is_none(), "too old");
    }

    #[test]
    fn all_answers_together_stay_within_their_bytes() {
        let store = Store::new(&Metrics::new(1));
        let body = vec![0; 1024 * 1024];
        for n in 0..200 {
            put(&store, &format!("/{n}"), "en", &body);
            assert!(store.answers.get().expect("made").weight() <= MOST_BYTES);
        }
        let kept = (0..200).filter(|n| find(&store, &format!("/{n}"), "en", Duration::ZERO).is_some());
        assert!((20..=64).contains(&kept.count()));
    }
}
