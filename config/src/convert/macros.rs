//! The three forms in which schema types are declared: an object, a choice of words, a parsed text.
//!
//! Each macro writes the type, its conversion and its JSON Schema from one declaration. The words of the schema are the
//! doc comments: they are what `outrigger reference` prints, so they say unit, effect and what happens at the limit.

/// Declares an object: its fields with their YAML keys, fields that are read and have no meaning here (`ignored`), and
/// fields of which exactly one must be set (`exactly_one`). A field may say what holds where it is missing (`= value`,
/// see `BuiltIn`); a test holds that it does.
macro_rules! object {
    (
        $(#[doc = $doc:literal])*
        pub(crate) struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident($key:literal): $type:ty $(= $built_in:expr)?, )*
        }
        $( ignored { $( $ignored_key:literal: $ignored_type:ty, )* } )?
        $( exactly_one [ $( $one:literal ),* ] )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            /// Where the object stands.
            #[allow(dead_code, reason = "few objects need their own place")]
            pub(crate) span: $crate::yaml::Span,
            $( $(#[doc = $field_doc])* pub(crate) $field: $type, )*
        }

        impl $crate::convert::FromNode for $name {
            #[allow(unused_variables, reason = "an object may have no fields")]
            fn from_node(
                node: &$crate::yaml::Node,
                cx: &mut $crate::convert::Context<'_>,
            ) -> Option<Self> {
                const KEYS: &[&str] = &[$( $key, )* $( $( $ignored_key, )* )?];
                let fields = $crate::convert::Fields::open(node, KEYS, cx)?;
                $( fields.exactly_one(&[$( $one ),*], cx); )?
                $( let $field = fields.take::<$type>($key, cx); )*
                $( $( let _ = fields.take::<Option<$ignored_type>>($ignored_key, cx); )* )?
                Some(Self { span: node.span, $( $field: $field?, )* })
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }

            #[allow(unused_mut, unused_variables, reason = "an object may have no fields")]
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut object = $crate::convert::ObjectSchema::new(concat!($( $doc, "\n" ),*));
                $(
                    object.field::<$type>(generator, $key, concat!($( $field_doc, "\n" ),*));
                    $( object.built_in($key, $built_in); )?
                )*
                $( $( object.ignored::<$ignored_type>(generator, $ignored_key); )* )?
                $( object.exactly_one(&[$( $one ),*]); )?
                object.build()
            }
        }
    };
}

/// Declares a choice of words.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub(crate) enum $name:ident { $( $(#[doc = $variant_doc:literal])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $( $(#[doc = $variant_doc])* $variant, )* }

        impl $name {
            /// The word as it is written.
            #[allow(dead_code, reason = "not every choice is shown again")]
            pub(crate) fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::convert::FromNode for $name {
            fn from_node(
                node: &$crate::yaml::Node,
                cx: &mut $crate::convert::Context<'_>,
            ) -> Option<Self> {
                const WORDS: &[&str] = &[$( $word ),*];
                match $crate::convert::TextValue::read_word(node, WORDS, cx)? {
                    $( $word => Some(Self::$variant), )*
                    other => {
                        cx.unknown_value(node, other, WORDS);
                        None
                    }
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $crate::convert::paragraphs(concat!($( $doc, "\n" ),*)),
                    "enum": [$( $word ),*],
                    "enumDescriptions": [
                        $( $crate::convert::paragraphs(concat!($( $variant_doc, "\n" ),*)) ),*
                    ],
                })
            }
        }
    };
}

/// Makes a type readable that parses one text: `parse(&str) -> Result<Self, Problem>` and `schema()` are its own.
macro_rules! parsed {
    ($name:ident) => {
        impl $crate::convert::FromNode for $name {
            fn from_node(node: &$crate::yaml::Node, cx: &mut $crate::convert::Context<'_>) -> Option<Self> {
                let text = $crate::convert::TextValue::read(node, cx)?;
                match Self::parse(text) {
                    Ok(value) => Some(value),
                    Err(problem) => {
                        cx.push(problem.at(node.span));
                        None
                    }
                }
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                Self::schema()
            }
        }
    };
}

pub(crate) use {choice, object, parsed};
