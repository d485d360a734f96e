"""The tests' own networks of images are what the QONNX executor takes them for."""

from collections.abc import Callable

import image_models
import numpy as np
import pytest
from image_models import ImageModel


@pytest.mark.parametrize("build", image_models.MODELS, ids=lambda f: f.__name__)
def test_nodes_run_one_by_one_as_in_the_executor(build: Callable[[], ImageModel]) -> None:
    wrapper = pytest.importorskip("qonnx.core.modelwrapper")
    execution = pytest.importorskip("qonnx.core.onnx_exec")
    shapes = pytest.importorskip("qonnx.transformation.infer_shapes")
    network = build()
    images = network.sample(3, 7)
    model = wrapper.ModelWrapper(network.model).transform(shapes.InferShapes())
    found = network.referee(images)
    for k, image in enumerate(images):
        theirs = execution.execute_onnx(model, {network.input: image[None]})
        np.testing.assert_allclose(
            found[network.output][k : k + 1], theirs[network.output], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("build", image_models.MODELS, ids=lambda f: f.__name__)
def test_numbers_are_spread_over_their_types(build: Callable[[], ImageModel]) -> None:
    network = build()
    found = network.referee(network.sample(8, 9))
    assert len(set(network.quantisers)) == len(network.quantisers)
    for name in network.quantisers:
        assert len(np.unique(found[name])) > 6, name
    assert float(np.std(found[network.output], axis=0).mean()) > 0.01
