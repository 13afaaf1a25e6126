//! Compares objects with Discord's published OpenAPI document. Set `WEIR_TEST_OPENAPI` to its file
//! (openapi.json of discord-api-spec). Without it these tests say that they are skipped; the document is not
//! part of this repository.

use serde_json::Value;

use super::*;

/// Depth to which schema references are followed. Discord's nest about ten deep where our objects have
/// values.
const DEPTH_MAX: usize = 32;

struct Document(Value);

impl Document {
    fn load() -> Option<Self> {
        let Some(path) = std::env::var_os("WEIR_TEST_OPENAPI") else {
            eprintln!("skipped: WEIR_TEST_OPENAPI names no OpenAPI document");
            return None;
        };
        let text = std::fs::read(path).expect("WEIR_TEST_OPENAPI names a readable file");
        Some(Self(serde_json::from_slice(&text).expect("the document is JSON")))
    }

    fn assert_fits(&self, schema: &str, object: &impl serde::Serialize) {
        let mut misfits = Vec::new();
        let pointer = format!("#/components/schemas/{schema}");
        self.check(&self.resolve(&pointer), &value(object), schema, DEPTH_MAX, &mut misfits);
        assert!(misfits.is_empty(), "{misfits:#?}");
    }

    fn resolve(&self, pointer: &str) -> Value {
        self.0.pointer(pointer.trim_start_matches('#')).unwrap_or_else(|| panic!("no {pointer}")).clone()
    }

    /// Notes keys that are missing or have another type. Of several alternatives one must fit.
    fn check(&self, schema: &Value, value: &Value, at: &str, depth: usize, misfits: &mut Vec<String>) {
        assert!(depth > 0, "references nest without end at {at}");
        if let Some(pointer) = schema["$ref"].as_str() {
            return self.check(&self.resolve(pointer), value, at, depth - 1, misfits);
        }
        for choice in ["oneOf", "anyOf"] {
            let Some(schemas) = schema[choice].as_array() else { continue };
            let tries: Vec<Vec<String>> = schemas
                .iter()
                .map(|one| {
                    let mut misfits = Vec::new();
                    self.check(one, value, at, depth - 1, &mut misfits);
                    misfits
                })
                .collect();
            if !tries.iter().any(Vec::is_empty) {
                misfits.extend(tries.into_iter().min_by_key(Vec::len).unwrap_or_default());
            }
        }
        if !type_fits(&schema["type"], value) {
            misfits.push(format!("{at}: {value} is no {}", schema["type"]));
        }
        if let (Some(required), Value::Object(map)) = (schema["required"].as_array(), value) {
            let missing = required.iter().filter_map(Value::as_str).filter(|key| !map.contains_key(*key));
            misfits.extend(missing.map(|key| format!("{at}: no {key}")));
        }
        if let (Value::Object(map), Value::Object(properties)) = (value, &schema["properties"]) {
            for (key, inner) in map {
                if let Some(property) = properties.get(key) {
                    self.check(property, inner, &format!("{at}.{key}"), depth - 1, misfits);
                }
            }
        }
        if let (Value::Array(list), Some(items)) = (value, schema.get("items")) {
            for inner in list {
                self.check(items, inner, &format!("{at}[]"), depth - 1, misfits);
            }
        }
    }
}

fn type_fits(wanted: &Value, value: &Value) -> bool {
    let one = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("unknown type {other}"),
    };
    match wanted {
        Value::String(name) => one(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(one),
        _ => true,
    }
}

#[test]
fn objects_fit_discords_own_schemas() {
    let Some(document) = Document::load() else { return };
    let (state, alice, bot) = (sample::state(), sample::alice(), sample::bot());
    let guild = GuildObject::new(&state).expect("has its guild");
    document.assert_fits("UserResponse", &UserObject::new(&alice));
    document.assert_fits("UserResponse", &UserObject::unknown(BOB));
    document.assert_fits("UserPIIResponse", &OwnUserObject::new(&bot));
    document.assert_fits(
        "GuildMemberResponse",
        &MemberObject::full(&sample::member(ALICE, &[STAFF]), Some(&alice)),
    );
    let users_known = vec![sample::user(ALICE, "alice")];
    document.assert_fits("GuildRoleResponse", &RoleObject::new(&state.roles[1]));
    document.assert_fits("GuildResponse", &guild);
    document.assert_fits("GuildWithCountsResponse", &guild.with_counts(1, 1));
    document.assert_fits("PrivateApplicationResponse", &ApplicationObject::new(&bot, 1));
    let row = state.guild.as_ref().expect("has its guild");
    document.assert_fits("MyGuildResponse", &PartialGuildObject::new(row, ALICE, Permissions::NONE));
    for channel in state.channels.iter().chain([&sample::channel(7, 2)]) {
        document.assert_fits("GuildChannelResponse", &ChannelObject::new(channel, MESSAGE));
    }
    let direct = Channel { id: 9, r#type: 1, recipient_ids: vec![ALICE, BOB], ..Channel::default() };
    let direct = DirectChannelObject::new(&direct, BOB, &users_known, MESSAGE);
    document.assert_fits("PrivateChannelResponse", &direct);
    let limit = SessionStartLimit { total: 1, remaining: 1, reset_after_ms: 0, max_concurrency: 1 };
    document.assert_fits("GatewayBotResponse", &GatewayBotReply::new("ws://gateway", 1, limit));
    document.assert_fits("GatewayResponse", &GatewayReply::new("ws://gateway"));
    let (reply, quoted, users) = (sample::reply(), sample::quoted(), vec![alice, bot]);
    for referenced in [Referenced::Found(&quoted), Referenced::Deleted, Referenced::NotFetched] {
        let message = MessageObject::new(&MessageParts { referenced, ..parts(&reply, &users) });
        document.assert_fits("MessageResponse", &message);
    }
}

#[test]
fn the_checker_itself_finds_what_is_missing_or_of_another_type() {
    let document = Document(json!({"components": {"schemas": {
        "A": {"type": "object", "required": ["x", "y"], "properties": {
            "x": {"type": ["string", "null"]},
            "y": {"type": "array", "items": {"$ref": "#/components/schemas/B"}},
            "z": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/B"}]},
        }},
        "B": {"type": "integer"},
    }}}));
    let misfits = |value: Value| {
        let mut misfits = Vec::new();
        document.check(&document.resolve("#/components/schemas/A"), &value, "A", DEPTH_MAX, &mut misfits);
        misfits.len()
    };
    assert_eq!(misfits(json!({"x": null, "y": [1, 2], "z": null, "extra": 1})), 0);
    assert_eq!(misfits(json!({"x": 5, "y": [1, "2"], "z": "no"})), 3);
    assert_eq!(misfits(json!({})), 2);
}
