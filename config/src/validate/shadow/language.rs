//! Which texts a condition admits, and whether another one admits them all. Proven or not said: "no" may mean "perhaps".
//!
//! Expressions become finite automata over bytes (as the proxy reads them: the whole text must match), so one is
//! compared with another exactly. What it costs is bounded: an expression whose automaton is larger than [`SIZE`], or
//! that has a Unicode word boundary, is never said to admit anything; and when [`STEPS`] or [`AUTOMATA`] are spent,
//! nothing more is said.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use regex_automata::{
    Anchored, MatchKind,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start, syntax},
};

/// Bytes of one automaton. `.*` and `[a-z]+` take some hundred.
const SIZE: usize = 1 << 17;
/// Automata of one policy.
const AUTOMATA: usize = 1000;
/// Steps from state to state, of one policy: some hundredths of a second.
const STEPS: usize = 5_000_000;
/// What comparing two matches costs beside, in steps: so half a million pairs are looked at, as 50 expressions beside 10,000
/// routes have.
pub(super) const COMPARISON: usize = 10;
/// Pairs of states that one comparison of two expressions may look at.
const PAIRS: usize = 4096;

/// Texts of a kind: which bytes they are made of, and which they begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Canonical paths: printable ASCII, and `/` first.
    Path,
    /// Services and methods of gRPC calls: printable ASCII.
    Name,
    /// Header values and query parameters: any bytes.
    Value,
}

impl Alphabet {
    fn bytes(self) -> std::ops::RangeInclusive<u8> {
        match self {
            Self::Path | Self::Name => 0x21..=0x7e,
            Self::Value => 0..=0xff,
        }
    }
}

/// The texts that a condition admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language<'a> {
    Exact(&'a str),
    /// A path of these segments, and all below it; the root is `/`.
    Prefix(&'a str),
    Regex(&'a Arc<str>),
}

/// Compares languages, and keeps what it has built.
#[derive(Default)]
pub(super) struct Languages {
    automata: HashMap<Arc<str>, Option<Rc<Expression>>>,
    steps: usize,
}

impl Languages {
    /// Whether `outer` certainly admits every text of `inner`.
    pub(super) fn covers(&mut self, outer: Language<'_>, inner: Language<'_>, alphabet: Alphabet) -> bool {
        if outer == inner {
            return true;
        }
        let Language::Regex(outer) = outer else {
            // A name admits one text. Prefixes are compared elsewhere: the longer one is asked first.
            return match (outer, inner) {
                (Language::Exact(name), Language::Regex(pattern)) => {
                    literal(pattern).as_deref() == Some(name)
                }
                _ => false,
            };
        };
        let Some(outer) = self.expression(outer) else { return false };
        match inner {
            Language::Exact(text) => self.admits(&outer, text),
            Language::Prefix(path) => self.admits_below(&outer, path),
            Language::Regex(inner) => {
                self.expression(inner).is_some_and(|inner| self.includes(&outer, &inner, alphabet))
            }
        }
    }

    fn expression(&mut self, pattern: &Arc<str>) -> Option<Rc<Expression>> {
        if let Some(known) = self.automata.get(pattern) {
            return known.clone();
        }
        if self.automata.len() >= AUTOMATA {
            return None;
        }
        let built = Expression::build(pattern).map(Rc::new);
        self.automata.insert(pattern.clone(), built.clone());
        built
    }

    /// Whether nothing more is said.
    pub(super) fn is_spent(&self) -> bool {
        self.steps >= STEPS
    }

    /// Counts steps; `false` when they are spent.
    pub(super) fn spend(&mut self, steps: usize) -> bool {
        self.steps = self.steps.saturating_add(steps);
        self.steps < STEPS
    }

    fn admits(&mut self, outer: &Expression, text: &str) -> bool {
        let end = outer.walk(outer.start, text.as_bytes());
        self.spend(text.len()) && end.is_some_and(|state| outer.accepts(state))
    }

    /// Whether the path and all below it are admitted.
    fn admits_below(&mut self, outer: &Expression, path: &str) -> bool {
        let segments = path.trim_end_matches('/');
        if !self.spend(segments.len() + 1) {
            return false;
        }
        let Some(at) = outer.walk(outer.start, segments.as_bytes()) else { return false };
        let Some(below) = outer.walk(at, b"/") else { return false };
        (segments.is_empty() || outer.accepts(at)) && self.admits_all_from(outer, below)
    }

    /// Whether every text that goes on from the state is admitted.
    fn admits_all_from(&mut self, outer: &Expression, state: StateID) -> bool {
        let mut seen = HashSet::from([state]);
        let mut open = vec![state];
        while let Some(state) = open.pop() {
            if !outer.accepts(state) || seen.len() > PAIRS || !self.spend(Alphabet::Path.bytes().len()) {
                return false;
            }
            for byte in Alphabet::Path.bytes() {
                let Some(next) = outer.step(state, byte) else { return false };
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        true
    }

    /// Whether `outer` admits every text of `inner`: both are walked together until one text is found that it does not.
    fn includes(&mut self, outer: &Expression, inner: &Expression, alphabet: Alphabet) -> bool {
        let first = (inner.start, Some(outer.start));
        let first = match alphabet {
            Alphabet::Path => match inner.step(inner.start, b'/') {
                Some(state) => (state, outer.step(outer.start, b'/')),
                // It admits no path at all, which is said elsewhere.
                None => return false,
            },
            Alphabet::Name | Alphabet::Value => first,
        };
        let mut seen = HashSet::from([first]);
        let mut open = vec![first];
        while let Some((inside, around)) = open.pop() {
            if inner.accepts(inside) && !around.is_some_and(|state| outer.accepts(state)) {
                return false;
            }
            if seen.len() > PAIRS || !self.spend(alphabet.bytes().len()) {
                return false;
            }
            for byte in alphabet.bytes() {
                // Where the inner one has come to an end there is nothing left to admit.
                let Some(next) = inner.step(inside, byte) else { continue };
                let pair = (next, around.and_then(|state| outer.step(state, byte)));
                if seen.insert(pair) {
                    open.push(pair);
                }
            }
        }
        true
    }
}

/// An expression as an automaton.
struct Expression {
    automaton: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Expression {
    /// As the proxy compiles it; `None` if it is too large, or no automaton can be made of it.
    fn build(pattern: &str) -> Option<Self> {
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    .match_kind(MatchKind::All)
                    .dfa_size_limit(Some(SIZE))
                    .determinize_size_limit(Some(SIZE)),
            )
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE)))
            .syntax(syntax::Config::new().utf8(false))
            .build(&format!(r"\A(?:{pattern})\z"))
            .ok()?;
        let start = automaton.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Self { automaton, start })
    }

    /// The next state; `None` if nothing is admitted from there.
    fn step(&self, state: StateID, byte: u8) -> Option<StateID> {
        let next = self.automaton.next_state(state, byte);
        (!self.automaton.is_dead_state(next)).then_some(next)
    }

    fn walk(&self, from: StateID, text: &[u8]) -> Option<StateID> {
        text.iter().try_fold(from, |state, byte| self.step(state, *byte))
    }

    /// Whether the text so far is admitted.
    fn accepts(&self, state: StateID) -> bool {
        self.automaton.is_match_state(self.automaton.next_eoi_state(state))
    }
}

/// The only text that an expression admits, if it is one.
pub(super) fn literal(pattern: &str) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    match hir.kind() {
        regex_syntax::hir::HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        _ => None,
    }
}

/// Whether the expression certainly admits no path, for every path begins with `/`.
pub(super) fn admits_no_path(pattern: &str) -> bool {
    let Ok(hir) = regex_syntax::parse(pattern) else { return false };
    let beginnings = regex_syntax::hir::literal::Extractor::new().extract(&hir);
    let Some(beginnings) = beginnings.literals() else { return false };
    let misses = |text: &[u8]| text.first().is_some_and(|first| *first != b'/');
    !beginnings.is_empty() && beginnings.iter().all(|beginning| misses(beginning.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Alphabet, Language, Languages, admits_no_path};

    fn covers(outer: &str, inner: Language<'_>, alphabet: Alphabet) -> bool {
        Languages::default().covers(Language::Regex(&outer.into()), inner, alphabet)
    }

    #[test]
    fn expressions_over_names_and_prefixes() {
        for (outer, inner, expected) in [
            (".*", Language::Prefix("/"), true),
            ("/.*", Language::Prefix("/"), true),
            ("/.+", Language::Prefix("/"), false),
            ("/a.*", Language::Prefix("/a"), true),
            ("/a/.*", Language::Prefix("/a"), false),
            ("/a(/.*)?", Language::Prefix("/a"), true),
            ("/a(/.*)?", Language::Prefix("/ab"), false),
            ("(?i)/A(/.*)?", Language::Prefix("/a"), true),
            ("/[a-z]+", Language::Exact("/abc"), true),
            ("/[a-z]+", Language::Exact("/a1"), false),
            ("/a", Language::Prefix("/a"), false),
            (r"/\w+.*", Language::Prefix("/abc"), false),
        ] {
            assert_eq!(covers(outer, inner, Alphabet::Path), expected, "{outer} over {inner:?}");
        }
    }

    #[test]
    fn expressions_over_expressions() {
        for (outer, inner, expected) in [
            ("/a[0-9]+", "/a[0-9]{2}", true),
            ("/a[0-9]{2}", "/a[0-9]+", false),
            ("/(a|b)/.*", "/a/x", true),
            ("/.*", "[^x]*", true),
            ("/[^y]*", "[^x]*", false),
            ("/v[0-9]+/.*", "/v1/(users|carts)(/.*)?", true),
            (r"/a\b.*", "/a/b", false),
        ] {
            let inner = inner.into();
            assert_eq!(
                covers(outer, Language::Regex(&inner), Alphabet::Path),
                expected,
                "{outer} over {inner}"
            );
        }
        assert!(covers(".*", Language::Regex(&"[a-z]+".into()), Alphabet::Value));
        // `.` is no newline, and a value may have one after percent-decoding.
        assert!(!covers(".*", Language::Regex(&"(?s).*".into()), Alphabet::Value));
        assert!(!covers("[a-y]+", Language::Regex(&"[a-z]+".into()), Alphabet::Value));
    }

    #[test]
    fn a_name_over_an_expression_that_is_one() {
        let covers = |pattern: &str| {
            let mut languages = Languages::default();
            languages.covers(Language::Exact("/a"), Language::Regex(&pattern.into()), Alphabet::Path)
        };
        assert!(covers("/a") && !covers("/a|/b") && !covers("/b"));
    }

    #[test]
    fn what_is_too_large_is_not_said_and_costs_little() {
        let large = r"\w{300}";
        assert!(!covers(large, Language::Exact("/a"), Alphabet::Path));
        let mut languages = Languages { steps: super::STEPS, ..Languages::default() };
        assert!(!languages.covers(Language::Regex(&".*".into()), Language::Exact("/a"), Alphabet::Path));
    }

    #[test]
    fn an_expression_that_begins_with_anything_but_a_slash_admits_no_path() {
        for (pattern, none) in [
            ("api/.*", true),
            ("^api", true),
            ("(api|v1)/x", true),
            ("/api", false),
            (".*api", false),
            ("(/|x)api", false),
            ("[a-z]*", false),
            ("", false),
            ("(?i)api", true),
        ] {
            assert_eq!(admits_no_path(pattern), none, "{pattern}");
        }
    }
}
