"""Our header reader against the one that the Hub's own pages use, where Node and it are installed.

GPTCLI_TEST_NODE_MODULES names the node_modules directory: npm install @huggingface/gguf.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gptcli.models.gguf import ArrayInfo, GgufHeader, read_header, read_remote_header
from tests.tiny_gguf import CHATML, make_tiny_model

NODE, MODULES = shutil.which("node"), os.environ.get("GPTCLI_TEST_NODE_MODULES")
PACKAGE = Path(MODULES or "", "@huggingface", "gguf")

pytestmark = pytest.mark.skipif(
    NODE is None or MODULES is None or not PACKAGE.is_dir(),
    reason="Node with @huggingface/gguf is not here",
)

PROGRAM = """
import { gguf } from %s;
const { metadata, tensorInfos } = await gguf(process.argv[2]);
const plain = (_, value) => typeof value === "bigint" ? Number(value) : value;
console.log(JSON.stringify({ metadata, tensorInfos }, plain));
"""


class Ranges(BaseHTTPRequestHandler):
    content = b""

    def do_GET(self) -> None:
        size = len(self.content)
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or size - 1), size - 1)
        part = self.content[start : end + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(params=["tiny", pytest.param("starter", marks=pytest.mark.weights)])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "starter":
        found: Path = request.getfixturevalue("starter_model")
        return found
    return make_tiny_model(tmp_path / "tiny.gguf", chat_template=CHATML, layers=3)


@pytest.fixture
def theirs(model: Path, tmp_path: Path) -> dict[str, Any]:
    handler = type("Handler", (Ranges,), {"content": model.read_bytes()})
    program = tmp_path / "read.mjs"
    program.write_text(PROGRAM % json.dumps(f"{PACKAGE}/dist/index.mjs"), encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/model.gguf"
        done = subprocess.run(
            (str(NODE), str(program), url), capture_output=True, text=True, timeout=120, check=False
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def remote(model: Path) -> GgufHeader:
    content = model.read_bytes()
    return read_remote_header(lambda a, b: content[a:b], len(content), model.name, tensors=True)


def test_both_read_the_same_header(model: Path, theirs: dict[str, Any]) -> None:
    header = read_header(model)

    assert remote(model) == header
    metadata = {k: v for k, v in theirs["metadata"].items() if k in header.metadata}
    assert metadata.keys() == header.metadata.keys()
    for key, value in header.metadata.items():
        if isinstance(value, ArrayInfo):
            assert len(metadata[key]) == value.length, key
        elif isinstance(value, tuple):
            assert metadata[key] == pytest.approx(list(value)), key
        else:
            assert metadata[key] == (pytest.approx(value) if isinstance(value, float) else value), key
    tensors = {each["name"]: each for each in theirs["tensorInfos"]}
    assert tensors.keys() == {tensor.name for tensor in header.tensors}
    for tensor in header.tensors:
        found = tensors[tensor.name]
        assert tuple(found["shape"]) == tensor.shape
        assert (found["dtype"], found["offset"]) == (tensor.type_id, tensor.offset)
