//! Makes Rust of kubelet's device plugin API (proto/README.md).

#[cfg_attr(
    not(feature = "node"),
    allow(clippy::unnecessary_wraps, reason = "protos are of the node's agent alone")
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "node")]
    {
        let files = protox::compile(["deviceplugin/v1beta1/api.proto"], ["proto"])?;
        tonic_prost_build::configure().compile_fds(files)?;
    }
    Ok(())
}
