"""A llama model of half a megabyte with random weights, for a real inference server to load. It talks nonsense, fast."""

import tempfile
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

_EMBEDDING = 64
_FEED_FORWARD = 128
_LAYERS = 2
_HEADS = 4
_CONTEXT = 65_536
_SEED = 20_240_613
_VERSION = 3
"""Part of the cached file's name: raise it with every change here."""

_WORDS = """
the of and to in is that for it as was with be by on not he his but at are this have from
or had an they which one you were all her she there would their we him been has when who will no more if
out so up said what its about than into them can only other time new some could these two may first then do any
like my now over such our man me even most made after
"""
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def tiny_model() -> Path:
    """The model file, written on first use and kept in the system's folder for temporary files. The same bytes every time."""
    path = Path(tempfile.gettempdir()) / f"tiny-llama-{_SEED}-{_VERSION}.gguf"
    if not path.exists():
        # Two test processes may write at once: each its own file, and the last rename wins with the same content.
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".gguf", delete=False) as part:
            pass
        _write(Path(part.name))
        Path(part.name).rename(path)
    return path


def _vocabulary() -> list[tuple[str, float, gguf.TokenType]]:
    """A SentencePiece vocabulary: three control tokens, all 256 bytes as the fallback, letters and words."""
    space = "\N{LOWER ONE EIGHTH BLOCK}"
    control = [("<unk>", 0.0, gguf.TokenType.UNKNOWN)] + [(text, 0.0, gguf.TokenType.CONTROL) for text in ("<s>", "</s>")]
    fallback = [(f"<0x{byte:02X}>", 0.0, gguf.TokenType.BYTE) for byte in range(256)]
    # SentencePiece builds a token by merging two tokens: so every beginning of a word is a token as well.
    beginnings = {space + word[:end]: -float(end) for word in _WORDS.split() for end in range(1, len(word) + 1)}
    letters = {chr(code): -10.0 for code in range(ord("!"), ord("~") + 1)} | {space: -10.0}
    pieces = [(text, score, gguf.TokenType.NORMAL) for text, score in (letters | beginnings).items()]
    return control + fallback + pieces


def _write(path: Path) -> None:
    vocabulary = _vocabulary()
    first_piece = 3 + 256
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny-llama")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_block_count(_LAYERS)
    writer.add_head_count(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in vocabulary])
    writer.add_token_scores([score for _, score, _ in vocabulary])
    writer.add_token_types([kind for _, _, kind in vocabulary])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(_CHAT_TEMPLATE)

    random = np.random.default_rng(_SEED)

    def weights(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, dtype=np.float32) / np.float32(shape[-1] ** 0.5)

    output = weights(len(vocabulary), _EMBEDDING) * 4
    # Zero logits for bytes and control tokens: the model speaks in whole words and does not stop by itself.
    output[:first_piece] = 0
    writer.add_tensor("token_embd.weight", weights(len(vocabulary), _EMBEDDING))
    writer.add_tensor("output_norm.weight", np.ones(_EMBEDDING, dtype=np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(_EMBEDDING, _EMBEDDING))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(_EMBEDDING, dtype=np.float32))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(_FEED_FORWARD, _EMBEDDING))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", weights(_EMBEDDING, _FEED_FORWARD))

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
