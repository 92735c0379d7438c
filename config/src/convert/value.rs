//! Values that are not text, and the wrappers that say what absence and null mean.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value as Json, json};

use super::{Context, Fields, FromNode, TextValue};
use crate::{
    diagnostic::{Code, Fault},
    yaml::{Node, ScalarKind, Span, Value},
};

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands.
    pub(crate) span: Span,
}

impl<T: FromNode> FromNode for Spanned<T> {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        Some(Self { value: T::from_node(node, cx)?, span: node.span })
    }
}

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        T::from_node(node, cx).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// An optional value that may not be null: null would look like "off" where there is no off.
#[derive(Clone, Debug)]
pub(crate) struct Strict<T>(pub(crate) Option<T>);

impl<T: FromNode> FromNode for Strict<T> {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        T::from_node(node, cx).map(|value| Self(Some(value)))
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }

    fn null(key: &str, node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let message = format!("`{key}` has no off, so it may not be null");
        cx.push(
            Fault::error(Code::WrongType, node.span, message).help("remove the field to keep the default"),
        );
        Some(Self(None))
    }
}

/// A setting that inherits when it is missing and is switched off by null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting<T> {
    /// Not written: what is less specific holds.
    Unset,
    /// Written as null.
    Off,
    /// Written.
    Set(T),
}

impl<T> Setting<T> {
    /// Whether nothing was written.
    pub(crate) fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }

    /// Where it is written; null has no place but that of the `whole` around it.
    pub(crate) fn place(&self, whole: Span, of: impl FnOnce(&T) -> Span) -> Option<Span> {
        match self {
            Self::Unset => None,
            Self::Off => Some(whole),
            Self::Set(value) => Some(of(value)),
        }
    }
}

impl<T: FromNode> FromNode for Setting<T> {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        T::from_node(node, cx).map(Self::Set)
    }

    fn absent() -> Option<Self> {
        Some(Self::Unset)
    }

    fn refused() -> Option<Self> {
        // Something was written, so nothing may be concluded from its absence.
        Some(Self::Off)
    }

    fn null(_: &str, _: &Node, _: &mut Context<'_>) -> Option<Self> {
        Some(Self::Off)
    }
}

/// A list; missing and null are empty. `MAX` items at most.
#[derive(Clone, Debug)]
pub(crate) struct List<T, const MAX: usize = { usize::MAX }> {
    items: Vec<T>,
    /// Whether every item was read; if not, nothing may be concluded from what is missing.
    pub(crate) complete: bool,
    /// Whether the list was written at all.
    pub(crate) written: bool,
}

impl<T, const MAX: usize> List<T, MAX> {
    /// The same list of something else.
    pub(crate) fn map<U>(self, into: impl FnMut(T) -> U) -> List<U, MAX> {
        let items = self.items.into_iter().map(into).collect();
        List { items, complete: self.complete, written: self.written }
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self { items: Vec::new(), complete: true, written: false }
    }
}

impl<T: FromNode, const MAX: usize> FromNode for List<T, MAX> {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Seq(nodes) = &node.value else {
            cx.wrong_type(node, "a list", Some("write each item on a line of its own after `- `".to_owned()));
            return None;
        };
        if nodes.len() > MAX {
            let message = format!("the list has {} items, at most {MAX} are allowed", nodes.len());
            cx.error(Code::Range, nodes[MAX].span, message);
        }
        let items: Vec<T> = nodes.iter().take(MAX).filter_map(|node| T::from_node(node, cx)).collect();
        Some(Self { complete: items.len() == nodes.len(), written: true, items })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn refused() -> Option<Self> {
        Some(Self { complete: false, written: true, ..Self::default() })
    }
}

/// Any value; its fields are not looked at.
#[derive(Clone, Debug)]
pub(crate) struct Any;

impl FromNode for Any {
    fn from_node(_: &Node, _: &mut Context<'_>) -> Option<Self> {
        Some(Self)
    }
}

/// `{}`: an object that says all by being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Empty;

impl FromNode for Empty {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        Fields::open(node, &[], cx).map(|_| Self)
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl FromNode for Flag {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match node.scalar() {
            Some((_, ScalarKind::Bool(value))) => Some(Self(value)),
            Some((text, ScalarKind::LooseBool(value))) => {
                let help = format!("`{text}` is a word to some YAML readers; write `{value}`");
                cx.wrong_type(node, "`true` or `false`", Some(help));
                None
            }
            _ => {
                cx.wrong_type(node, "`true` or `false`", None);
                None
            }
        }
    }
}

/// An integer in a range, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounded<const MIN: u32, const MAX: u32>(pub(crate) u32);

/// A TCP port.
pub(crate) type Port = Bounded<1, 65535>;

impl<const MAX: u32> Bounded<1, MAX> {
    /// The number as a port; the range of [`Port`] makes it fit.
    pub(crate) fn port(self) -> u16 {
        self.0 as u16
    }
}

impl<const MIN: u32, const MAX: u32> FromNode for Bounded<MIN, MAX> {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = match node.scalar() {
            Some((text, ScalarKind::Integer)) => text,
            Some((_, ScalarKind::LooseInteger)) => {
                let help =
                    "YAML readers differ about this number; write it in plain decimal, without leading zeros";
                cx.wrong_type(node, "a whole number", Some(help.to_owned()));
                return None;
            }
            Some((text, ScalarKind::String)) if text.parse::<u32>().is_ok() => {
                cx.wrong_type(node, "a whole number", Some("write it without quotes".to_owned()));
                return None;
            }
            _ => {
                cx.wrong_type(node, "a whole number", None);
                return None;
            }
        };
        match text.trim_start_matches('+').parse::<u32>() {
            Ok(number) if (MIN..=MAX).contains(&number) => Some(Self(number)),
            _ => {
                let message = format!("{text} is out of range");
                cx.push(
                    Fault::error(Code::Range, node.span, message).help(format!("allowed: {MIN} to {MAX}")),
                );
                None
            }
        }
    }
}

/// A percentage from 0 to 100, fractions included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

impl FromNode for Percent {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let number = match node.scalar() {
            Some((text, ScalarKind::Integer | ScalarKind::Float)) => text.parse::<f64>().ok(),
            _ => None,
        };
        match number {
            Some(number) if (0.0..=100.0).contains(&number) => Some(Self(number)),
            Some(number) => {
                let message = format!("{number} is out of range");
                cx.push(Fault::error(Code::Range, node.span, message).help("allowed: 0 to 100"));
                None
            }
            None => {
                cx.wrong_type(node, "a number", Some("a percentage is written without `%`".to_owned()));
                None
            }
        }
    }
}

/// A factor from 0 to 10, fractions included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Factor(pub(crate) f64);

impl FromNode for Factor {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let number = match node.scalar() {
            Some((text, ScalarKind::Integer | ScalarKind::Float)) => text.parse::<f64>().ok(),
            _ => None,
        };
        match number {
            Some(number) if (0.0..=10.0).contains(&number) => Some(Self(number)),
            Some(number) => {
                let message = format!("{number} is out of range");
                cx.push(Fault::error(Code::Range, node.span, message).help("allowed: 0 to 10"));
                None
            }
            None => {
                cx.wrong_type(node, "a number", None);
                None
            }
        }
    }
}

/// Words to words, as labels and annotations are.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextMap(pub(crate) Vec<(Arc<str>, Spanned<Arc<str>>)>);

impl TextMap {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Spanned<Arc<str>>> {
        self.0.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }
}

impl FromNode for TextMap {
    fn from_node(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.wrong_type(node, "a mapping of words to words", None);
            return None;
        };
        let read = |entry: &crate::yaml::Entry| {
            let value = TextValue::read(&entry.value, cx)?.into();
            Some(((&*entry.key).into(), Spanned { value, span: entry.value.span }))
        };
        Some(Self(entries.iter().filter_map(read).collect()))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

fn nullable(schema: Schema) -> Schema {
    json_schema!({"anyOf": [Json::from(schema), {"type": "null"}]})
}

fn or_off(schema: Schema) -> Schema {
    json_schema!({"anyOf": [Json::from(schema), {"type": "null", "description": OFF}]})
}

/// What the schema says of a null that switches off; other nulls are as good as a missing field.
pub(crate) const OFF: &str = "Off.";

macro_rules! inline_schema {
    ($( [$($generics:tt)*] $type:ty: $generator:pat => $schema:expr; )*) => { $(
        impl<$($generics)*> JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )* };
}

inline_schema! {
    [T: JsonSchema] Spanned<T>: generator => T::json_schema(generator);
    [T: JsonSchema] Strict<T>: generator => T::json_schema(generator);
    [T: JsonSchema] Setting<T>: generator => or_off(T::json_schema(generator));
    [T: JsonSchema, const MAX: usize] List<T, MAX>: generator => list_schema(&T::json_schema(generator), MAX);
    [] Any: _ => json_schema!(true);
    [] Empty: _ => json_schema!({"type": "object", "additionalProperties": false});
    [] Flag: _ => json_schema!({"type": "boolean"});
    [const MIN: u32, const MAX: u32] Bounded<MIN, MAX>: _ =>
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX});
    [] Percent: _ => json_schema!({"type": "number", "minimum": 0, "maximum": 100});
    [] Factor: _ => json_schema!({"type": "number", "minimum": 0, "maximum": 10});
    [] TextMap: _ => nullable(json_schema!({"type": "object", "additionalProperties": {"type": "string"}}));
}

fn list_schema(items: &Schema, max: usize) -> Schema {
    let mut list = json!({"type": ["array", "null"], "items": items});
    if max < usize::MAX {
        list["maxItems"] = max.into();
    }
    Schema::try_from(list).unwrap_or_default()
}
