//! The emojis that clients name in paths.

use weir_proto::data::Emoji;

use crate::error::ApiError;

/// U+FE0F, which asks for an emoji's colourful form. Clients send emojis with it or without.
const VARIATION: char = '\u{FE0F}';

/// The emoji that a path names, fully qualified. A guild's own is named `name:id`, and Weir has none of those.
///
/// # Errors
/// 10014 if it is no emoji of Unicode.
pub fn parse_emoji(text: &str) -> Result<Emoji, ApiError> {
    let bare: String = text.chars().filter(|char| *char != VARIATION).collect();
    if bare.is_ascii() {
        // A digit alone is text; the list knows it as a keycap.
        return Err(ApiError::UnknownEmoji);
    }
    let found = emojis::get(text).or_else(|| emojis::get(&bare));
    let found = found.or_else(|| emojis::get(&format!("{bare}{VARIATION}")));
    let emoji = found.ok_or(ApiError::UnknownEmoji)?;
    Ok(Emoji { id: 0, name: emoji.as_str().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<String> {
        parse_emoji(text).ok().map(|emoji| emoji.name)
    }

    #[test]
    fn emojis_of_unicode_are_known_in_each_of_their_forms() {
        let family = "👨\u{200D}👩\u{200D}👧";
        for text in ["👍", "👍🏽", "🇩🇪", family, "🏳\u{FE0F}\u{200D}🌈", "1\u{FE0F}\u{20E3}"]
        {
            assert_eq!(name(text).as_deref(), Some(text), "{text}");
        }
        for text in ["❤", "❤\u{FE0F}"] {
            assert_eq!(name(text).as_deref(), Some("❤\u{FE0F}"), "{text}");
        }
        for text in ["👍\u{FE0F}", "🏳\u{200D}🌈", "1\u{20E3}"] {
            assert!(name(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn text_and_emojis_of_guilds_are_unknown() {
        let long = "👍".repeat(1_000);
        for text in ["", "a", "1", "👍👍", "thumbsup", "party:123", "<:party:123>", "\u{FE0F}", &long] {
            assert_eq!(parse_emoji(text), Err(ApiError::UnknownEmoji), "{text}");
        }
    }
}
