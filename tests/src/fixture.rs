//! `TuneJobs` as tests make them: a file of tests/data/cluster with a few fields changed.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::repository;

/// An object to be written, with setters for the fields that tests vary.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixture(Value);

impl Fixture {
    /// The first document of `tests/data/cluster/<file>.yaml` under a name of its own.
    ///
    /// # Errors
    /// When there is no such file, or it is no object.
    pub fn new(file: &str, name: &str) -> Result<Self> {
        let path = repository().join(format!("tests/data/cluster/{file}.yaml"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self(serde_yaml::from_str::<Value>(&text)?).with("/metadata/name", name))
    }

    /// Sets the field at a JSON pointer, whose parents that are missing are made. `-` is the end of a list.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.0;
        for word in pointer.split('/').skip(1) {
            at = match at {
                Value::Array(list) => {
                    let index = word.parse().unwrap_or(list.len());
                    if index >= list.len() {
                        list.resize(index + 1, Value::Null);
                    }
                    &mut list[index]
                }
                other => &mut other[word],
            };
        }
        *at = value.into();
        self
    }

    /// Removes the field at a JSON pointer.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Self {
        if let Some((parent, field)) = pointer.rsplit_once('/')
            && let Some(Value::Object(parent)) = self.0.pointer_mut(parent)
        {
            parent.remove(field);
        }
        self
    }

    /// Sets how many trials each task makes.
    #[must_use]
    pub fn trials(self, most: u32) -> Self {
        self.with("/spec/search/maxTrials", most)
    }

    /// The object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_set_added_and_removed() {
        let fixture = Fixture::new("saxpy", "other").unwrap().trials(3).with("/spec/shares/-", 25);
        let fixture = fixture.with("/spec/template/labels/team", "a").without("/spec/measure");
        assert_eq!(fixture.value()["metadata"]["name"], "other");
        assert_eq!(fixture.value()["spec"]["search"]["maxTrials"], 3);
        assert_eq!(fixture.value()["spec"]["shares"], serde_json::json!([50, 100, 25]));
        assert_eq!(fixture.value()["spec"]["template"]["labels"]["team"], "a");
        assert!(fixture.value()["spec"].get("measure").is_none());
    }
}
