//! Embeds: checked, cut to the known fields, and written in the row's form.

use serde::Serialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::body::Fields;
use crate::{error::Leaf, wire::Moment};

/// Most embeds of a message. Discord's.
pub const EMBEDS_MAX: usize = 10;
/// Most code points of the texts of all embeds together. Discord's.
pub const EMBEDS_TEXT_MAX: usize = 6_000;
/// Most bytes of the embeds in the row's form: the column's bound.
pub const EMBEDS_JSON_BYTES_MAX: usize = 16 * 1_024;

const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4_096;
const FOOTER_MAX: usize = 2_048;
const AUTHOR_MAX: usize = 256;
const FIELDS_MAX: usize = 25;
const FIELD_NAME_MAX: usize = 256;
const FIELD_VALUE_MAX: usize = 1_024;
/// Longest URL, in code points. Discord's.
const URL_MAX: usize = 2_048;
/// Greatest colour: 24 bits.
const COLOR_MAX: u32 = 0xFF_FFFF;

/// The `embeds` of a message's fields as a JSON array in the row's form, empty text for an empty list; `None` if there are none or they do
/// not fit, which is noted.
pub fn parse_embeds(message: &mut Fields<'_>) -> Option<String> {
    let mut text = 0;
    let embeds = message.objects("embeds", EMBEDS_MAX, |fields| Embed::read(fields, &mut text))?;
    if embeds.is_empty() {
        return Some(String::new());
    }
    let json = crate::object::to_json(&embeds);
    if text > EMBEDS_TEXT_MAX {
        message.fail("embeds", Leaf::EmbedsTooLong { max: EMBEDS_TEXT_MAX });
    } else if json.len() > EMBEDS_JSON_BYTES_MAX {
        message.fail("embeds", Leaf::EmbedsTooLong { max: EMBEDS_JSON_BYTES_MAX });
    }
    Some(json)
}

/// An embed as it is stored and shown. Absent fields are absent: here strict clients demand only the type.
#[derive(Serialize)]
struct Embed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    footer: Option<Footer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Picture<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<Picture<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<Author<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field<'a>>,
}

#[derive(Serialize)]
struct Footer<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon_url: Option<&'a str>,
}

#[derive(Serialize)]
struct Picture<'a> {
    url: &'a str,
}

#[derive(Serialize)]
struct Author<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon_url: Option<&'a str>,
}

#[derive(Serialize)]
struct Field<'a> {
    name: &'a str,
    value: &'a str,
    inline: bool,
}
