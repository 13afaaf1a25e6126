//! The admin token: 32 random bytes in a file that only its owner can read.
//!
//! A user who can read the file may administer. The operating system's permissions are the access list, and
//! there is no password to choose badly. That is only as good as the permissions, so a file that others can
//! read is refused and not repaired: its content may be known.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;

/// Random bytes of a token: 256 bits cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// The token's text: two hexadecimal digits for each byte.
const TOKEN_CHARS: usize = 2 * TOKEN_BYTES;

/// Permissions of the file.
const MODE: u32 = 0o600;

/// The secret that lets an operator call the admin methods.
#[derive(Clone)]
pub struct AdminToken {
    text: String,
}

/// Why there is no usable token.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokenError {
    /// The file could not be read or written.
    #[error("admin token file {path:?} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Other users than the owner have access to the file.
    #[error(
        "admin token file {path:?} has permissions {mode:03o}, must be 600: run `chmod 600` on it; if others may have read it, delete it instead and restart the server, which makes a new one"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content of the file is not a token.
    #[error(
        "admin token file {path:?} does not hold 64 hexadecimal digits: delete it and restart the server, which makes a new one"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for an admin token")]
    Random(#[source] getrandom::Error),
}

impl AdminToken {
    /// Reads the token at `path`; if there is no such file, makes one, readable to its owner only. Processes
    /// that start together agree on one token.
    ///
    /// # Errors
    /// [`AdminTokenError`], which names the file and what is wrong with it.
    pub fn load_or_create(path: &Path) -> Result<AdminToken, AdminTokenError> {
        match AdminToken::load(path) {
            Err(AdminTokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                AdminToken::load(path)
            }
            outcome => outcome,
        }
    }

    /// Reads the token at `path`, as an operator's command does.
    ///
    /// # Errors
    /// [`AdminTokenError`], which names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<AdminToken, AdminTokenError> {
        let io_error = |source| AdminTokenError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io_error)?;
        // The permissions are those of the open file: the path could name another file by now.
        let mode = file.metadata().map_err(io_error)?.mode() & 0o777;
        if mode & !MODE != 0 {
            return Err(AdminTokenError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        // One character more than a token and its line end is enough to see that the content is no token.
        let longest = TOKEN_CHARS as u64 + 2;
        file.take(longest).read_to_string(&mut text).map_err(io_error)?;
        let text = text.trim_end().to_owned();
        if text.len() == TOKEN_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(AdminToken { text })
        } else {
            Err(AdminTokenError::Malformed { path: path.to_owned() })
        }
    }

    /// The value of the `authorization` header that carries the token.
    pub fn authorization(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.text))
            .expect("hexadecimal digits are valid in a header");
        value.set_sensitive(true);
        value
    }

    /// Whether the request carries this token. Takes the same time wherever a wrong token differs.
    pub(crate) fn authorizes(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_at_checked("Bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(token.ct_eq(self.text.as_bytes()))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

/// Writes a new token beside `path` and links it there, so that no process ever reads half a token. If
/// another process was first, its token stays.
fn create(path: &Path) -> Result<(), AdminTokenError> {
    let io_error = |source| AdminTokenError::Io { path: path.to_owned(), source };
    let mut bytes = [0_u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(AdminTokenError::Random)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // The random name keeps two processes from writing to the same draft.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}-{:02x}{:02x}", std::process::id(), bytes[0], bytes[1]));
    let draft = PathBuf::from(draft);
    let linked = write_new(&draft, &text).and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = std::fs::remove_file(&draft);
    linked.and(removed).map_err(io_error)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn bearer(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn the_first_start_makes_a_private_token_and_the_next_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.token");
        let first = AdminToken::load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "the draft is gone");
        let second = AdminToken::load_or_create(&path).unwrap();
        assert_eq!(first.text, second.text);
        let elsewhere = AdminToken::load_or_create(&directory.path().join("other")).unwrap();
        assert_ne!(first.text, elsewhere.text);
    }

    #[test]
    fn processes_that_start_together_agree() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.token");
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || AdminToken::load_or_create(&path).unwrap().text)
            })
            .collect();
        let texts: Vec<String> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.token");
        AdminToken::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o644, 0o660, 0o700] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = AdminToken::load_or_create(&path).expect_err("exposed");
            assert!(
                matches!(error, AdminTokenError::Exposed { mode: found, .. } if found == mode),
                "{error}"
            );
            assert!(error.to_string().contains(&format!("{mode:o}")), "{error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(AdminToken::load(&path).is_ok(), "stricter is fine");
    }

    #[test]
    fn a_file_with_something_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.token");
        for content in ["", "abc", &"g".repeat(64), &"a".repeat(65), &"a".repeat(4096)] {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(AdminToken::load(&path), Err(AdminTokenError::Malformed { .. })), "{content}");
        }
    }

    #[test]
    fn only_the_exact_token_authorizes() {
        let token = AdminToken { text: "ab".repeat(32) };
        let exact = HeaderMap::from_iter([(header::AUTHORIZATION, token.authorization())]);
        assert!(token.authorizes(&exact));
        assert!(token.authorizes(&bearer(&format!("bearer {}", token.text))));
        for wrong in
            ["", "Bearer", "Bearer ", &token.text, &format!("Basic {}", token.text), &"Bearer a".repeat(9)]
        {
            assert!(!token.authorizes(&bearer(wrong)), "{wrong}");
        }
        assert!(!token.authorizes(&bearer(&format!("Bearer {}0", token.text))));
        assert!(!token.authorizes(&HeaderMap::new()));
        assert!(!format!("{token:?}{exact:?}").contains(&token.text));
    }
}
