"""Our Muon against torch's."""

import pytest
import torch

from demo.muon import Muon


@pytest.mark.parametrize("shape", [(64, 192), (192, 64), (64, 64)])
def test_it_takes_the_steps_of_torchs(shape):
    """torch's rounds to bfloat16: equal within its precision, over several steps of one course."""
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(4)]
    ends = []
    for kind, more in ((Muon, {}), (torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw"})):
        weight = torch.nn.Parameter(start.clone())
        optimizer = kind([weight], lr=0.05, momentum=0.95, weight_decay=0.01, **more)
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        ends.append(weight.detach() - start)
    ours, theirs = ends
    assert (ours - theirs).norm() < 0.02 * theirs.norm()
