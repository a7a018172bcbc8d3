"""Published parameter totals, each typed from its source: the oracle of `test_zoo.py`.

A hub total is what the safetensors metadata on a repository's page counts: every stored element. Where more is stored
than a model's module holds, `BESIDE` says what, in closed form, so that total - beside = parameters, exactly.
"""

from __future__ import annotations

HUB: dict[str, int] = {
    "01-ai/Yi-6B": 6_061_035_520,
    "01-ai/Yi-34B": 34_388_917_248,
    "AntonV/mamba2-130m-hf": 128_989_632,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
    "MiniMaxAI/MiniMax-M2.5": 228_703_644_928,
    "Qwen/Qwen2-0.5B": 494_032_768,
    "Qwen/Qwen2-1.5B": 1_543_714_304,
    "Qwen/Qwen2-7B": 7_615_616_512,
    "Qwen/Qwen2-72B": 72_706_203_648,
    "Qwen/Qwen2-VL-2B-Instruct": 2_208_985_600,
    "Qwen/Qwen2-VL-7B-Instruct": 8_291_375_616,
    "Qwen/Qwen2-VL-72B-Instruct": 73_405_560_320,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen2.5-VL-32B-Instruct": 33_452_718_336,
    "Qwen/Qwen2.5-VL-72B-Instruct": 73_410_777_344,
    "Qwen/Qwen3-0.6B": 751_632_384,
    "Qwen/Qwen3-1.7B": 2_031_739_904,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": 30_532_122_624,
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": 480_154_875_392,
    "Qwen/Qwen3-Next-80B-A3B-Instruct": 81_324_862_720,
    "Qwen/Qwen3-VL-2B-Instruct": 2_127_532_032,
    "Qwen/Qwen3-VL-4B-Instruct": 4_437_815_808,
    "Qwen/Qwen3-VL-8B-Instruct": 8_767_123_696,
    "Qwen/Qwen3-VL-30B-A3B-Instruct": 31_070_754_032,
    "Qwen/Qwen3.5-27B": 27_781_427_952,
    "Qwen/Qwen3.5-35B-A3B": 35_951_822_704,
    "Qwen/Qwen3.5-122B-A10B": 125_086_497_008,
    "Qwen/Qwen3.5-397B-A17B": 403_397_928_944,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "XiaomiMiMo/MiMo-7B-Base": 7_833_409_536,
    "codellama/CodeLlama-7b-hf": 6_738_546_688,
    "codellama/CodeLlama-13b-hf": 13_016_028_160,
    "codellama/CodeLlama-34b-hf": 33_743_970_304,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": 7_615_616_512,
    "deepseek-ai/DeepSeek-V2": 235_741_434_880,
    "deepseek-ai/DeepSeek-V2-Lite": 15_706_484_224,
    "deepseek-ai/DeepSeek-V3": 684_531_386_000,
    "google-bert/bert-base-uncased": 110_106_428,
    "google/gemma-2b": 2_506_172_416,
    "google/gemma-7b": 8_537_680_896,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-9b": 9_241_705_984,
    "google/gemma-2-27b": 27_227_128_320,
    "google/gemma-3-1b-pt": 999_885_952,
    "google/gemma-3-4b-pt": 4_300_079_472,
    "google/gemma-3-12b-pt": 12_187_325_040,
    "google/gemma-3-27b-pt": 27_432_406_640,
    "google/gemma-4-26B-A4B": 26_544_131_376,
    "huggyllama/llama-7b": 6_738_415_616,
    "huggyllama/llama-13b": 13_015_864_320,
    "huggyllama/llama-30b": 32_528_943_616,
    "huggyllama/llama-65b": 65_285_660_672,
    "llava-hf/llava-1.5-7b-hf": 7_063_427_072,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248,
    "meta-llama/Meta-Llama-3-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": 108_641_793_536,
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": 401_583_781_376,
    "microsoft/phi-1_5": 1_418_270_720,
    "microsoft/phi-2": 2_779_683_840,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/Phi-3-mini-128k-instruct": 3_821_079_552,
    "microsoft/Phi-3-medium-4k-instruct": 13_960_238_080,
    "microsoft/phi-4": 14_659_507_200,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "mistralai/Codestral-22B-v0.1": 22_247_282_688,
    "mistralai/Mistral-Large-Instruct-2407": 122_610_069_504,
    "mistralai/Mamba-Codestral-7B-v0.1": 7_285_403_648,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "mosaicml/mpt-7b": 6_649_286_656,
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1": 49_867_145_216,
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": 31_577_940_288,
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": 123_611_033_088,
    "openai-community/gpt2": 137_022_720,
    "openai-community/gpt2-medium": 379_988_992,
    "openai-community/gpt2-large": 811_778_816,
    "tiiuae/falcon-7b": 7_217_189_760,
    "tiiuae/falcon-40b": 41_835_970_560,
    "tiiuae/falcon-180B": 179_522_565_120,
    "zai-org/glm-4-9b-hf": 9_399_951_360,
    "zai-org/GLM-4.5": 358_337_791_296,
    "zai-org/GLM-4.5-Air": 110_468_824_832,
    "zai-org/GLM-5": 753_864_139_008,
}


def blocks(*shapes: tuple[int, int]) -> int:
    """Scales of matrices quantised in blocks of 128 x 128."""
    return sum(-(-rows // 128) * -(-cols // 128) for rows, cols in shapes)


def qwen_predictor(hidden: int, heads: int, kv_heads: int, feed_forward: int) -> int:
    """Joining matrix, one layer of gated attention (256 channels a head), its two head norms and five wide norms."""
    attention = hidden * 256 * (3 * heads + 2 * kv_heads) + 2 * 256
    return 2 * hidden**2 + attention + feed_forward + 5 * hidden


def qwen_experts(hidden: int, width: int, experts: int) -> int:
    """Experts, a shared one of the same width and its gate, and the router."""
    return (experts + 1) * 3 * hidden * width + hidden + experts * hidden


def predictor(hidden: int, attention: int, experts: int, width: int, vocab: int) -> int:
    """Joining matrix, five norms, one layer with a shared expert and a router, own embedding and head (vocab or 0)."""
    layer = attention + (experts + 1) * 3 * hidden * width + experts * hidden
    return 2 * hidden**2 + 5 * hidden + layer + 2 * vocab * hidden


def latent_attention(hidden: int, heads: int, q_rank: int, nope: int, value: int) -> int:
    """Multi-head latent attention of rank 512 with 64 rotary channels."""
    queries = hidden * q_rank + q_rank + q_rank * heads * (nope + 64)
    return queries + hidden * (512 + 64) + 512 + 512 * heads * (nope + value) + heads * value * hidden


def grouped_attention(hidden: int, heads: int, kv_heads: int, *, head_norms: bool) -> int:
    """Attention of 128 channels a head with biases on queries, keys and values."""
    return 128 * ((2 * hidden + 1) * heads + 2 * (hidden + 1) * kv_heads) + (256 if head_norms else 0)


PREDICTOR = "a multi-token-prediction layer"
BIASES = "a balancing bias for each expert, which transformers holds as a buffer"
TWICE = "the tied head stored again"
MASKS = "causal masks stored as buffers"

BESIDE: dict[str, tuple[int, str]] = {
    "MiniMaxAI/MiniMax-M2.5": (
        62 * (2 * blocks((6144, 3072)) + 2 * blocks((1024, 3072)) + 256 * 3 * blocks((1536, 3072)) + 256),
        f"fp8 block scales; {BIASES}",
    ),
    "Qwen/Qwen3-0.6B": (151936 * 1024, TWICE),
    "Qwen/Qwen3-1.7B": (151936 * 2048, TWICE),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (qwen_predictor(2048, 16, 2, qwen_experts(2048, 512, 512)), PREDICTOR),
    "Qwen/Qwen3.5-27B": (qwen_predictor(5120, 24, 4, 3 * 5120 * 17408), PREDICTOR),
    "Qwen/Qwen3.5-35B-A3B": (qwen_predictor(2048, 16, 2, qwen_experts(2048, 512, 256)), PREDICTOR),
    "Qwen/Qwen3.5-122B-A10B": (qwen_predictor(3072, 32, 2, qwen_experts(3072, 1024, 256)), PREDICTOR),
    "Qwen/Qwen3.5-397B-A17B": (qwen_predictor(4096, 32, 2, qwen_experts(4096, 1024, 512)), PREDICTOR),
    "XiaomiMiMo/MiMo-7B-Base": (
        grouped_attention(4096, 32, 8, head_norms=False) + 3 * 4096 * 11008 + 2 * 4096 + 2 * 4096**2 + 3 * 4096,
        f"{PREDICTOR}: a joining matrix, a layer, three norms",
    ),
    "deepseek-ai/DeepSeek-V3": (
        predictor(7168, latent_attention(7168, 128, 1536, 128, 128), 256, 2048, 129280) + 41_555_600,
        f"{PREDICTOR}; 41,555,600 fp32 elements: block scales and balancing biases",
    ),
    "google-bert/bert-base-uncased": (768 * 768 + 768 + 2 * 768 + 2, "pooler and next-sentence head of pre-training"),
    "google/gemma-4-26B-A4B": (262144 * 2816, TWICE),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (23 * 128, BIASES),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": (
        2_942_324_736 + 41 * 512,
        f"{PREDICTOR}, as the headers of its tensors count it; {BIASES}",
    ),
    "openai-community/gpt2": (12 * 1024**2, MASKS),
    "openai-community/gpt2-medium": (24 * 1024**2, MASKS),
    "openai-community/gpt2-large": (36 * 1024**2, MASKS),
    "tiiuae/falcon-7b": (65024 * 4544, TWICE),
    "tiiuae/falcon-40b": (65024 * 8192, TWICE),
    "tiiuae/falcon-180B": (65024 * 14848, TWICE),
    "zai-org/GLM-4.5": (
        predictor(5120, grouped_attention(5120, 96, 8, head_norms=True), 160, 1536, 151552) + 90 * 160,
        f"{PREDICTOR}; {BIASES}",
    ),
    "zai-org/GLM-4.5-Air": (
        predictor(4096, grouped_attention(4096, 96, 8, head_norms=False), 128, 1408, 151552) + 46 * 128,
        f"{PREDICTOR}; {BIASES}",
    ),
    "zai-org/GLM-5": (
        predictor(6144, latent_attention(6144, 64, 2048, 192, 256), 256, 2048, 0)
        + (2048 * 32 * 128 + 6144 * 128 + 2 * 128 + 6144 * 32)
        + 76 * 256,
        f"{PREDICTOR} with its token indexer; {BIASES}",
    ),
}  # fmt: skip

# In billions, to the digits printed.
ROUNDED: dict[str, tuple[str, str]] = {
    "deepseek-ai/DeepSeek-R1": ("671", "arXiv 2501.12948, model card: total parameters"),
    "openai-community/gpt2-xl": ("1.558", "OpenAI's gpt-2 release: the checkpoint is named 1558M"),
    "deepseek-ai/DeepSeek-V4-Flash": ("284", "DeepSeek-V4 model card: total parameters"),
    "openai/gpt-oss-20b": ("20.91", "arXiv 2508.10925, table 1"),
    "openai/gpt-oss-120b": ("116.83", "arXiv 2508.10925, table 1"),
}
