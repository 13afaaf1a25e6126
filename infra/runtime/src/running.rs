//! A file in the data directory by which an operator's commands find a running server.

use std::{
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Name of the file.
const FILE: &str = "admin.json";
/// Name of the token's file, beside it.
const TOKEN_FILE: &str = "admin.token";

/// Where the server of a data directory listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The address of its admin listener.
    pub address: SocketAddr,
    /// The address of its REST listener, if it has one.
    pub api: Option<SocketAddr>,
    /// The id of its process.
    pub pid: u32,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub struct FileError {
    act: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Running {
    /// Writes the file, readable to its owner only.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn write(&self, directory: &Path) -> Result<(), FileError> {
        let path = directory.join(FILE);
        let draft = directory.join(format!("{FILE}.new"));
        let failed = |source| FileError { act: "write", path: path.clone(), source };
        let text = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(failed)?;
        writeln!(file, "{text}").map_err(failed)?;
        // The rename keeps readers from seeing half of the file. It need not outlive a crash, so it is not
        // synced.
        fs::rename(&draft, &path).map_err(failed)
    }

    /// Reads the file; `None` if there is none. It may be left from a server that was killed.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn read(directory: &Path) -> Result<Option<Self>, FileError> {
        let path = directory.join(FILE);
        let failed = |source| FileError { act: "read", path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes the file, unless another process has replaced it.
    pub fn remove(&self, directory: &Path) {
        if matches!(Self::read(directory), Ok(Some(there)) if there == *self) {
            // A leftover file only costs the next command a refused connection.
            let _ = fs::remove_file(directory.join(FILE));
        }
    }
}

/// The path of the token's file in a data directory.
pub fn token_file(directory: &Path) -> PathBuf {
    directory.join(TOKEN_FILE)
}

/// An address to connect to, for a bound one: listeners on all addresses are reached by loopback.
pub fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn running(port: u16) -> Running {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Running { address: at(port), api: Some(at(port + 1)), pid: 7 }
    }

    #[test]
    fn what_is_written_is_read_and_private_and_only_its_writer_removes_it() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Running::read(directory.path()).expect("none"), None);
        let (old, new) = (running(1), running(3));
        old.write(directory.path()).expect("written");
        new.write(directory.path()).expect("written over");
        let mode = fs::metadata(directory.path().join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        old.remove(directory.path());
        assert_eq!(Running::read(directory.path()).expect("stays"), Some(new));
        new.remove(directory.path());
        assert_eq!(Running::read(directory.path()).expect("gone"), None);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_no_server() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(FILE), "{").expect("written");
        assert!(Running::read(directory.path()).is_err());
    }

    #[test]
    fn listeners_on_every_address_are_reached_by_loopback() {
        for (bound, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(bound.parse().expect("an address")).to_string(), reached);
        }
    }
}
