//! Names the form of a file that has no line of the expected form, and says what to do with it.

/// A file's form, as its first bytes show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// Name of the form.
    pub(crate) name: &'static str,
    /// What to do.
    pub(crate) advice: &'static str,
    /// True if no file of the expected form begins with these bytes.
    pub(crate) certain: bool,
}

const CONVERT: &str = "write each message as one line {\"channel\", \"author\", \"timestamp\", \"content\"}";

/// Returns the form of a file that begins with these bytes.
pub(crate) fn of(head: &[u8]) -> Format {
    let certain = |name, advice| Format { name, advice, certain: true };
    let start = head.trim_ascii_start();
    let has = |text: &str| head.windows(text.len()).any(|window| window == text.as_bytes());
    if head.starts_with(b"PK\x03\x04") {
        return certain("a ZIP archive", "unpack it and import the files in it");
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return certain("UTF-16 text", "save it as UTF-8");
    }
    match start.first() {
        Some(b'<') => certain("HTML or XML", "export it as JSON instead"),
        Some(b'[') if has("\"ts\"") => certain("a day of a Slack export (a JSON array)", CONVERT),
        Some(b'[') => certain("a JSON array", CONVERT),
        Some(b'{') => {
            let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
            if serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok() {
                return Format { name: "JSON lines with other fields", advice: CONVERT, certain: false };
            }
            if has("\"messages\"") && has("\"date_unixtime\"") {
                return certain("a Telegram export (one JSON object)", CONVERT);
            }
            certain("one JSON object over many lines, and no export of DiscordChatExporter", CONVERT)
        }
        Some(_) if start.starts_with(b"AuthorID,") || start.starts_with(b"====") => certain(
            "an export of DiscordChatExporter that is not JSON",
            "export it again with `--format Json`",
        ),
        Some(_) if head.contains(&0) => certain("a binary file", CONVERT),
        Some(_) | None => Format { name: "text that is not JSON", advice: CONVERT, certain: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_named() {
        let cases: [(&[u8], &str); 10] = [
            (b"PK\x03\x04", "ZIP"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b"<!DOCTYPE html>", "HTML"),
            (b"[\n {\"type\": \"message\", \"ts\": \"1\"}]", "Slack"),
            (b"[{}]", "JSON array"),
            (b"{\n \"name\": \"x\", \"messages\": [{\"date_unixtime\": \"1\"}]}", "Telegram"),
            (b"{\n \"a\": 1}", "over many lines"),
            (b"{\"user\": \"U\"}\n", "other fields"),
            (b"AuthorID,Author,Date,Content", "DiscordChatExporter"),
            (b"[10:00] <ann> hi"[1..].as_ref(), "text"),
        ];
        for (head, name) in cases {
            assert!(of(head).name.contains(name), "{:?}: {:?}", String::from_utf8_lossy(head), of(head));
        }
    }
}
