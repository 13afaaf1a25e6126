//! Compiles the .proto files with protox (no system `protoc`) into prost types and the descriptors of the
//! contract.

use std::{env, io, path::PathBuf};

const FILES: [&str; 4] = [
    "weir/data/v1/message.proto",
    "weir/data/v1/directory.proto",
    "weir/event/v1/record.proto",
    "weir/admin/v1/admin.proto",
];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"]).map_err(io::Error::other)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // The names lead from a type to its descriptor.
    prost_build::Config::new().enable_type_names().compile_fds(descriptors).map_err(io::Error::other)
}
