//! How single values travel, and the three forms of everything else: records, words, and one of several.
//!
//! [`Field`] is told by both types: a value of the model, and what stands for it in a message. A message that stands
//! alone is an `Option` there; `None` is an error where the model needs the value.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::spiffe::SpiffeId;

/// What is wrong with a message, with the path of the field as far as it is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    /// The fault as the message around `field` has it.
    pub(super) fn below(mut self, field: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{field}{dot}{}", self.path);
        self
    }
}

/// A value of the model that travels as a `W`.
pub(super) trait Field<W>: Sized {
    fn put(&self) -> W;
    fn take(wire: W) -> Result<Self, Fault>;
}

/// Values that travel as they are.
macro_rules! as_is {
    ($($type:ty),*) => {$(
        impl Field<$type> for $type {
            fn put(&self) -> $type {
                *self
            }

            fn take(wire: $type) -> Result<Self, Fault> {
                Ok(wire)
            }
        }
    )*};
}

as_is!(bool, u32);

impl Field<f64> for f64 {
    fn put(&self) -> f64 {
        *self
    }

    fn take(wire: f64) -> Result<Self, Fault> {
        if wire.is_finite() { Ok(wire) } else { Err(Fault::new(format!("{wire} is no number"))) }
    }
}

/// Numbers that are smaller than any that protobuf has.
macro_rules! small {
    ($($type:ty),*) => {$(
        impl Field<u32> for $type {
            fn put(&self) -> u32 {
                u32::from(*self)
            }

            fn take(wire: u32) -> Result<Self, Fault> {
                Self::try_from(wire).map_err(|_| Fault::new(format!("{wire} is more than {}", Self::MAX)))
            }
        }
    )*};
}

small!(u8, u16);

/// Values with a text that says all of them.
macro_rules! by_text {
    ($($type:ty: $what:literal),*) => {$(
        impl Field<String> for $type {
            fn put(&self) -> String {
                self.to_string()
            }

            fn take(wire: String) -> Result<Self, Fault> {
                wire.parse().map_err(|_| Fault::new(format!(concat!("`{}` is not ", $what), wire)))
            }
        }
    )*};
}

by_text!(SocketAddr: "an IP address and port", IpAddr: "an IP address");

impl Field<String> for Arc<str> {
    fn put(&self) -> String {
        self.as_ref().to_owned()
    }

    fn take(wire: String) -> Result<Self, Fault> {
        Ok(wire.into())
    }
}

impl Field<String> for Cow<'static, str> {
    fn put(&self) -> String {
        self.clone().into_owned()
    }

    fn take(wire: String) -> Result<Self, Fault> {
        Ok(Cow::Owned(wire))
    }
}

impl Field<String> for SpiffeId {
    fn put(&self) -> String {
        self.as_str().to_owned()
    }

    fn take(wire: String) -> Result<Self, Fault> {
        Self::parse(&wire).map_err(Fault::new)
    }
}

impl Field<prost_types::Duration> for Duration {
    fn put(&self) -> prost_types::Duration {
        let seconds = i64::try_from(self.as_secs()).unwrap_or(i64::MAX);
        prost_types::Duration { seconds, nanos: self.subsec_nanos() as i32 }
    }

    fn take(wire: prost_types::Duration) -> Result<Self, Fault> {
        let parts = u64::try_from(wire.seconds).ok().zip(u32::try_from(wire.nanos).ok());
        match parts {
            Some((seconds, nanos)) if nanos < 1_000_000_000 => Ok(Self::new(seconds, nanos)),
            _ => Err(Fault::new(format!("{} s and {} ns are no time", wire.seconds, wire.nanos))),
        }
    }
}

impl<T: Field<W>, W> Field<W> for Arc<T> {
    fn put(&self) -> W {
        T::put(self)
    }

    fn take(wire: W) -> Result<Self, Fault> {
        T::take(wire).map(Self::new)
    }
}

impl<T: Field<W>, W> Field<Option<W>> for Option<T> {
    fn put(&self) -> Option<W> {
        self.as_ref().map(T::put)
    }

    fn take(wire: Option<W>) -> Result<Self, Fault> {
        wire.map(T::take).transpose()
    }
}

impl<T: Field<W>, W> Field<Vec<W>> for Vec<T> {
    fn put(&self) -> Vec<W> {
        self.iter().map(T::put).collect()
    }

    fn take(wire: Vec<W>) -> Result<Self, Fault> {
        let one = |(at, item)| T::take(item).map_err(|fault: Fault| fault.below(&format!("[{at}]")));
        wire.into_iter().enumerate().map(one).collect()
    }
}

impl<K: Field<String> + Ord, T: Field<W>, W> Field<BTreeMap<String, W>> for BTreeMap<K, T> {
    fn put(&self) -> BTreeMap<String, W> {
        self.iter().map(|(key, value)| (key.put(), value.put())).collect()
    }

    fn take(wire: BTreeMap<String, W>) -> Result<Self, Fault> {
        let one = |(key, value)| {
            let in_path = format!("[{key}]");
            let value = T::take(value).map_err(|fault| fault.below(&in_path))?;
            Ok((K::take(key)?, value))
        };
        wire.into_iter().map(one).collect()
    }
}

/// The value of a field, named in what is wrong with it.
pub(super) fn named<T: Field<W>, W>(name: &str, wire: W) -> Result<T, Fault> {
    T::take(wire).map_err(|fault| fault.below(name))
}

/// A message where the model needs one.
macro_rules! required {
    ($($type:ty: $message:ty),*) => {$(
        impl $crate::wire::field::Field<Option<$message>> for $type {
            fn put(&self) -> Option<$message> {
                Some($crate::wire::field::Field::put(self))
            }

            fn take(wire: Option<$message>) -> Result<Self, $crate::wire::field::Fault> {
                let missing = || $crate::wire::field::Fault::new("it is missing");
                $crate::wire::field::Field::take(wire.ok_or_else(missing)?)
            }
        }
    )*};
}

required!(Duration: prost_types::Duration);

/// Structs whose message has the same name and the same fields. What `sound` is given refuses values that the types
/// allow and the model does not.
macro_rules! record {
    ($($type:ident { $($field:ident),* $(,)? } $(sound $sound:expr)?;)*) => {$(
        impl $crate::wire::field::Field<$crate::wire::proto::$type> for $type {
            fn put(&self) -> $crate::wire::proto::$type {
                let Self { $($field),* } = self;
                $crate::wire::proto::$type { $($field: $crate::wire::field::Field::put($field)),* }
            }

            fn take(wire: $crate::wire::proto::$type) -> Result<Self, $crate::wire::field::Fault> {
                let $crate::wire::proto::$type { $($field),* } = wire;
                let taken = Self {
                    $($field: $crate::wire::field::named(stringify!($field), $field)?),*
                };
                $({
                    let sound: fn(&Self) -> Result<(), &'static str> = $sound;
                    sound(&taken).map_err($crate::wire::field::Fault::new)?;
                })?
                Ok(taken)
            }
        }

        $crate::wire::field::required!($type: $crate::wire::proto::$type);
    )*};
}

/// Enums without values, whose protobuf enum has the same names.
macro_rules! words {
    ($($type:ident { $($word:ident),* $(,)? })*) => {$(
        impl $crate::wire::field::Field<i32> for $type {
            fn put(&self) -> i32 {
                match self {
                    $(Self::$word => $crate::wire::proto::$type::$word as i32),*
                }
            }

            fn take(wire: i32) -> Result<Self, $crate::wire::field::Fault> {
                use $crate::wire::proto::$type as Words;
                match Words::try_from(wire) {
                    $(Ok(Words::$word) => Ok(Self::$word),)*
                    Ok(Words::Unspecified) => Err($crate::wire::field::Fault::new("it is missing")),
                    Err(_) => Err($crate::wire::field::Fault::new(format!("{wire} is no value known here"))),
                }
            }
        }
    )*};
}

/// Enums with values, whose message has one `oneof kind`: variants with one value, those without, and those with
/// fields, for which a message of their own stands.
macro_rules! one_of {
    (
        $type:ident in $module:ident {
            $($variant:ident($field:ident)),* $(,)?
        } bare { $($bare:ident),* } fields { $($long:ident($name:ident): $message:ident { $($part:ident),* }),* }
    ) => {
        impl $crate::wire::field::Field<$crate::wire::proto::$type> for $type {
            fn put(&self) -> $crate::wire::proto::$type {
                use $crate::wire::proto::$module::Kind;
                let kind = match self {
                    $(Self::$variant(value) => Kind::$variant($crate::wire::field::Field::put(value)),)*
                    $(Self::$bare => Kind::$bare($crate::wire::proto::Nothing {}),)*
                    $(Self::$long { $($part),* } => Kind::$long($crate::wire::proto::$message {
                        $($part: $crate::wire::field::Field::put($part)),*
                    }),)*
                };
                $crate::wire::proto::$type { kind: Some(kind) }
            }

            fn take(wire: $crate::wire::proto::$type) -> Result<Self, $crate::wire::field::Fault> {
                use $crate::wire::proto::$module::Kind;
                match wire.kind {
                    None => Err($crate::wire::field::Fault::new("it is none of what is known here")),
                    $(Some(Kind::$variant(value)) => {
                        $crate::wire::field::named(stringify!($field), value).map(Self::$variant)
                    })*
                    $(Some(Kind::$bare($crate::wire::proto::Nothing {})) => Ok(Self::$bare),)*
                    $(Some(Kind::$long($crate::wire::proto::$message { $($part),* })) => Ok(Self::$long {
                        $($part: $crate::wire::field::named(
                            concat!(stringify!($name), ".", stringify!($part)),
                            $part,
                        )?),*
                    }),)*
                }
            }
        }

        $crate::wire::field::required!($type: $crate::wire::proto::$type);
    };
}

pub(super) use {one_of, record, required, words};
