//! Text without a visible character.

use icu_properties::{CodePointSetData, CodePointSetDataBorrowed, props::DefaultIgnorableCodePoint};

/// Characters that Unicode lets a program show as nothing if it does not know them: zero-width and variation
/// marks, fillers, tags.
const IGNORABLE: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<DefaultIgnorableCodePoint>();

/// BRAILLE PATTERN BLANK: a pattern without dots, which Unicode counts among the symbols.
const BLANK_BRAILLE: char = '\u{2800}';

/// True for a text without a visible character, also for an empty one. Whitespace, controls, and what Unicode
/// calls default ignorable are not visible.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// True for a content of whitespace and controls only. Zero-width characters count as content, as at Discord:
/// bots send U+200B to say nothing.
#[must_use]
pub fn is_empty_content(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control())
}

fn is_invisible(c: char) -> bool {
    // Most texts begin with such a character, which needs no table.
    !c.is_ascii_graphic()
        && (c.is_whitespace() || c.is_control() || c == BLANK_BRAILLE || IGNORABLE.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unicode_lets_be_ignored_is_not_seen() {
        // Both ends of each range of Default_Ignorable_Code_Point, Unicode 17, DerivedCoreProperties.txt.
        let ranges = [
            ('\u{AD}', '\u{AD}'),
            ('\u{34F}', '\u{34F}'),
            ('\u{61C}', '\u{61C}'),
            ('\u{115F}', '\u{1160}'),
            ('\u{17B4}', '\u{17B5}'),
            ('\u{180B}', '\u{180F}'),
            ('\u{200B}', '\u{200F}'),
            ('\u{202A}', '\u{202E}'),
            ('\u{2060}', '\u{206F}'),
            ('\u{3164}', '\u{3164}'),
            ('\u{FE00}', '\u{FE0F}'),
            ('\u{FEFF}', '\u{FEFF}'),
            ('\u{FFA0}', '\u{FFA0}'),
            ('\u{FFF0}', '\u{FFF8}'),
            ('\u{1BCA0}', '\u{1BCA3}'),
            ('\u{1D173}', '\u{1D17A}'),
            ('\u{E0000}', '\u{E0FFF}'),
        ];
        let listed = |c: &char| ranges.iter().any(|(first, last)| (first..=last).contains(&c));
        let shown = |c: &char| !c.is_whitespace() && !c.is_control() && *c != BLANK_BRAILLE;
        let differ: Vec<char> =
            ('\0'..=char::MAX).filter(shown).filter(|c| listed(c) != is_invisible(*c)).collect();
        assert!(differ.is_empty(), "{differ:?}");
    }

    #[test]
    fn one_sign_is_enough() {
        for nothing in ["", " \n\t", "\u{200B}", "\u{2800}\u{3000}", "\u{1}\u{7F}\u{85}"] {
            assert!(is_blank(nothing), "{nothing:?}");
        }
        for something in [".", "\u{200B}a", "\u{1F468}\u{200D}\u{1F469}", "\u{6F22}"] {
            assert!(!is_blank(something), "{something:?}");
        }
    }
}
