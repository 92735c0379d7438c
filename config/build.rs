//! Makes the messages of the discovery protocol out of `proto/`, without protoc.

use std::error::Error;

/// The files that name all others.
const FILES: [&str; 2] = ["outrigger/discovery/v1/resources.proto", "envoy/service/discovery/v3/ads.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");
    let files = protox::compile(FILES, ["proto"])?;
    // Sorted maps: equal messages have equal bytes, and so equal versions.
    prost_build::Config::new().btree_map(["."]).include_file("proto.rs").compile_fds(files)?;
    Ok(())
}
