"""The Hugging Face Hub: its files, and its cache. The only package that imports huggingface_hub.

huggingface_hub speaks the wire and keeps the cache's layout. The transfer of a file is our own: theirs
(2.4) starts over after a kill, does not check the SHA-256 and gives up at a reset connection.
"""
