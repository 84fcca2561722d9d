"""llama.cpp by its low-level bindings: model, context, decode, sampler chain, KV state.

The only importer of llama_cpp and numpy. It runs in the worker process, because llama.cpp may end
the process that hosts it.
"""
