//! The versions of Discord's API as prefixes of paths.

/// Where Discord's routes are mounted, longest first. Both versions and the bare prefix are served alike.
pub(crate) const PREFIXES: [&str; 3] = ["/api/v10", "/api/v9", "/api"];

/// True for `/api/v` and the number of a version that is not served.
pub(crate) fn names_other_version(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/api/v") else { return false };
    let version = rest.split('/').next().unwrap_or_default();
    !matches!(version, "9" | "10") && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
}

/// A route's template without the prefix that it was mounted under, so that metrics count a route once.
pub(crate) fn strip_version(template: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| template.strip_prefix(prefix)).unwrap_or(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_versions() {
        for path in ["/api/v6/users/@me", "/api/v11", "/api/v8/"] {
            assert!(names_other_version(path), "{path}");
        }
        for path in ["/api/v10/nothing", "/api/v9", "/api/voice/regions", "/api/v", "/v6", "/"] {
            assert!(!names_other_version(path), "{path}");
        }
    }

    #[test]
    fn a_template_is_one_label_under_every_prefix() {
        for path in ["/api/v10/guilds", "/api/v9/guilds", "/api/guilds"] {
            assert_eq!(strip_version(path), "/guilds");
        }
        assert_eq!(strip_version("/history"), "/history");
    }
}
