"""Takes from an example's YAML what the bench needs, without a YAML library.

It relies on how the examples are written: one kernel, `inline: |` as a block, options on one line.
"""

import json
import re


def inline_source(text):
    """The text of the block under `inline: |`."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == "inline: |"), None)
    if start is None:
        raise ValueError("no `inline: |` in the example")
    outer = len(lines[start]) - len(lines[start].lstrip())
    block = []
    for line in lines[start + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= outer:
            break
        block.append(line)
    inner = min(len(line) - len(line.lstrip()) for line in block if line.strip())
    return "\n".join(line[inner:] for line in block).rstrip() + "\n"


def compile_options(text):
    """The list in `options: [...]`."""
    found = re.search(r"^ *options: (\[.*\])$", text, re.MULTILINE)
    if not found:
        raise ValueError("no `options: [...]` in the example")
    return json.loads(found.group(1))


def problem_sizes(text, problem):
    """The sizes of a problem, by name."""
    found = re.search(rf"name: {re.escape(problem)}, sizes: {{([^}}]*)}}", text)
    if not found:
        raise ValueError(f"no problem `{problem}` in the example")
    return {name.strip(): int(size) for name, size in (p.split(":") for p in found.group(1).split(","))}


def with_only_problem(text, problem):
    """The example with this problem alone."""
    problem_sizes(text, problem)
    other = re.compile(rf"^ *- {{name: (?!{re.escape(problem)},)[^,]*, sizes: .*\n", re.MULTILINE)
    return other.sub("", text)
