"""Writes container images as OCI archives: a tar that containerd, docker, podman and skopeo read. No registry, no daemon."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import tarfile

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer(path, files):
    """Writes a layer of FILES, {path in the image: file here}, each readable and executable by all, owned by root."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        folders = {str(parent) for inside in files for parent in pathlib.PurePosixPath(inside).parents}
        for folder in sorted(folders - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for inside, source in sorted(files.items()):
            entry = tarfile.TarInfo(inside)
            entry.mode, entry.size = 0o755, os.stat(source).st_size
            with open(source, "rb") as content:
                tar.addfile(entry, content)


def digest(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def image(path, name, layers, config):
    """Writes the image NAME of LAYERS (tar files, the lowest first) with CONFIG (User, Entrypoint, ...) to PATH, atomically."""
    descriptors = [{"mediaType": LAYER, "digest": digest(each), "size": os.stat(each).st_size} for each in layers]
    blobs = {d["digest"]: each for d, each in zip(descriptors, layers, strict=True)}

    def add(content, media_type):
        text = json.dumps(content, sort_keys=True).encode()
        key = "sha256:" + hashlib.sha256(text).hexdigest()
        blobs[key] = text
        return {"mediaType": media_type, "digest": key, "size": len(text)}

    architecture = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    configuration = add(
        {
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [d["digest"] for d in descriptors]},  # not compressed: the same
        },
        CONFIG,
    )
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": configuration, "layers": descriptors}
    entry = add(manifest, MANIFEST)
    entry["platform"] = {"architecture": architecture, "os": "linux"}
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}

    partial = pathlib.Path(f"{path}.{os.getpid()}")
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: partial.unlink(missing_ok=True))
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20) as tar:
            put(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            put(tar, "index.json", json.dumps(index, sort_keys=True).encode())
            for key, blob in blobs.items():
                put(tar, "blobs/" + key.replace(":", "/"), blob)
        partial.rename(path)


def put(tar, name, content):
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
        return
    entry.size = os.stat(content).st_size
    with open(content, "rb") as file:
        tar.addfile(entry, file)
