//! The emojis that clients name in paths.

use std::{collections::HashMap, sync::LazyLock};

use weir_proto::data::Emoji;

use crate::error::ApiError;

/// U+FE0F, which asks for an emoji's colourful form. Clients send emojis with it or without.
const VARIATION: char = '\u{FE0F}';

/// The letters that flags are made of. Discord takes each alone as an emoji, too, and polls are made with
/// them.
const LETTERS: std::ops::RangeInclusive<char> = '\u{1F1E6}'..='\u{1F1FF}';

/// The emoji that a path names, fully qualified. A guild's own is named `name:id`, and Weir has none of
/// those.
///
/// # Errors
/// 10014 if it is no emoji of Unicode.
pub fn parse_emoji(text: &str) -> Result<Emoji, ApiError> {
    let bare: String = text.chars().filter(|char| *char != VARIATION).collect();
    let name = KNOWN.get(&bare).copied().or_else(|| is_letter(&bare).then_some(bare.as_str()));
    Ok(Emoji { id: 0, name: name.ok_or(ApiError::UnknownEmoji)?.to_owned() })
}

/// Each emoji without its U+FE0F, and as it is fully qualified: some 3,800 of them, 400 KB. The library's own
/// look-up takes a bare digit for a keycap, and some couples without U+FE0F for others.
static KNOWN: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let tones = emojis::iter().flat_map(|emoji| emoji.skin_tones().into_iter().flatten());
    let all = emojis::iter().chain(tones).map(emojis::Emoji::as_str);
    all.map(|name| (name.replace(VARIATION, ""), name)).collect()
});

fn is_letter(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| LETTERS.contains(&first)) && chars.next().is_none()
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
        for (text, known_as) in [
            ("👍\u{FE0F}", "👍"),
            ("🏳\u{200D}🌈", "🏳\u{FE0F}\u{200D}🌈"),
            ("1\u{20E3}", "1\u{FE0F}\u{20E3}"),
            // An eye in a speech bubble: two characters that may each have U+FE0F.
            ("👁\u{200D}🗨", "👁\u{FE0F}\u{200D}🗨\u{FE0F}"),
            ("👁\u{FE0F}\u{200D}🗨", "👁\u{FE0F}\u{200D}🗨\u{FE0F}"),
            // A man with a skin tone.
            ("🕵🏻\u{200D}♂", "🕵🏻\u{200D}♂\u{FE0F}"),
        ] {
            assert_eq!(name(text).as_deref(), Some(known_as), "{text:?}");
        }
    }

    #[test]
    fn letters_of_flags_are_emojis_each_alone() {
        for text in ["\u{1F1E6}", "\u{1F1FF}"] {
            assert_eq!(name(text).as_deref(), Some(text), "{text:?}");
        }
        assert_eq!(name("\u{1F1E6}\u{1F1E6}"), None, "no flag");
    }

    #[test]
    fn every_emoji_is_itself_with_and_without_its_variation_selectors() {
        for emoji in emojis::iter() {
            let dark = emoji.with_skin_tone(emojis::SkinTone::Dark);
            for known_as in [Some(emoji), dark].into_iter().flatten().map(emojis::Emoji::as_str) {
                assert!(known_as.len() <= 40, "far below the contract's 128 bytes: {known_as:?}");
                for text in [known_as, &known_as.replace(VARIATION, "")] {
                    assert_eq!(name(text).as_deref(), Some(known_as), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn text_and_emojis_of_guilds_are_unknown() {
        let long = "👍".repeat(1_000);
        let guilds = ["party:123", "a:party:123", "<:party:123>", "<a:party:123>", "party:", "👍:1"];
        let others =
            ["", " ", "a", "1", "👍👍", "👍 ", "thumbsup", ":thumbsup:", "\u{FE0F}", "\u{200D}", &long];
        for text in guilds.into_iter().chain(others) {
            assert_eq!(parse_emoji(text), Err(ApiError::UnknownEmoji), "{text}");
        }
    }
}
