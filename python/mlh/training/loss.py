"""The loss of one structure, in meV.

    mae_weight * MAE + rmse_weight * RMSE + wavefunction * (coupling of occupied and virtual states)

MAE and RMSE over all matrix elements (both directions of a pair), on-site errors times `onsite`.
"""

from __future__ import annotations

import torch

from mlh.accuracy.metrics import MEV
from mlh.network.blocks import Blocks
from mlh.training.batches import ChosenPairs
from mlh.training.config import LossConfig
from mlh.training.prepared import element_counts, error_sums
from mlh.training.wavefunction import ReferenceStates


def structure_loss(
    predicted: Blocks,
    reference: Blocks,
    config: LossConfig,
    chosen: ChosenPairs | None = None,
    states: ReferenceStates | None = None,
) -> tuple[torch.Tensor, float]:
    """Loss and raw MAE (an estimate when pairs were chosen), both in meV. predicted.pairs: of the chosen
    pairs only.
    """
    sums = error_sums(predicted, reference, chosen)
    n = float(sum(element_counts(reference)))
    loss = config.mae_weight * (config.onsite * sums["site_abs"] + sums["pair_abs"]) / n
    if config.rmse_weight:
        square = (config.onsite * sums["site_square"] + sums["pair_square"]) / n
        # the square root has no gradient at zero error
        loss = loss + config.rmse_weight * torch.sqrt(square + 1e-30)
    if config.wavefunction:
        if states is None:
            raise ValueError("states: expected reference states for loss.wavefunction, got none")
        loss = loss + config.wavefunction * states.coupling(predicted, reference)
    raw = float(sums["site_abs"].detach() + sums["pair_abs"].detach()) / n * MEV
    return loss * MEV, raw
