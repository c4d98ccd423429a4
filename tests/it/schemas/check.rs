//! Holds a JSON document to a JSON Schema: the part of it that the schemas here use, and no more.

use serde_json::Map;
use serde_json::Value;

/// What a schema may say here. A keyword that is not understood must not pass for one that holds.
const KEYWORDS: [&str; 14] = [
    "$defs",
    "$ref",
    "$schema",
    "additionalProperties",
    "anyOf",
    "const",
    "description",
    "enum",
    "items",
    "minimum",
    "oneOf",
    "properties",
    "required",
    "title",
];

/// Returns what is wrong with a document, each with its place.
pub(crate) fn faults(schema: &Value, document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    Checker { root: schema }.check(schema, document, "", &mut faults);
    faults
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        let schema = schema.as_object().expect("a schema is an object");
        for keyword in schema.keys() {
            let known = keyword == "type" || KEYWORDS.contains(&keyword.as_str());
            assert!(known, "{place}: {keyword} is not understood here");
        }
        let mut fail = |text: String| faults.push(format!("{place}: {text}"));
        if let Some(types) = schema.get("type")
            && !names(types).iter().any(|name| is_of(name, value))
        {
            fail(format!("{value} is not of type {types}"));
            return;
        }
        if schema.get("const").is_some_and(|one| one != value) {
            fail(format!("{value} is not {}", schema["const"]));
        }
        if let Some(Value::Array(all)) = schema.get("enum")
            && !all.contains(value)
        {
            fail(format!("{value} is not one of {all:?}"));
        }
        if let (Some(least), Some(number)) = (schema.get("minimum"), value.as_f64())
            && least.as_f64().is_some_and(|least| number < least)
        {
            fail(format!("{number} is below {least}"));
        }
        if let Some(Value::String(path)) = schema.get("$ref") {
            let path = path.strip_prefix('#').expect("a place in the schema itself");
            let there = self.root.pointer(path).unwrap_or_else(|| panic!("there is no {path}"));
            self.check(there, value, place, faults);
        }
        self.check_choices(schema, value, place, faults);
        if let Value::Array(items) = value
            && let Some(schema) = schema.get("items")
        {
            for (index, item) in items.iter().enumerate() {
                self.check(schema, item, &format!("{place}/{index}"), faults);
            }
        }
        if let Value::Object(members) = value {
            self.check_members(schema, members, place, faults);
        }
    }

    fn check_choices(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        place: &str,
        faults: &mut Vec<String>,
    ) {
        for (keyword, most) in [("oneOf", 1), ("anyOf", usize::MAX)] {
            let Some(Value::Array(choices)) = schema.get(keyword) else { continue };
            let mut wrong = Vec::new();
            for choice in choices {
                let mut inside = Vec::new();
                self.check(choice, value, place, &mut inside);
                wrong.push(inside);
            }
            let fits = wrong.iter().filter(|it| it.is_empty()).count();
            if fits == 0 || fits > most {
                faults.push(format!("{place}: {fits} of {keyword} fit: {wrong:#?}"));
            }
        }
    }

    fn check_members(
        &self,
        schema: &Map<String, Value>,
        members: &Map<String, Value>,
        place: &str,
        faults: &mut Vec<String>,
    ) {
        let required = schema.get("required").map(names).unwrap_or_default();
        for name in required.iter().filter(|name| !members.contains_key(**name)) {
            faults.push(format!("{place}: there is no {name}"));
        }
        let further = schema.get("additionalProperties");
        for (name, value) in members {
            let place = format!("{place}/{name}");
            match (schema.get("properties").and_then(|it| it.get(name)), further) {
                (Some(schema), _) => self.check(schema, value, &place, faults),
                (None, Some(Value::Bool(false))) => {
                    faults.push(format!("{place} is not described"));
                }
                (None, Some(schema @ Value::Object(_))) => {
                    self.check(schema, value, &place, faults);
                }
                (None, _) => {}
            }
        }
    }
}

/// Returns a name, or the names in a list.
fn names(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        _ => panic!("there is no type {name}"),
    }
}

#[test]
fn what_a_schema_forbids_is_found() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "a": { "type": "integer", "minimum": 1 },
            "b": { "type": ["string", "null"] },
            "c": { "type": "array", "items": { "$ref": "#/$defs/One" } },
            "d": { "oneOf": [{ "const": 1 }, { "enum": [2, 3] }, { "type": "string" }] },
            "e": { "type": "object", "additionalProperties": { "type": "boolean" } },
        },
        "required": ["a"],
        "additionalProperties": false,
        "$defs": { "One": { "type": "object", "required": ["x"] } },
    });
    for (good, document) in [
        (true, serde_json::json!({ "a": 1 })),
        (
            true,
            serde_json::json!({ "a": 1, "b": null, "c": [{ "x": 0 }], "d": 3, "e": { "f": true } }),
        ),
        (false, serde_json::json!([])),
        (false, serde_json::json!({})),
        (false, serde_json::json!({ "a": 0 })),
        (false, serde_json::json!({ "a": 1.5 })),
        (false, serde_json::json!({ "a": 1, "b": 2 })),
        (false, serde_json::json!({ "a": 1, "c": [{ "x": 0 }, {}] })),
        (false, serde_json::json!({ "a": 1, "d": 4 })),
        (false, serde_json::json!({ "a": 1, "e": { "f": 1 } })),
        (false, serde_json::json!({ "a": 1, "f": 1 })),
    ] {
        let found = faults(&schema, &document);
        assert_eq!(found.is_empty(), good, "{document}: {found:?}");
    }
}
