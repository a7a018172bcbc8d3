"""What kernels cost beyond a roofline: how they cut a call into tiles, and the few measured constants of a chip."""

from dovetail.hardware.kernels.attention import FLASH_2, FLASH_3, AttentionConstants, AttentionKernel
from dovetail.hardware.kernels.chip import ChipFacts
from dovetail.hardware.kernels.energy import EnergyConstants
from dovetail.hardware.kernels.gemm import GemmConstants, carried
from dovetail.hardware.kernels.known import Attended, Kernels
from dovetail.hardware.kernels.latent import LatentConstants
from dovetail.hardware.kernels.mixture import EXPERT_TILES, MARLIN_TILES, ROW_TILES, MixtureConstants, TileStep

__all__ = [
    "EXPERT_TILES", "FLASH_2", "FLASH_3", "MARLIN_TILES", "ROW_TILES", "Attended", "AttentionConstants",
    "AttentionKernel", "ChipFacts", "EnergyConstants", "GemmConstants", "Kernels", "LatentConstants",
    "MixtureConstants", "TileStep", "carried",
]  # fmt: skip
