"""The commands of the documentation, run as they stand.

A block is run where the line before it is `<!-- run -->`, in a folder that is a copy of the repository's examples and charts,
with a namespace of the page's own as the current one. `<!-- run: expect TEXT -->` wants TEXT in what it prints. A block
of another language than sh under `<!-- file: NAME -->` is written to that file first, as a reader would.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from kube import ROOT, kubectl, namespace

BLOCK = re.compile(r"^<!-- (run|file)(?:: (?:expect )?(.+?))? -->\n```(\w*)\n(.*?)^```$", re.M | re.S)


def pages():
    """Every page with something to run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if BLOCK.search(page.read_text(encoding="utf-8"))]


def test_of(page):
    """A test that reads a page aloud, with a name that says which."""
    name = str(page.relative_to(ROOT)).removesuffix(".md")

    def reads_as_it_is_written(programs):
        read(page, re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), programs)

    reads_as_it_is_written.__name__ = "the_commands_of_" + re.sub(r"\W", "_", name)
    return reads_as_it_is_written


def read(page, where, programs):
    namespace(where)
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        for name in ("examples", "charts", "crds", "tests/data"):
            shutil.copytree(ROOT / name, folder / name)
        (folder / "bin").mkdir()
        (folder / "bin/kubectl-fractune").symlink_to(programs / "kubectl-fractune")
        config = folder / "kubeconfig"
        shutil.copyfile(os.environ["KUBECONFIG"], config)
        kubectl("--kubeconfig", config, "config", "set-context", "--current", f"--namespace={where}")
        environment = {**os.environ, "KUBECONFIG": str(config), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        for kind, words, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == "file":
                (folder / words).write_text(text, encoding="utf-8")
                continue
            assert language == "sh", f"{page.name}: a block of {language} cannot be run"
            script = ["bash", "-euo", "pipefail", "-c", text]
            # kubectl diff reads an object twice: a status that is written in between is a difference, but not a second time.
            for _ in range(3 if "kubectl diff" in text else 1):
                done = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=180)
                if done.returncode == 0:
                    break
            said = done.stdout + done.stderr
            assert done.returncode == 0, f"{page.name}: exit status {done.returncode} of\n{text}\n{said}"
            assert not words or words in said, f"{page.name}: {words!r} is not in what this prints:\n{text}\n{said}"
    kubectl("delete", "namespace", where, "--wait=false")
