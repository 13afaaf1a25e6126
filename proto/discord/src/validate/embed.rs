//! Embeds: they are checked, reduced to the known fields, and written in the row's form.

use serde::Serialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::body::Fields;
use crate::{error::Leaf, wire::Moment};

/// Most embeds of a message. Discord's bound.
pub const EMBEDS_MAX: usize = 10;
/// Most code points of the texts of all embeds together. Discord's bound.
pub const EMBEDS_TEXT_MAX: usize = 6_000;
/// Most bytes of the embeds in the row's form. All texts within Discord's bounds fit: 6,000 code points are
/// at most 36,000 bytes (six for an escaped control character), and keys, quotes and brackets of ten embeds
/// with 25 fields each take less than 13,000; texts in any script leave room for one longest link in each
/// embed. More links do not fit: sixty of 2,048 code points alone would be 120 to 480 KiB. With the longest
/// content (16,000 bytes) a row stays below the 64 KiB of one batch of the data service.
pub const EMBEDS_JSON_BYTES_MAX: usize = 48 * 1_024;

const TITLE_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4_096;
const FOOTER_MAX: usize = 2_048;
const AUTHOR_MAX: usize = 256;
const FIELDS_MAX: usize = 25;
const FIELD_NAME_MAX: usize = 256;
const FIELD_VALUE_MAX: usize = 1_024;
/// Longest URL, in code points. Discord's bound.
const URL_MAX: usize = 2_048;
/// Greatest colour: 24 bits.
const COLOR_MAX: u32 = 0xFF_FFFF;

/// The `embeds` of a message's fields as a JSON array in the row's form; an empty list is empty text. `None`
/// if there are none or if they have errors, which are noted.
pub fn parse_embeds(message: &mut Fields<'_, '_>) -> Option<String> {
    let mut text = 0;
    let embeds = message.objects("embeds", EMBEDS_MAX, |fields| Embed::read(fields, &mut text))?;
    if embeds.is_empty() {
        return Some(String::new());
    }
    let json = crate::object::to_json(&embeds);
    if text > EMBEDS_TEXT_MAX {
        message.fail("embeds", Leaf::EmbedsTooLong { max: EMBEDS_TEXT_MAX });
    } else if json.len() > EMBEDS_JSON_BYTES_MAX {
        message.fail("embeds", Leaf::EmbedsTooLarge { max: EMBEDS_JSON_BYTES_MAX });
    }
    Some(json)
}

/// An embed as it is stored and shown. Absent fields are left out: strict clients demand only the type here.
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

impl<'a> Embed<'a> {
    /// Reads one embed and adds the code points of its texts to `sum`.
    fn read(fields: &mut Fields<'a, '_>, sum: &mut usize) -> Self {
        let errors_before = fields.errors_noted();
        let embed = Self {
            kind: "rich",
            title: text_field(fields, "title", TITLE_MAX, sum),
            description: text_field(fields, "description", DESCRIPTION_MAX, sum),
            url: url(fields, "url"),
            timestamp: timestamp(fields),
            color: fields.integer("color", 0..=COLOR_MAX),
            footer: fields.object("footer", |fields| Footer::read(fields, sum)).flatten(),
            image: fields.object("image", Picture::read).flatten(),
            thumbnail: fields.object("thumbnail", Picture::read).flatten(),
            author: fields.object("author", |fields| Author::read(fields, sum)).flatten(),
            fields: fields
                .objects("fields", FIELDS_MAX, |fields| Field::read(fields, sum))
                .map(|read| read.into_iter().flatten().collect())
                .unwrap_or_default(),
        };
        // Fields that were wrong are noted already; that nothing is left of the embed is no second error.
        if embed.shows_nothing() && fields.errors_noted() == errors_before {
            fields.fail_here(Leaf::EmptyEmbed);
        }
        embed
    }

    /// A colour, a link or a time alone would be an empty box.
    fn shows_nothing(&self) -> bool {
        self.title.is_none()
            && self.description.is_none()
            && self.footer.is_none()
            && self.image.is_none()
            && self.thumbnail.is_none()
            && self.author.is_none()
            && self.fields.is_empty()
    }
}

impl<'a> Footer<'a> {
    fn read(fields: &mut Fields<'a, '_>, sum: &mut usize) -> Option<Self> {
        let icon_url = url(fields, "icon_url");
        Some(Self { text: text_field(fields, "text", FOOTER_MAX, sum)?, icon_url })
    }
}

impl<'a> Picture<'a> {
    fn read(fields: &mut Fields<'a, '_>) -> Option<Self> {
        Some(Self { url: url(fields, "url")? })
    }
}

impl<'a> Author<'a> {
    fn read(fields: &mut Fields<'a, '_>, sum: &mut usize) -> Option<Self> {
        let (link, icon_url) = (url(fields, "url"), url(fields, "icon_url"));
        Some(Self { name: text_field(fields, "name", AUTHOR_MAX, sum)?, url: link, icon_url })
    }
}

impl<'a> Field<'a> {
    fn read(fields: &mut Fields<'a, '_>, sum: &mut usize) -> Option<Self> {
        for key in ["name", "value"] {
            fields.require(key);
        }
        let inline = fields.boolean("inline").unwrap_or(false);
        let name = counted(fields.text("name", 1..=FIELD_NAME_MAX), sum);
        let value = counted(fields.text("value", 1..=FIELD_VALUE_MAX), sum);
        Some(Self { name: name?, value: value?, inline })
    }
}

/// Text of at most `max` code points. Empty text counts as none.
fn text_field<'a>(fields: &mut Fields<'a, '_>, key: &str, max: usize, sum: &mut usize) -> Option<&'a str> {
    counted(fields.text(key, 0..=max).filter(|text| !text.is_empty()), sum)
}

fn counted<'a>(text: Option<&'a str>, sum: &mut usize) -> Option<&'a str> {
    *sum += text.map_or(0, |text| text.chars().count());
    text
}

/// An http or https URL. Empty text counts as none. `attachment://` names an upload, which Weir does not
/// take.
fn url<'a>(fields: &mut Fields<'a, '_>, key: &str) -> Option<&'a str> {
    let url = fields.text(key, 0..=URL_MAX).filter(|url| !url.is_empty())?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let well_formed = rest.is_some_and(|rest| !rest.is_empty()) && !url.contains(char::is_whitespace);
    if !well_formed {
        fields.fail(key, Leaf::BadUrl);
    }
    well_formed.then_some(url)
}

/// A time in RFC 3339. A time without an offset, as clients in Python send it, is in UTC.
fn timestamp(fields: &mut Fields<'_, '_>) -> Option<Moment> {
    let text = match fields.value("timestamp")? {
        Value::String(text) => text,
        _ => {
            fields.fail("timestamp", Leaf::NotAString);
            return None;
        }
    };
    let parsed = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .ok()
        // Years outside of 0 to 9999 after the shift to UTC have no text form.
        .filter(|at| (0..=9_999).contains(&at.to_offset(time::UtcOffset::UTC).year()));
    if parsed.is_none() {
        fields.fail("timestamp", Leaf::BadTimestamp);
    }
    parsed.map(Moment)
}
