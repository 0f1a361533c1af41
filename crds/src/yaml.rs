//! YAML into plain values, within limits.
//!
//! The YAML crate bounds depth and the number of aliases that it follows, but not what those aliases
//! repeat: a few kilobytes can still become gigabytes. So values are built here, against a budget.

use std::fmt;

use serde::de::{self, DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Bytes of a file.
pub const MAX_BYTES: usize = 4 << 20;
/// Levels of nesting.
pub(crate) const MAX_DEPTH: usize = 64;
/// Values once aliases are expanded.
pub(crate) const MAX_VALUES: usize = 500_000;
/// Brackets open at one place, before YAML is understood.
const MAX_OPEN_BRACKETS: usize = 1000;
/// Bytes of text once aliases are expanded.
const MAX_TEXT: usize = 16 << 20;

/// Why a document was not read.
#[derive(Debug)]
pub(crate) enum Refusal {
    Depth,
    Size,
    Syntax(serde_yaml::Error),
}

/// Every document of a text, as plain values.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, Refusal> {
    if open_brackets(text) > MAX_OPEN_BRACKETS {
        return Err(Refusal::Depth);
    }
    let mut budget = Budget { values: MAX_VALUES, text: MAX_TEXT, refusal: None };
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Bounded { budget: &mut budget, depth: MAX_DEPTH }
            .deserialize(document)
            .map_err(|error| budget.refusal.take().unwrap_or_else(|| refusal(error)))?;
        documents.push(value);
    }
    Ok(documents)
}

/// The most brackets and braces open at one place of a text, quoted or not.
///
/// The scanner behind the YAML crate reads a whole document before any depth is checked, in time that grows
/// with the square of the brackets that are open: 40,000 take it 20 seconds. Sources have brackets too, but
/// they close them.
fn open_brackets(text: &str) -> usize {
    let mut open = 0_usize;
    let mut most = 0;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// The crate's own limit on aliases has no name but its message.
fn refusal(error: serde_yaml::Error) -> Refusal {
    if error.to_string().starts_with("repetition limit") { Refusal::Size } else { Refusal::Syntax(error) }
}

struct Budget {
    values: usize,
    text: usize,
    refusal: Option<Refusal>,
}

impl Budget {
    fn take<E: de::Error>(&mut self, text: usize) -> Result<(), E> {
        match (self.values.checked_sub(1), self.text.checked_sub(text)) {
            (Some(values), Some(text)) => {
                (self.values, self.text) = (values, text);
                Ok(())
            }
            _ => Err(self.refuse(Refusal::Size)),
        }
    }

    fn refuse<E: de::Error>(&mut self, refusal: Refusal) -> E {
        self.refusal = Some(refusal);
        E::custom("over a limit")
    }
}

struct Bounded<'b> {
    budget: &'b mut Budget,
    depth: usize,
}

impl Bounded<'_> {
    fn deeper<E: de::Error>(&mut self) -> Result<Bounded<'_>, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Bounded { budget: self.budget, depth }),
            None => Err(self.budget.refuse(Refusal::Depth)),
        }
    }

    fn scalar<E: de::Error>(self, value: impl Into<Value>) -> Result<Value, E> {
        self.budget.take(0)?;
        Ok(value.into())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.scalar(number),
            None => Err(E::custom(format!("{value} is not a number that JSON has; write it in quotes"))),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.budget.take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.budget.take(0)?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        self.budget.take(0)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(self.deeper()?)? {
            // As kubectl does it: a number or a boolean becomes the key that it reads as.
            let key = match key {
                Value::String(key) => key,
                Value::Number(_) | Value::Bool(_) => key.to_string(),
                _ => return Err(de::Error::custom("a key must be text")),
            };
            if key == "<<" {
                return Err(de::Error::custom("merge keys (<<) are not supported; write the fields out"));
            }
            let value = access.next_value_seed(self.deeper()?)?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("field {key:?} is there twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(de::Error::custom("tags (!name) are not supported"))
    }
}

/// One step of a path into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// The line, from 1, of the value at a path in one of the documents of a text.
pub(crate) fn line(text: &str, document: usize, path: &[Step]) -> Option<usize> {
    let document = serde_yaml::Deserializer::from_str(text).nth(document)?;
    let error = Locate(path).deserialize(document).err()?;
    error.location().map(|location| location.line())
}

/// Fails at the value at a path, because only an error knows where it is.
struct Locate<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another path")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            return Err(de::Error::custom("here"));
        };
        for _ in 0..*wanted {
            access.next_element::<IgnoredAny>()?;
        }
        access.next_element_seed(Locate(rest)).map(|_| ())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(de::Error::custom("here"));
        };
        while let Some(key) = access.next_key::<String>()? {
            if key == *wanted {
                return access.next_value_seed(Locate(rest));
            }
            access.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}
