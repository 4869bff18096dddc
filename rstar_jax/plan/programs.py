"""The real programs of a run, for devices that are not here: rows of `train.step` and the engine's catalogue.

A request is plain JSON, so that a process of its own can be told of it (`compile_one.py`):

    program    "policy gradients", "ppm gradients", "update", "prefill", "read on", "decode" or "score"
    model      what config.json holds
    topology   libtpu's name of a slice, and how many slices: ["v5p:4x4x4", 1]
    mesh       sizes of the axes; of a search the group of devices that holds a model together
    sizes      of gradients [rows, tokens of a row]; of the engine those of the catalogue's row
    options    fields of TrainConfig, or of DecodeConfig
    pages      of the engine's pool
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rstar_jax import sharding
from rstar_jax.compilations import DeviceProgram
from rstar_jax.engine import DecodeConfig
from rstar_jax.engine.catalogue import Catalogue
from rstar_jax.engine.shape import EngineModel
from rstar_jax.models import Decoder, DecoderConfig, RewardModel
from rstar_jax.models.params import param_specs
from rstar_jax.plan.known_models import decoder_of
from rstar_jax.train import TrainConfig, policy_loss, ppm_loss, programs
from rstar_jax.transforms import quantize

Request = Mapping[str, Any]
ENGINE = {"prefill": "read", "read on": "read_on", "decode": "decode", "score": "score"}
_PACKED = dict.fromkeys(("tokens", "positions", "segment_ids", "ends"), jnp.int32)
_TARGETS = {"targets": jnp.int32, "weights": jnp.float32, "marks": jnp.int8}
_PAIRS = {"positive": jnp.int32, "negative": jnp.int32, "pair_weights": jnp.float32}


def program_of(request: Request, devices: Sequence[Any]) -> tuple[Mesh, DeviceProgram]:
    """The program that a request names, and the mesh to compile it under."""
    sizes = dict(request["mesh"])
    engine = request["program"] in ENGINE
    # A search's group is the first of a host's; a training takes all devices.
    mesh = sharding.make_mesh(**sizes, devices=devices[: math.prod(sizes.values())] if engine else devices)
    config = decoder_of(dict(request["model"]))
    if not engine:
        return mesh, _training(request, config, mesh)
    with jax.set_mesh(mesh):  # how caches lie depends on its platform
        return mesh, _engine(request, config, mesh)


def _arrays(mesh: Mesh) -> Callable[..., jax.ShapeDtypeStruct]:
    preset = sharding.preset_for(mesh)

    def array(shape: tuple[int, ...], axes: tuple[str | None, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        where = sharding.sharding(mesh, axes, shape, preset)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=where)

    return array


def _training(request: Request, config: DecoderConfig, mesh: Mesh) -> DeviceProgram:
    """Parameters, sums and moments in float32, computed in bfloat16."""
    array, (rows, T) = _arrays(mesh), request["sizes"]
    options = TrainConfig(**request["options"])
    is_ppm = request["program"] == "ppm gradients"
    if is_ppm:  # its vocabulary head is one of a single number
        config = _without_head(config)
    params: dict[str, Any] = {
        name: array(s.shape, s.axes, jnp.float32) for name, s in param_specs(config).items()
    }
    model: Any = Decoder(config, params, compute_dtype=jnp.bfloat16, mesh=mesh)
    arrays = _PACKED if is_ppm else _PACKED | _TARGETS
    batch = {name: array((rows, T), ("batch", "tokens"), dtype) for name, dtype in arrays.items()}
    if is_ppm:
        score: Any = array((config.width,), ("embed",), jnp.float32)
        model = RewardModel(model, score)
        batch |= {n: array((2 * options.batch,), (None,), d) for n, d in _PAIRS.items()}
    gradients, update = programs(model, batch, ppm_loss if is_ppm else policy_loss, options)
    return update if request["program"] == "update" else gradients


def _engine(request: Request, config: DecoderConfig, mesh: Mesh) -> DeviceProgram:
    options = DecodeConfig(**request["options"])
    is_ppm = request["program"] == "score"
    config = _without_head(config) if is_ppm else config
    shape = EngineModel(config, jnp.dtype(jnp.bfloat16), mesh, options.kernels)
    specs = param_specs(config)
    params: dict[str, Any] = {n: jax.ShapeDtypeStruct(s.shape, jnp.bfloat16) for n, s in specs.items()}
    params = quantize.abstract(params) if options.weights == "int8" else params
    if is_ppm:
        params["score"] = jax.ShapeDtypeStruct((config.width,), jnp.bfloat16)
    rows = Catalogue(shape, options, request["pages"], shape.abstract_params(params))
    return getattr(rows, ENGINE[request["program"]])(*request["sizes"])


def _without_head(config: DecoderConfig) -> DecoderConfig:
    return dataclasses.replace(config, tied=True)
