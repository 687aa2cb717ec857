"""Whether a replica fits its share of a GPU: the 9B's figures, and what a misfit is told."""

from pathlib import Path

import pytest
import torch
import yaml

from deployments.model import memory
from deployments.model.families.family import KVShape, Widths
from deployments.model.memory import MIB, Misfit
from deployments.model.settings import ModelSettings, RowSettings

ROOT = Path(__file__).resolve().parents[3]

GLM_9B = KVShape(layers=40, kv_heads=2, head_dim=128)
WIDTHS = Widths(4096, 13696, 151552, 1536, 4096, 27392 * 4096)
NF4_WEIGHTS = 8_500_000_000


def need(rows=16, length=4096, weights=NF4_WEIGHTS, quantized=True):
    settings = RowSettings(rows=rows, length=length)
    return memory.need(weights, GLM_9B, WIDTHS, settings, torch.bfloat16, quantized), settings


def test_a_token_of_a_row_costs_what_the_reference_says():
    assert GLM_9B.bytes_per_token(torch.bfloat16) == 40 * 1024


def test_sixteen_rows_of_the_9b_in_nf4_take_about_13_gb():
    needed, _ = need()
    assert 12e9 < needed.total < 14e9
    assert needed.rows == pytest.approx(2.7e9, rel=0.02)


CARDS = {"24gb": 24.1e9, "48gb": 48.3e9, "80gb": 85.0e9}  # as their drivers tell: A10, L40S, H100


@pytest.mark.parametrize("card", CARDS)
def test_each_config_s_replicas_fit_their_card(card):
    config = yaml.safe_load((ROOT / "configs" / f"glm-4.6v-flash-{card}.yaml").read_text())
    settings = ModelSettings.model_validate(config["applications"][0]["args"]["model"])
    needed = memory.need(NF4_WEIGHTS, GLM_9B, WIDTHS, settings.rows, torch.bfloat16, quantized=True)
    share = int(CARDS[card] * settings.gpu_fraction)
    memory.check(needed, share, settings.gpu_fraction, settings.rows, GLM_9B.bytes_per_token(torch.bfloat16))


def test_what_fits_is_taken():
    needed, settings = need()
    memory.check(needed, 24 * 1024 * MIB, 1.0, settings, GLM_9B.bytes_per_token(torch.bfloat16))


def test_a_misfit_is_told_by_how_much_and_what_to_lower():
    needed, settings = need(rows=32)
    share = needed.total - 1000 * MIB
    with pytest.raises(Misfit) as refused:
        memory.check(needed, share, 0.5, settings, GLM_9B.bytes_per_token(torch.bfloat16))
    message = str(refused.value)
    assert "1000 MB too much" in message
    assert f"weights {NF4_WEIGHTS / MIB:.0f} MB" in message
    assert "set args.model.rows.rows to 25" in message  # seven rows of 160 MB
    assert "gpu_fraction to 0.5" in message
    fewer, _ = need(rows=25)
    assert fewer.total <= share


def test_where_not_even_one_row_fits_it_says_so():
    needed, settings = need(weights=20_600_000_000, quantized=False)
    with pytest.raises(Misfit, match="quantization: nf4"):
        memory.check(needed, 12 * 1024 * MIB, 0.5, settings, GLM_9B.bytes_per_token(torch.bfloat16))
