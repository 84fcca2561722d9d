"""A loaded model: what it says of itself, and its vocabulary."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from gptcli.engine.api import EngineSettings, ModelInfo
from gptcli.engine.llama.bindings import load_bindings
from gptcli.engine.llama.devices import gpu_devices, kv_bytes_per_token
from gptcli.engine.machine import Memory, cpu_budget, memory
from gptcli.errors import MemoryFitError, ModelFileError, UsageError
from gptcli.sampling import SamplingParams

DEFAULT_WINDOW = 4096  # tokens; the window grows when a request asks for more
GPU_RESERVE_BYTES = 768 << 20  # compute buffers and the driver's own, left free by --gpu-layers auto
LOG_WARNING, LOG_ERROR = 3, 4  # enum ggml_log_level

# What llama.cpp's GGUF keys `general.sampling.*` are called here.
MODEL_SAMPLING_KEYS = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_ent",
    "mirostat_eta": "mirostat_lr",
}
INTEGER_SAMPLING = ("top_k", "repeat_last_n", "mirostat")


def check_weights_fit(path: Path, machine: Memory | None) -> None:
    """Raise MemoryFitError when the weights are larger than the machine's memory: llama.cpp would
    read them from the disk again for every token.
    """
    if machine is not None and path.is_file() and path.stat().st_size > machine.total:
        size, total = path.stat().st_size / 2**30, machine.total / 2**30
        raise MemoryFitError(
            f'"{path.name}" needs {size:.1f} GiB of memory, and this machine has {total:.1f} GiB',
            hint="a smaller model, or a smaller quantization of this one",
        )


class LlamaModel:
    """One loaded model. Raises ModelFileError when llama.cpp refuses the file, MemoryFitError when
    it is larger than this machine's memory.
    """

    def __init__(self, settings: EngineSettings, *, extra_buffers: bool = True) -> None:
        started = time.perf_counter()
        self._notes: list[str] = []
        self._log_lines: list[str] = []
        self._lib = lib = load_bindings()
        self._log_callback = lib.llama_log_callback(self._on_log)  # must outlive the library's use
        lib.llama_log_set(self._log_callback, None)
        lib.llama_backend_init()
        budget = cpu_budget()
        self._threads = settings.threads or budget.count
        reason = "as asked" if settings.threads else budget.reason
        self._notes.append(f"{self._threads} threads ({reason})")
        self._gpu_layers = self._choose_gpu_layers(settings)
        self._model = self._load(settings.model_path, extra_buffers=extra_buffers)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._pieces: dict[int, bytes] = {}
        self.vocab_size = lib.llama_vocab_n_tokens(self._vocab)
        if self.vocab_size == 0:
            raise ModelFileError(f'"{Path(settings.model_path).name}" has no vocabulary')
        self.info = self._describe(settings, time.perf_counter() - started)

    def close(self) -> None:
        self._lib.llama_model_free(self._model)

    # ------------------------------------------------------------------------------------ loading

    def _on_log(self, level: int, text: bytes, _data: object) -> None:
        if level >= LOG_WARNING:
            line = text.decode("utf-8", "replace")
            if level == LOG_ERROR:
                self._log_lines.append(line.strip())
                del self._log_lines[:-20]
            sys.stderr.write(line)

    def _load(self, path: str, *, extra_buffers: bool, vocab_only: bool = False) -> Any:
        if self._gpu_layers == 0:
            check_weights_fit(Path(path), memory())
        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = self._gpu_layers
        params.use_extra_bufts = extra_buffers
        params.vocab_only = vocab_only
        if not extra_buffers:
            self._notes.append("without extra buffers (AMX, repacking): they crash on this machine")
        # Loading leaves Python idle for as long as numpy takes to import; it is wanted for the logits.
        threading.Thread(target=importlib.import_module, args=("numpy",), daemon=True).start()
        model = self._lib.llama_model_load_from_file(os.fsencode(path), params)
        if not model:
            raise ModelFileError(
                f'llama.cpp cannot load "{Path(path).name}": {self._last_log("no reason given")}',
                hint="gptcli doctor",
            )
        return model

    def _last_log(self, otherwise: str) -> str:
        reasons = [line for line in self._log_lines if "error" in line] or self._log_lines
        return reasons[0].rpartition(": ")[2] if reasons else otherwise

    def _choose_gpu_layers(self, settings: EngineSettings) -> int:
        """Return how many layers go to the GPU; more than the model has means all and the output."""
        if isinstance(settings.gpu_layers, int):
            return settings.gpu_layers
        if not self._lib.llama_supports_gpu_offload():
            if settings.gpu_layers == "all":
                raise UsageError(
                    "--gpu-layers all: this build of llama.cpp has no GPU support",
                    hint="see the README for the CUDA, Metal and Vulkan builds",
                )
            return 0
        if settings.gpu_layers == "all":
            return 9999
        return self._layers_that_fit(settings)

    def _layers_that_fit(self, settings: EngineSettings) -> int:
        devices = gpu_devices(self._lib)
        free = sum(device.free_bytes for device in devices) - GPU_RESERVE_BYTES * len(devices)
        self._gpu_layers = 0
        probe = self._load(settings.model_path, extra_buffers=False, vocab_only=True)
        self._notes.pop()
        layers = int(self._lib.llama_model_n_layer(probe))
        window = settings.ctx_size or DEFAULT_WINDOW
        kv_bytes = kv_bytes_per_token(self._lib, probe) * window
        self._lib.llama_model_free(probe)
        per_layer = (Path(settings.model_path).stat().st_size + kv_bytes) / (layers + 1)
        fitting = max(0, min(layers + 1, int(free / per_layer)))
        names = ", ".join(device.description for device in devices) or "no GPU"
        self._notes.append(f"{fitting} of {layers + 1} layers on {names} ({free / 2**30:.1f} GiB free)")
        return fitting

    def _describe(self, settings: EngineSettings, load_s: float) -> ModelInfo:
        lib, model = self._lib, self._model
        template = lib.llama_model_chat_template(model, None)
        trained = lib.llama_model_n_ctx_train(model)
        return ModelInfo(
            name=settings.model_name,
            title=self.metadata("general.name") or "",
            path=settings.model_path,
            architecture=self.metadata("general.architecture") or "",
            description=self._model_description(),
            parameter_count=lib.llama_model_n_params(model),
            size_bytes=lib.llama_model_size(model),
            vocab_size=self.vocab_size,
            embedding_size=lib.llama_model_n_embd(model),
            layer_count=lib.llama_model_n_layer(model),
            context_length=trained,
            context_limit=settings.ctx_size or trained,
            chat_template=template.decode("utf-8", "replace") if template else None,
            sampling=self._model_sampling(),
            gpu_layers=self._gpu_layers,
            threads=self._threads,
            build=self._build(),
            devices=tuple(str(device) for device in gpu_devices(lib)),
            load_s=load_s,
            notes=tuple(self._notes),
        )

    def _build(self) -> str:
        features = self._lib.llama_print_system_info().decode("utf-8", "replace")
        version = self._lib.llama_version()
        name = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
        return f"llama.cpp {name}: {features.strip(' |')}"

    def metadata(self, key: str) -> str | None:
        """Return a header field of the GGUF as text, or None."""
        buffer = ctypes.create_string_buffer(1 << 16)
        length = self._lib.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if length >= 0 else None

    def _model_description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        self._lib.llama_model_desc(self._model, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def _model_sampling(self) -> SamplingParams:
        given: dict[str, Any] = {}
        for key, name in MODEL_SAMPLING_KEYS.items():
            text = self.metadata(f"general.sampling.{key}")
            if text is None:
                continue
            try:
                number = float(text)
                given[name] = int(number) if name in INTEGER_SAMPLING else number
                SamplingParams(**given)
            except (ValueError, UsageError):
                given.pop(name, None)
                self._notes.append(f"ignored the model's own {key}: {text}")
        return SamplingParams(**given)

    # ------------------------------------------------------------------------------------- tokens

    def tokenize(self, text: str, *, add_bos: bool, parse_special: bool) -> list[int]:
        """Return the tokens of `text`; with `add_bos`, a BOS token first if the model wants one."""
        data = text.encode("utf-8", "replace")
        size = len(data) + 16
        while True:
            buffer = (ctypes.c_int32 * size)()
            count = self._lib.llama_tokenize(
                self._vocab, data, len(data), buffer, size, add_bos, parse_special
            )
            if count >= 0:
                return buffer[:count]
            size = -count

    def piece(self, token: int) -> bytes:
        """Return the token's bytes: empty for control tokens."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._token_bytes(token, special=False)
        return found

    def special_piece(self, token: int) -> bytes:
        """Return the token's bytes, of control tokens too."""
        return self._token_bytes(token, special=True)

    def _token_bytes(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = self._lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def is_end(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def bos(self) -> str:
        return self._special_text(self._lib.llama_vocab_bos(self._vocab))

    def eos(self) -> str:
        return self._special_text(self._lib.llama_vocab_eos(self._vocab))

    def _special_text(self, token: int) -> str:
        return self.special_piece(token).decode("utf-8", "replace") if token >= 0 else ""

    def is_control(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_control(self._vocab, token))
