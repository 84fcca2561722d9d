"""The same generation by Transformers and torch on the same GGUF; prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    started = time.perf_counter()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, threads, tokens = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    place = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model = AutoModelForCausalLM.from_pretrained(**place)
    inputs = tokenizer("The quick brown fox", return_tensors="pt")
    with torch.inference_mode():
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
        first_token_s = time.perf_counter() - started
        begun = time.perf_counter()
        model.generate(**inputs, min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False)
        generate_s = time.perf_counter() - begun
    print(json.dumps({"first_token_s": first_token_s, "tokens_per_s": tokens / generate_s}))


if __name__ == "__main__":
    main()
