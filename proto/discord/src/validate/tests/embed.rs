//! Embeds: their bounds, their normal form, and the place of each error.

use super::*;

#[test]
fn embeds_are_normalised_to_what_strict_clients_parse() {
    let form = create(json!({"embeds": [{
        "type": "video", "title": "t", "description": "", "url": "https://example.org/a", "color": 0xFF_FFFF, "unknown": 1,
        "timestamp": "2020-01-01T12:00:00+02:00",
        "footer": {"text": "f", "icon_url": "http://example.org/i.png"},
        "image": {"url": "https://example.org/i.png", "width": 5},
        "thumbnail": {},
        "author": {"name": "a"},
        "fields": [{"name": "n", "value": "v"}, {"name": "m", "value": "w", "inline": true}],
    }]}))
    .expect("a valid embed");
    let stored: Value = serde_json::from_str(&form.embeds_json).expect("JSON");
    assert_eq!(
        stored,
        json!([{
            "type": "rich", "title": "t", "url": "https://example.org/a", "color": 0xFF_FFFF,
            "timestamp": "2020-01-01T10:00:00.000000+00:00",
            "footer": {"text": "f", "icon_url": "http://example.org/i.png"},
            "image": {"url": "https://example.org/i.png"},
            "author": {"name": "a"},
            "fields": [{"name": "n", "value": "v", "inline": false}, {"name": "m", "value": "w", "inline": true}],
        }])
    );
    let strict: Vec<twilight_model::channel::message::Embed> =
        serde_json::from_str(&form.embeds_json).expect("a strict client parses it");
    assert_eq!(strict[0].fields.len(), 2);
}

#[test]
fn embed_times_may_lack_an_offset_or_lie_before_1970() {
    for (given, stored) in [
        ("2020-01-01T00:00:00", "2020-01-01T00:00:00.000000+00:00"),
        ("1912-06-23T00:00:00.5Z", "1912-06-23T00:00:00.500000+00:00"),
    ] {
        let form = create(json!({"embeds": [{"title": "t", "timestamp": given}]})).expect("a valid time");
        assert!(form.embeds_json.contains(stored), "{}", form.embeds_json);
    }
}

#[test]
fn every_embed_error_is_reported_at_its_place() {
    let long = |length| "x".repeat(length);
    let cases = [
        (json!([{"title": long(257)}]), "embeds.0.title=BASE_TYPE_MAX_LENGTH"),
        (json!([{"description": long(4_097)}]), "embeds.0.description=BASE_TYPE_MAX_LENGTH"),
        (json!([{"footer": {"text": long(2_049)}}]), "embeds.0.footer.text=BASE_TYPE_MAX_LENGTH"),
        (json!([{"author": {"name": long(257)}}]), "embeds.0.author.name=BASE_TYPE_MAX_LENGTH"),
        (
            json!([{"fields": [{"name": long(257), "value": "v"}]}]),
            "embeds.0.fields.0.name=BASE_TYPE_BAD_LENGTH",
        ),
        (
            json!([{"fields": [{"name": "n", "value": long(1_025)}]}]),
            "embeds.0.fields.0.value=BASE_TYPE_BAD_LENGTH",
        ),
        (json!([{"fields": [{"name": "n"}]}]), "embeds.0.fields.0.value=BASE_TYPE_REQUIRED"),
        (json!([{"title": "t", "color": 0x100_0000}]), "embeds.0.color=NUMBER_TYPE_MAX"),
        (json!([{"title": "t", "url": "javascript:alert(1)"}]), "embeds.0.url=URL_TYPE_INVALID_URL"),
        (json!([{"image": {"url": "attachment://a.png"}}]), "embeds.0.image.url=URL_TYPE_INVALID_URL"),
        (json!([{"title": "t", "timestamp": "yesterday"}]), "embeds.0.timestamp=DATE_TIME_TYPE_PARSE"),
        (json!([{"color": 1}]), "embeds.0=EMBED_EMPTY"),
        (json!([7]), "embeds.0=MODEL_TYPE_CONVERT"),
        (json!({}), "embeds=LIST_TYPE_CONVERT"),
        (json!(vec![json!({"title": "t"}); 11]), "embeds=BASE_TYPE_BAD_LENGTH"),
        (
            json!([{"title": "t", "fields": vec![json!({"name": "n", "value": "v"}); 26]}]),
            "embeds.0.fields=BASE_TYPE_BAD_LENGTH",
        ),
        (
            json!([{"description": long(3_001)}, {"description": long(3_000)}]),
            "embeds=MAX_EMBED_SIZE_EXCEEDED",
        ),
    ];
    for (embeds, wanted) in cases {
        let found = create_codes(json!({"content": "x", "embeds": embeds}));
        assert!(found.iter().any(|code| code == wanted), "{wanted} not in {found:?}");
    }
    // Values at the bounds are accepted.
    let full = json!([{"title": long(256), "description": long(4_096), "fields": [{"name": long(256), "value": long(1_024)}]}]);
    assert!(create(json!({"embeds": full})).is_ok());
    assert!(create(json!({"embeds": [{"description": long(3_000)}, {"description": long(3_000)}]})).is_ok());
}

#[test]
fn embeds_fit_their_column() {
    let url = format!("https://example.org/{}", "x".repeat(2_000));
    let embed = json!({"title": "t", "url": url, "image": {"url": url}, "thumbnail": {"url": url}});
    assert!(create(json!({"embeds": vec![embed.clone(); 5]})).is_ok());
    let mut linked = embed;
    linked["author"] = json!({"name": "a", "url": url, "icon_url": url});
    let found = create_codes(json!({"embeds": vec![linked.clone(); 10]}));
    assert_eq!(found, ["embeds=MAX_EMBED_SIZE_EXCEEDED"]);
    let refused = create(json!({"embeds": vec![linked; 10]})).expect_err("120 KiB of links");
    assert!(refused.body().contains("more than 49152 bytes"), "the bound that was met: {}", refused.body());
}

/// The bounds that clients know are in characters, however many bytes those take.
#[test]
fn embeds_are_counted_in_code_points_not_in_bytes() {
    for embed in [
        json!({"description": "\u{6F22}".repeat(4_000), "footer": {"text": "\u{5B57}".repeat(1_500)}}),
        json!({"description": "\u{1F600}".repeat(4_096)}),
        json!({"title": "\u{1F600}".repeat(256), "fields": vec![json!({"name": "\u{1}", "value": "\"".repeat(228)}); 25]}),
    ] {
        assert!(create(json!({"embeds": [embed]})).is_ok());
    }
    // This is the most bytes that 6,000 code points and all keys can take, beside some links.
    let field = json!({"name": "\u{1F600}".repeat(10), "value": "\u{1F600}".repeat(14), "inline": false});
    let url = format!("https://example.org/{}", "x".repeat(10));
    let embed = json!({"url": url, "image": {"url": url}, "color": 0xFF_FFFF, "fields": vec![field; 25]});
    assert!(create(json!({"embeds": vec![embed; 10]})).is_ok());
}

#[test]
fn a_wrong_embed_is_not_called_empty_besides() {
    let field = json!({"name": "n", "value": "v"});
    for (embed, wanted) in [
        (json!({"fields": vec![field; 26]}), "embeds.0.fields=BASE_TYPE_BAD_LENGTH"),
        (json!({"title": "x".repeat(257)}), "embeds.0.title=BASE_TYPE_MAX_LENGTH"),
        (json!({"image": {"url": "ftp://x"}}), "embeds.0.image.url=URL_TYPE_INVALID_URL"),
        (json!({"footer": {"text": "x".repeat(2_049)}}), "embeds.0.footer.text=BASE_TYPE_MAX_LENGTH"),
    ] {
        assert_eq!(create_codes(json!({"embeds": [embed]})), [wanted]);
    }
    let both = json!({"embeds": [{"title": 5}, {}]});
    assert_eq!(create_codes(both), ["embeds.0.title=STRING_TYPE_CONVERT", "embeds.1=EMBED_EMPTY"]);
}

#[test]
fn the_longest_texts_fit_and_so_does_a_longest_link_for_each_embed() {
    let picture = format!("https://example.org/{}", "x".repeat(2_028));
    let embed = json!({"description": "\u{6F22}".repeat(600), "image": {"url": picture}});
    assert!(create(json!({"embeds": vec![embed; 10]})).is_ok());
    // JSON writes a control character in six bytes, the longest form. Every field has its name, value and
    // three keys beside them.
    let one = "\u{1}";
    let field = json!({"name": one, "value": one.repeat(23)});
    let embed = json!({"fields": vec![field; 25]});
    let form = create(json!({"embeds": vec![embed; 10]})).expect("6,000 code points");
    assert!(form.embeds_json.len() > 36_000, "{}", form.embeds_json.len());
}
