"""Models of converters at their anchors."""

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.hardware.adc import COMPARATOR_J, MODELS, adc_model


def test_the_anchors() -> None:
    for name in ("paper", "isaac_cdac", "linear"):
        assert adc_model(name).energy_j(8) == pytest.approx(1.667e-12, rel=1e-3)
        assert adc_model(name).area_mm2(8) == pytest.approx(1200e-6)
        assert adc_model(name).time_s(8) == pytest.approx(1 / 1.2e9)
    assert adc_model("isaac_cdac").energy_j(4) == pytest.approx(0.79e-12)


def test_the_paper_model_is_the_papers_savings() -> None:
    """28.4x less energy at 1 bit and 14.2x at 3, 8x and 2.67x faster: arXiv 1909.08496."""
    paper = adc_model("paper")
    assert paper.energy_j(8) / paper.energy_j([1, 3]) == pytest.approx([28.4, 14.2], rel=2e-3)
    assert paper.time_s(8) / paper.time_s([1, 3]) == pytest.approx([8, 8 / 3])


def test_eight_to_four_five_five_five_by_two_models() -> None:
    saved = {name: float(4 * adc_model(name).energy_j(8) / adc_model(name).energy_j([5, 5, 5, 4]).sum())
             for name in ("paper", "isaac_cdac")}  # fmt: skip
    assert 5 < saved["paper"] < 9
    assert 1.6 < saved["isaac_cdac"] < 2.2


def test_few_bits_are_flash() -> None:
    assert np.array_equal(adc_model("isaac_cdac").energy_j([1, 2, 3]), COMPARATOR_J * np.array([1, 3, 7]))
    assert "flash below 4" in adc_model("isaac_cdac").title
    assert adc_model("flash").energy_j(8) == adc_model("isaac_cdac").energy_j(8)


def test_nobody_pays_more_for_fewer_bits() -> None:
    """Where one comparator takes more than the survey's four bits, four bits stand in for fewer."""
    survey = adc_model("murmann")
    assert survey.energy_j(4) < COMPARATOR_J
    assert (survey.energy_j([1, 2, 3]) == survey.energy_j(4)).all()
    assert (survey.area_mm2([1, 2, 3]) == survey.area_mm2(4)).all()
    assert survey.title == "murmann, never below 4 bits"
    for name in MODELS:
        assert (np.diff(adc_model(name).energy_j(np.arange(13))) >= 0).all(), name


@pytest.mark.parametrize("name", MODELS)
def test_more_bits_cost_more(name: str) -> None:
    model = adc_model(name)
    bits = np.arange(model.least, model.most + 1)
    assert (np.diff(model.energy_j(bits)) > 0).all()
    assert model.energy_j(0) == model.area_mm2(0) == 0
    assert (model.area_mm2(np.arange(1, 13)) > 0).all()
    assert len(model.source) > 10


def test_the_survey_by_hand() -> None:
    """A figure of merit of 167.7 dB at 1.2 GS/s and the noise of 8 bits."""
    merit = 302.74 - 6.461 * np.log(1.2e9)
    assert adc_model("murmann").energy_j(8) == pytest.approx(10 ** ((6.02 * 8 + 1.76 - merit) / 10) / 2)


def test_area_by_the_survey_is_a_power_law_of_energy() -> None:
    """Bits that quadruple the energy take 4 ** 0.424 of the area, less what the fit takes off for a bit."""
    model = adc_model("murmann")
    areas, energies = model.area_mm2(np.arange(4, 13)), model.energy_j(np.arange(4, 13))
    assert areas[1:] / areas[:-1] == pytest.approx((energies[1:] / energies[:-1]) ** 0.424 * np.exp(-0.134))
    by_hand = (
        np.exp(4.851 + 0.797 * np.log(32) + 0.0667 * np.log(1.2e9) - 0.134 * 8) * (model.energy_j(8) * 1e12) ** 0.424
    )
    assert areas[4] == pytest.approx(by_hand * 1e-6)
    assert 5e-4 < areas[4] < 5e-3  # Kull et al. drew 1,500 um2 for 8 bits


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(DovetailError, match="murmann"):
        adc_model("murman")
