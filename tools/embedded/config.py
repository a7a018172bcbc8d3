"""What is trained, and how: every number of the run in one place."""

from dataclasses import dataclass, field

from transformers import LlamaConfig


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama with grouped-query attention; every linear has columns divisible by 128."""

    layers: int = 4
    hidden: int = 256
    intermediate: int = 768
    heads: int = 8
    kv_heads: int = 4
    vocabulary: int = 4096
    context: int = 8192
    rope_theta: float = 100_000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden // self.heads

    def to_hf(self) -> LlamaConfig:
        """Return the same shape as the configuration that `transformers` reads."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            max_position_embeddings=self.context,
            rms_norm_eps=self.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            hidden_act="silu",
            tie_word_embeddings=True,
            attention_bias=False,
            mlp_bias=False,
            initializer_range=0.02,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=None,
            dtype="bfloat16",
            architectures=["LlamaForCausalLM"],
        )


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training at one context length (tokens); long ones come in turns with short ones, and last."""

    context: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Training:
    """Warm-up, stable rate, linear decay to zero (WSD); Muon for matrices, AdamW for the embedding and the norms."""

    phases: tuple[Phase, ...] = (
        Phase(256, 3_000_000),
        Phase(512, 3_200_000),
        *(Phase(512, 60_000), Phase(2048, 49_152), Phase(8192, 16_384)) * 10,
        Phase(8192, 52_736),
        Phase(8192, 229_376),
    )
    batch_tokens: int = 4096
    micro_tokens: int = 2048  # of one forward and backward: activations stay in the last-level cache
    warmup_steps: int = 80
    decay_tokens: int = 3_600_000  # to zero, at the start of the last phase
    finish_factor: float = 0.4  # of the rates, at the start of the last phase; falls to zero at its end
    muon_rate: float = 5e-3
    muon_momentum: float = 0.95
    muon_weight_decay: float = 0.05
    adam_rate: float = 3e-3
    adam_betas: tuple[float, float] = (0.9, 0.95)
    adam_clip: float = 1.0  # on the gradient norm of the embedding and the norms; Muon needs none
    seed: int = 20261122
    shape: Shape = field(default_factory=Shape)

    @property
    def total_tokens(self) -> int:
        """Tokens of all phases together."""
        return sum(phase.tokens for phase in self.phases)
