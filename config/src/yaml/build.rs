//! Turns the parser's events into nodes, within the budgets.
//!
//! The parser checks YAML's grammar; this file owns what it leaves open: aliases are copied (and counted, so that an
//! alias bomb costs its file only), duplicate keys are reported with both places, keys must be scalars.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::{Entry, Node, Span, Value, budget};
use crate::diagnostic::{Code, Fault};

/// A fault that ends the reading of the file; boxed because it is rare.
type Stop = Box<Fault>;

/// All documents of the text that hold something.
pub(super) fn documents<'a>(file: u32, text: &'a str, faults: &'a mut Vec<Fault>) -> Result<Vec<Node>, Stop> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = budget::DEPTH;
    options.block_nesting_limit = budget::DEPTH;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder =
        Builder { file, text, parser, faults, anchors: HashMap::new(), nodes: 0, copied: 0, depth: 0 };
    let mut roots = Vec::new();
    while let Some((event, span)) = builder.next()? {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(..) => builder.anchors.clear(),
            event => {
                let root = builder.node(event, span)?;
                if !root.is_null() {
                    roots.push(root);
                }
            }
        }
    }
    Ok(roots)
}

struct Builder<'a> {
    file: u32,
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    faults: &'a mut Vec<Fault>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    copied: usize,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Stop> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                let place = self.place(&span.start, &span.end);
                Ok(Some((event, place)))
            }
            Some(Err(error)) => {
                let place = self.place(error.marker(), error.marker());
                Err(Box::new(syntax_fault(&error, self.before_tabs(place))))
            }
        }
    }

    /// The parser points behind tabs; a person looks for the tabs themselves.
    fn before_tabs(&self, place: Span) -> Span {
        let before = self.text.get(..place.start as usize).unwrap_or_default();
        let tabs = (before.len() - before.trim_end_matches('\t').len()) as u32;
        Span { start: place.start - tabs, column: place.column.saturating_sub(tabs).max(1), ..place }
    }

    /// The next event, where the grammar promises one.
    fn inner(&mut self, open: Span) -> Result<(Event<'a>, Span), Stop> {
        self.next()?
            .ok_or_else(|| Box::new(Fault::error(Code::Syntax, open, "the file ends inside this value")))
    }

    fn place(&self, start: &Marker, end: &Marker) -> Span {
        let from = start.byte_offset().unwrap_or_else(|| start.index()) as u32;
        let to = end.byte_offset().unwrap_or_else(|| end.index()) as u32;
        Span {
            file: self.file,
            start: from,
            end: to.max(from),
            line: start.line() as u32,
            column: start.col() as u32 + 1,
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Stop> {
        self.nodes += 1;
        if self.nodes > budget::NODES {
            let message = format!("the file has more than {} values", budget::NODES);
            return Err(Box::new(Fault::error(Code::Budget, span, message)));
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = self.check_tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain && !forced;
                (Node { span, value: Value::Scalar { text: text.into(), plain } }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                (self.nested(span, Self::sequence)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                (self.nested(span, Self::mapping)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, span),
            _ => return Err(Box::new(Fault::error(Code::Syntax, span, "a value was expected here"))),
        };
        if anchor != 0 {
            self.count_copies(&node)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Whether the tag forces the scalar to be a string. Any other tag has no meaning in policy files.
    fn check_tag(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        match tag.core_suffix() {
            Some("str") => return true,
            Some("map" | "seq") => {}
            _ => {
                let message = format!("the YAML tag `{}` has no meaning here", tag.original());
                self.faults.push(Fault::error(Code::Syntax, span, message).help("remove the tag"));
            }
        }
        false
    }

    fn nested(&mut self, open: Span, read: fn(&mut Self, Span) -> Result<Node, Stop>) -> Result<Node, Stop> {
        self.depth += 1;
        if self.depth > budget::DEPTH {
            return Err(Box::new(too_deep(open)));
        }
        let node = read(self, open);
        self.depth -= 1;
        node
    }

    fn sequence(&mut self, open: Span) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.inner(open)?;
            if matches!(event, Event::SequenceEnd) {
                let span = Span { end: span.end.max(open.end), ..open };
                return Ok(Node { span, value: Value::Seq(items) });
            }
            items.push(self.node(event, span)?);
        }
    }

    fn mapping(&mut self, open: Span) -> Result<Node, Stop> {
        let mut entries = Vec::new();
        let mut seen = Keys::default();
        loop {
            let (event, span) = self.inner(open)?;
            if matches!(event, Event::MappingEnd) {
                let span = Span { end: span.end.max(open.end), ..open };
                return Ok(Node { span, value: Value::Map(entries) });
            }
            let key = self.node(event, span)?;
            let (event, span) = self.inner(open)?;
            let value = self.node(event, span)?;
            let Value::Scalar { text, .. } = key.value else {
                let fault =
                    Fault::error(Code::Syntax, key.span, "a key must be a word, not a list or mapping");
                self.faults.push(fault);
                continue;
            };
            match seen.first(&text, &entries) {
                Some(first) => {
                    let message = format!("the key `{text}` is written twice");
                    let fault = Fault::error(Code::DuplicateKey, key.span, message)
                        .below(&text)
                        .related(first, format!("`{text}` is written first here"))
                        .help("remove one of the two");
                    self.faults.push(fault);
                }
                None => {
                    seen.add(&text, entries.len());
                    entries.push(Entry { key: text, key_span: key.span, value });
                }
            }
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(Box::new(Fault::error(
                Code::Syntax,
                span,
                "the alias stands inside the value it names",
            )));
        };
        self.count_copies(&node).map_err(|mut fault| {
            fault.span = span;
            fault
        })?;
        Ok(node)
    }

    fn count_copies(&mut self, node: &Node) -> Result<(), Stop> {
        self.copied += node.size();
        if self.copied <= budget::ALIASED {
            return Ok(());
        }
        let message = format!("anchors and aliases copy more than {} values", budget::ALIASED);
        Err(Box::new(Fault::error(Code::Budget, node.span, message).help("write the values out")))
    }
}

/// The keys of one mapping. Small mappings are scanned; large ones get a table, so that no file is quadratic.
#[derive(Default)]
struct Keys {
    table: HashMap<Box<str>, usize>,
}

impl Keys {
    const SCANNED: usize = 16;

    fn first(&self, key: &str, entries: &[Entry]) -> Option<Span> {
        if entries.len() <= Self::SCANNED {
            return entries.iter().find(|entry| &*entry.key == key).map(|entry| entry.key_span);
        }
        let scanned = entries[..Self::SCANNED].iter().find(|entry| &*entry.key == key);
        scanned.or_else(|| self.table.get(key).map(|index| &entries[*index])).map(|entry| entry.key_span)
    }

    fn add(&mut self, key: &str, index: usize) {
        if index >= Self::SCANNED {
            self.table.insert(key.into(), index);
        }
    }
}

fn too_deep(span: Span) -> Fault {
    let message = format!("values are nested deeper than {} levels", budget::DEPTH);
    Fault::error(Code::Budget, span, message)
}

/// The parser's error in our words where a remedy is known.
fn syntax_fault(error: &ScanError, span: Span) -> Fault {
    use granit_parser::ErrorKind as Kind;
    let span = Span { end: span.start + 1, ..span };
    match error.kind() {
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabAtBlockScalarStart
        | Kind::TabInIndentation
        | Kind::TabInPlainScalar => Fault::error(Code::Syntax, span, "a tab stands where YAML wants spaces")
            .help("indent with spaces"),
        Kind::RecursionLimitExceeded => too_deep(span),
        Kind::UnknownAnchor => Fault::error(Code::Syntax, span, "the alias names no anchor of this document")
            .help("to write a value that begins with `*`, put it in quotes"),
        Kind::UnexpectedCharacter { character } if matches!(character, '@' | '`' | '%') => {
            let message = format!("a value cannot begin with `{character}`");
            Fault::error(Code::Syntax, span, message).help("put the value in quotes")
        }
        Kind::MappingValueNotAllowed | Kind::InvalidColonPlacement => {
            Fault::error(Code::Syntax, span, "a `:` stands where no key may be")
                .help("check the indentation, or put the value in quotes")
        }
        kind => Fault::error(Code::Syntax, span, format!("not valid YAML: {kind}")),
    }
}
