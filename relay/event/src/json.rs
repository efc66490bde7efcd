//! A JSON value that, unlike `serde_json::Value`, keeps the first of two equal keys.
//!
//! Plausible keeps the first (contract a.2). If the relay kept the last, a sender could make it check one value while
//! Plausible reads another.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Any JSON value. The content of a list is discarded: no field of an event is a list.
pub(crate) enum Json {
    Null,
    Boolean(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
    List,
    Object(Object),
}

/// A JSON object, in order of its keys.
pub(crate) struct Object(Vec<(String, Json)>);

impl Object {
    /// Takes the first of `keys` whose value is neither null nor false. Plausible reads a short key first, and its long
    /// form if the short one is absent, null or false (contract a.3).
    pub(crate) fn take_first(&mut self, keys: &[&str]) -> Option<Json> {
        keys.iter().find_map(|key| {
            let (_, value) = self.0.iter_mut().find(|(k, _)| k == key)?;
            match std::mem::replace(value, Json::Null) {
                Json::Null | Json::Boolean(false) => None,
                found => Some(found),
            }
        })
    }

    /// The same, if the value is text.
    pub(crate) fn take_text(&mut self, keys: &[&str]) -> Option<String> {
        match self.take_first(keys)? {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same, if the value is a whole number or a text that spells one.
    pub(crate) fn take_whole_number(&mut self, key: &str) -> Option<i64> {
        match self.take_first(&[key])? {
            Json::Integer(n) => Some(n),
            Json::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether one of `keys` is `false`.
    pub(crate) fn says_false(&self, keys: &[&str]) -> bool {
        self.0
            .iter()
            .any(|(k, v)| keys.contains(&k.as_str()) && matches!(v, Json::Boolean(false)))
    }

    /// Key and value pairs, each key once.
    pub(crate) fn into_pairs(self) -> Vec<(String, Json)> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Object(object) => Ok(object),
            _ => Err(serde::de::Error::custom("not an object")),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
        Ok(Json::Boolean(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
        Ok(Json::Integer(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number this large is not exact in Plausible either"
        )]
        Ok(i64::try_from(v).map_or(Json::Decimal(v as f64), Json::Integer))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Json, E> {
        Ok(Json::Decimal(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Json, E> {
        Ok(Json::Text(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Json, E> {
        Ok(Json::Text(v))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Json::List)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut pairs: Vec<(String, Json)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            // Quadratic, but bounded: a body is small, and an object with more keys than this is refused.
            if pairs.len() > KEYS_MAX {
                return Err(serde::de::Error::custom("too many keys"));
            }
            if pairs.iter().any(|(k, _)| *k == key) {
                map.next_value::<IgnoredAny>()?;
            } else {
                pairs.push((key, map.next_value()?));
            }
        }
        Ok(Json::Object(Object(pairs)))
    }
}

/// Most keys of one object. Beyond it the body is malformed.
const KEYS_MAX: usize = 256;
