"""llama.cpp by its low-level bindings: model, context, decode, sampler chain, KV state.

The only importer of llama_cpp and numpy. One `LlamaBackend` holds one model and one context with
one sequence. It runs in the worker process, because llama.cpp may end the process that hosts it.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptcli.engine.api import EngineSettings, ModelInfo, TokenLogprob
from gptcli.engine.devices import gpu_devices, kv_bytes_per_token
from gptcli.engine.machine import cpu_budget, memory
from gptcli.engine.sampler import Sampler
from gptcli.engine.scheduler import Aborted
from gptcli.errors import ContextOverflowError, GptcliError, MemoryFitError, ModelFileError, UsageError
from gptcli.sampling import OutputConstraint, SamplingParams

BATCH_TOKENS = 512  # tokens evaluated in one call: also how often a long prompt can be stopped on a GPU
EMBED_TOKENS = 2048  # the longest text to embed: pooling wants it in one batch
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


def load_bindings() -> Any:
    """Return the module llama_cpp.llama_cpp, with its shared library loaded.

    `llama_cpp/__init__.py` imports the high-level class with numpy, jinja2 and diskcache: 260 ms
    against 55 ms for the bindings alone. So a bare package stands in its place.
    """
    # Idle OpenMP threads spin by default: with one of two cores busy elsewhere that costs 5/6 of
    # the speed; a short spin costs 5 % of an idle machine's. libgomp reads this when it is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # A failed assertion would start a debugger, if there is one, to print a backtrace.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    if "llama_cpp" not in sys.modules:
        import importlib.util
        import types

        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise GptcliError("llama-cpp-python is not installed", hint="pip install llama-cpp-python")
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["llama_cpp"] = package
    import llama_cpp.llama_cpp

    return llama_cpp.llama_cpp


def library_identity() -> str:
    """Return what tells this build of llama.cpp from another: its path, size and time of build."""
    path = Path(load_bindings()._lib._name)
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"


class LlamaBackend:
    """One loaded model. Raises ModelFileError when llama.cpp refuses the file."""

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
        self._notes.append(
            f"{self._threads} threads ({'as asked' if settings.threads else budget.reason})"
        )
        self._window_asked = settings.ctx_size
        self._gpu_layers = self._choose_gpu_layers(settings)
        self._model = self._load(settings.model_path, extra_buffers=extra_buffers)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._context: Any = None
        self._memory: Any = None
        self._embedder: Any = None
        self.window = 0
        self._tokens: list[int] = []  # what the KV cache holds
        self._pieces: dict[int, bytes] = {}
        self._batch = lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._prefix: tuple[int, ...] = ()
        self._prefix_logits: Any = None
        self._init_abort()
        self.vocab_size = lib.llama_vocab_n_tokens(self._vocab)
        if self.vocab_size == 0:
            raise ModelFileError(f'"{Path(settings.model_path).name}" has no vocabulary')
        self.info = self._describe(settings, time.perf_counter() - started)

    def close(self) -> None:
        for context in (self._context, self._embedder):
            if context is not None:
                self._lib.llama_free(context)
        self._context = self._embedder = None
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
        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = self._gpu_layers
        params.use_extra_bufts = extra_buffers
        params.vocab_only = vocab_only
        if not extra_buffers:
            self._notes.append("without extra buffers (AMX, repacking): they crash on this machine")
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
            path=settings.model_path,
            architecture=self.metadata("general.architecture") or "",
            description=self._model_description(),
            parameter_count=lib.llama_model_n_params(model),
            size_bytes=lib.llama_model_size(model),
            vocab_size=self.vocab_size,
            embedding_size=lib.llama_model_n_embd(model),
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

    # ------------------------------------------------------------------------------------ context

    def reserve(self, tokens: int) -> int:
        """Make the context window hold `tokens`, if the model can; return the window's size.

        Raises MemoryFitError when the KV cache does not fit.
        """
        limit = self.info.context_limit
        wanted = min(limit, self._window_asked or max(DEFAULT_WINDOW, 1 << (tokens - 1).bit_length()))
        if self._context is not None and self.window >= wanted:
            return self.window
        if self._context is not None:
            self._lib.llama_free(self._context)
            self._context = None
        self._context = self._open_context(wanted)
        self._memory = self._lib.llama_get_memory(self._context)
        self.window = min(limit, self._lib.llama_n_ctx(self._context))
        self._tokens = []
        return self.window

    def _open_context(self, window: int, *, embeddings: bool = False) -> Any:
        lib = self._lib
        self._check_memory(window)
        params = lib.llama_context_default_params()
        params.n_ctx = window
        params.n_batch = params.n_ubatch = window if embeddings else BATCH_TOKENS
        params.n_seq_max = 1
        params.swa_full = False
        params.n_threads = params.n_threads_batch = self._threads
        params.abort_callback = self._abort_callback
        params.abort_callback_data = ctypes.addressof(self._abort_flag)
        if embeddings:
            params.embeddings = True
            if self.metadata(f"{self.info.architecture}.pooling_type") is None:
                params.pooling_type = 1  # LLAMA_POOLING_TYPE_MEAN, for models that name none
        context = lib.llama_init_from_model(self._model, params)
        if not context:
            raise MemoryFitError(
                f"llama.cpp cannot open a context window of {window} tokens: "
                f"{self._last_log('no reason given')}",
                hint=f"--ctx-size {max(512, window // 2)}",
            )
        return context

    def _check_memory(self, window: int) -> None:
        needed = kv_bytes_per_token(self._lib, self._model) * window
        found = memory()
        if self._gpu_layers == 0 and found is not None and needed > found.available:
            raise MemoryFitError(
                f"a context window of {window} tokens needs {needed / 2**30:.1f} GiB for its KV cache, "
                f"and {found.available / 2**30:.1f} GiB are free",
                hint=f"--ctx-size {max(512, window // 4)}",
            )

    def _init_abort(self) -> None:
        # The callback is asked at every node of the graph. In Python it would need the GIL hundreds
        # of times per token; strlen of a two-byte buffer answers the same question in C: 0 or 1.
        libc = ctypes.CDLL(None if os.name == "posix" else "msvcrt")
        self._abort_flag = ctypes.create_string_buffer(2)
        self._abort_callback = ctypes.cast(libc.strlen, self._lib.ggml_abort_callback)

    def abort(self) -> None:
        """Stop the evaluation in progress, from any thread: it raises Aborted."""
        self._abort_flag[0] = b"\x01"

    def resume(self) -> None:
        """Allow evaluations again after `abort`."""
        self._abort_flag[0] = b"\x00"

    def prefill(self, tokens: Sequence[int]) -> int:
        """Bring the KV cache to hold exactly `tokens`, with logits of the last; return how many it
        held already. Raises Aborted.
        """
        cached = self._reuse(tokens)
        for start in range(cached, len(tokens), BATCH_TOKENS):
            chunk = tokens[start : start + BATCH_TOKENS]
            is_last = start + len(chunk) == len(tokens)
            self._decode(chunk, output=[is_last and n == len(chunk) - 1 for n in range(len(chunk))])
        return cached

    def extend(self, token: int) -> None:
        """Evaluate one more token. Raises Aborted."""
        self._decode((token,), output=(True,))

    def _reuse(self, tokens: Sequence[int]) -> int:
        common = 0
        # The last token is always evaluated: its logits are wanted.
        for held, wanted in zip(self._tokens, tokens[:-1], strict=False):
            if held != wanted:
                break
            common += 1
        if common == len(self._tokens) or self._truncate(common):
            return common
        self._lib.llama_memory_clear(self._memory, True)
        self._tokens = []
        return 0

    def _truncate(self, length: int) -> bool:
        """Drop the KV cache behind `length` tokens; False if this model's memory cannot."""
        if not self._lib.llama_memory_seq_rm(self._memory, 0, length, -1):
            return False
        # A sliding-window cache may have forgotten what the tokens before `length` still look at.
        sliding = self._lib.llama_model_n_swa(self._model)
        if sliding > 0 and length > 0:
            oldest = self._lib.llama_memory_seq_pos_min(self._memory, 0)
            if oldest < 0 or oldest > max(0, length - sliding):
                return False
        del self._tokens[length:]
        return True

    def _decode(self, tokens: Sequence[int], output: Sequence[bool]) -> None:
        _fill(self._batch, tokens, len(self._tokens), output)
        status = self._lib.llama_decode(self._context, self._batch)
        if status != 0:
            self._lib.llama_memory_clear(self._memory, True)
            self._tokens = []
            if status == 2:
                raise Aborted
            raise GptcliError(f"llama.cpp could not evaluate the text (llama_decode: {status})")
        self._tokens.extend(tokens)

    # ----------------------------------------------------------------------------------- sampling

    def sampler(self, sampling: SamplingParams, constraint: OutputConstraint | None) -> Sampler:
        """Return llama.cpp's sampler chain for these parameters, in llama.cpp's order."""
        filled = sampling.with_defaults(self.info.sampling)
        return Sampler(self._lib, self._vocab, self._context, self.window, filled, constraint)

    def logits(self, output: int = -1) -> Any:
        """Return the logits of an output row as a float32 array of vocab_size, valid until the next
        evaluation.
        """
        import numpy as np

        pointer = self._lib.llama_get_logits_ith(self._context, output)
        address = ctypes.cast(pointer, ctypes.c_void_p).value
        if address is None:
            raise GptcliError("llama.cpp has no logits for this position")
        return np.frombuffer((ctypes.c_float * self.vocab_size).from_address(address), np.float32)

    def token_logprob(self, token: int, alternatives: int) -> TokenLogprob:
        """Return log P(token) at the last position, before any sampler, with the most likely others."""
        import numpy as np

        logits = self.logits()
        log_total = _log_sum_exp(logits)
        count = min(alternatives, self.vocab_size)
        best = np.argpartition(logits, -count)[-count:] if count else np.array([], dtype=int)
        best = best[np.argsort(-logits[best])]
        top = tuple((self._token_text(int(n)), float(logits[n] - log_total)) for n in best)
        return TokenLogprob(self._token_text(token), float(logits[token] - log_total), top)

    def _token_text(self, token: int) -> str:
        return self.special_piece(token).decode("utf-8", "replace")

    # -------------------------------------------------------------------------- scores, embeddings

    def continuation_logprob(self, prefix: Sequence[int], continuation: Sequence[int]) -> float:
        """Return log P(continuation | prefix) in nats, summed over the continuation's tokens.

        Raises Aborted.
        """
        self._rewind_to(prefix)
        total = self._logprob(self._prefix_logits, continuation[0])
        for start in range(0, len(continuation) - 1, BATCH_TOKENS):
            chunk = continuation[:-1][start : start + BATCH_TOKENS]
            self._decode(chunk, output=[True] * len(chunk))
            for row, token in enumerate(continuation[1 + start : 1 + start + len(chunk)]):
                total += self._logprob(self.logits(row), token)
        return total

    def _rewind_to(self, prefix: Sequence[int]) -> None:
        """Bring the KV cache to hold the prefix, and `_prefix_logits` to be what follows it."""
        known = self._prefix == tuple(prefix)
        held = known and self._tokens[: len(prefix)] == list(prefix)
        if held and (len(self._tokens) == len(prefix) or self._truncate(len(prefix))):
            return
        self.prefill(prefix)
        self._prefix, self._prefix_logits = tuple(prefix), self.logits().copy()

    @staticmethod
    def _logprob(logits: Any, token: int) -> float:
        return float(logits[token] - _log_sum_exp(logits))

    def embed(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """Return the text's embedding, pooled as the model says (else the mean), of length 1.

        Raises Aborted, and GptcliError when the model gives none or the text is too long.
        """
        lib, size = self._lib, min(self.info.context_limit, EMBED_TOKENS)
        if len(tokens) > size:
            raise ContextOverflowError(
                f"a text of {len(tokens)} tokens is too long to embed: at most {size}",
                prompt_tokens=len(tokens),
                context_size=size,
            )
        if self._embedder is None:
            self._embedder = self._open_context(size, embeddings=True)
        memory = lib.llama_get_memory(self._embedder)
        if memory:
            lib.llama_memory_clear(memory, True)
        batch = lib.llama_batch_init(max(1, len(tokens)), 0, 1)
        try:
            _fill(batch, tokens, 0, [True] * len(tokens))
            status = lib.llama_decode(self._embedder, batch)
        finally:
            lib.llama_batch_free(batch)
        if status == 2:
            raise Aborted
        if status != 0:
            raise GptcliError(f"llama.cpp could not embed the text (llama_decode: {status})")
        pointer = lib.llama_get_embeddings_seq(self._embedder, 0)
        if not pointer:
            raise GptcliError("this model gives no embeddings")
        vector = pointer[: self.info.embedding_size]
        norm = math.sqrt(sum(value * value for value in vector)) or 1.0
        return tuple(value / norm for value in vector)


def _fill(batch: Any, tokens: Sequence[int], start: int, output: Sequence[bool]) -> None:
    batch.n_tokens = len(tokens)
    for n, token in enumerate(tokens):
        batch.token[n] = token
        batch.pos[n] = start + n
        batch.n_seq_id[n] = 1
        batch.seq_id[n][0] = 0
        batch.logits[n] = output[n]


def _log_sum_exp(logits: Any) -> float:
    import numpy as np

    highest = float(logits.max())
    # float32 sums of 262,144 terms lose digits; the accumulator is float64.
    return highest + math.log(float(np.exp(logits - highest).sum(dtype=np.float64)))
