"""What is trained, and how: every number of the run in one place."""

from dataclasses import dataclass, field

from transformers import LlamaConfig

from dovetail.runtime.recall.words import BEGIN, WORDS


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama with four query heads to a key-value head."""

    layers: int = 2
    hidden: int = 128
    intermediate: int = 256
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 32
    vocabulary: int = len(WORDS)
    context: int = 16384
    rope_theta: float = 1e10  # more than half of the channels hardly turn within the context: they match by content
    norm_eps: float = 1e-5

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
            bos_token_id=BEGIN,
            eos_token_id=BEGIN,
            pad_token_id=None,
            dtype="bfloat16",
            architectures=["LlamaForCausalLM"],
        )


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training.

    `tokens` in a sequence, `sequences` in a step, `notes` (each asked once) at least and at most, and the largest
    position of the last token: positions are left out between sentences so that few tokens span many (PoSE, arXiv
    2309.10400).
    """

    steps: int
    tokens: int
    sequences: int
    notes: tuple[int, int]
    span: int
    shared: float = 4  # notes whose keys share a word, about
    rate: tuple[float, float] = (1.0, 1.0)  # factor on both learning rates, at its beginning and its end
    rest_weight: float = 1.0  # of the loss at an answer's other words; the first weighs 4


@dataclass(frozen=True, slots=True)
class Training:
    """Warm-up, then the rates of the phases; Muon for matrices, AdamW for the embedding and the norms."""

    phases: tuple[Phase, ...] = (
        Phase(800, 96, 42, (4, 6), 96, 2),
        Phase(255, 256, 16, (8, 16), 16384),
        Phase(105, 1024, 4, (8, 60), 16384),
        Phase(112, 4096, 1, (16, 160), 16384, rate=(1.0, 0.53)),
        Phase(68, 4096, 1, (16, 160), 16384, rate=(0.53, 0.0), rest_weight=4.0),
        Phase(110, 2048, 2, (16, 128), 16384, rate=(0.5, 0.5), rest_weight=4.0),
        Phase(60, 4096, 1, (16, 160), 16384, rate=(0.5, 0.0), rest_weight=4.0),
        Phase(90, 4096, 1, (16, 128), 16384, rate=(0.4, 0.0), rest_weight=4.0),
        Phase(300, 1024, 4, (30, 70), 16384, rate=(0.6, 0.3), rest_weight=4.0),
        Phase(40, 4096, 1, (30, 200), 16384, rate=(0.3, 0.0), rest_weight=4.0),
    )
    warmup_steps: int = 50
    prose_weight: float = 0.1  # of the loss at words that are no answer
    muon_rate: float = 1e-2
    muon_momentum: float = 0.95
    muon_weight_decay: float = 0.01
    adam_rate: float = 3e-3
    adam_betas: tuple[float, float] = (0.9, 0.98)
    seed: int = 20261201
    shape: Shape = field(default_factory=Shape)

    @property
    def steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phases)
