//! How a container runtime gives a pod its GPU: a specification of the Container Device Interface (CDI), or the name of
//! the GPU in one that NVIDIA's container toolkit has written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::driver::Driver;
use super::gpu::Gpu;

/// The version of CDI that is written: the oldest that has all that is used.
const VERSION: &str = "0.5.0";
/// Vendor and class of our own devices.
const KIND: &str = "fractune.dev/gpu";
/// Those of the toolkit's.
const TOOLKIT_KIND: &str = "nvidia.com/gpu";
/// Our specification, in the folder of those that are made at run time.
const FILE: &str = "fractune.dev-gpu.json";
/// Where the driver's libraries are in a container: images of NVIDIA's search it, and so does this program.
const LIBRARIES_AT: &str = "/usr/local/nvidia/lib64";
/// Devices that every CUDA program opens. A node without the last one is complete.
const COMMON_DEVICES: [&str; 3] = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];

/// A specification, as far as it is written and read here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Specification {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edits {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    device_nodes: Vec<DeviceNode>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mount>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host_path: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(default)]
    options: Vec<String>,
}

/// Our own specification for these GPUs. `exists` says which devices the node has.
#[must_use]
pub fn render(gpus: &[Gpu], driver: &Driver, exists: impl Fn(&Path) -> bool) -> Specification {
    let node = |path: &str| DeviceNode { path: path.into(), host_path: None };
    let device = |gpu: &Gpu| Device {
        name: gpu.uuid.clone(),
        container_edits: Edits {
            device_nodes: vec![node(&format!("/dev/nvidia{}", gpu.minor))],
            ..Edits::default()
        },
    };
    // A library is mounted under the name that the loader asks for, so that the container needs no cache of its own.
    let mount = |(name, file): (&String, &PathBuf)| Mount {
        host_path: file.clone(),
        container_path: Path::new(LIBRARIES_AT).join(name),
        options: ["ro", "nosuid", "nodev", "bind"].map(str::to_owned).into(),
    };
    Specification {
        cdi_version: VERSION.to_owned(),
        kind: KIND.to_owned(),
        devices: gpus.iter().map(device).collect(),
        container_edits: Edits {
            env: vec![format!("LD_LIBRARY_PATH={LIBRARIES_AT}")],
            device_nodes: COMMON_DEVICES
                .into_iter()
                .filter(|path| exists(Path::new(path)))
                .map(node)
                .collect(),
            mounts: driver.libraries.iter().map(mount).collect(),
        },
    }
}

impl Specification {
    /// Writes it to the folder, whole.
    ///
    /// # Errors
    /// What the system answers.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let (path, new) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&new, &path)?;
        Ok(path)
    }
}

/// The name by which a pod asks for a GPU of our own specification.
#[must_use]
pub fn own_name(gpu: &Gpu) -> String {
    format!("{KIND}={}", gpu.uuid)
}

/// The name of a GPU in a specification that the toolkit has written to one of the folders; none where it has not. Files
/// that cannot be read are passed over, as runtimes do.
#[must_use]
pub fn toolkit_name(folders: &[PathBuf], gpu: &Gpu) -> Option<String> {
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut files: Vec<_> = files.map(|entry| entry.path()).collect();
    files.sort();
    files.iter().find_map(|file| {
        let extension = file.extension()?.to_str()?;
        let text = matches!(extension, "json" | "yaml" | "yml").then(|| fs::read_to_string(file).ok())??;
        // JSON is YAML.
        let found: Specification = serde_yaml::from_str(&text).ok()?;
        if found.kind != TOOLKIT_KIND {
            return None;
        }
        // By UUID where it has that: numbers may change when the node is started again.
        let names = [gpu.uuid.clone(), gpu.index.to_string(), format!("gpu{}", gpu.index)];
        let name = names.into_iter().find(|name| found.devices.iter().any(|device| device.name == *name))?;
        Some(format!("{TOOLKIT_KIND}={name}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::driver::fixtures::installed;
    use super::super::gpu::fixtures::h200s;
    use super::*;

    #[test]
    fn a_specification_has_devices_libraries_and_where_they_are_searched() {
        let root = installed("usr/lib64");
        let driver = Driver::find(root.path()).unwrap();
        let gpus = h200s(2);
        let found = render(&gpus, &driver, |path| path != Path::new("/dev/nvidia-uvm-tools"));
        let written = serde_json::to_value(&found).unwrap();
        assert_eq!(written["cdiVersion"], "0.5.0");
        assert_eq!(written["kind"], "fractune.dev/gpu");
        let second = json!({
            "name": gpus[1].uuid,
            "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia1"}]},
        });
        assert_eq!(written["devices"][1], second);
        let common = &written["containerEdits"];
        assert_eq!(common["env"], json!(["LD_LIBRARY_PATH=/usr/local/nvidia/lib64"]));
        assert_eq!(common["deviceNodes"], json!([{"path": "/dev/nvidiactl"}, {"path": "/dev/nvidia-uvm"}]));
        let libcuda = json!({
            "hostPath": "/usr/lib64/libcuda.so.580.159.04",
            "containerPath": "/usr/local/nvidia/lib64/libcuda.so.1",
            "options": ["ro", "nosuid", "nodev", "bind"],
        });
        assert_eq!(common["mounts"][0], libcuda);
        assert_eq!(own_name(&gpus[1]), format!("fractune.dev/gpu={}", gpus[1].uuid));
    }

    #[test]
    fn it_is_written_whole_under_a_name_that_runtimes_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = installed("usr/lib64");
        let found = render(&h200s(1), &Driver::find(root.path()).unwrap(), |_| true);
        let path = found.write(&folder.path().join("cdi")).unwrap();
        assert_eq!(path.extension(), Some("json".as_ref()));
        let read: Specification = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, found);
        assert_eq!(fs::read_dir(folder.path().join("cdi")).unwrap().count(), 1);
    }

    #[test]
    fn the_toolkits_devices_are_used_by_uuid_or_else_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("missing"), folder.path().to_owned()];
        let gpus = h200s(2);
        assert_eq!(toolkit_name(&folders, &gpus[1]), None);
        fs::write(folder.path().join("a.yaml"), "cdiVersion: [").unwrap();
        fs::write(
            folder.path().join("b.json"),
            r#"{"cdiVersion": "0.5.0", "kind": "other.com/gpu", "devices": [{"name": "1"}]}"#,
        )
        .unwrap();
        assert_eq!(toolkit_name(&folders, &gpus[1]), None);
        let toolkit = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"1\"\n  containerEdits:\n    deviceNodes:\n    \
                       - path: /dev/nvidia1\n      hostPath: /dev/nvidia1\n    hooks:\n    - hookName: createContainer\n";
        fs::write(folder.path().join("nvidia.yaml"), toolkit).unwrap();
        assert_eq!(toolkit_name(&folders, &gpus[1]).as_deref(), Some("nvidia.com/gpu=1"));
        assert_eq!(toolkit_name(&folders, &gpus[0]), None, "a GPU that it does not have");
        let named = format!("{toolkit}- name: {}\n", gpus[1].uuid);
        fs::write(folder.path().join("nvidia.yaml"), named).unwrap();
        assert_eq!(toolkit_name(&folders, &gpus[1]), Some(format!("nvidia.com/gpu={}", gpus[1].uuid)));
    }
}
