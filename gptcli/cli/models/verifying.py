"""`gptcli models verify`."""

from __future__ import annotations

from typing import Any

from gptcli.models.verification import Checked, files_to_check, verified
from gptcli.output.console import Output
from gptcli.output.progress import ByteProgress


def verify_models(params: dict[str, Any], output: Output) -> bool:
    """Compare files with their hashes; return whether none is damaged."""
    results = _check_all(output, params["specs"], as_json=params["json"])
    if params["json"]:
        output.json({"files": [_as_json(result) for result in results]})
    is_fine = not any(result.is_damaged for result in results)
    if not is_fine:
        output.status("  try: gptcli models rm SPEC, then gptcli models pull SPEC")
    return is_fine


def _check_all(output: Output, specs: list[str] | None, *, as_json: bool) -> list[Checked]:
    files = files_to_check(specs)
    total, before, results = sum(file.size for file in files), 0, []
    with ByteProgress(output, "verifying", total) as bar:
        for file in files:
            result = verified(file, lambda done, before=before: bar.advance(before + done))  # type: ignore[misc]
            before += file.size
            results.append(result)
            if not as_json:
                output.write(f"{result.word:<8} {file.name}  {file.path.name}\n")
    return results


def _as_json(result: Checked) -> dict[str, Any]:
    return {
        "name": result.file.name,
        "path": str(result.file.path),
        "state": result.word,
        "sha256": result.sha256,
        "expected": result.file.sha256,
    }
